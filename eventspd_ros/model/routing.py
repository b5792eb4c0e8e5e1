"""Which cells of the coarsest level become a query's anchors: those of the largest scores.

The scores are B3's attention ᾱ (Eq. 12), or drawn by lot (research plan v9, ablations 1 and 10c).

Shapes: B windows, K queries a window, T cells of the coarsest level, R anchors.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS_32 = 0xFFFFFFFF


def route(scores: Tensor, count: int) -> Tensor:
    """Eq. 12: cells (..., R) int64 of the largest scores (..., T) ≥ 0, ties to the lower index.

    The bits of non-negative floats order as the floats do, so bits and index make one unique integer key.
    """
    cells = scores.shape[-1]
    last = cells - 1 - torch.arange(cells, device=scores.device)
    key = (scores.float().view(torch.int32).long() << 32) | last
    return cells - 1 - (key.topk(count, dim=-1).values & BITS_32)


def random_scores(uv_px: Tensor, cells: int, draw: Tensor | int = 0) -> Tensor:
    """Scores by lot: uv_px (B, K, 2) -> (B, K, T) float32, even in 0 … 1.

    They follow from a query's pixel, the cell and the draw alone, so that a replay, a query asked by itself and another
    device route alike. draw: an integer, or one a window (B, 1).
    """
    pixel = (uv_px + 0.5).floor().long()
    query = _scrambled(_scrambled(pixel[..., 0] + draw) + pixel[..., 1])
    lot = _scrambled(query.unsqueeze(-1) + torch.arange(cells, device=uv_px.device))
    return (lot >> 8).float() / (1 << 24)  # of what float32 holds exactly


def fresh_draw(windows: int, device: torch.device) -> Tensor:
    """A draw a window (B, 1), from torch's generator."""
    return torch.randint(1 << 32, (windows, 1), device=device)


def _scrambled(values: Tensor) -> Tensor:
    """Integers -> integers of 32 bits, each bit of which depends on all. int64 holds every product."""
    # Shifts and factor: Thomas Mueller, https://stackoverflow.com/a/12996028
    values = values & BITS_32
    for _ in range(2):
        values = ((values >> 16) ^ values) * 0x45D9F3B & BITS_32
    return (values >> 16) ^ values
