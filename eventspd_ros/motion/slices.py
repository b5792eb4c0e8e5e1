"""Signed event counts by pixel over short slices of time, each event added once.

Level l holds slices of SLICE_NS · 2^l on a fixed grid of the sensor's clock, so what is in a slice depends on the
events alone and not on when somebody asks. The finest are filled event by event; a slice of the next level is the sum
of two. Counts are +1 for ON and −1 for OFF, kept in int8 with saturation, at undistorted pixels.

Every slice is kept a second time at half the size (2×2 px summed), for the coarse search.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numba import njit

SLICE_NS = 2_500_000
LEVELS = 5
SLICES = 8  # of a level, that one look takes: spans of 20, 40, 80, 160 and 320 ms
MARGIN = 12  # px around each slice, for patches that reach over the border
LATE_NS = 100_000_000  # how far the end of a look may lie behind the newest event
SPANS_NS = np.array([SLICES * SLICE_NS << level for level in range(LEVELS)])
# Slots of a level: those of a look, the one being filled, and those that came since.
_SLOTS = np.array([SLICES + 1 + LATE_NS // (SLICE_NS << level) for level in range(LEVELS)])
_FIRST_SLOT = np.concatenate([[0], np.cumsum(_SLOTS)[:-1]])
_NONE = -(2**62)


@dataclass(frozen=True, slots=True)
class Look:
    """The newest SLICES complete slices of every level up to a time.

    full, half: all slots, flat int8. full_at, half_at: uint64 (LEVELS, SLICES), where each slice begins in them, oldest
    first. middle_ns: int64 (LEVELS, SLICES), sensor clock. known: bool (LEVELS, SLICES), False before the stream began.
    """

    full: np.ndarray
    half: np.ndarray
    full_at: np.ndarray
    half_at: np.ndarray
    middle_ns: np.ndarray
    known: np.ndarray

    def copied(self, slices: EventSlices) -> Look:
        """What can be read while events are added. slices: that it is a look at, with `lock` held."""
        parts = []
        for flat, at, size in ((self.full, self.full_at, slices.size), (self.half, self.half_at, slices.half_size)):
            begins = at.ravel().astype(np.int64)
            own = np.concatenate([flat[begin : begin + size] for begin in begins.tolist()])
            parts.append((own, (np.arange(len(begins)) * size).astype(np.uint64).reshape(at.shape)))
        (full, full_at), (half, half_at) = parts
        return Look(full, half, full_at, half_at, self.middle_ns, self.known)


class EventSlices:
    """Slices of one sensor, height x width px. One thread adds, others look, with `lock` held as long as they read.

    pixel_map: int64 (H, W, 2), the undistorted (u, v) px of each raw pixel, which may lie outside; None: a lens without
    distortion.
    """

    def __init__(self, height: int, width: int, pixel_map: np.ndarray | None = None):
        self.height, self.width = height, width
        self.lock = threading.Lock()
        self.stride, self.half_stride = width + 2 * MARGIN, (width + 1) // 2 + 2 * MARGIN
        self.size = (height + 2 * MARGIN) * self.stride
        self.half_size = ((height + 1) // 2 + 2 * MARGIN) * self.half_stride
        u, v = np.meshgrid(np.arange(width), np.arange(height)) if pixel_map is None else np.moveaxis(pixel_map, 2, 0)
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        self._place = np.where(inside, (v + MARGIN) * self.stride + u + MARGIN, -1).astype(np.int32)
        self._half_place = ((v // 2 + MARGIN) * self.half_stride + u // 2 + MARGIN).astype(np.int32)
        slots = int(_SLOTS.sum())
        self._full = np.zeros(slots * self.size, np.int8)
        self._half = np.zeros(slots * self.half_size, np.int8)
        self.restart()

    def restart(self) -> None:
        """Forget all events; what comes next may be of any time."""
        with self.lock:
            self._state = np.array([_NONE, _NONE], np.int64)  # finest slice being filled, first one of the stream

    def add(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, t_ns: np.ndarray) -> None:
        """Events (n,) in order of time, of raw pixels inside the sensor; one behind the newest slice counts in it."""
        with self.lock:
            sizes = self.size, self.half_size
            _add(x, y, p, t_ns, self._place, self._half_place, self._full, self._half, self._state, sizes)

    def advance_to(self, t_ns: int) -> None:
        """No event before t_ns will come any more: slices that end by then are complete."""
        with self.lock:
            self._advance_to(t_ns)

    def _advance_to(self, t_ns: int) -> None:
        if self._state[0] != _NONE and t_ns // SLICE_NS > self._state[0]:
            _advance(self._full, self._half, self._state, (self.size, self.half_size), t_ns // SLICE_NS)

    def look(self, until_ns: int | None = None) -> Look | None:
        """Slices that end by until_ns (sensor clock) and are complete; None where they were overwritten.

        until_ns: before which no event will come any more; None: as far as there are events.
        """
        if until_ns is not None:
            self._advance_to(until_ns)
        newest, first = self._state.tolist()
        end = newest if until_ns is None else until_ns // SLICE_NS
        if newest == _NONE or (newest - end) * SLICE_NS > LATE_NS:
            return None
        level = np.arange(LEVELS)[:, None]
        index = (end >> level) - SLICES + np.arange(SLICES)
        slot = _FIRST_SLOT[:, None] + index % _SLOTS[:, None]
        begins = index << level
        return Look(
            self._full,
            self._half,
            (slot * self.size).astype(np.uint64),
            (slot * self.half_size).astype(np.uint64),
            begins * SLICE_NS + (SLICE_NS << level) // 2,
            begins >= first,
        )


@njit(nogil=True, cache=True, error_model="numpy")
def _add(x, y, p, t_ns, place, half_place, full, half, state, sizes):
    size, half_size = sizes
    begin = half_begin = 0
    next_ns = _NONE
    for i in range(len(t_ns)):
        if t_ns[i] >= next_ns:
            index = max(t_ns[i] // SLICE_NS, state[0])
            _advance(full, half, state, sizes, index)
            next_ns = (index + 1) * SLICE_NS
            begin, half_begin = (index % _SLOTS[0]) * size, (index % _SLOTS[0]) * half_size
        at = place[y[i], x[i]]
        if at >= 0:
            _count(full, begin + at, p[i])
            _count(half, half_begin + half_place[y[i], x[i]], p[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _advance(full, half, state, sizes, index):
    """Slice `index` is filled from now on; those before are complete."""
    size, half_size = sizes
    if state[0] == _NONE:
        state[1] = index
        _clear(full, half, index, size, half_size)
    else:
        # After a long silence nothing is left of what was: a look's worth of empty slices says so.
        for done in range(max(state[0], index - ((_SLOTS[LEVELS - 1] + 1) << (LEVELS - 1))), index):
            _sum_pairs(full, size, done)
            _sum_pairs(half, half_size, done)
            _clear(full, half, done + 1, size, half_size)
    state[0] = index


@njit(nogil=True, inline="always")
def _count(slices, at, p):
    count = slices[at]
    slices[at] = min(max(count + 2 * np.int64(p != 0) - 1, -128), 127)


@njit(nogil=True, cache=True, error_model="numpy")
def _clear(full, half, index, size, half_size):
    slot = index % _SLOTS[0]
    full[slot * size : (slot + 1) * size] = 0
    half[slot * half_size : (slot + 1) * half_size] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_pairs(slices, size, done):
    """The finest slice `done` is over: sum up the slices of higher levels that end with it."""
    for level in range(1, LEVELS):
        if (done + 1) % (1 << level):
            break
        index = done >> level
        slot = _FIRST_SLOT[level] + index % _SLOTS[level]
        early = _FIRST_SLOT[level - 1] + (2 * index) % _SLOTS[level - 1]
        late = _FIRST_SLOT[level - 1] + (2 * index + 1) % _SLOTS[level - 1]
        a, b = slices[early * size : (early + 1) * size], slices[late * size : (late + 1) * size]
        out = slices[slot * size : (slot + 1) * size]
        for i in range(size):
            total = np.int16(a[i]) + np.int16(b[i])
            out[i] = min(max(total, np.int16(-128)), np.int16(127))
