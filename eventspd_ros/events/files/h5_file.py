"""HDF5 files read piece by piece, from any number of loader processes.

Nothing is opened before it is read, and a process never reads through a handle that its parent opened: HDF5 handles do
not survive a fork. Sequences therefore hold paths only, and can be pickled. A process keeps its last files open.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filters that compressed files need
import numpy as np

from eventspd_ros.readable import check_readable
from eventspd_ros.text import one_line

MAX_OPEN_FILES = 64  # of a process; a simulated set has thousands
# What damaged bytes lead h5py to, besides ValueError.
DAMAGE = (KeyError, TypeError, OSError, RuntimeError, MemoryError, OverflowError)
MISSING_FILTERS = {
    0x8ECF: "build Prophesee's, https://github.com/prophesee-ai/hdf5_ecf, and name its folder in HDF5_PLUGIN_PATH"
}
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
        raise ValueError(f"{path}: not a readable HDF5 file, or cut off ({one_line(error)}); fetch it again") from error
    _files[name] = file
    while len(_files) > MAX_OPEN_FILES:
        _files.popitem(last=False)[1].close()
    return file


def close_files() -> None:
    """Close every file this process holds open."""
    while _files:
        _files.popitem()[1].close()


def close_file(path: Path) -> None:
    """Close one file, if this process holds it open: who reads a recording once leaves no handle behind."""
    if (file := _files.pop(str(path), None)) is not None:
        file.close()


def holds(path: Path, key: str | None) -> bool:
    """Whether a file has a dataset of that name; it has none of None. ValueError as open_file()."""
    try:
        return key is not None and isinstance(open_file(path).get(key), h5py.Dataset)
    except DAMAGE:
        return False


def text_of(path: Path, name: str) -> str:
    """An attribute of the file; empty where there is none."""
    try:
        value = open_file(path).attrs.get(name, "")
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    except DAMAGE:
        return ""


def keys(path: Path) -> str:
    """What lies at the top of a file, in words."""
    return _keys(open_file(path))


def _keys(group: h5py.Group) -> str:
    try:
        return ", ".join(sorted(map(str, group))[:12]) or "nothing"
    except DAMAGE:
        return "nothing that can be read"


def find(path: Path, key: str, shape: tuple[int | None, ...], kinds: str = "iuf") -> h5py.Dataset:
    """A dataset of a file, checked. shape: sizes expected, None for any. kinds: numpy kinds, "iuf" any number.

    ValueError, one line: the key is missing, or holds something else.
    """
    file = open_file(path)
    try:
        found = file[key]
        described = f"{found.dtype} of shape {found.shape}" if isinstance(found, h5py.Dataset) else ""
    except DAMAGE as error:
        raise ValueError(f"{path}: {key}: missing; {_beside(file, key)}") from error
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: {key}: is a group; expected a dataset")
    fits = found.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, found.shape, strict=False)
    )
    if not fits or found.dtype.kind not in kinds:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{path}: {key}: {described}; expected ({sizes}) of numpy kind {'/'.join(kinds)}")
    return found


def count_rows(path: Path, key: str, shape: tuple[int | None, ...], kinds: str = "iuf") -> int:
    """The length of a dataset. ValueError as find(), or where less is stored: HDF5 shows zeros in its place."""
    dataset = find(path, key, shape, kinds)
    try:
        stored = dataset.id.get_storage_size() // dataset.dtype.itemsize
        held = dataset.id.get_num_chunks() * math.prod(dataset.chunks) if dataset.chunks else stored
        if held < dataset.size:
            raise ValueError(f"{path}: {key}: holds {held} of {dataset.size} values; fetch it again")
        return len(dataset)
    except DAMAGE as error:
        raise ValueError(f"{path}: {key}: damaged ({one_line(error)}); fetch it again") from error


def _beside(file: h5py.File, key: str) -> str:
    """What is there in place of a key, at the deepest group of it that exists."""
    group = file
    try:
        for part in key.split("/")[:-1]:
            if not isinstance(group, h5py.Group) or part not in group:
                break
            group = group[part]
        return f"{group.name} has {_keys(group) if isinstance(group, h5py.Group) else 'no keys'}"
    except DAMAGE:
        return "the file is damaged; fetch it again"


def read(path: Path, key: str, shape: tuple[int | None, ...], part=(), kinds: str = "iuf") -> np.ndarray:
    """A part (slices or an index; all by default) of a dataset. ValueError as find(), or where bytes are damaged."""
    dataset = find(path, key, shape, kinds)
    try:
        return np.asarray(dataset[part])
    except (*DAMAGE, ValueError) as error:
        if missing := _missing_filter(dataset):
            raise ValueError(f"{path}: {key}: {missing}") from None
        raise ValueError(
            f"{path}: {key}: cannot be read, the file is damaged ({one_line(error)}); fetch it again"
        ) from error


def _missing_filter(dataset: h5py.Dataset) -> str | None:
    """In words, what must be installed to read a dataset; None where it is all there."""
    try:
        pipeline = dataset.id.get_create_plist()
        filters = [pipeline.get_filter(number) for number in range(pipeline.get_nfilters())]
    except DAMAGE:
        return None
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            known = MISSING_FILTERS.get(code, "install its HDF5 plugin and name its folder in HDF5_PLUGIN_PATH")
            called = name.decode(errors="replace").partition(";")[0]
            return f"compressed with filter {code} ({called}), which is not installed; {known}"
    return None


def read_text(path: Path, key: str) -> str:
    """A scalar string. ValueError as find()."""
    text = find(path, key, (), kinds="OS")[()]
    return text.decode() if isinstance(text, bytes) else str(text)


def attribute(path: Path, name: str, kind: type, group: str = "/"):
    """An attribute of the file or of a group, as `kind`. ValueError: missing, or not of that kind."""
    file = open_file(path)
    try:
        value = file[group].attrs[name]
        return kind(value.decode() if isinstance(value, bytes) else value)
    except (*DAMAGE, ValueError) as error:
        where = name if group == "/" else f"{group}.{name}"
        raise ValueError(
            f"{path}: attribute {where}: missing or not {kind.__name__}; write or fetch the file again"
        ) from error
