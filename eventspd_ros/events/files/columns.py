"""Events as plain columns: text, a line `t x y p` an event, and .npz with arrays x, y, p and t.

    .txt   numbers with blanks between; lines that begin with # are left out. As the Event Camera Dataset and v2e write
    .npz   x, y, p and t_ns, t_us or t (N,), as `eventspd decode` writes them; width and height, if they are there

A time `t` with a fraction (or an exponent) is in seconds, a whole number in microseconds. Of an .npz the array's type
tells, of text the first event. p is 0 and 1, or ±1. Both are read piece by piece, an .npz also where it is compressed.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np

from eventspd_ros.events.files.checks import given_size, seconds_in_ns, sensor_size, times_in_ns
from eventspd_ros.events.files.source import READ_EVENTS, DecodedSource
from eventspd_ros.nanoseconds import NS_PER_US
from eventspd_ros.text import one_line

READ_BYTES = 1 << 22  # of text
# What damaged bytes lead zipfile and NumPy to.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, NotImplementedError)
DAMAGE += (RuntimeError, ValueError, OSError, SyntaxError, TypeError, OverflowError, MemoryError)
TIMES = {"t_ns": 1, "t_us": NS_PER_US, "t": NS_PER_US}  # ns of a whole number


class TextSource(DecodedSource):
    """A line an event."""

    kind = "text"

    def __init__(self, path: Path, sensor_hw: tuple[int, int] | None):
        super().__init__(path, "", *given_size(path, sensor_hw))
        self.chunk_count = -(-path.stat().st_size // READ_BYTES)
        self._seconds = False
        for number, line in enumerate(self._lines(), 1):
            if words := _words(line):
                self._check(number, words)  # what is no text of events is refused now
                self._seconds = any(sign in words[0] for sign in b".eE")
                break

    def _pieces(self) -> Iterator[tuple[np.ndarray, ...]]:
        lines = 0
        for block in self._blocks():
            if len(rows := self._rows(block, lines)):
                t, x, y, p = rows.T
                where = f"{self.path}: t"
                yield x, y, p, seconds_in_ns(where, t) if self._seconds else times_in_ns(where, t, NS_PER_US)
            lines += block.count(b"\n")

    def _lines(self) -> Iterator[bytes]:
        for block in self._blocks():
            yield from block.splitlines()

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, of some READ_BYTES."""
        rest = b""
        with self.path.open("rb") as file:
            while data := file.read(READ_BYTES):
                whole, end, cut = data.rpartition(b"\n")
                if not end and len(data) == READ_BYTES:
                    raise ValueError(f"{self.path}: no end of line in {READ_BYTES} bytes; give a text of lines t x y p")
                if end:
                    yield rest + whole + end
                    rest = b""
                rest += cut
        if rest:
            yield rest

    def _rows(self, block: bytes, lines: int) -> np.ndarray:
        """(N, 4). lines: how many came before. ValueError: names the first line that is no event."""
        if not any(map(_words, block.splitlines())):
            return np.empty((0, 4))
        try:
            rows = np.loadtxt(BytesIO(block), np.float64, comments="#", ndmin=2, encoding="latin-1")
        except ValueError:
            rows = np.empty((0, 0))
        if rows.shape[1] != 4:
            for number, line in enumerate(block.splitlines(), lines + 1):
                if words := _words(line):
                    self._check(number, words)
            raise ValueError(f"{self.path}: after line {lines}: no text of events, t x y p a line")
        return rows

    def _check(self, number: int, words: list[bytes]) -> None:
        try:
            if len(words) == 4 and [float(word) for word in words]:
                return
        except ValueError:
            pass
        text = b" ".join(words).decode("latin-1")[:40]
        raise ValueError(f"{self.path}: line {number}: {text!r} is no event; expected four numbers, t x y p")


def _words(line: bytes) -> list[bytes]:
    """Of a line without its comment."""
    return line.partition(b"#")[0].split()


class NpzSource(DecodedSource):
    """Arrays of an .npz file, read side by side as streams: np.load() would hold each as a whole."""

    kind = "npz"

    def __init__(self, path: Path, sensor_hw: tuple[int, int] | None):
        with ExitStack() as stack:
            archive = self._archive(path, stack)
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            time = next((name for name in TIMES if name in names), None)
            if time is None or not {"x", "y", "p"} <= names:
                found = ", ".join(sorted(names)[:12]) or "nothing"
                raise ValueError(f"{path}: has {found}; expected arrays x, y, p and t_ns, t_us or t")
            self._names = ("x", "y", "p", time)
            columns = [_Column(path, archive, name, stack) for name in self._names]
            lengths = {column.name: column.length for column in columns}
            if len(set(lengths.values())) != 1:
                raise ValueError(f"{path}: columns of unequal length {lengths}; write the file again")
            if {"width", "height"} <= names:
                width, height = (_scalar(path, archive, name, stack) for name in ("width", "height"))
                size = sensor_size(path, width, height, "width, height")
            else:
                size = given_size(path, sensor_hw)
        super().__init__(path, "", *size)
        self.event_count = columns[0].length
        self.chunk_count = -(-self.event_count // READ_EVENTS)

    def _pieces(self) -> Iterator[tuple[np.ndarray, ...]]:
        with ExitStack() as stack:
            archive = self._archive(self.path, stack)
            columns = [_Column(self.path, archive, name, stack) for name in self._names]
            for first in range(0, self.event_count, READ_EVENTS):
                x, y, p, t = (column.read(min(READ_EVENTS, self.event_count - first)) for column in columns)
                where = f"{self.path}: {self._names[3]}"
                if self._names[3] == "t" and t.dtype.kind == "f":
                    yield x, y, p, seconds_in_ns(where, t)
                else:
                    yield x, y, p, times_in_ns(where, t, TIMES[self._names[3]])

    def _archive(self, path: Path, stack: ExitStack) -> zipfile.ZipFile:
        try:
            return stack.enter_context(zipfile.ZipFile(path))
        except DAMAGE as error:
            raise ValueError(f"{path}: not a readable .npz file, or cut off ({error}); write it again") from error


class _Column:
    """One array (N,) of an archive, from its first value on."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str, stack: ExitStack, shape: tuple = (None,)):
        self.path, self.name = path, name
        self._file = stack.enter_context(self._try(archive.open, f"{name}.npy"))
        version = self._try(np.lib.format.read_magic, self._file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found, _, self._dtype = self._try(read_header, self._file)
        if len(found) != len(shape) or self._dtype.kind not in "biuf":
            raise ValueError(f"{path}: {name}: {self._dtype} of shape {found}; expected numbers of shape (N,)")
        self.length = found[0] if found else 1

    def read(self, count: int) -> np.ndarray:
        data = self._try(self._file.read, count * self._dtype.itemsize)
        if len(data) != count * self._dtype.itemsize:
            raise ValueError(f"{self.path}: {self.name}: ends before its {self.length} values; write the file again")
        return np.frombuffer(data, self._dtype)

    def _try(self, function, *arguments):
        try:
            return function(*arguments)
        except DAMAGE as error:
            raise ValueError(
                f"{self.path}: {self.name}: cannot be read ({one_line(error)}); write the file again"
            ) from error


def _scalar(path: Path, archive: zipfile.ZipFile, name: str, stack: ExitStack) -> int:
    return int(_Column(path, archive, name, stack, ()).read(1)[0])


def open_columns(path: Path, sensor_hw: tuple[int, int] | None) -> DecodedSource:
    """A .txt or .npz file. ValueError, one line: it holds no events, or no size of the sensor is known."""
    if not path.is_file():
        raise ValueError(f"{path}: is no file; name one")
    return TextSource(path, sensor_hw) if path.suffix.lower() == ".txt" else NpzSource(path, sensor_hw)
