"""Events that nothing near them supports, left out: the background activity of a sensor, which is of single pixels.

An event passes when one of the eight pixels around its own fired shortly before. Edges move over neighbours one after
the other; shot and leak noise of a pixel comes alone (Delbruck, Frame-free dynamic digital vision, 2008, the first of
these filters; dv-processing's BackgroundActivityNoiseFilter and v2e's are of the same kind). What is left out supports
too: with the first two events of an edge the second passes.

Noise comes through with the chance that neighbours fired by chance, 8 · rate · time where that is small; of a scene so
sparse that two neighbours seldom fire in that time, little comes through. docs/evaluation.md has what it does to depth.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventspd_ros.events.sieve import Columns, Sieve
from eventspd_ros.nanoseconds import NS_PER_MS

MAX_MS = 1000.0
_NEVER = -(2**63)


def support_ns(support_filter_ms: float) -> int:
    """That time in ns. ValueError, one line: no time that the filter takes."""
    if not 0 <= support_filter_ms <= MAX_MS:
        raise ValueError(f"support_filter_ms {support_filter_ms}: give 0 (off) to {MAX_MS:g} ms; 5 to 20 are usual")
    return round(support_filter_ms * NS_PER_MS)


def support_filter(height: int, width: int, support_filter_ms: float) -> SupportFilter | None:
    """The filter of a sensor of that size (px) that a time (ms) asks for; None where that is 0."""
    within_ns = support_ns(support_filter_ms)
    return SupportFilter(height, width, within_ns) if within_ns else None


class SupportFilter(Sieve):
    """Lets an event through when a pixel next to its own, diagonally too, fired at most within_ns before.

    events_removed: so far. Memory: eight bytes a pixel.
    """

    def __init__(self, height: int, width: int, within_ns: int):
        self.within_ns = within_ns
        self.events_removed = 0
        # When each pixel fired last, with a rim of pixels that never do, so that every pixel has eight neighbours.
        self._stride = width + 2
        self._last_ns = np.empty((height + 2) * self._stride, np.int64)
        self.restart()

    def restart(self) -> None:
        self._last_ns[:] = _NEVER

    def _sift(self, columns: Columns, first: int, last: int) -> int:
        end = _sift(*columns, first, last, self.within_ns, self._stride, self._last_ns)
        self.events_removed += last - end
        return end


@njit(nogil=True, cache=True)
def _sift(x, y, p, t_ns, first, last, within_ns, stride, last_ns):
    one, two, stride = np.uint64(1), np.uint64(2), np.uint64(stride)  # an index without a sign needs no check
    end = first
    for i in range(first, last):
        t = t_ns[i]
        above = np.uint64(y[i]) * stride + np.uint64(x[i])  # the upper left one of the nine, in the rim at x = y = 0
        beside, below = above + stride, above + stride + stride
        # All eight, as whether one fired lately is as good as a coin's toss, and hard to predict.
        newest = max(
            max(max(last_ns[above], last_ns[above + one]), max(last_ns[above + two], last_ns[beside])),
            max(max(last_ns[beside + two], last_ns[below]), max(last_ns[below + one], last_ns[below + two])),
        )
        last_ns[beside + one] = t
        x[end], y[end], p[end], t_ns[end] = x[i], y[i], p[i], t
        end += newest >= t - within_ns
    return end
