"""Events of one recording by time: an index of milliseconds where the file has one, bisection on time where not.

Times in the file are integers or floats of any unit, ordered; the sensor clock is int64 ns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eventspd_ros.datasets import hdf5
from eventspd_ros.datasets.sample import NS_PER_MS
from eventspd_ros.events.order import TIME_JUMP_NS
from eventspd_ros.events.types import EventArray

BLOCK_EVENTS = 1 << 14  # bisection looks at the first time of such blocks, then inside one


@dataclass
class EventStore:
    """Columns {group}/x, y, t, p (N,) of an HDF5 file.

    ns_per_tick: unit of t. offset_ns: added to every time. ms_index: key of the array whose entry ms is the first
    event with t >= ms milliseconds (before offset_ns); None: there is none.
    """

    path: Path
    group: str
    width: int
    height: int
    ns_per_tick: int = 1000
    offset_ns: int = 0
    ms_index: str | None = None
    _block_times: dict[int, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        lengths = {name: len(hdf5.find(self.path, f"{self.group}/{name}", (None,))) for name in "xytp"}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self.path}: {self.group}: columns of unequal length {lengths}; the file is damaged")
        self.count = lengths["t"]
        self._read_ends()
        if self.ms_index is not None:
            hdf5.find(self.path, self.ms_index, (None,), "iu")

    def _read_ends(self) -> None:
        """first_ns, last_ns: times of the first and the last event; 0 where there is none."""
        self.first_ns = self.last_ns = 0
        if self.count == 0:
            return
        self.first_ns, self.last_ns = int(self._times(0, 1)[0]), int(self._times(self.count - 1, self.count)[0])
        if self.last_ns < self.first_ns:
            raise ValueError(
                f"{self.path}: {self.time_key}: ends at {self.last_ns} ns, before its first event at {self.first_ns} ns"
            )

    @property
    def time_key(self) -> str:
        return f"{self.group}/t"

    def read(self, start_ns: int, end_ns: int) -> EventArray:
        """The events with start_ns <= t < end_ns, sensor clock. ValueError: what is stored there cannot be events."""
        first, times = self._around(start_ns, end_ns)
        low, high = np.searchsorted(times, (start_ns, end_ns)).tolist()
        x, y, p = self._columns(first + low, first + high)
        for key, column, size in ((f"{self.group}/x", x, self.width), (f"{self.group}/y", y, self.height)):
            if len(column) and not (column.min() >= 0 and column.max() < size):
                raise ValueError(
                    f"{self.path}: {key}: values {column.min()} to {column.max()} among events {first + low} to "
                    f"{first + high - 1}; the sensor has {self.width}x{self.height} px"
                )
        if len(p) and not (p.min() >= -1 and p.max() <= 1):
            raise ValueError(f"{self.path}: {self.group}/p: values {p.min()} to {p.max()}; expected 0 and 1, or ±1")
        return EventArray(
            x.astype(np.uint16), y.astype(np.uint16), (p > 0).astype(np.uint8), times[low:high], self.width, self.height
        )

    def _around(self, start_ns: int, end_ns: int) -> tuple[int, np.ndarray]:
        """Times (ns) of a run of events that holds all of [start, end), and the index of its first."""
        if self.ms_index is None:
            first, last = self._bisect(start_ns), self._bisect(end_ns)
            return first, self._ordered(self._times(first, last), first)
        first, last = self._indexed(start_ns, end_ns)
        times = self._ordered(self._times(first, last), first)
        # One event ahead and one behind were read too: they show whether the index belongs to these times.
        if (first > 0 and times[0] > start_ns) or (last < self.count and times[-1] < end_ns):
            raise ValueError(
                f"{self.path}: {self.ms_index}: leads to events of {times[0]} to {times[-1]} ns for "
                f"{start_ns} to {end_ns} ns; it is not the index of {self.time_key}"
            )
        return first, times

    def _indexed(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Event range by the index: a millisecond and an event more than needed on either side."""
        entries = len(hdf5.find(self.path, self.ms_index, (None,), "iu"))
        first_ms = (start_ns - self.offset_ns) // NS_PER_MS - 1
        last_ms = -(-(end_ns - self.offset_ns) // NS_PER_MS) + 1
        entries = len(hdf5.find(self.path, self.ms_index, (None,), "iu"))
        # What lies past the index's end is between its last entry and the last event.
        first = self._entry(min(first_ms, entries - 1)) if first_ms >= 0 and entries else 0
        last = 0 if last_ms < 0 else self._entry(last_ms) if last_ms < entries else self.count
        if not 0 <= first <= last <= self.count:
            raise ValueError(
                f"{self.path}: {self.ms_index}: milliseconds {first_ms} and {last_ms} are events {first} and {last} "
                f"of {self.count}; it is not the index of {self.time_key}"
            )
        return max(first - 1, 0), min(last + 1, self.count)

    def _entry(self, ms: int) -> int:
        return int(hdf5.read(self.path, self.ms_index, (None,), ms, "iu"))

    def _bisect(self, t_ns: int) -> int:
        """The first event with t >= t_ns. Times looked at are kept: they are the top of a search tree."""
        low, high = 0, -(-self.count // BLOCK_EVENTS)  # the block that holds it is in [low − 1, high)
        while low < high:
            middle = (low + high) // 2
            if middle not in self._block_times:
                first = middle * BLOCK_EVENTS
                self._block_times[middle] = int(self._times(first, first + 1)[0])
            if self._block_times[middle] < t_ns:
                low = middle + 1
            else:
                high = middle
        first = max(low - 1, 0) * BLOCK_EVENTS
        times = self._ordered(self._times(first, min(first + BLOCK_EVENTS, self.count)), first)
        return first + int(np.searchsorted(times, t_ns))

    def _ordered(self, times: np.ndarray, first: int) -> np.ndarray:
        """Packets out of order are set to the newest time, as the slicer does online; more is damage."""
        if len(times) > 1 and (falls := np.diff(times) < 0).any():
            held = np.maximum.accumulate(times)
            if (held - times).max() > TIME_JUMP_NS:
                raise ValueError(
                    f"{self.path}: {self.time_key}: time falls by {(held - times).max() / 1e9:.3f} s after event "
                    f"{first + int(falls.argmax())}; events must be in order of time"
                )
            return held
        return times

    def _times(self, first: int, last: int) -> np.ndarray:
        ticks = hdf5.read(self.path, f"{self.group}/t", (None,), slice(first, last))
        return ticks.astype(np.int64) * self.ns_per_tick + self.offset_ns

    def _columns(self, first: int, last: int) -> tuple[np.ndarray, ...]:
        """x, y and p as stored."""
        return tuple(hdf5.read(self.path, f"{self.group}/{name}", (None,), slice(first, last)) for name in "xyp")


class MatrixStore(EventStore):
    """Events as rows x, y, t (s), p of one (N, 4) float64 dataset, which `group` names."""

    def __post_init__(self) -> None:
        self.count = len(hdf5.find(self.path, self.group, (None, 4), "f"))
        self._read_ends()

    @property
    def time_key(self) -> str:
        return f"{self.group}[:, 2]"

    def _times(self, first: int, last: int) -> np.ndarray:
        return seconds_to_ns(hdf5.read(self.path, self.group, (None, 4), (slice(first, last), 2), "f"))

    def _columns(self, first: int, last: int) -> tuple[np.ndarray, ...]:
        rows = hdf5.read(self.path, self.group, (None, 4), slice(first, last), "f")
        return rows[:, 0], rows[:, 1], rows[:, 3]


def seconds_to_ns(seconds: np.ndarray) -> np.ndarray:
    """float64 s -> int64 ns, to whole µs: near 1.5e9 s (Unix time) neighbouring doubles are 238 ns apart."""
    return np.rint(np.asarray(seconds, np.float64) * 1e6).astype(np.int64) * 1000
