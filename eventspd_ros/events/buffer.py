"""The growing arrays that decoders write events into, and that windows are cut from."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable

import numpy as np

from eventspd_ros.events.types import EventArray

# Four arrays each, for windows that wait, are being encoded or are kept; more than that goes back to the system.
MAX_SPARE_ARRAYS = 16


class RecycledMemory:
    """Arrays whose memory is filled again once nobody refers to them, or to a view of them, any longer.

    Touching fresh pages takes longer than decoding into them. malloc gives back what was touched when it likes, and
    pages that the system makes huge behind a stream's back count whole: the memory of a node would creep for minutes.
    """

    def __init__(self):
        self._spare: list[mmap.mmap] = []

    def array(self, places: int, dtype: type) -> np.ndarray:
        """An array of that many places, whose contents are undefined."""
        size = places * np.dtype(dtype).itemsize
        index = next((k for k, memory in enumerate(self._spare) if len(memory) == size), None)
        memory = self._fresh(size) if index is None else self._spare.pop(index)
        array: np.ndarray = np.frombuffer(memory, dtype)  # which every view of it refers to
        weakref.finalize(array, self._take_back, memory).atexit = False
        return array

    @staticmethod
    def _fresh(size: int) -> mmap.mmap:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # Linux
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        return memory

    def _take_back(self, memory: mmap.mmap) -> None:
        """In whatever thread let go of the last view."""
        if len(self._spare) < MAX_SPARE_ARRAYS:
            self._spare.append(memory)


class EventBuffer:
    """Events held in [begin:end] of four arrays; places from `end` on are free for a decoder to fill.

    A full buffer takes fresh arrays and copies over only the events still held, so views cut earlier keep theirs.
    Event i has the number base + i, which moving does not change. copied: events [0:copied] were moved once already.
    """

    def __init__(self, width: int, height: int, capacity: int, before_moving: Callable[[], None] | None = None):
        """capacity: places of fresh arrays; they double where the events held need more. before_moving: called when
        the buffer is full, so that its owner can let go of events by raising `begin`; such a buffer lives long, and
        recycles its memory."""
        self.width, self.height = width, height
        self.begin = self.end = self.base = self.copied = 0
        self._capacity = capacity
        self._before_moving = before_moving
        self._new_array = np.empty if before_moving is None else RecycledMemory().array
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        self.x = self._new_array(capacity, np.uint16)
        self.y = self._new_array(capacity, np.uint16)
        self.p = self._new_array(capacity, np.uint8)
        self.t_ns = self._new_array(capacity, np.int64)

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def free(self) -> int:
        """Places left behind `end`."""
        return len(self.t_ns) - self.end

    def reserve(self, places: int) -> None:
        """Make sure that `places` events fit behind `end`; moves the events held when they do not."""
        if len(self.t_ns) - self.end < places:
            if self._before_moving is not None:
                self._before_moving()
            self.move(places)

    def move(self, places: int = 0) -> None:
        """Take fresh arrays with the events held at their front and at least `places` free behind them."""
        held, old = len(self), (self.x, self.y, self.p, self.t_ns)
        capacity = self._capacity
        while capacity < held + max(held, places):
            capacity *= 2
        self._allocate(capacity)
        for source, target in zip(old, (self.x, self.y, self.p, self.t_ns), strict=True):
            target[:held] = source[self.begin : self.end]
        self.base += self.begin
        self.begin, self.end, self.copied = 0, held, held

    def append(self, events: EventArray, first: int = 0, last: int | None = None) -> None:
        """Copy events[first:last] in behind `end`."""
        part = slice(first, len(events) if last is None else last)
        count = part.stop - part.start
        self.reserve(count)
        into = slice(self.end, self.end + count)
        self.x[into], self.y[into], self.p[into] = events.x[part], events.y[part], events.p[part]
        self.t_ns[into] = events.t_ns[part]
        self.end += count

    def view(self, first: int, last: int) -> EventArray:
        """The events [first:last] without copying them."""
        cut = slice(first, last)
        return EventArray(self.x[cut], self.y[cut], self.p[cut], self.t_ns[cut], self.width, self.height)
