"""The query decoder as the architecture document writes it: the oracle for eventspd_ros.model.query_decoder.

Every token is projected, every sample written, every concatenation made; 51.1 M multiply-accumulates a query. Read it
beside the document's B1–B5: equation numbers stand at the lines. It takes the parameters of a QueryDecoder by name, so
both forms can be run, and differentiated, on the very same tensors.

Shapes: B windows, K queries a window, N = B·K, T tokens, D model width, H heads, E = D / H, R anchors, L levels, M
samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.geometry import cell_centres_px, sample_grid


class SlowDecoder:
    """parameters: dict(decoder.named_parameters()) or a state_dict. training switches attention dropout on; random
    anchors stay those of an evaluation."""

    def __init__(self, parameters: Mapping[str, Tensor], config: DecoderConfig, training: bool = False):
        self.parameters, self.config, self.training = parameters, config, training

    def __call__(
        self, levels: Sequence[Tensor], sensor_hw: tuple[int, int], uv_px: Tensor, routed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps (B, C_l, H_l, W_l) and queries (B, K, 2) -> z of Eq. 25 and the deviation of log depth, (B, K) each."""
        h, tokens, scores = self.before_b4(levels, sensor_hw, uv_px)
        if self.config.anchors:
            if routed is None:
                routed = self.route(scores)
            tokens = self.b4(h, tokens, scores, routed, levels, sensor_hw, uv_px)
        h = self.b5(h, tokens)
        hidden = F.gelu(self.linear("b5.depth.0", h))
        z = self.linear("b5.depth.2", hidden)  # Eq. 25
        stddev = F.softplus(self.linear("sigma", h)) + 0.01
        return z.view(uv_px.shape[:2]), stddev.view(uv_px.shape[:2])

    def before_b4(self, levels, sensor_hw, uv_px) -> tuple[Tensor, Tensor, Tensor | None]:
        """B1–B3: h (N, D), tokens (N, T, D), and what routes: ᾱ of Eq. 12, or lots, (B, K, cells)."""
        h, tokens = self.b1(levels, sensor_hw, uv_px)
        h, scores = self.b2(h, tokens), None
        if self.config.global_layers:
            h, scores = self.b3(h, levels[-1])
        if self.config.routing == "random":
            scores = lots(uv_px, levels[-1].shape[-2] * levels[-1].shape[-1])
        return h, tokens, scores

    # ---- B1: token construction, Eq. 6

    def b1(self, levels: Sequence[Tensor], sensor_hw: tuple[int, int], uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """-> h⁽⁰⁾ (N, D) and the tokens of Eq. 6, (N, T, D)."""
        config = self.config
        height, width = sensor_hw
        q = torch.stack(((uv_px[..., 0] + 0.5) / width, (uv_px[..., 1] + 0.5) / height), dim=-1)
        if config.pooled_levels:
            return self.b1_pooled(levels, uv_px, q)
        centre, around = self.neighbourhood("b1", levels, uv_px, 0)
        h = self.linear("b1.seed", torch.cat((centre, fourier(q, 8)), dim=-1))
        tokens = [h.unsqueeze(2)[:, :, :0]]
        if around.shape[2]:
            tokens.append(around + self.parameters["b1.fine_embedding"])
        positions = iter(self.parameters["b1.position_embedding"])
        coarse = [level for level in range(1, len(levels)) if config.local_radius[level] >= 0]
        for index, level in enumerate(coarse):
            grid = torch.tensor(square(config.local_radius[level])).to(uv_px)
            f = self.border_read(levels[level], uv_px, level, grid)
            if config.channels[level] != config.dim:
                f = self.linear(f"b1.projections.{index}", f)
            relative = torch.stack([next(positions) for _ in range(len(grid))])
            tokens.append(f + self.parameters["b1.level_embedding"][index] + relative)
        return h.flatten(0, 1), torch.cat(tokens, dim=2).flatten(0, 1)

    def b1_pooled(self, levels: Sequence[Tensor], uv_px: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """B1 of plan v9, §4.4: q (B, K, 2) the normalised queries -> as b1()."""
        pooled, centres = [], []
        for level in range(len(levels)):
            if level < self.config.pooled_levels:
                centre, around = self.neighbourhood(f"b1.around.{level}", levels, uv_px, level)
                pooled.append(self.linear(f"b1.aggregates.{level}", around.max(dim=2).values))  # l_q, l_q^int
            else:
                centre = self.border_read(levels[level], uv_px, level, uv_px.new_zeros(1, 2))[:, :, 0]
            centres.append(centre)
        rest = centres[self.config.pooled_levels :]  # c_q of L2, L3, L4
        point = self.linear("b1.seed", torch.cat((centres[0], rest[0], fourier(q, 8), *pooled), dim=-1))
        h = self.norm("b1.seed_norm", self.linear("b1.seed_out", F.gelu(point)))
        for index, c in enumerate(rest):
            rest[index] = c if c.shape[-1] == self.config.dim else self.linear(f"b1.projections.{index}", c)
        tokens = torch.stack((pooled[0], *rest), dim=2) + self.parameters["b1.embedding"]
        return h.flatten(0, 1), tokens.flatten(0, 1)

    def neighbourhood(self, name: str, levels: Sequence[Tensor], uv_px: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """The feature at the query (B, K, C) and h_δ of the grid without its centre and of the learned offsets."""
        config, reach = self.config, self.config.adaptive_reach[level]
        centre = self.border_read(levels[level], uv_px, level, uv_px.new_zeros(1, 2))[:, :, 0]  # f_q
        offsets = uv_px.new_zeros(*uv_px.shape[:2], 0, 2)
        if config.local_radius[level] > 0:
            grid = [offset for offset in square(config.local_radius[level]) if offset != (0, 0)]
            offsets = torch.tensor(grid).to(uv_px).expand(*uv_px.shape[:2], -1, -1)
        if config.adaptive_points:
            adaptive = reach * torch.tanh(self.linear(f"{name}.offsets", centre)).unflatten(-1, (-1, 2))
            offsets = torch.cat((offsets, adaptive), dim=2)
        if not offsets.shape[2]:
            return centre, offsets
        f = self.border_read(levels[level], uv_px, level, offsets)
        return centre, F.gelu(self.linear(f"{name}.fine", torch.cat((f, fourier(offsets / reach, 4)), dim=-1)))

    def border_read(self, features: Tensor, uv_px: Tensor, level: int, offsets: Tensor) -> Tensor:
        """(B, C, H_l, W_l) at queries (B, K, 2) plus offsets (..., P, 2) in cells -> (B, K, P, C)."""
        stride = self.config.strides[level]
        grid = sample_grid(uv_px.unsqueeze(2), stride, tuple(features.shape[-2:]), offsets)
        return F.grid_sample(features, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)

    # ---- B2: local cross-attention, Eqs. 7–9

    def b2(self, h: Tensor, tokens: Tensor) -> Tensor:
        return self.token_layers("b2", self.config.local_layers, h, tokens)

    def token_layers(self, stage: str, layers: int, h: Tensor, tokens: Tensor) -> Tensor:
        """h (N, D), tokens (N, T, D): Eqs. 7–9 for B2, 22–24 for B5."""
        if layers:
            tokens = self.norm(f"{stage}.norm_tokens", tokens)  # LN_kv
        for index in range(layers):
            layer = f"{stage}.layers.{index}"
            k = self.linear(f"{layer}.attention.key", tokens)  # Eq. 7, Eq. 22
            v = self.linear(f"{layer}.attention.value", tokens)
            q = self.linear(f"{layer}.attention.query", self.norm(f"{layer}.norm_query", h))
            scores = torch.einsum("nhe,nthe->nht", self.by_head(q), self.by_head(k)) * self.width**-0.5
            weights = F.dropout(scores.softmax(dim=-1), self.config.attention_dropout, self.training)
            read = torch.einsum("nht,nthe->nhe", weights, self.by_head(v)).flatten(1)
            h = h + self.linear(f"{layer}.attention.out", read)  # Eq. 8, Eq. 23
            h = h + self.feed_forward(layer, h)  # Eq. 9, Eq. 24
        return h

    # ---- B3: global cross-attention and routing, Eqs. 10–12

    def b3(self, h: Tensor, coarsest: Tensor) -> tuple[Tensor, Tensor]:
        """h (N, D), G_t (B, C_4, H_4, W_4) -> h (N, D) and ᾱ of Eq. 12, (B, K, T)."""
        cells = coarsest.flatten(2).transpose(1, 2)
        for index in range(self.config.global_layers):
            layer = f"b3.layers.{index}"
            own = 0 if self.config.shared_keys else index
            k = self.by_head(self.linear(f"a3.keys.{own}", cells))  # A3
            v = self.by_head(self.linear(f"a3.values.{own}", cells))
            q = self.linear(f"{layer}.attention.query", self.norm(f"{layer}.norm_query", h))
            q = self.by_head(q).unflatten(0, (len(cells), -1))
            scores = torch.einsum("bkhe,bthe->bhkt", q, k) * self.width**-0.5
            alpha = scores.softmax(dim=-1)
            weights = F.dropout(alpha, self.config.attention_dropout, self.training)
            read = torch.einsum("bhkt,bthe->bkhe", weights, v).reshape(h.shape)
            h = h + self.linear(f"{layer}.attention.out", read)  # Eq. 10
            h = h + self.feed_forward(layer, h)  # Eq. 11
        return h, alpha.mean(dim=1)  # Eq. 12

    def route(self, scores: Tensor) -> Tensor:
        """Eq. 12's Top-R, ties to the lower index: (B, K, T) -> (B, K, R)."""
        count = self.config.anchor_count(scores.shape[-1])
        return scores.sort(dim=-1, descending=True, stable=True).indices[..., :count]

    # ---- B4: deformable multi-scale read, Eqs. 13–21

    def b4(self, h, tokens, scores, routed, levels, sensor_hw, uv_px) -> Tensor:
        """-> T_fused of Eq. 21, (N, T + R, D)."""
        config, (height, width) = self.config, sensor_hw
        windows, queries, anchors = routed.shape
        anchors_px = cell_centres_px(config.strides[-1], tuple(levels[-1].shape[-2:]), uv_px.device).to(uv_px)[routed]
        delta = anchors_px - uv_px.unsqueeze(2)  # Eq. 13
        phi = fourier(torch.stack((delta[..., 0] / width, delta[..., 1] / height), dim=-1), 8)
        g = self.linear("a3.anchor", levels[-1].flatten(2).transpose(1, 2))
        g_r = torch.stack([cells[chosen] for cells, chosen in zip(g, routed, strict=True)])
        state = h.view(windows, queries, 1, -1).expand(-1, -1, anchors, -1)
        u = self.norm("b4.norm", F.gelu(self.linear("b4.condition", torch.cat((state, g_r, phi), dim=-1))))  # Eq. 14
        first = len(levels) - config.read_levels
        shape = (config.heads, config.read_levels, config.samples)
        offsets = self.linear("b4.offsets", u).unflatten(-1, (*shape, 2))  # Eq. 15
        beta = self.linear("b4.weights", u).unflatten(-1, shape)  # Eq. 16
        a = beta.flatten(-2).softmax(dim=-1).view(beta.shape)  # Eq. 19, left
        read = sum(
            self.anchor_read(levels[first + i], first + i, anchors_px, offsets[..., i, :, :], a[..., i, :])
            for i in range(config.read_levels)
        )
        h_r = self.linear("b4.out", read)  # Eq. 20
        chosen = scores.gather(-1, routed)
        h_r = h_r * (1 - chosen.detach() + chosen).unsqueeze(-1)  # straight-through estimator
        return torch.cat((tokens, (h_r + self.parameters["b4.embedding"]).flatten(0, 1)), dim=1)  # Eq. 21

    def anchor_read(self, features: Tensor, level: int, anchors_px: Tensor, offsets: Tensor, a: Tensor) -> Tensor:
        """One level's share of Eqs. 17–19: offsets (B, K, R, H, M, 2) in cells, a (B, K, R, H, M) -> (B, K, R, D)."""
        windows, queries, anchors, heads, samples = a.shape
        rows, columns = features.shape[-2:]
        own = level - len(self.config.strides) + self.config.read_levels
        projected = self.linear(f"a3.reads.{own}", features.permute(0, 2, 3, 1))  # A3: W_V
        by_head = projected.reshape(windows, rows, columns, heads, -1).permute(0, 3, 4, 1, 2).flatten(0, 1)
        by_head = by_head.contiguous(memory_format=torch.channels_last)
        grid = sample_grid(
            anchors_px[:, :, :, None, None], self.config.strides[level], (rows, columns), offsets
        )  # Eq. 17
        grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(windows * heads, queries * anchors, samples, 2)
        v = F.grid_sample(by_head, grid, padding_mode="zeros", align_corners=False)  # Eq. 18: (B·H, E, K·R, M)
        v = v.view(windows, heads, -1, queries, anchors, samples)
        return torch.einsum("bkrhm,bhekrm->bkrhe", a, v).flatten(-2)  # Eq. 19, right

    # ---- B5: fused cross-attention, Eqs. 22–24

    def b5(self, h: Tensor, tokens: Tensor) -> Tensor:
        return self.token_layers("b5", self.config.fused_layers, h, tokens)

    # ---- layers

    @property
    def width(self) -> int:
        return self.config.dim // self.config.heads

    def by_head(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.config.heads, self.width))

    def linear(self, name: str, values: Tensor) -> Tensor:
        return F.linear(values, self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias"))

    def norm(self, name: str, values: Tensor) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return F.layer_norm(values, values.shape[-1:], weight, bias, eps=1e-6)

    def feed_forward(self, layer: str, h: Tensor) -> Tensor:
        hidden = F.gelu(self.linear(f"{layer}.ffn.0", self.norm(f"{layer}.norm_ffn", h)))
        return self.linear(f"{layer}.ffn.2", hidden)


def square(radius: int) -> list[tuple[int, int]]:
    """Offsets (x, y) of a (2r + 1)² grid, row by row."""
    return [(x, y) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1)]


def fourier(values: Tensor, frequencies: int) -> Tensor:
    """φ_n(·): for x, then y: sin(2^l·π·x) for l = 0 … n − 1, then the cosines; (..., 2) -> (..., 4n)."""
    encoded = []
    for axis in range(2):
        for function in (torch.sin, torch.cos):
            encoded += [function(2**power * math.pi * values[..., axis]) for power in range(frequencies)]
    return torch.stack(encoded, dim=-1)


def lots(uv_px: Tensor, cells: int) -> Tensor:
    """What random anchors are drawn by, a query and a cell at a time: (B, K, 2) -> (B, K, cells)."""
    scores = []
    for u, v in uv_px.reshape(-1, 2).tolist():
        query = scrambled(scrambled(math.floor(u + 0.5)) + math.floor(v + 0.5))
        scores.append([(scrambled(query + cell) >> 8) / 2**24 for cell in range(cells)])
    return torch.tensor(scores).to(uv_px).view(*uv_px.shape[:2], cells)


def scrambled(value: int) -> int:
    """Mueller's hash of 32 bits."""
    value %= 2**32
    for _ in range(2):
        value = ((value ^ (value >> 16)) * 0x45D9F3B) % 2**32
    return value ^ (value >> 16)
