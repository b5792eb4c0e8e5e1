"""What a sensor's events are like, gathered in one pass: how dense, how close in time, how many of them alone.

Simulated and real sensors can be set side by side by it. All counts are whole numbers, so that the result is the same
however the events are cut into chunks. Memory: 13 bytes a pixel and a histogram.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventspd_ros.events.order import TIME_JUMP_NS
from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_MS

WINDOW_NS = 20_000_000
# Two events are near each other in time when they are at most that far apart; those of a run are nearer than that.
NEAR_NS = 10_000_000
# Where time begins anew it goes on that much later: nothing is near across it, and no pixel's state has to be cleared.
PAUSE_NS = 2 * NEAR_NS
# Times between a pixel's events are counted by their exponent and first 7 bits as float64, which rise with them and are
# found much faster than a logarithm: 128 bins an octave, so to 0.8 %. From 1 µs to 100 s; what is beyond, at the ends.
DROPPED_BITS = 52 - 7
FIRST_BIN, LAST_BIN = (int(np.float64(ns).view(np.int64)) >> DROPPED_BITS for ns in (1e3, 1e11))

# What is counted, by its place in one array. OPEN: of the window that is not over yet.
EVENTS, RUNS, RUN_SQUARES, SUPPORTED, ISOLATED, RESTARTS, ORIGIN_NS, FIRST_NS, NEWEST_NS = range(9)
WINDOWS, WINDOW_EVENTS, WINDOW_ACTIVE, OPEN_NS, OPEN_EVENTS, OPEN_ACTIVE = range(9, 15)


class EventStatistics:
    """Of one sensor's stream; height, width in pixels.

    Time that falls by more than 100 ms begins anew; events that run backwards by less are set to the newest time.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self._counts = np.zeros(15, np.int64)
        self._gaps = np.zeros(LAST_BIN - FIRST_BIN + 1, np.int64)
        # With a rim of pixels that never fire, so that every pixel has eight neighbours. Of each pixel's last event:
        # its time, its run's length so far (below zero: darker), whether nothing was near it so far. Zero: none yet.
        shape = (height + 2, width + 2)
        self._last_ns = np.zeros(shape, np.int64)
        self._run, self._alone = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)

    def add(self, events: EventArray) -> None:
        """Count the next events, in order of time. ValueError: of another sensor, or outside it."""
        if not len(events):
            return
        if (events.height, events.width) != (self.height, self.width):
            raise ValueError(
                f"events of a {events.width}x{events.height} px sensor in statistics of {self.width}x{self.height} px; "
                "make one for each sensor"
            )
        x, y = int(events.x.max()), int(events.y.max())
        if x >= self.width or y >= self.height:
            raise ValueError(f"an event at x = {x} or y = {y} lies outside the sensor of {self.width}x{self.height} px")
        columns = events.x, events.y, events.p, events.t_ns
        _add(*columns, self._counts, self._gaps, self._last_ns, self._run, self._alone)

    def summary(self) -> dict[str, float | None]:
        """Of the events so far; None where there are too few to say.

        events_per_pixel: mean, in 20 ms. active_share: mean share of the pixels with an event in 20 ms.
        events_per_active_pixel: of these, in 20 ms. gap_p01_ms: 1st percentile of the times between a pixel's
        consecutive events, to 0.4 %. run_length: mean count of a pixel's consecutive events of one polarity less than
        10 ms apart; run_length_of_event: that of the run of an event, so that a run counts as often as it has events.
        isolated_share: of the events with no other in the 3×3 pixels around them within ±10 ms.
        supported_share: of those with one in the 8 pixels around them in the 10 ms before, its own pixel left out.
        The 20 ms are those of windows side by side from the first event on; the last, unfinished one is left out.
        """
        count, pixels = self._counts.tolist(), self.height * self.width
        duration_ns = count[NEWEST_NS] - count[RESTARTS] * PAUSE_NS
        # Nothing came near those that are alone still, and nothing will.
        isolated = count[ISOLATED] + int(np.count_nonzero(self._alone))
        return {
            "events_per_pixel": _ratio(count[EVENTS] * WINDOW_NS, duration_ns * pixels),
            "active_share": _ratio(count[WINDOW_ACTIVE], count[WINDOWS] * pixels),
            "events_per_active_pixel": _ratio(count[WINDOW_EVENTS], count[WINDOW_ACTIVE]),
            "gap_p01_ms": self._gap_percentile_ms(1),
            "run_length": _ratio(count[EVENTS], count[RUNS]),
            "run_length_of_event": _ratio(count[RUN_SQUARES], count[EVENTS]),
            "isolated_share": _ratio(isolated, count[EVENTS]),
            "supported_share": _ratio(count[SUPPORTED], count[EVENTS]),
        }

    def _gap_percentile_ms(self, percent: int) -> float | None:
        """The middle of the bin of the smallest time that at least that share of all times does not exceed."""
        up_to = np.cumsum(self._gaps)
        if not up_to[-1]:
            return None
        found = FIRST_BIN + int(np.searchsorted(100 * up_to, percent * up_to[-1]))
        edges_ns = (np.array([found, found + 1], np.int64) << DROPPED_BITS).view(np.float64)
        return float(edges_ns.mean()) / NS_PER_MS


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@njit(nogil=True, cache=True)
def _add(x, y, p, t_ns, counts, gaps, last_ns, run, alone):
    """Times in counts and in last_ns are of a clock that never falls; it begins at PAUSE_NS."""
    for i in range(len(t_ns)):
        t = t_ns[i] - counts[ORIGIN_NS]
        if counts[EVENTS] == 0 or t < counts[NEWEST_NS] - TIME_JUMP_NS:
            t = _begin_anew(t_ns[i], counts)
        t = counts[NEWEST_NS] = max(t, counts[NEWEST_NS])
        counts[EVENTS] += 1
        row, column = y[i] + 1, x[i] + 1
        own_ns = last_ns[row, column]
        gap_ns = t - own_ns
        _count_in_window(t, own_ns, counts)
        if own_ns >= counts[FIRST_NS]:
            gaps[_gap_bin(gap_ns)] += 1
        run[row, column] = _count_run(run[row, column], 1 if p[i] else -1, gap_ns, counts)

        # The pixel's event before is judged now: it is near this one, or nothing more can come near it.
        counts[ISOLATED] += alone[row, column] and gap_ns > NEAR_NS
        supported = _meet_neighbours(t, row, column, last_ns, alone)
        counts[SUPPORTED] += supported
        alone[row, column] = not supported and gap_ns > NEAR_NS
        last_ns[row, column] = t


@njit(nogil=True, cache=True)
def _begin_anew(t_ns, counts):
    """The first event of a stream: returns its time. The window that was open is left out."""
    t = counts[NEWEST_NS] + PAUSE_NS
    counts[ORIGIN_NS] = t_ns - t
    counts[RESTARTS] += 1
    counts[FIRST_NS] = counts[NEWEST_NS] = counts[OPEN_NS] = t
    counts[OPEN_EVENTS] = counts[OPEN_ACTIVE] = 0
    return t


@njit(nogil=True, cache=True)
def _count_in_window(t, own_ns, counts):
    """own_ns: of the event before of the same pixel."""
    if t - counts[OPEN_NS] >= WINDOW_NS:
        passed = (t - counts[OPEN_NS]) // WINDOW_NS  # all but the first of these are empty
        counts[WINDOWS] += passed
        counts[WINDOW_EVENTS] += counts[OPEN_EVENTS]
        counts[WINDOW_ACTIVE] += counts[OPEN_ACTIVE]
        counts[OPEN_NS] += passed * WINDOW_NS
        counts[OPEN_EVENTS] = counts[OPEN_ACTIVE] = 0
    counts[OPEN_EVENTS] += 1
    counts[OPEN_ACTIVE] += own_ns < counts[OPEN_NS]


@njit(nogil=True, cache=True)
def _gap_bin(gap_ns):
    place = (np.float64(gap_ns).view(np.int64) >> DROPPED_BITS) - FIRST_BIN
    return min(max(place, 0), LAST_BIN - FIRST_BIN)


@njit(nogil=True, cache=True)
def _count_run(before, step, gap_ns, counts):
    """The run (its length, below zero: darker) after an event of that polarity, 1 or -1; before: until then."""
    if gap_ns < NEAR_NS and before * step > 0:
        after = before + step
    else:
        after = step
        counts[RUNS] += 1
    counts[RUN_SQUARES] += 2 * abs(after) - 1  # what the square of its length grew by
    return after


@njit(nogil=True, cache=True)
def _meet_neighbours(t, row, column, last_ns, alone):
    """Whether one of the eight has fired in the last 10 ms; those that have are not alone from now on.

    Their earlier events need no look: such a one that is near t is near its pixel's last event, too.
    """
    found = False
    for down in range(-1, 2):
        for right in range(-1, 2):
            if down or right:
                v, u = row + down, column + right
                # Without a branch: whether a neighbour fired is as good as a coin's toss, and hard to predict.
                near = t - last_ns[v, u] <= NEAR_NS
                alone[v, u] &= not near
                found |= near
    return found
