"""A window's events as one int32 each: pixel·32 + age bin, in one pass and without a copy.

That is what crosses to a GPU (4 bytes an event instead of 32) and what compiled, captured and exported models read.
An event of bin 31 is padding, which counts nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventspd_ros.events.types import EventWindow
from eventspd_ros.nanoseconds import NS_PER_MS

BIN_BITS = 5
PADDING = (1 << BIN_BITS) - 1  # an event of this bin, at pixel 0
MAX_PIXELS = 1 << (31 - BIN_BITS)
NS_PER_BIN = NS_PER_MS


def pack_events(window: EventWindow, packed: np.ndarray) -> bool:
    """Fill packed (n,) int32, n ≥ len(window), with the events and then padding.

    Age bin = (end_ns − 1 − t_ns) // 1,000,000, of at most 31 bins. False where an event lies outside the window or its
    sensor; packed then is not to be used.
    """
    if window.width * window.height > MAX_PIXELS:
        raise ValueError(f"sensor of {window.width}x{window.height} pixels: packed events address at most {MAX_PIXELS}")
    if window.end_ns - window.start_ns > PADDING * NS_PER_BIN:
        length_ms = (window.end_ns - window.start_ns) / NS_PER_MS
        raise ValueError(f"window of {length_ms:g} ms: packed events hold ages of at most {PADDING} ms")
    packed[len(window) :] = PADDING
    return _pack(window.x, window.y, window.t_ns, window.start_ns, window.end_ns, window.width, window.height, packed)


@njit(nogil=True, cache=True)
def _pack(x, y, t_ns, start_ns, end_ns, width, height, packed):
    good = True
    for index in range(len(t_ns)):
        t, column, row = t_ns[index], np.int64(x[index]), np.int64(y[index])
        good &= (start_ns <= t) & (t < end_ns) & (column < width) & (row < height)
        packed[index] = ((row * width + column) << BIN_BITS) | ((end_ns - 1 - t) // NS_PER_BIN)
    return good
