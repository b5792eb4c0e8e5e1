"""One file of a bag as a reader, whatever became of it: compressed, not closed, cut off, damaged."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rosbags.rosbag2 import Reader, ReaderError

from eventspd_ros.events.files.compressed import ENDING, decompress_file
from eventspd_ros.events.files.salvage import Salvaged, SalvagedMcap, is_name
from eventspd_ros.events.files.source import is_bag_file
from eventspd_ros.events.files.sqlite import LoggedSqlite, SalvagedSqlite, has_log, unfinished
from eventspd_ros.readable import entries
from eventspd_ros.text import first_line

_SUFFIXES = (".mcap", ".db3")


def bag_files(folder: Path) -> list[Path]:
    """The bag files of a folder. A compressed one is left out beside itself decompressed: it may not be whole yet."""
    files = [file for file in entries(folder) if is_bag_file(file) and file.is_file()]
    names = {file.name for file in files}
    return [file for file in files if not (is_compressed(file) and file.name[: -len(ENDING)] in names)]


def is_compressed(file: Path) -> bool:
    return file.name.lower().endswith(ENDING)


def open_folder(folder: Path, files: list[Path], stack: ExitStack) -> Reader | None:
    """A reader of the bag by its metadata; None where that is missing, of no use, or would not show all there is."""
    # What is compressed is read file by file, so that a damaged file or message does not take the others with it.
    if any(is_compressed(file) or has_log(file) for file in files):
        return None
    try:
        reader = Reader(plainly_named(folder, stack))
        reader.open()
        _check(reader)
    except Exception:  # whatever damaged metadata, or a damaged file, leads rosbags to
        return None
    stack.callback(reader.close)
    return None if reader.compression_mode else reader


def open_file(file: Path, stack: ExitStack) -> tuple[Reader | Salvaged, str | None]:
    """A reader of a file, and what is wrong with the file in words, None for a whole one."""
    damage = None
    plain = file
    if is_compressed(file):
        plain, end = decompress_file(file, _folder(stack))
        damage = end and _damaged(file, end)
    try:
        if has_log(plain):
            reader = LoggedSqlite(plain)
            if reader.end:
                raise ReaderError(reader.end)
        else:
            reader = stack.enter_context(Reader(plainly_named(plain, stack)))
            _check(reader)
        return reader, damage or unfinished(plain)
    except Exception as error:  # whatever damaged bytes lead rosbags to
        salvaged = SalvagedMcap if plain.suffix.lower() == ".mcap" else SalvagedSqlite
        return salvaged(plain), damage or _damaged(file, error)


def plainly_named(path: Path, stack: ExitStack) -> Path:
    """The path, or a link to it: rosbags 0.11 does not quote these for sqlite, nor know an ending in capitals."""
    if not set("#?%") & set(str(path.absolute())) and (path.is_dir() or path.suffix in _SUFFIXES):
        return path
    link = _folder(stack) / f"bag{path.suffix.lower()}"
    link.symlink_to(path.absolute())
    return link


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory()))


def _check(reader: Reader) -> None:
    """sqlite takes anything in any column, and says nothing where a topic is gone."""
    names = [name for c in reader.connections for name in (c.topic, c.msgtype)]
    if not all(map(is_name, names)) or not isinstance(reader.start_time, int) or not isinstance(reader.end_time, int):
        raise ReaderError("its tables hold what no recorder writes")
    if (lost := reader.message_count - sum(c.msgcount for c in reader.connections)) > 0:
        raise ReaderError(f"{lost} messages are of no topic")


def _damaged(file: Path, error: Exception) -> str:
    return f"{file.name} is damaged or cut off ({reason(error, file)})"


def reason(error: Exception, file: Path) -> str:
    """The first line of an error, without the path that the message names already."""
    return first_line(error).replace(f" {file}", "").removesuffix(".")
