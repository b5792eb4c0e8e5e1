"""A1 on a CPU: the encodings of a window's events summed by pixel, in compiled loops.

Reading the voxel table in the order of events misses every cache, and as tensor operations each event's indices,
weights and encodings are written to memory besides. Here events are first counted into the order of pixels, so that
table and field are gone through once, from front to back.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from torch import Tensor

if TYPE_CHECKING:
    from eventspd_ros.model.event_tensors import EventTensors


def sum_events(events: EventTensors, table: Tensor, nodes: tuple[Tensor, Tensor], field: Tensor) -> None:
    """Add every event's encoding to its pixel, each pixel's in the order of events. All tensors are on a CPU.

    table: float32 (H·W, time nodes, F), the voxel table. nodes: index and weight, (bins, L, 2) each, of the two time
    nodes of each bin and level. field: float32 (B, H·W, L, F), added to.
    """
    site, bins = events.site.numpy(), events.bin.numpy()
    bounds = np.searchsorted(events.window.numpy(), np.arange(events.windows + 1))
    index, weight = (tensor.numpy() for tensor in nodes)
    for window, (first, last) in enumerate(pairwise(bounds)):  # one after another, which stays in the caches
        ends, sorted_bins = _sort_by_pixel(site[first:last], bins[first:last], len(table))
        _sum_sorted(ends, sorted_bins, table.numpy(), index, weight, field[window].numpy())


@njit(nogil=True, cache=True, error_model="numpy")
def _sort_by_pixel(pixel, bins, pixels):
    """Where each pixel's events end in the order of pixels, (pixels,), and the bins in that order, (N,)."""
    ends = np.zeros(pixels, np.int32)
    for event in range(len(pixel)):
        ends[pixel[event]] += 1
    first = 0
    for place in range(pixels):
        first, ends[place] = first + ends[place], first
    sorted_bins = np.empty(len(bins), np.uint16)
    for event in range(len(pixel)):
        sorted_bins[ends[pixel[event]]] = bins[event]
        ends[pixel[event]] += 1
    return ends, sorted_bins


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_sorted(ends, sorted_bins, table, index, weight, field):
    levels, features = field.shape[1], field.shape[2]
    first = 0
    for pixel in range(len(ends)):
        end = ends[pixel]
        if end == first:
            continue
        rows, sums = table[pixel], field[pixel]
        for event in range(first, end):
            of_bin = sorted_bins[event]
            for level in range(levels):
                lower, upper = index[of_bin, level, 0], index[of_bin, level, 1]
                of_lower, of_upper = weight[of_bin, level, 0], weight[of_bin, level, 1]
                for feature in range(features):
                    sums[level, feature] += of_lower * rows[lower, feature] + of_upper * rows[upper, feature]
        first = end
