"""Events of one recording by time: an index of milliseconds where the file has one, bisection on time where not.

Times in the file are integers or floats of any unit, ordered; the sensor clock is int64 ns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.checks import checked_events, held_times, seconds_in_ns, times_in_ns
from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_US

BLOCK_EVENTS = 1 << 14  # bisection looks at the first time of such blocks, then inside one


@dataclass
class EventStore:
    """Columns {group}/x, y, t, p (N,) of an HDF5 file. Subclasses read what is stored in another way.

    ns_per_tick: unit of t. offset_ns: added to every time. ms_index: key of the array whose entry ms is the first
    event with t >= ms milliseconds (before offset_ns); None: there is none.
    """

    path: Path
    group: str
    width: int
    height: int
    ns_per_tick: int = NS_PER_US
    offset_ns: int = 0
    ms_index: str | None = None
    _block_times: dict[int, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.count = self._count()
        self._read_ends()
        if self.ms_index is not None:
            h5_file.find(self.path, self.ms_index, (None,), "iu")

    def _count(self) -> int:
        lengths = {key: h5_file.count_rows(self.path, key, (None,)) for key in (*self.column_keys, self.time_key)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self.path}: {self.group}: columns of unequal length {lengths}; the file is damaged")
        return lengths[self.time_key]

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

    @property
    def column_keys(self) -> tuple[str, str, str]:
        """Of x, y and p."""
        return f"{self.group}/x", f"{self.group}/y", f"{self.group}/p"

    def read(self, start_ns: int, end_ns: int) -> EventArray:
        """The events with start_ns <= t < end_ns, sensor clock. ValueError: what is stored there cannot be events."""
        first, times = self._around(start_ns, end_ns)
        low, high = np.searchsorted(times, (start_ns, end_ns)).tolist()
        return self._events(first + low, times[low:high])

    def part(self, first: int, last: int, newest_ns: int | None = None) -> EventArray:
        """The events first … last − 1 by number. newest_ns: time of the event before. ValueError as read()."""
        times = held_times(f"{self.path}: {self.time_key}", self._times(first, last), first, newest_ns)
        return self._events(first, times)

    def _events(self, first: int, times: np.ndarray) -> EventArray:
        x, y, p = self._columns(first, first + len(times))
        where = tuple(f"{self.path}: {key}" for key in self.column_keys)
        return checked_events(where, (x, y, p), times, (self.width, self.height), first)

    def _around(self, start_ns: int, end_ns: int) -> tuple[int, np.ndarray]:
        """Times (ns) of a run of events that holds all of [start, end), and the index of its first."""
        if self.ms_index is None:
            first, last = self._bisect(start_ns), self._bisect(end_ns)
            return first, self._ordered(self._times(first, last), first)
        first, last = self._indexed(self.ms_index, start_ns, end_ns)
        times = self._ordered(self._times(first, last), first)
        # One event ahead and one behind were read too: they show whether the index belongs to these times.
        if (first > 0 and times[0] > start_ns) or (last < self.count and times[-1] < end_ns):
            raise ValueError(
                f"{self.path}: {self.ms_index}: leads to events of {times[0]} to {times[-1]} ns for "
                f"{start_ns} to {end_ns} ns; it is not the index of {self.time_key}"
            )
        return first, times

    def _indexed(self, key: str, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Event range by the index: a millisecond and an event more than needed on either side."""
        entries = len(h5_file.find(self.path, key, (None,), "iu"))
        first_ms = (start_ns - self.offset_ns) // NS_PER_MS - 1
        last_ms = -(-(end_ns - self.offset_ns) // NS_PER_MS) + 1
        # What lies past the index's end is between its last entry and the last event.
        first = self._entry(key, min(first_ms, entries - 1)) if first_ms >= 0 and entries else 0
        last = 0 if last_ms < 0 else self._entry(key, last_ms) if last_ms < entries else self.count
        if not 0 <= first <= last <= self.count:
            raise ValueError(
                f"{self.path}: {key}: milliseconds {first_ms} and {last_ms} are events {first} and {last} "
                f"of {self.count}; it is not the index of {self.time_key}"
            )
        return max(first - 1, 0), min(last + 1, self.count)

    def _entry(self, key: str, ms: int) -> int:
        return int(h5_file.read(self.path, key, (None,), ms, "iu"))

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
        return held_times(f"{self.path}: {self.time_key}", times, first)

    def _times(self, first: int, last: int) -> np.ndarray:
        ticks = h5_file.read(self.path, self.time_key, (None,), slice(first, last))
        return times_in_ns(f"{self.path}: {self.time_key}", ticks, self.ns_per_tick, self.offset_ns)

    def _columns(self, first: int, last: int) -> tuple[np.ndarray, ...]:
        """x, y and p as stored."""
        return tuple(h5_file.read(self.path, key, (None,), slice(first, last)) for key in self.column_keys)


class MatrixStore(EventStore):
    """Events as rows x, y, t (s), p of one (N, 4) float64 dataset, which `group` names."""

    order, kinds = "xytp", "f"

    def _count(self) -> int:
        return h5_file.count_rows(self.path, self.group, (None, 4), self.kinds)

    @property
    def time_key(self) -> str:
        return f"{self.group}[:, {self.order.index('t')}]"

    @property
    def column_keys(self) -> tuple[str, str, str]:
        x, y, p = (f"{self.group}[:, {self.order.index(name)}]" for name in "xyp")
        return x, y, p

    def _times(self, first: int, last: int) -> np.ndarray:
        return seconds_in_ns(f"{self.path}: {self.time_key}", self._ticks(first, last))

    def _ticks(self, first: int, last: int) -> np.ndarray:
        part = (slice(first, last), self.order.index("t"))
        return h5_file.read(self.path, self.group, (None, 4), part, self.kinds)

    def _columns(self, first: int, last: int) -> tuple[np.ndarray, ...]:
        rows = h5_file.read(self.path, self.group, (None, 4), slice(first, last), self.kinds)
        return tuple(rows[:, self.order.index(name)] for name in "xyp")


class V2eStore(MatrixStore):
    """Events as rows t, x, y, p of one (N, 4) dataset of whole numbers."""

    order, kinds = "txyp", "iu"

    def _times(self, first: int, last: int) -> np.ndarray:
        ticks = self._ticks(first, last)
        return times_in_ns(f"{self.path}: {self.time_key}", ticks, self.ns_per_tick, self.offset_ns)


class TableStore(EventStore):
    """Events as one (N,) dataset with fields x, y, p and t, which `group` names."""

    def _count(self) -> int:
        table = h5_file.find(self.path, self.group, (None,), "V")
        fields = table.dtype.fields or {}
        if not all(name in fields and fields[name][0].kind in "iu" for name in "xypt"):
            raise ValueError(f"{self.path}: {self.group}: {table.dtype}; expected whole numbers x, y, p, t")
        return h5_file.count_rows(self.path, self.group, (None,), "V")

    def _times(self, first: int, last: int) -> np.ndarray:
        ticks = self._rows(first, last)["t"]
        return times_in_ns(f"{self.path}: {self.time_key}", ticks, self.ns_per_tick, self.offset_ns)

    def _columns(self, first: int, last: int) -> tuple[np.ndarray, ...]:
        rows = self._rows(first, last)
        return tuple(rows[name] for name in "xyp")

    def _rows(self, first: int, last: int) -> np.ndarray:
        return h5_file.read(self.path, self.group, (None,), slice(first, last), "V")
