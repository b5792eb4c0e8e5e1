"""One pixel pitch: a model sees any sensor in cells of n×n pixels, at about the pitch that it was trained for.

The mean log intensity of a cell's n² pixels has moved by one contrast threshold when their signed events sum to ±n².
Then the cell has an event, and its sum begins anew. So a fine sensor gives what a coarse one of the same field of view
would have given, noise is averaged, and a picture of 1280×720 pixels costs what one of 320×240 does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from eventspd_ros.events.sieve import Columns, Sieve
from eventspd_ros.events.types import EventArray, PixelPitch

# Pictures are given empty rows where they are flatter than those of the training by more than this share.
FLATTER = 0.05


def pixel_pitch(config, height: int, width: int) -> PixelPitch | None:
    """How the model of that ModelConfig sees a sensor; None: pixel by pixel."""
    wanted = config.pitch
    if wanted is None:
        return None
    n = max(1, round(width / wanted.columns))
    rows, columns = -(-height // n), -(-width // n)
    full = round(columns * wanted.aspect)
    empty = full - rows if rows < (1 - FLATTER) * full else 0
    return (
        PixelPitch(n=n, sensor_height=height, sensor_width=width, height=rows + empty, width=columns, top=empty // 2)
        if n > 1 or empty
        else None
    )


def seen_hw(config, height: int, width: int) -> tuple[int, int]:
    """Height and width of what the model of that ModelConfig sees of a sensor."""
    pitch = pixel_pitch(config, height, width)
    return (height, width) if pitch is None else (pitch.height, pitch.width)


class CellSums(Sieve):
    """Events of pixels in, events of cells out."""

    def __init__(self, pitch: PixelPitch, rng: np.random.Generator | None = None):
        """rng: the sums begin as they may be in the middle of a stream, not at zero."""
        self.pitch = pitch
        # A table each, as a division takes longer than all else.
        self._column_of = (np.arange(pitch.sensor_width) // pitch.n).astype(np.uint16)
        self._row_of = (np.arange(pitch.sensor_height) // pitch.n + pitch.top).astype(np.uint16)
        self._sums = np.zeros((pitch.height, pitch.width), np.int32)
        if rng is not None:
            # Where a walk of single steps is that starts anew at zero whenever it reaches ±n².
            up, down = rng.integers(0, pitch.n**2, (2, *self._sums.shape))
            self._sums += up - down

    def restart(self) -> None:
        self._sums[:] = 0

    def of(self, events: EventArray) -> EventArray:
        return replace(super().of(events), width=self.pitch.width, height=self.pitch.height)

    def _sift(self, columns: Columns, first: int, last: int) -> int:
        return _sum_cells(*columns, first, last, self.pitch.n**2, self._column_of, self._row_of, self._sums)


@njit(nogil=True, cache=True)
def _sum_cells(x, y, p, t_ns, first, last, enough, column_of, row_of, sums):
    end = first
    for i in range(first, last):
        column, row = column_of[x[i]], row_of[y[i]]
        total = sums[row, column] + 2 * np.int32(p[i]) - 1
        if abs(total) >= enough:
            x[end], y[end], p[end], t_ns[end] = column, row, p[i], t_ns[i]
            end += 1
            total = 0
        sums[row, column] = total
    return end
