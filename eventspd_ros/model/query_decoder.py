"""The query decoder: A3 once a window, B1–B5 for every query (EventSPD architecture document, §3).

    A3   precompute(): keys and values for B3, anchor features for B4, and whatever projection of a map commutes with
         the reads of B1 and B4
    B1   local_tokens.py      91 tokens around the query and the query vector h; in plan v9's form 4 tokens, of
         pooled_context.py
    B2   attention.py         h reads the local tokens, two layers
    B3   attention.py         h reads all cells of L4, two layers
         routing.py           the second one's weights route to R anchors
    B4   deformable_read.py   each anchor reads L2 … L4 where it chooses and becomes a token
    B5   attention.py         h reads local and anchor tokens, three layers; the depth code z leaves here

Every query is decoded alone: K is free, and neither the order nor the presence of other queries changes an answer
beyond rounding.

Shapes: B windows, K queries a window, D model width, H heads, E = D / H, T cells of the coarsest level, R anchors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eventspd_ros.model.attention import CellAttention, DecoderLayer, TokenDecoder, normalised
from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.deformable_read import DeformableRead
from eventspd_ros.model.heads import StddevHead
from eventspd_ros.model.local_tokens import LocalTokens
from eventspd_ros.model.pooled_context import PooledContext
from eventspd_ros.model.routing import fresh_draw, random_scores, route
from eventspd_ros.model.table_read import to_table

# Queries decoded at once, of all windows together, at most: 10,000 take no more memory than these. A CPU is fastest
# while what a chunk writes still fits the caches of its threads (256 queries on one: 7.8 to 9.2 ms in two chunks, up to
# 13.3 in one; 148: 5.2 to 6.0 in a large and a small one, 4.5 to 4.9 in one), in training (where a chunk also costs the
# tables' gradients once more) while it does not ask the system for new pages; elsewhere fewer, larger steps are better.
CHUNK_CPU, CHUNK_CPU_TRAINING, CHUNK = 192, 1024, 8192


class SharedProjections(nn.Module):
    """A3. Keys without bias (it cancels in the softmax), the anchor feature without (b_u follows)."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        dim, coarsest = config.dim, config.channels[-1]
        self.keys = nn.ModuleList(nn.Linear(coarsest, dim, bias=False) for _ in range(config.key_pairs))
        self.values = nn.ModuleList(nn.Linear(coarsest, dim) for _ in range(config.key_pairs))
        if config.anchors:
            self.anchor = nn.Linear(coarsest, dim, bias=False)  # W_g
            read = config.channels[-config.read_levels :]
            self.reads = nn.ModuleList(nn.Linear(channels, dim) for channels in read)  # W_V of B4


class CellDecoder(nn.Module):
    """B3, Eqs. 10–12."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(config.dim, CellAttention(config.dim, config.heads, config.attention_dropout))
            for _ in range(config.global_layers)
        )

    def forward(self, h: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """h (N, D), keys and values (B, layers, H, T, E) -> h (N, D) and ᾱ of Eq. 12, (B, K, T) float32.

        Keys and values of one layer serve all. ᾱ averages the last layer's weights over heads before dropout, which
        would route at random.
        """
        weights = None
        for index, layer in enumerate(self.layers):
            own = index % keys.shape[1]
            h, weights = layer(h, keys[:, own], values[:, own])
        return h, None if weights is None else weights.mean(dim=1)


class DepthDecoder(TokenDecoder):
    """B5: the layers, then the depth MLP of Eq. 25."""

    def __init__(self, config: DecoderConfig):
        super().__init__(config.dim, config.heads, config.fused_layers, config.attention_dropout)
        hidden = config.depth_expansion * config.dim
        self.depth = nn.Sequential(nn.Linear(config.dim, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def code(self, h: Tensor) -> Tensor:
        """z_q of Eq. 25: (N, D) -> (N,), float32 whatever the precision around it."""
        first = self.depth[0]
        assert isinstance(first, nn.Linear)
        with torch.autocast(h.device.type, enabled=False):
            return self.depth(h.to(first.weight.dtype))[..., 0]


class QueryDecoder(nn.Module):
    """A3 and B1–B5, one submodule a stage. Depth (A4, Eq. 26) is made of z by the model that owns the decoder."""

    def __init__(self, config: DecoderConfig, initial_stddev: float = 0.5):
        super().__init__()
        self.config = config
        self.a3 = SharedProjections(config)
        self.b1 = PooledContext(config) if config.pooled_levels else LocalTokens(config)
        self.b2 = TokenDecoder(config.dim, config.heads, config.local_layers, config.attention_dropout)
        self.b3 = CellDecoder(config)
        self.b4 = DeformableRead(config) if config.anchors else nn.Identity()
        self.b5 = DepthDecoder(config)
        self.sigma = StddevHead(config.dim, initial_stddev)

    def offset_parameters(self) -> list[nn.Parameter]:
        """Parameters of B4's offset head, which start at zero and train at a tenth of the learning rate."""
        return list(self.b4.offsets.parameters()) if isinstance(self.b4, DeformableRead) else []

    def precompute(self, levels: Sequence[Tensor], sensor_hw: tuple[int, int]) -> DecoderContext:
        """Phase A: maps (B, C_l, H_l, W_l), finest first, the last one G_t of Eq. 3 -> the context of all queries.

        sensor_hw: (height, width) in pixels. Decode under the same autocast setting as precompute.
        """
        dtype = _working_dtype(self.b1.seed.weight)
        maps = [level.to(dtype).permute(0, 2, 3, 1) for level in levels]
        cells = maps[-1].flatten(1, 2)
        fine, coarse = self.b1.tables(maps)
        anchors = reads = cells[:, :0]
        if isinstance(self.b4, DeformableRead):
            anchors = self.b4.anchor_terms(self.a3.anchor(cells))
            read = zip(self.a3.reads, maps[-self.config.read_levels :], strict=True)
            reads = torch.cat([to_table(project(features)) for project, features in read], dim=1)
        return DecoderContext(
            fine=fine,
            coarse=coarse,
            keys=self._by_head(self.a3.keys, cells),
            values=self._by_head(self.a3.values, cells),
            anchors=anchors,
            reads=reads,
            local=self.b2.fold(len(cells), dtype),
            fused=self.b5.fold(len(cells), dtype),
            cells_hw=tuple((features.shape[1], features.shape[2]) for features in maps),
            sensor_hw=sensor_hw,
        )

    def forward(self, context: DecoderContext, uv_px: Tensor, routed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Phase B: uv_px (B, K, 2) -> z of Eq. 25 and the standard deviation of log depth, both (B, K) float32.

        routed: cells (B, K, R) int64 to take as anchors in place of Eq. 12's (row·W_4 + column), for comparisons.
        A query that is not finite gives NaN; one outside the image reads the border.
        """
        windows, count, _ = uv_px.shape
        if count == 0:
            return uv_px.new_zeros(windows, 0), uv_px.new_zeros(windows, 0)
        if torch.compiler.is_compiling():  # a loop over a number not known yet cannot be compiled or exported
            return self._decode(context, uv_px, routed)
        most = max(1, self._chunk(uv_px.device.type) // windows)
        step = -(-count // -(-count // most))  # chunks of one size, as each costs half a millisecond besides
        parts = []
        for start in range(0, count, step):
            some = slice(start, start + step)
            parts.append(self._decode(context, uv_px[:, some], None if routed is None else routed[:, some]))
        z, stddev = zip(*parts, strict=True)
        return torch.cat(z, dim=1), torch.cat(stddev, dim=1)

    def _chunk(self, device: str) -> int:
        if device != "cpu":
            return CHUNK
        return CHUNK_CPU_TRAINING if self.training else CHUNK_CPU * min(torch.get_num_threads(), 2)

    def _decode(self, context: DecoderContext, uv_px: Tensor, routed: Tensor | None) -> tuple[Tensor, Tensor]:
        """B1–B5 for one chunk of queries: (B, K, 2) -> (B, K) twice."""
        shape = uv_px.shape[:2]
        h, tokens = self.b1(context, uv_px)
        h = h.flatten(0, 1).to(self.b1.seed.weight.dtype)
        tokens = normalised(tokens.flatten(0, 1))
        h = self.b2(h, context.local, tokens)
        h, attention = self.b3(h, context.keys, context.values)
        if self.config.anchors:
            scores = attention if self.config.routing == "attention" else self._lots(context, uv_px)
            anchors = self._anchor_tokens(context, h.view(*shape, -1), uv_px, scores, routed)
            tokens = torch.cat((tokens, normalised(anchors)), dim=1)
        h = self.b5(h, context.fused, tokens)
        return self.b5.code(h).view(shape), self.sigma(h).view(shape)

    def _lots(self, context: DecoderContext, uv_px: Tensor) -> Tensor:
        """Scores (B, K, T) that route at random: in training others at each call, else always the same."""
        draw = fresh_draw(len(uv_px), uv_px.device) if self.training else 0
        return random_scores(uv_px, math.prod(context.cells_hw[-1]), draw)

    def _anchor_tokens(
        self, context: DecoderContext, h: Tensor, uv_px: Tensor, scores: Tensor, routed: Tensor | None
    ) -> Tensor:
        """Routing by scores (B, K, T), B4 and the type embedding of Eq. 21: tokens (B·K, R, D)."""
        if routed is None:
            routed = route(scores, self.config.anchor_count(scores.shape[-1]))
        read = self.b4(context, h, uv_px, routed)
        if self.training:
            # Straight-through: 1 − sg(ᾱ_r) + ᾱ_r, summed so that the factor is exactly one. Lots learn nothing by it.
            chosen = scores.gather(-1, routed)
            read = read * (1 + (chosen - chosen.detach())).unsqueeze(-1).to(read.dtype)
        return (read + self.b4.embedding.to(read.dtype)).flatten(0, 1)

    def _by_head(self, projections: nn.ModuleList, cells: Tensor) -> Tensor:
        """Cells (B, T, C) through every layer's projection: (B, layers, H, T, E)."""
        if not projections:
            return cells[:, :0]
        projected = torch.stack([project(cells) for project in projections], dim=1)
        return projected.unflatten(-1, (self.config.heads, -1)).transpose(2, 3).contiguous()


def _working_dtype(parameter: Tensor) -> torch.dtype:
    """What matrix products run in here: autocast's type where it is on, else the parameters'."""
    device = parameter.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else parameter.dtype
