"""HDF5 files read piece by piece, from any number of loader processes.

Nothing is opened before it is read, and a process never reads through a handle that its parent opened: HDF5 handles do
not survive a fork. Sequences therefore hold paths only, and can be pickled. A process keeps its last files open.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filters that compressed files need
import numpy as np

from eventspd_ros.readable import check_readable

MAX_OPEN_FILES = 64  # of a process; a simulated set has thousands
_files: OrderedDict[str, h5py.File] = OrderedDict()
_owner_pid = os.getpid()


def open_file(path: Path) -> h5py.File:
    """This process's handle of a file. ValueError, one line: it is missing, cut off or not HDF5."""
    global _owner_pid
    if _owner_pid != os.getpid():  # forked since: close the parent's handles here, which leaves the parent's own open
        close_files()
        _owner_pid = os.getpid()
    name = str(path)
    if name in _files:
        _files.move_to_end(name)
        return _files[name]
    check_readable(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file, or cut off ({_line(error)}); fetch it again") from error
    _files[name] = file
    while len(_files) > MAX_OPEN_FILES:
        _files.popitem(last=False)[1].close()
    return file


def close_files() -> None:
    """Close every file this process holds open."""
    while _files:
        _files.popitem()[1].close()


def find(path: Path, key: str, shape: tuple[int | None, ...], kinds: str = "iuf") -> h5py.Dataset:
    """A dataset of a file, checked. shape: sizes expected, None for any. kinds: numpy kinds, "iuf" any number.

    ValueError, one line: the key is missing, or holds something else.
    """
    file = open_file(path)
    try:
        found = file[key]
    except KeyError as error:
        # Name what is there instead, at the deepest group of the key that exists.
        group = file
        for part in key.split("/")[:-1]:
            if not isinstance(group, h5py.Group) or part not in group:
                break
            group = group[part]
        keys = ", ".join(sorted(group)[:12]) if isinstance(group, h5py.Group) else "no keys"
        raise ValueError(f"{path}: {key}: missing; {group.name} has {keys or 'nothing'}") from error
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: {key}: is a group; expected a dataset")
    fits = found.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, found.shape, strict=False)
    )
    if not fits or found.dtype.kind not in kinds:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{path}: {key}: {found.dtype} of shape {found.shape}; expected ({sizes}) of numpy kind {'/'.join(kinds)}"
        )
    return found


def read(path: Path, key: str, shape: tuple[int | None, ...], part=(), kinds: str = "iuf") -> np.ndarray:
    """A part (slices or an index; all by default) of a dataset. ValueError as find(), or where bytes are damaged."""
    dataset = find(path, key, shape, kinds)
    try:
        return np.asarray(dataset[part])
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path}: {key}: cannot be read, the file is damaged ({_line(error)}); fetch it again"
        ) from error


def read_text(path: Path, key: str) -> str:
    """A scalar string. ValueError as find()."""
    text = find(path, key, (), kinds="OS")[()]
    return text.decode() if isinstance(text, bytes) else str(text)


def attribute(path: Path, name: str, kind: type, group: str = "/"):
    """An attribute of the file or of a group, as `kind`. ValueError: missing, or not of that kind."""
    file = open_file(path)
    try:
        return kind(file[group].attrs[name])
    except (KeyError, TypeError, ValueError) as error:
        where = name if group == "/" else f"{group}.{name}"
        raise ValueError(f"{path}: attribute {where}: missing or not {kind.__name__}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
