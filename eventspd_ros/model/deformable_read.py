"""B4: the deformable multi-scale read at the routed anchors, Eqs. 13–20.

W_u [h; g_r; φ_8(Δp_r)] of Eq. 14 is the sum of a part per query, a part per L4 cell that Phase A computes once and a
small part per anchor. The 72 samples of an anchor are never written: per head, the 12 samples with 4 corners each are
one weighted sum of 48 table rows.

Shapes: B windows, K queries, R anchors, n = B·K·R, H heads, L levels read, M samples a head and level, D model width,
T cells of the coarsest level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS
from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.geometry import cell_centres_px, cell_coordinates
from eventspd_ros.model.local_tokens import QUERY_FREQUENCIES, fourier_features
from eventspd_ros.model.table_read import (
    axis_corners,
    corner_rows,
    corner_shares,
    read_table,
    table_columns,
    table_rows,
)


class DeformableRead(nn.Module):
    """B4. Reads the coarsest levels, already projected by A3's W_V."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        dim, self.heads, self.samples = config.dim, config.heads, config.samples
        self.strides = config.strides[-config.read_levels :]
        columns = self.heads * len(self.strides) * self.samples
        self.condition = nn.Linear(2 * dim + 4 * QUERY_FREQUENCIES, dim)  # W_u, b_u
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.offsets = nn.Linear(dim, 2 * columns)  # W^Δ
        self.weights = nn.Linear(dim, columns)  # W^a: default initialisation, or the samples would stay alike
        self.out = nn.Linear(dim, dim)  # W_O
        self.embedding = nn.Parameter(0.02 * torch.randn(dim))  # e_deform
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def anchor_terms(self, anchors: Tensor) -> Tensor:
        """Phase A: W_u's part per cell, g_r (B, T, D) -> (B, T, D), with b_u."""
        dim = anchors.shape[-1]
        return F.linear(anchors, self.condition.weight[:, dim : 2 * dim], self.condition.bias)

    def forward(self, context: DecoderContext, h: Tensor, uv_px: Tensor, routed: Tensor) -> Tensor:
        """h (B, K, D), uv_px (B, K, 2), routed (B, K, R) cells of the coarsest level -> h_r of Eq. 20, (B, K, R, D)."""
        cells_hw = context.cells_hw[-len(self.strides) :]
        anchors_px = cell_centres_px(self.strides[-1], cells_hw[-1], uv_px.device)[routed]
        u = self._condition(context, h, anchors_px - uv_px.unsqueeze(2), routed)
        rows, weights = self._sampling(u.flatten(0, 2), anchors_px.reshape(-1, 2), cells_hw)
        windows, _, dim = context.reads.shape
        table = context.reads.reshape(windows, -1, dim // self.heads)  # row c·H + h: cell c, head h
        read = read_table(table, rows.view(windows, -1, *rows.shape[1:]), weights)
        return self.out(read.view(*routed.shape, dim))

    def _condition(self, context: DecoderContext, h: Tensor, offsets_px: Tensor, routed: Tensor) -> Tensor:
        """Eqs. 13 and 14: Δp_r (B, K, R, 2) -> u_r (B, K, R, D)."""
        windows, cells, dim = context.anchors.shape
        height, width = context.sensor_hw
        unit = torch.stack((offsets_px[..., 0] / width, offsets_px[..., 1] / height), dim=-1)
        encoded = fourier_features(unit, QUERY_FREQUENCIES)
        first = torch.arange(windows, device=routed.device).view(-1, 1, 1) * cells
        terms = F.embedding((routed + first).flatten(), context.anchors.reshape(-1, dim))
        weight = self.condition.weight
        anchor = torch.addmm(terms, encoded.to(terms.dtype).flatten(0, 2), weight[:, 2 * dim :].t())
        query = F.linear(h, weight[:, :dim]).unsqueeze(2)
        return self.norm(F.gelu(anchor.view(*routed.shape, dim) + query))

    def _sampling(self, u: Tensor, anchors_px: Tensor, cells_hw: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Eqs. 15–17 and the softmax of 19: u (n, D), anchors_px (n, 2) -> rows and weights (n, H, 4·L·M)."""
        with torch.autocast(u.device.type, enabled=False):
            offset_x, offset_y, beta = self._heads(u)
            share = self._softmax(beta)
            stride, columns, rows, step, first = self._constants(cells_hw, offset_x)
            # Δp is in cells of the level and adds to p_r / s_l.
            cell_x = cell_coordinates(anchors_px[:, :1], stride) + offset_x
            cell_y = cell_coordinates(anchors_px[:, 1:], stride) + offset_y
            low = torch.full_like(stride, -0.5)
            lower_x, share_x = axis_corners(cell_x, low, columns + 0.5)
            lower_y, share_y = axis_corners(cell_y, low, rows + 0.5)
            corners = corner_rows(lower_x, lower_y, self.heads, step.int(), first.int())
            shares = corner_shares(share_x, share_y, share)
        shape = (u.shape[0], self.heads, -1)  # len() would fix the number of queries of an exported model
        return (
            torch.stack([corner.view(shape) for corner in corners], dim=2).flatten(2),
            torch.stack([corner.view(shape) for corner in shares], dim=2).flatten(2),
        )

    def _heads(self, u: Tensor) -> tuple[Tensor, ...]:
        """Eqs. 15 and 16 as one product: Δp's x, its y and β, each (n, H·L·M)."""
        weight, bias = self.offsets.weight.unflatten(0, (-1, 2)), self.offsets.bias.unflatten(0, (-1, 2))
        weight = torch.cat((weight[:, 0], weight[:, 1], self.weights.weight))
        bias = torch.cat((bias[:, 0], bias[:, 1], self.weights.bias))
        return F.linear(u.to(weight.dtype), weight, bias).chunk(3, dim=-1)

    def _softmax(self, beta: Tensor) -> Tensor:
        """Eq. 19, per head over L·M: (n, H·L·M) in the same layout. Spelt out: softmax over 12 is slow on a CPU."""
        beta = beta.unflatten(-1, (self.heads, -1))
        exponential = (beta - beta.amax(-1, keepdim=True).detach()).exp()
        return (exponential / exponential.sum(-1, keepdim=True)).flatten(-2)

    def _constants(self, cells_hw: Sequence[tuple[int, int]], like: Tensor) -> tuple[Tensor, ...]:
        """By column of H·L·M: stride, W_l, H_l, table rows from one row of cells to the next, row of the first cell."""

        def columns(values: Sequence[float]) -> Tensor:
            return torch.cat([like.new_full((self.samples,), value) for value in values]).repeat(self.heads)

        sizes = [table_rows(size) for size in cells_hw]
        first = [sum(sizes[:level]) * self.heads for level in range(len(sizes))]
        head = torch.arange(self.heads, device=like.device).repeat_interleave(self.samples * len(sizes))
        return (
            columns(self.strides),
            columns([columns_ for _, columns_ in cells_hw]),
            columns([rows for rows, _ in cells_hw]),
            columns([table_columns(columns_) * self.heads for _, columns_ in cells_hw]),
            columns(first) + head,
        )
