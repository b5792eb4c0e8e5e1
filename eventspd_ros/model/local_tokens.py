"""B1: the tokens around a query and the vector it starts from (Eq. 6 and the paragraph below it).

    L1 (stride 4)   24 cells of a 5×5 grid without its centre, 8 at learned offsets: GELU(W_loc [f_δ; φ_4(δ/6)])
    L2 … L4         5×5, 5×5 and 3×3 cells, projected to D, with a relative position embedding each
    query seed      h⁽⁰⁾ = W_q [f_q; φ_8(q)], f_q the L1 feature at the query

Projections of L2 … L4 commute with bilinear reads, so Phase A projects the maps once. Reads pad by the border.

Shapes: B windows, K queries a window, P tokens, D model width, C channels. Offsets are (x, y) in cells of the level.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.geometry import cell_coordinates, unit_coordinates
from eventspd_ros.model.table_read import (
    axis_corners,
    corner_rows,
    corner_shares,
    read_table,
    table_columns,
    table_rows,
    to_table,
)

OFFSET_FREQUENCIES, QUERY_FREQUENCIES = 4, 8


def fourier_features(values: Tensor, frequencies: int) -> Tensor:
    """φ_n: (..., 2) -> (..., 4n), the sines then the cosines of 2^l·π·x, l = 0 … n − 1, for x, then for y."""
    scales = math.pi * 2.0 ** torch.arange(frequencies, dtype=values.dtype, device=values.device)
    angles = values.unsqueeze(-1) * scales
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def grid_offsets(radius: int) -> Tensor:
    """The (2r + 1)² integer offsets (x, y) of a square grid, row by row, (P, 2)."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.stack((steps.repeat(len(steps)), steps.repeat_interleave(len(steps))), dim=-1)


def border_read(cells: Tensor, cells_hw: tuple[int, int], first: int = 0) -> tuple[Tensor, Tensor]:
    """Cell coordinates (..., 2) of a level -> table rows (..., 4) int32 and weights (..., 4), border padding."""
    rows, columns = cells_hw
    lower_x, share_x = axis_corners(cells[..., 0], 0.5, columns - 0.5)
    lower_y, share_y = axis_corners(cells[..., 1], 0.5, rows - 0.5)
    corners = corner_rows(lower_x, lower_y, 1, table_columns(columns), first)
    return torch.stack(corners, dim=-1), torch.stack(corner_shares(share_x, share_y), dim=-1)


class Neighbourhood(nn.Module):
    """What lies around a query on one level: a grid without its centre, and points at learned offsets.

    h_δ = GELU(W_loc [f_δ; φ_4(δ / reach)]) for every offset δ.
    """

    def __init__(self, config: DecoderConfig, level: int):
        super().__init__()
        channels, radius = config.channels[level], max(config.local_radius[level], 0)
        self.stride, self.reach_cells = config.strides[level], config.adaptive_reach[level]
        self.points = (2 * radius + 1) ** 2 - 1 + config.adaptive_points
        self.offsets = None
        if config.adaptive_points:
            # Default initialisation: offsets that start alike would have equal gradients and stay alike.
            self.offsets = nn.Linear(channels, 2 * config.adaptive_points)  # W_off
        if self.points:
            self.fine = nn.Linear(channels + 4 * OFFSET_FREQUENCIES, config.dim)  # W_loc
        self.grid_0: Tensor
        self.register_buffer("grid_0", grid_offsets(radius), persistent=False)

    def around(self, table: Tensor, cells_hw: tuple[int, int], uv_px: Tensor) -> tuple[Tensor, Tensor | None]:
        """The level's feature at the query (B, K, C) and h_δ around it (B, K, P, D), None without points."""
        cells = cell_coordinates(uv_px, self.stride).unsqueeze(2)
        grid = read_table(table, *border_read(cells + self.grid_0, cells_hw))
        middle = len(self.grid_0) // 2  # the centre is no token
        centre = grid[:, :, middle]
        if not self.points:
            return centre, None
        features = [grid[:, :, :middle], grid[:, :, middle + 1 :]]
        encoded = self._encode(torch.cat((self.grid_0[:middle], self.grid_0[middle + 1 :])), grid.dtype)
        encoded = [encoded.expand(*uv_px.shape[:2], -1, -1)]
        if self.offsets is not None:
            # A read of its own: only these coordinates have a gradient.
            offsets = self._adaptive_offsets(self.offsets, centre)
            features.append(read_table(table, *border_read(cells + offsets, cells_hw)))
            encoded.append(self._encode(offsets, grid.dtype))
        features = torch.cat((torch.cat(features, dim=2), torch.cat(encoded, dim=2)), dim=-1)
        return centre, F.gelu(self.fine(features))

    def _encode(self, offsets: Tensor, dtype: torch.dtype) -> Tensor:
        return fourier_features(offsets / self.reach_cells, OFFSET_FREQUENCIES).to(dtype)

    def _adaptive_offsets(self, layer: nn.Linear, centre: Tensor) -> Tensor:
        """reach·tanh(W_off f_q + b_off): (B, K, C) -> (B, K, P, 2) in cells, float32 whatever the precision around."""
        with torch.autocast(centre.device.type, enabled=False):
            reach = layer(centre.to(layer.weight.dtype)).tanh()
        return self.reach_cells * reach.unflatten(-1, (-1, 2))


class LocalTokens(Neighbourhood):
    """B1. Parameters as in the document's table; the coarse levels are those that give tokens."""

    def __init__(self, config: DecoderConfig):
        super().__init__(config, level=0)
        dim, radii = config.dim, config.local_radius
        self.strides = config.strides
        self.coarse = [level for level in range(1, len(radii)) if radii[level] >= 0]
        self.seed = nn.Linear(config.channels[0] + 4 * QUERY_FREQUENCIES, dim, bias=False)  # W_q
        if self.points:
            self.fine_embedding = embedding(dim)
        self.projections = nn.ModuleList(
            nn.Identity() if config.channels[level] == dim else nn.Linear(config.channels[level], dim, bias=False)
            for level in self.coarse
        )
        self.coarse_grids = [f"grid_{level}" for level in self.coarse]
        for name, level in zip(self.coarse_grids, self.coarse, strict=True):
            self.register_buffer(name, grid_offsets(radii[level]), persistent=False)
        self.level_embedding = embedding(len(self.coarse), dim)
        self.position_embedding = embedding(sum(config.tokens_by_level[1:]), dim)

    def tables(self, levels: list[Tensor]) -> tuple[tuple[Tensor], tuple[Tensor]]:
        """Phase A. Maps (B, H_l, W_l, C_l) -> L1's table (B, rows, C_1), the coarse levels' (B, rows + P, D).

        The coarse table ends with the embeddings, level and position in one, a row each.
        """
        fine = to_table(levels[0])
        coarse = [
            to_table(project(levels[level])) for project, level in zip(self.projections, self.coarse, strict=True)
        ]
        embeddings = self._coarse_embeddings().to(fine.dtype).expand(len(fine), -1, -1)
        return (fine,), (torch.cat((*[table.to(fine.dtype) for table in coarse], embeddings), dim=1),)

    def forward(self, context: DecoderContext, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """uv_px (B, K, 2) -> h⁽⁰⁾ (B, K, D) and the tokens, L1's first, (B, K, P, D)."""
        features, tokens = self._read_fine(context.fine[0], context.cells_hw[0], uv_px)
        position = fourier_features(unit_coordinates(uv_px, *context.sensor_hw), QUERY_FREQUENCIES)
        h = self.seed(torch.cat((features, position.to(features.dtype)), dim=-1))
        if self.coarse:
            tokens.append(self._read_coarse(context.coarse[0], context.cells_hw, uv_px))
        return h, torch.cat(tokens, dim=2) if tokens else h.unsqueeze(2)[:, :, :0]

    def _read_fine(self, table: Tensor, cells_hw: tuple[int, int], uv_px: Tensor) -> tuple[Tensor, list[Tensor]]:
        """L1's feature at the query (B, K, C_1) and, in a list of at most one, its tokens (B, K, P, D)."""
        centre, tokens = self.around(table, cells_hw, uv_px)
        if tokens is None:
            return centre, []
        # In place: the gradient of GELU does not need its result.
        return centre, [tokens.add_(self.fine_embedding.to(tokens.dtype))]

    def _read_coarse(self, table: Tensor, cells_hw: tuple[tuple[int, int], ...], uv_px: Tensor) -> Tensor:
        """Tokens of the coarse levels (B, K, P, D): four corners and the embedding of each in one sum of rows."""
        rows, weights, first = [], [], 0
        for name, level in zip(self.coarse_grids, self.coarse, strict=True):
            cells = cell_coordinates(uv_px, self.strides[level]).unsqueeze(2) + getattr(self, name)
            level_rows, level_weights = border_read(cells, cells_hw[level], first)
            rows.append(level_rows)
            weights.append(level_weights)
            first += table_rows(cells_hw[level])
        rows, weights = torch.cat(rows, dim=2), torch.cat(weights, dim=2)
        embedding = torch.arange(first, first + rows.shape[2], dtype=rows.dtype, device=rows.device)
        rows = torch.cat((rows, embedding.view(1, 1, -1, 1).expand(*rows.shape[:3], 1)), dim=-1)
        return read_table(table, rows, F.pad(weights, (0, 1), value=1.0))

    def _coarse_embeddings(self) -> Tensor:
        """Level plus relative position, (P, D)."""
        counts = [len(getattr(self, name)) for name in self.coarse_grids]
        levels = [self.level_embedding[index].expand(count, -1) for index, count in enumerate(counts)]
        return torch.cat(levels) + self.position_embedding if levels else self.position_embedding


def embedding(*shape: int) -> nn.Parameter:
    """A learned vector, or several, that tells tokens apart."""
    return nn.Parameter(0.02 * torch.randn(*shape))
