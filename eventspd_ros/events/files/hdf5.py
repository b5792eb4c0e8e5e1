"""This package's own HDF5 recordings: decoded events, compressed, read piece by piece.

    attributes of the file   format = "eventspd_events", version = 1, width, height (px), encoding (of the origin)
    events/x, events/y       uint16 (N,), px          events/p       uint8 (N,), 1 = brighter
    events/t_ns              int64 (N,), ns on the sensor clock
    restarts                 int64 (R,), numbers of the events at which the sensor's clock began anew; may be missing

Datasets are chunked, compressed with Zstandard through Blosc (hdf5plugin), which h5py then reads without options, and
carry checksums.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.checks import sensor_size
from eventspd_ros.events.files.event_store import EventStore
from eventspd_ros.events.files.layouts import StoreSource, open_layout
from eventspd_ros.events.files.source import EventSource
from eventspd_ros.events.order import TIME_JUMP_NS
from eventspd_ros.events.types import EventArray

FORMAT, VERSION = "eventspd_events", 1
COLUMNS = {"x": np.uint16, "y": np.uint16, "p": np.uint8, "t_ns": np.int64}
STORED_EVENTS = 1 << 16  # of one compressed block
MAX_RESTARTS = 1 << 16
WRITE_AGAIN = "write the file again with `eventspd decode IN --out OUT.h5`"


def write_events_h5(path: Path | str, chunks: Iterable[EventArray], encoding: str = "") -> int:
    """Write chunks of one sensor's events as they come; returns how many events. encoding: where they are from.

    What arrived before an exception of `chunks` is kept. ValueError: chunks of sensors of different size.
    """
    count, newest_ns = 0, None
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
        restarts = file.create_dataset("restarts", (0,), np.int64, maxshape=(None,), chunks=(1024,))
        for events in chunks:
            size = (int(file.attrs["width"]), int(file.attrs["height"]))
            if size not in ((0, 0), (events.width, events.height)):
                raise ValueError(f"{path}: events of {events.width}x{events.height} px after {size[0]}x{size[1]} px")
            file.attrs["width"], file.attrs["height"] = events.width, events.height
            for name, column in columns.items():
                column.resize((count + len(events),))
                column[count:] = getattr(events, name)
            times = events.t_ns if newest_ns is None else np.append(newest_ns, events.t_ns)
            found = np.flatnonzero(np.diff(times) < -TIME_JUMP_NS) + 1 - (len(times) - len(events))
            restarts.resize((len(restarts) + len(found),))
            restarts[len(restarts) - len(found) :] = found + count
            newest_ns = int(times[-1]) if len(times) else None
            count += len(events)
    return count


class OwnStore(EventStore):
    """Times are in t_ns, which may begin anew."""

    @property
    def time_key(self) -> str:
        return f"{self.group}/t_ns"

    def _read_ends(self) -> None:
        """They say nothing here: after a restart the last event may be before the first."""


class Hdf5Source(StoreSource):
    """Events of a file that write_events_h5 made. ValueError: its attributes or columns are not as written there."""

    def __init__(self, path: Path):
        if (found := h5_file.text_of(path, "format")) != FORMAT:
            raise ValueError(f"{path}: events/t_ns of a file of format {found!r}, not {FORMAT}; {WRITE_AGAIN}")
        version = h5_file.attribute(path, "version", int)
        if version != VERSION:
            raise ValueError(f"{path}: version {version} of {FORMAT}; this package reads {VERSION}; {WRITE_AGAIN}")
        width, height = (h5_file.attribute(path, name, int) for name in ("width", "height"))
        store = OwnStore(path, "events", width, height, ns_per_tick=1)
        if store.count or width or height:
            sensor_size(path, width, height, "attributes width, height")
        self._restarts = self._read_restarts(store)
        super().__init__(store, "hdf5", h5_file.attribute(path, "encoding", str))

    def _read_restarts(self, store: OwnStore) -> list[int]:
        if not h5_file.holds(store.path, "restarts"):
            return []
        if (count := len(h5_file.find(store.path, "restarts", (None,), "iu"))) > MAX_RESTARTS:
            raise ValueError(f"{store.path}: {count} restarts of the clock; {WRITE_AGAIN}")
        found = h5_file.read(store.path, "restarts", (None,), kinds="iu").astype(np.int64)
        if len(found) and not (found[0] > 0 and found[-1] < store.count and (np.diff(found) > 0).all()):
            raise ValueError(f"{store.path}: restarts: {found[0]} to {found[-1]} are no events in order; {WRITE_AGAIN}")
        return found.tolist()

    def _runs(self) -> list[int]:
        return [0, *self._restarts]


def open_hdf5(path: Path, topic: str | None, sensor_hw: tuple[int, int] | None) -> EventSource:
    """This package's own recording, or one of a public layout (layouts.py)."""
    try:
        # By its columns: HDF5 may read a damaged attribute for ever where it is text of another writer.
        if h5_file.holds(path, "events/t_ns"):
            if topic is not None:
                raise ValueError(f"{path}: topic {topic!r}, but only bags have topics; leave it out")
            return Hdf5Source(path)
        return open_layout(path, topic, sensor_hw)
    finally:
        h5_file.close_file(path)
