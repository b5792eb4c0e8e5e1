"""Pixels that fire without cause: learned from the first seconds of a stream, or read from a file, and left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.nanoseconds import NS_PER_S

# A pixel is hot when it fires this much oftener than all but 5 % of the pixels that fire at all, and often at that.
HOT_RATIO = 10.0
HOT_PERCENTILE = 95.0
HOT_RATE_HZ = 50.0
MAX_FILE_BYTES = 64 << 20


def read_hot_pixels(path: str | Path, height: int, width: int) -> np.ndarray:
    """The mask, bool (H, W), of a text file with one pixel "x y" a line; # begins a comment.

    ValueError names the line that is no pixel of the sensor.
    """
    mask = np.zeros((height, width), bool)
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{path}: over {MAX_FILE_BYTES >> 20} MiB; expected one pixel 'x y' a line")
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as hot pixels: {error}") from None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise ValueError(f"{path}, line {number}: {line[:40]!r} is not a pixel 'x y'")
        x, y = map(int, words)
        if x >= width or y >= height:
            raise ValueError(f"{path}, line {number}: pixel {x} {y} lies outside the sensor of {width}x{height} px")
        mask[y, x] = True
    return mask


class HotPixelFilter:
    """Takes events of hot pixels out of a buffer. mask: bool (H, W), of those known. learn_s: for how long of sensor
    time, from the first event on, the others are watched; nothing of theirs is taken out before that has passed.

    events_removed: so far. learning: whether more pixels may still be found.
    """

    def __init__(self, mask: np.ndarray, learn_s: float = 0.0):
        self.mask = mask.astype(np.bool_)
        self.events_removed = 0
        self._learn_ns = round(learn_s * NS_PER_S)
        self._counts = np.zeros(mask.shape, np.int64) if learn_s > 0 else None
        self._first_ns: int | None = None

    @property
    def learning(self) -> bool:
        return self._counts is not None

    @property
    def pixels(self) -> int:
        """How many are masked."""
        return int(self.mask.sum())

    def restart(self) -> None:
        """Sensor time begins anew; what was learned stays."""
        self._first_ns = None
        if self._counts is not None:
            self._counts[:] = 0

    def apply(self, buffer: EventBuffer, first: int) -> None:
        """Take the hot pixels' events among buffer[first:end] out of the buffer, in place."""
        if first >= buffer.end:
            return
        if self._counts is not None:
            self._learn(buffer, first, self._counts)
        if self.mask.any():
            end = _compact(buffer.x, buffer.y, buffer.p, buffer.t_ns, first, buffer.end, self.mask)
            self.events_removed += buffer.end - end
            buffer.end = end

    def _learn(self, buffer: EventBuffer, first: int, counts: np.ndarray) -> None:
        t_ns = buffer.t_ns[first : buffer.end]
        second = min(1, len(t_ns) - 1)  # as one may be a stray (order.py)
        if self._first_ns is None:
            self._first_ns = int(np.partition(t_ns, second)[second])
        _count(buffer.x, buffer.y, first, buffer.end, counts)
        passed_ns = int(np.partition(t_ns, -1 - second)[-1 - second]) - self._first_ns
        if passed_ns >= self._learn_ns:
            self.mask |= hot_pixels(counts, passed_ns / NS_PER_S)
            self._counts = None


def load_filter(path: str, learn_s: float, height: int, width: int) -> HotPixelFilter | None:
    """The filter that a file ("" for none) and a time to learn (0 for none) ask for; None where neither does."""
    if not path and learn_s <= 0:
        return None
    mask = read_hot_pixels(path, height, width) if path else np.zeros((height, width), bool)
    return HotPixelFilter(mask, learn_s)


def hot_pixels(counts: np.ndarray, seconds: float) -> np.ndarray:
    """Which pixels are hot, bool (H, W), from the events each fired in that time."""
    fired = counts[counts > 0]
    if not len(fired) or seconds <= 0:
        return np.zeros(counts.shape, bool)
    usual = np.percentile(fired, HOT_PERCENTILE)
    return counts > max(HOT_RATIO * usual, HOT_RATE_HZ * seconds)


@njit(nogil=True, cache=True)
def _count(x, y, first, last, counts):
    for i in range(first, last):
        counts[y[i], x[i]] += 1


@njit(nogil=True, cache=True)
def _compact(x, y, p, t_ns, first, last, mask):
    """Move the events of pixels that are not masked to the front of [first:last]; returns where they end."""
    end = first
    for i in range(first, last):
        if not mask[y[i], x[i]]:
            x[end], y[end], p[end], t_ns[end] = x[i], y[i], p[i], t_ns[i]
            end += 1
    return end
