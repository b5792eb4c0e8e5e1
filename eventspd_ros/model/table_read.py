"""Bilinear reads of feature maps as weighted sums of table rows.

A map becomes a table with one row a cell, and the maps of several levels stand one after another in one table, so
that one embedding_bag reads and sums everything a token needs: the four corners of a bilinear read, or all corners
of all samples of a deformable read. That takes a quarter of grid_sample's time on a CPU, where grid_sample writes
every sample before they are summed, and differs from it in rounding only.

Every map gets a border of zero cells. Coordinates clamped to the outermost cell centres never touch it ("border"
padding); coordinates clamped one cell further out fade into it and rest there ("zeros" padding).

Shapes: B windows, C channels, "..." any leading dimensions. Cell coordinates are those of geometry.py: cell i spans
[i, i + 1).
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

# Two cells at the far side: the upper neighbour of a position that rests on the border must be a zero cell too.
BEFORE, AFTER = 1, 2

Limit = TypeVar("Limit", float, Tensor)


def table_columns(columns: int) -> int:
    """Cells in a row of the padded map: the table's step from one row of cells to the next."""
    return columns + BEFORE + AFTER


def table_rows(cells_hw: tuple[int, int]) -> int:
    """Table rows that a level of (H_l, W_l) cells takes."""
    return table_columns(cells_hw[0]) * table_columns(cells_hw[1])


def to_table(features: Tensor) -> Tensor:
    """A map (B, H_l, W_l, C) -> its table (B, table_rows, C), row by row with the border."""
    return F.pad(features, (0, 0, BEFORE, AFTER, BEFORE, AFTER)).flatten(1, 2)


def axis_corners(cells: Tensor, low: Limit, high: Limit) -> tuple[Tensor, Tensor]:
    """Cell coordinates (...) along one axis -> the lower neighbour in the padded map and the upper neighbour's share.

    low, high: where coordinates are clamped, 0.5 and W_l − 0.5 for border padding, −0.5 and W_l + 0.5 for zeros.
    Both results are floating, (...). NaN gives neighbour 0 with share NaN: never an address outside the table.
    """
    position = cells.clamp(low, high) + (BEFORE - 0.5)  # the centre of cell i is at i + 0.5 and its table column i + 1
    lower = position.detach().floor().nan_to_num(nan=0.0)
    return lower, position - lower


def corner_rows(
    lower_x: Tensor, lower_y: Tensor, step_x: int, step_y: int | Tensor, first: int | Tensor
) -> tuple[Tensor, ...]:
    """Table rows (int32, each (...)) of the corners: top left, top right, bottom left, bottom right.

    step_x, step_y: table rows from one column or row of cells to the next (int or int32); first: of cell (0, 0).
    """
    top_left = (lower_y * step_y + lower_x * step_x).to(torch.int32) + first
    bottom_left = top_left + step_y
    return top_left, top_left + step_x, bottom_left, bottom_left + step_x


def corner_shares(share_x: Tensor, share_y: Tensor, weight: Tensor | None = None) -> tuple[Tensor, ...]:
    """Weights (...) of the same four corners; they sum to weight (...), or to one without it."""
    bottom = share_y if weight is None else weight * share_y
    top = 1 - share_y if weight is None else weight - bottom
    top_right, bottom_right = top * share_x, bottom * share_x
    return top - top_right, top_right, bottom - bottom_right, bottom_right


def read_table(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows: table (B, T, C), rows (B, ..., P) int32, weights (B, ..., P) -> (B, ..., C)."""
    windows, length, channels = table.shape
    if windows > 1:
        first = torch.arange(windows, dtype=rows.dtype, device=rows.device) * length
        rows = rows + first.view(-1, *[1] * (rows.dim() - 1))
    bags = rows.reshape(-1, rows.shape[-1])
    flat, weights = table.reshape(-1, channels), weights.reshape(bags.shape)
    # A gradient of weights in bfloat16 is not to be had on CUDA and takes a CPU twice the time.
    dtype = torch.promote_types(flat.dtype, torch.float32) if weights.requires_grad else flat.dtype
    read = F.embedding_bag(bags, flat.detach().to(dtype), per_sample_weights=weights.to(dtype), mode="sum")
    read, weights = read.to(flat.dtype), weights.to(flat.dtype)
    if flat.requires_grad:
        read = _TableGradient.apply(read, flat, bags, weights.detach())
    return read.view(*rows.shape[:-1], channels)


class _TableGradient(torch.autograd.Function):
    """Passes a read on and gives the table its gradient, as another read: a row sums the bags that read it.

    On a CPU that takes a third of the time of embedding_bag's own gradient, and sums in float32.
    """

    @staticmethod
    def forward(ctx, read: Tensor, table: Tensor, bags: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(bags, weights)
        ctx.rows = len(table)
        return read.view_as(read)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        bags, weights = ctx.saved_tensors
        rows, order = bags.flatten().sort()
        offsets = torch.searchsorted(rows, torch.arange(ctx.rows, dtype=rows.dtype, device=rows.device))
        table = F.embedding_bag(
            order // bags.shape[-1],
            gradient.contiguous(),
            offsets,
            per_sample_weights=weights.flatten()[order],
            mode="sum",
        )
        return gradient, table, None, None
