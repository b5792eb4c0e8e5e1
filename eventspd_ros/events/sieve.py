"""What lets a stream's events through, one after the other, in order of time: what filters and cells have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.types import EventArray

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Sieve(ABC):
    """Of one stream: events in, as many or fewer out. What comes out follows from the events alone, not from how they
    are cut into calls."""

    @abstractmethod
    def restart(self) -> None:
        """Time begins anew: forget all events."""

    @abstractmethod
    def _sift(self, columns: Columns, first: int, last: int) -> int:
        """Put what the events [first:last) of x, y, p, t_ns let through in their place; returns where that ends."""

    def sift(self, buffer: EventBuffer, first: int, last: int) -> int:
        """Put what gets through in the place of buffer[first:last]; returns where it ends. What is behind moves up."""
        columns = buffer.x, buffer.y, buffer.p, buffer.t_ns
        end = self._sift(columns, first, last)
        if end < last < buffer.end:
            behind = buffer.end - last
            for column in columns:
                column[end : end + behind] = column[last : buffer.end]
        buffer.end -= last - end
        return end

    def of(self, events: EventArray) -> EventArray:
        """What gets through of these, in arrays of their own."""
        columns = events.x.copy(), events.y.copy(), events.p.copy(), events.t_ns.copy()
        end = self._sift(columns, 0, len(events))
        x, y, p, t_ns = (column[:end] for column in columns)
        return replace(events, x=x, y=y, p=p, t_ns=t_ns)
