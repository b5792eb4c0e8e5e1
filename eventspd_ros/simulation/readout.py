"""A sensor's readout: pixels share one way out, and an event is stamped when its turn comes.

As in early address-event sensors, whose events are stamped behind an arbiter that takes about a million a second
(Lichtsteiner, Posch, Delbruck, "A 128×128 120 dB 15 µs latency asynchronous temporal contrast vision sensor", 2008).
Simpler than there: first come, first served, and what finds the queue full is lost, where a real pixel keeps its own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.simulation.sensor_noise import KERNEL

QUEUE = 512  # events


class Readout:
    """At most rate_hz events a second leave it, each rounded down to tick_ns; at most QUEUE wait."""

    def __init__(self, rate_hz: float, tick_ns: int) -> None:
        self._event_ns, self._tick_ns, self._free_ns = NS_PER_S / rate_hz, tick_ns, -np.inf
        self._waiting: EventArray | None = None

    def read(self, events: EventArray, end_ns: int) -> EventArray:
        """What leaves before end_ns, sorted by time, of the events sent since the last call (all before end_ns)."""
        turn_ns, self._free_ns = _turns(events.t_ns, self._free_ns, self._event_ns)
        served = np.isfinite(turn_ns)
        columns = [column[served] for column in (events.x, events.y, events.p)]
        columns.append((turn_ns[served] // self._tick_ns).astype(np.int64) * self._tick_ns)
        if self._waiting is not None:
            columns = [np.concatenate(pair) for pair in zip(_columns(self._waiting), columns, strict=True)]
        n = int(np.searchsorted(columns[3], end_ns))
        size = events.width, events.height
        self._waiting = EventArray(*(column[n:] for column in columns), *size)
        return EventArray(*(column[:n] for column in columns), *size)


def _columns(events: EventArray) -> tuple[np.ndarray, ...]:
    return events.x, events.y, events.p, events.t_ns


@njit(**KERNEL)
def _turns(t_ns, free_ns, event_ns):
    """When each event's turn comes, (N,) float64 ns, inf where the queue was full; and when the way is free again."""
    turn_ns = np.full(len(t_ns), np.inf)
    for i in range(len(t_ns)):
        turn = max(float(t_ns[i]), free_ns)
        if turn - t_ns[i] <= QUEUE * event_ns:
            turn_ns[i], free_ns = turn, turn + event_ns
    return turn_ns, free_ns
