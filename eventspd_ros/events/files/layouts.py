"""How public HDF5 recordings lay out their events, and any of them as an EventSource.

Here and nowhere else: eventspd_ros.datasets opens its events through these layouts too.

    M3ED         prophesee/left/{x, y, t µs, p}, ms_map_idx, calib/resolution (https://m3ed.io)
    MVSEC        davis/left/events (N, 4) float64: x, y, t s (Unix time), p ±1 (https://daniilidis-group.github.io/mvsec)
    DSEC         events/{x, y, t µs, p}, ms_to_idx, t_offset µs (https://dsec.ifi.uzh.ch)
    TartanAir v2 events/{x, y, t ns, p}, ms_to_idx (https://tartanair.org)
    simulated    as DSEC, and calib/resolution (docs/simulation.md)
    Metavision   CD/events, fields x, y, p, t µs; attribute geometry "1280x720"
                 (https://docs.prophesee.ai/stable/data/file_formats/hdf5.html; OpenEB, hdf5_event_file_writer.cpp)
    v2e          events (N, 4) of whole numbers: t µs, x, y, p; frame (M, H, W) (v2e, v2ecore/emulator.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.checks import given_size, named_size, sensor_size
from eventspd_ros.events.files.event_store import EventStore, MatrixStore, TableStore, V2eStore
from eventspd_ros.events.files.source import READ_EVENTS, EventSource
from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_US

SIMULATED_FORMAT = "eventspd-simulated"


@dataclass(frozen=True)
class Layout:
    """events: the group of columns, or the dataset of rows, that `store` reads. offset: key of µs to add to every time.
    ms_index: as EventStore's, where the file has it. size: key of (width, height). sensor_hw: the cameras of the
    dataset, where no key says."""

    name: str
    events: str
    store: type[EventStore] = EventStore
    ns_per_tick: int = NS_PER_US
    offset: str | None = None
    ms_index: str | None = None
    size: str | None = None
    sensor_hw: tuple[int, int] | None = None

    def open(self, path: Path, width: int, height: int) -> EventStore:
        """The events of a file of this layout. ValueError: they are not as the layout says."""
        offset_us = 0 if self.offset is None else int(h5_file.read(path, self.offset, (), kinds="iu"))
        index = self.ms_index if h5_file.holds(path, self.ms_index) else None
        return self.store(path, self.events, width, height, self.ns_per_tick, offset_us * NS_PER_US, index)

    def resolution(self, path: Path) -> tuple[int, int]:
        """Width and height as `size` has them."""
        assert self.size is not None, f"{self.name} files name no size"
        width, height = h5_file.read(path, self.size, (2,)).tolist()
        return sensor_size(path, width, height, self.size)


M3ED, M3ED_RIGHT = (
    Layout("m3ed", camera, ms_index=f"{camera}/ms_map_idx", size=f"{camera}/calib/resolution")
    for camera in ("prophesee/left", "prophesee/right")
)
MVSEC, MVSEC_RIGHT = (
    Layout("mvsec", f"{camera}/events", MatrixStore, sensor_hw=(260, 346)) for camera in ("davis/left", "davis/right")
)
DSEC = Layout("dsec", "events", offset="t_offset", ms_index="ms_to_idx", sensor_hw=(480, 640))
TARTANAIR = Layout("tartanair", "events", ns_per_tick=1, ms_index="ms_to_idx", sensor_hw=(640, 640))
SIMULATED = Layout("simulated", "events", offset="t_offset", ms_index="ms_to_idx", size="calib/resolution")
METAVISION = Layout("metavision", "CD/events", TableStore)
V2E = Layout("v2e", "events", V2eStore)


class StoreSource(EventSource):
    """The events of a store, number by number. topics: the cameras that the file has."""

    has_packets = False

    def __init__(self, store: EventStore, kind: str, encoding: str = "", topics: tuple[str, ...] = ()):
        super().__init__(store.path, encoding, store.width, store.height, topics)
        self.kind, self._store = kind, store
        self.event_count = store.count
        self.chunk_count = sum(1 for _ in self._parts())

    def chunks(self) -> Iterator[EventArray]:
        newest_ns = None
        try:
            for first, last, anew in self._parts():
                events = self._store.part(first, last, None if anew else newest_ns)
                newest_ns = int(events.t_ns[-1])
                yield events
        finally:
            h5_file.close_file(self.path)

    def _parts(self) -> Iterator[tuple[int, int, bool]]:
        """Numbers of the first event of each chunk and of the one after its last; whether time begins anew there."""
        runs = self._runs()
        for begin, end in zip(runs, [*runs[1:], self._store.count], strict=True):
            for first in range(begin, end, READ_EVENTS):
                yield first, min(first + READ_EVENTS, end), first == begin

    def _runs(self) -> list[int]:
        """Numbers of the events at which time begins anew."""
        return [0]


def open_layout(path: Path, topic: str | None = None, sensor_hw: tuple[int, int] | None = None) -> EventSource:
    """A public HDF5 recording. topic: which camera, the left one by default. ValueError, one line: of no known layout,
    or not as its layout says."""
    try:
        layouts = _layouts_of(path)
        names = tuple(layout.events for layout in layouts)
        if topic is not None and topic not in names:
            raise ValueError(f"{path}: no events on {topic!r}; they are on {', '.join(names)}")
        layout = layouts[names.index(topic) if topic else 0]
        store = layout.open(path, *_size(path, layout, sensor_hw))
        if layout is TARTANAIR:
            _check_unit(store)
        return StoreSource(store, layout.name, topics=names)
    finally:
        h5_file.close_file(path)


def _layouts_of(path: Path) -> list[Layout]:
    """Of each camera of the file, the left one first."""
    for pair in ((M3ED, M3ED_RIGHT), (MVSEC, MVSEC_RIGHT)):
        found = [one for one in pair if h5_file.holds(path, one.events + ("/t" if one.store is EventStore else ""))]
        if found:
            return found
    if h5_file.holds(path, METAVISION.events):
        return [METAVISION]
    if h5_file.holds(path, V2E.events):
        return [V2E]
    if h5_file.holds(path, "events/t") and h5_file.holds(path, DSEC.ms_index):
        if not h5_file.holds(path, DSEC.offset):
            return [TARTANAIR]
        return [SIMULATED if h5_file.holds(path, SIMULATED.size) else DSEC]
    raise ValueError(
        f"{path}: of no HDF5 layout that is known (this package's own, DSEC, M3ED, MVSEC, TartanAir, Metavision, v2e); "
        f"it has {h5_file.keys(path)}; convert it to text, t x y p"
    )


def _size(path: Path, layout: Layout, sensor_hw: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height): the file's own, then the user's, then that of the dataset's cameras."""
    if layout.size:
        return layout.resolution(path)
    if layout is METAVISION and (text := h5_file.text_of(path, "geometry")):
        return named_size(path, text, "attribute geometry")
    if layout is V2E and h5_file.holds(path, "frame"):
        height, width = h5_file.find(path, "frame", (None, None, None)).shape[1:]
        return sensor_size(path, width, height, "frame")
    return given_size(path, sensor_hw or layout.sensor_hw)


def _check_unit(store: EventStore) -> None:
    """Whether times are in ns, which the index of milliseconds tells."""
    if store.count and store.ms_index is not None:
        middle_ns = (store.first_ns + store.last_ns) // 2
        entries = len(h5_file.find(store.path, store.ms_index, (None,), "iu"))
        middle_ns = max(middle_ns, (entries // 2) * NS_PER_MS)
        store.read(middle_ns, middle_ns + NS_PER_MS)
