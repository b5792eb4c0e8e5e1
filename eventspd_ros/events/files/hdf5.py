"""This package's own HDF5 recordings: decoded events, compressed, read piece by piece.

    attributes of the file   format = "eventspd_events", version = 1, width, height (px), encoding (of the origin)
    events/x, events/y       uint16 (N,), px          events/p       uint8 (N,), 1 = brighter
    events/t_ns              int64 (N,), ns on the sensor clock

Datasets are chunked, compressed with Zstandard through Blosc (hdf5plugin), which h5py then reads without options, and
carry checksums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from eventspd_ros.events.files.source import EventSource
from eventspd_ros.events.types import EventArray
from eventspd_ros.readable import check_readable

FORMAT, VERSION = "eventspd_events", 1
COLUMNS = {"x": np.uint16, "y": np.uint16, "p": np.uint8, "t_ns": np.int64}
STORED_EVENTS = 1 << 16  # of one compressed block
READ_EVENTS = 1 << 18
MAX_TIME_NS = 1 << 62


def write_events_h5(path: Path | str, chunks: Iterable[EventArray], encoding: str = "") -> int:
    """Write chunks of one sensor's events as they come; returns how many events. encoding: where they are from.

    What arrived before an exception of `chunks` is kept. ValueError: chunks of sensors of different size.
    """
    count = 0
    with h5py.File(path, "w", libver="v110") as file:  # whose own structures have checksums
        # Text of fixed length: what holds the other kind has no checksum, and HDF5 reads a damaged one for ever.
        text = {name: np.array(value.encode(), "S64") for name, value in (("format", FORMAT), ("encoding", encoding))}
        file.attrs.update({**text, "version": VERSION, "width": 0, "height": 0})
        compression = hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.SHUFFLE)
        columns = {
            name: file.create_dataset(
                f"events/{name}", (0,), dtype, maxshape=(None,), chunks=(STORED_EVENTS,), fletcher32=True, **compression
            )
            for name, dtype in COLUMNS.items()
        }
        for events in chunks:
            size = (int(file.attrs["width"]), int(file.attrs["height"]))
            if size not in ((0, 0), (events.width, events.height)):
                raise ValueError(f"{path}: events of {events.width}x{events.height} px after {size[0]}x{size[1]} px")
            file.attrs["width"], file.attrs["height"] = events.width, events.height
            for name, column in columns.items():
                column.resize((count + len(events),))
                column[count:] = getattr(events, name)
            count += len(events)
    return count


class Hdf5Source(EventSource):
    """Events of a file that write_events_h5 made."""

    kind = "hdf5"
    has_packets = False

    def __init__(self, path: Path):
        with open_h5(path) as file, damaged(path):
            ours = _text(file, "format") == FORMAT and all(f"events/{name}" in file for name in COLUMNS)
            self.event_count = stored_events(file, COLUMNS) if ours else 0
            encoding, width, height = _text(file, "encoding"), *(int(file.attrs.get(n, 0)) for n in ("width", "height"))
        if not ours:
            raise ValueError(f"{path}: not a recording of format {FORMAT!r}; make one with `eventspd decode IN --out`")
        super().__init__(path, encoding, width, height)
        self.chunk_count = -(-self.event_count // READ_EVENTS)

    def packets(self):
        raise ValueError(f"{self.path}: holds decoded events and no packets; read chunks()")

    def chunks(self) -> Iterator[EventArray]:
        with open_h5(self.path) as file:
            for first in range(0, self.event_count, READ_EVENTS):
                with damaged(self.path):
                    x, y, p, t_ns = (file[f"events/{name}"][first : first + READ_EVENTS] for name in COLUMNS)
                    events = checked_events(x, y, p, t_ns, self.width, self.height)
                yield events


def open_h5(path: Path) -> h5py.File:
    """ValueError, one line: it cannot be read, or is no HDF5 file."""
    check_readable(path)
    try:
        return h5py.File(path, "r")
    except Exception as error:  # whatever the bytes lead h5py to
        raise ValueError(
            f"{path}: not a readable HDF5 file, or cut off ({_line(error)}); copy it or make it again"
        ) from error


@contextmanager
def damaged(path: Path, what: str = "damaged") -> Iterator[None]:
    """What reading an HDF5 file raises, as a ValueError of one line."""
    try:
        yield
    except Exception as error:  # whatever damaged bytes lead h5py to
        raise ValueError(f"{path}: {what} ({_line(error)}); copy it or make it again") from error


def stored_events(file: h5py.File, names: Iterable[str]) -> int:
    """How many events the columns of a file hold. ValueError: not all alike, or fewer than they say: HDF5 shows zeros
    where there is nothing."""
    columns = [file[f"events/{name}"] for name in names]
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        raise ValueError(f"events/{', '.join(names)} differ in length")
    for column in columns:
        whole = column.id.get_storage_size() // column.dtype.itemsize
        held = column.id.get_num_chunks() * column.chunks[0] if column.chunks else whole
        if held < len(column):
            raise ValueError(f"{column.name} holds {held} of {len(column)} events")
    return len(columns[0])


def checked_events(x, y, p, t_ns, width: int, height: int) -> EventArray:
    """Columns of any whole numbers as events. ValueError: one lies outside the sensor, or outside all time."""
    of_sensor = f"lies outside the sensor of {width}x{height} px"
    for name, column, end, wrong in (
        ("x", x, width, of_sensor),
        ("y", y, height, of_sensor),
        ("p", p, 2, "is neither 0 nor 1"),
        ("t_ns", t_ns, MAX_TIME_NS, "is no time"),
    ):
        if column.dtype.kind not in "iub":
            raise ValueError(f"{name} is {column.dtype}, no whole numbers")
        lowest, highest = int(column.min(initial=0)), int(column.max(initial=0))
        if lowest < 0 or highest >= end:
            raise ValueError(f"an event at {name} = {lowest if lowest < 0 else highest} {wrong}")
    columns = zip((x, y, p, t_ns), COLUMNS.values(), strict=True)
    return EventArray(*(column.astype(kind, copy=False) for column, kind in columns), width, height)


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) else str(error)  # whose str() is in quotes
    return " ".join(str(text or type(error).__name__).split())
