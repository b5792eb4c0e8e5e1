"""Files and folders that appear whole or not at all, for every writer of the package: what was there before stays until
the new one stands, and nothing is left behind by an error or Ctrl-C."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path | str, sources: Iterable[Path | str] = ()) -> Iterator[Path]:
    """The name to write under, beside path and of its suffix, which becomes path when the block ends well. Folders
    above it are made. A device or a pipe is written to as it is.

    sources: files that the writer reads. ValueError: path is one of them, or a folder.
    """
    path = Path(os.path.realpath(path))
    check_output(path, sources)
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def check_output(path: Path | str, sources: Iterable[Path | str] = ()) -> None:
    """ValueError where whole_file() would not write: to be known before hours of work."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file")
    check_place(path)
    for source in sources:
        if path.exists() and Path(source).exists() and os.path.samefile(path, source):
            raise ValueError(f"{path}: is what is read; name another file to write")


def check_place(path: Path | str) -> None:
    """ValueError where neither a file nor a folder of that name can be made."""
    above = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if not above.is_dir():
        raise ValueError(f"{path}: {above} is no folder; name another place to write")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{path}: no permission to write in {above}; name another place")


def write_whole(path: Path | str, text: str) -> None:
    """A text file, UTF-8."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """A folder of that name, not made yet, inside a temporary one beside path; it becomes path when the block ends
    well. ValueError: path exists."""
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path}: exists already; remove it or name another folder")
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield unfinished / path.name
        (unfinished / path.name).rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_unfinished(path: Path | str) -> None:
    """What writers of path left that were killed and could not clear up themselves."""
    path = Path(path)
    for left in [*path.parent.glob(f".{path.stem}.*{path.suffix}"), *path.parent.glob(f".{path.name}.*")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Down to the disk, so that a machine that stops leaves the old file or the new one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
