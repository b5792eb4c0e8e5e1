"""This package's own HDF5 recordings: decoded events, compressed, read piece by piece.

    attributes of the file   format = "eventspd_events", version = 1, width, height (px), encoding (of the origin)
    events/x, events/y       uint16 (N,), px          events/p       uint8 (N,), 1 = brighter
    events/t_ns              int64 (N,), ns on the sensor clock

Datasets are chunked and compressed with Zstandard through Blosc (hdf5plugin), which h5py then reads without options.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from eventspd_ros.events.files.source import EventSource
from eventspd_ros.events.types import EventArray

FORMAT, VERSION = "eventspd_events", 1
COLUMNS = {"x": np.uint16, "y": np.uint16, "p": np.uint8, "t_ns": np.int64}
STORED_EVENTS = 1 << 16  # of one compressed block
READ_EVENTS = 1 << 18


def write_events_h5(path: Path | str, chunks: Iterable[EventArray], encoding: str = "") -> int:
    """Write chunks of one sensor's events as they come; returns how many events. encoding: where they are from.

    What arrived before an exception of `chunks` is kept. ValueError: chunks of sensors of different size.
    """
    count = 0
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "encoding": encoding, "width": 0, "height": 0})
        compression = hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.SHUFFLE)
        columns = {
            name: file.create_dataset(
                f"events/{name}", (0,), dtype, maxshape=(None,), chunks=(STORED_EVENTS,), compression=compression
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
        with _open(path) as file:
            attributes = dict(file.attrs)
            lengths = {len(file[f"events/{name}"]) for name in COLUMNS if f"events/{name}" in file}
            complete = all(f"events/{name}" in file for name in COLUMNS)
        if attributes.get("format") != FORMAT or not complete or len(lengths) != 1:
            raise ValueError(f"{path}: not a recording of format {FORMAT!r}; make one with `eventspd decode IN --out`")
        super().__init__(path, str(attributes["encoding"]), int(attributes["width"]), int(attributes["height"]))
        self.event_count = lengths.pop()
        self.chunk_count = -(-self.event_count // READ_EVENTS)

    def packets(self):
        raise ValueError(f"{self.path}: holds decoded events and no packets; read chunks()")

    def chunks(self) -> Iterator[EventArray]:
        with _open(self.path) as file:
            for first in range(0, self.event_count, READ_EVENTS):
                part = slice(first, first + READ_EVENTS)
                yield EventArray(*(file[f"events/{name}"][part] for name in COLUMNS), self.width, self.height)


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file, or cut off ({error}); write it again") from error
