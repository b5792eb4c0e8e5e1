"""B1 of research plan v9 (§4.4): four tokens and a first vector that has already seen the query's surroundings.

    l_q       W_agg max over 24 cells of a 5×5 grid of L1 (stride 2) and 8 points at learned offsets
    l_q^int   the same of the stride-4 intermediate: 8 cells of a 3×3 grid and 8 points
    c_q       L2, L3 and L4 at the query
    h⁽⁰⁾      LN(W_p2 GELU(W_p1 [f_q; c_q of L2; φ_8(q); l_q; l_q^int]))
    tokens    l_q and the projected c_q of L2 … L4, with a type embedding each

Reads pad by the border, and φ is that of local_tokens.py, as in the other form of B1.

Shapes: B windows, K queries a window, D model width, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS
from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.geometry import cell_coordinates, unit_coordinates
from eventspd_ros.model.local_tokens import QUERY_FREQUENCIES, Neighbourhood, border_read, embedding, fourier_features
from eventspd_ros.model.table_read import read_table, to_table


class PooledContext(nn.Module):
    """B1 with the inputs and outputs of LocalTokens. A query reads a coarse level once, so that to project what
    thousands of queries read is cheaper than to project the maps: Phase A leaves them as they are."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        dim, pooled, channels = config.dim, config.pooled_levels, config.channels
        self.strides = config.strides
        self.around = nn.ModuleList(Neighbourhood(config, level) for level in range(pooled))
        self.aggregates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(pooled))  # W_agg
        self.projections = nn.ModuleList(
            nn.Identity() if width == dim else nn.Linear(width, dim, bias=False) for width in channels[pooled:]
        )
        self.embedding = embedding(1 + len(self.projections), dim)
        self.seed = nn.Linear(channels[0] + channels[pooled] + 4 * QUERY_FREQUENCIES + pooled * dim, dim)  # W_p1
        self.seed_out = nn.Linear(dim, dim)  # W_p2
        self.seed_norm = nn.LayerNorm(dim, eps=EPS)

    def tables(self, levels: list[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Phase A. Maps (B, H_l, W_l, C_l) -> the tables (B, rows, C_l) of the pooled levels and of the others."""
        tables = tuple(to_table(features) for features in levels)
        return tables[: len(self.around)], tables[len(self.around) :]

    def forward(self, context: DecoderContext, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """uv_px (B, K, 2) -> h⁽⁰⁾ (B, K, D) and the tokens (B, K, P, D)."""
        nearest, pooled = [], []
        for table, size, around, aggregate in zip(
            context.fine, context.cells_hw, self.around, self.aggregates, strict=False
        ):
            assert isinstance(around, Neighbourhood)
            centre, features = around.around(table, size, uv_px)
            assert features is not None, "config: radii of 1 or more"
            nearest.append(centre)
            pooled.append(aggregate(features.amax(dim=2)))
        first = len(self.around)
        centres = [
            read_table(table, *border_read(cell_coordinates(uv_px, stride), size))
            for table, stride, size in zip(context.coarse, self.strides[first:], context.cells_hw[first:], strict=True)
        ]
        position = fourier_features(unit_coordinates(uv_px, *context.sensor_hw), QUERY_FREQUENCIES)
        seen = torch.cat((nearest[0], centres[0], position.to(nearest[0].dtype), *pooled), dim=-1)
        h = self.seed_norm(self.seed_out(F.gelu(self.seed(seen))))
        projected = [project(centre) for project, centre in zip(self.projections, centres, strict=True)]
        tokens = torch.stack((pooled[0], *[token.to(pooled[0].dtype) for token in projected]), dim=2)
        return h, tokens + self.embedding.to(tokens.dtype)
