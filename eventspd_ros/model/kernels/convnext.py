"""A ConvNeXt V2 block in two passes around the norm of GRN, which needs the whole map.

    first    depthwise k×k → LN, written; MLP's first layer → GELU, of which only Σ squares by channel are kept
    second   MLP's first layer → GELU again, scaled by GRN → second layer → + x

The hidden tensor, four times the width of the map, is computed twice and never written: on a GPU the map's bytes cost
more than these products. Maps are channels-last; products take the type of the map and add up in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eventspd_ros.model.blocks import EPS, ConvNeXtBlock
from eventspd_ros.model.kernels.product import INTERPRETED, product, rounded

CELLS, HIDDEN = 64, 32  # cells of a row and hidden channels that a program takes at once


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def layer_norm(y, inside, gamma, beta, channel, eps, C: tl.constexpr):
    """LN of y (cells, CP) float32 over the C channels that are inside; the others are 0."""
    centred = tl.where(inside[None, :], y - (tl.sum(y, 1) / C)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / C + eps)
    y = centred * scale[:, None] * tl.load(gamma + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
    return y + tl.load(beta + channel, mask=inside, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _first(
    x, taps, tap_bias, gamma, beta, w1, b1, normed, squares, rows, columns, tiles, eps,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    tile, row, batch = tl.program_id(0) % tiles, tl.program_id(0) // tiles % rows, tl.program_id(0) // (tiles * rows)
    column = tile * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, CP)
    inside = channel < C
    map_start = (batch * rows).to(tl.int64) * columns * C
    y = tl.zeros((BLOCK, CP), tl.float32)
    for tap_row in range(K):
        source_row = row + tap_row - K // 2
        for tap_column in range(K):
            source = column + tap_column - K // 2
            there = (source >= 0) & (source < columns) & (source_row >= 0) & (source_row < rows)
            at = map_start + (source_row * columns + source)[:, None] * C + channel[None, :]
            value = tl.load(x + at, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)
            tap = tl.load(taps + (tap_row * K + tap_column) * C + channel, mask=inside, other=0.0).to(tl.float32)
            y += value * tap[None, :]
    y += tl.load(tap_bias + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
    real = column < columns
    at = map_start + (row * columns + column)[:, None] * C + channel[None, :]
    y = rounded(layer_norm(y, inside, gamma, beta, channel, eps, C), normed, WIDE)
    tl.store(normed + at, y, mask=real[:, None] & inside[None, :])
    for start in range(0, H, STEP):
        hidden = start + tl.arange(0, STEP)
        used = hidden < H
        weight = tl.load(w1 + channel[:, None] * H + hidden[None, :], mask=inside[:, None] & used[None, :], other=0.0)
        bias = tl.load(b1 + hidden, mask=used, other=0.0).to(tl.float32)
        value = _gelu(product(y, weight, WIDE) + bias[None, :])
        value = tl.where(real[:, None] & used[None, :], value, 0.0)
        tl.atomic_add(squares + batch * H + hidden, tl.sum(value * value, 0), mask=used)


@triton.jit
def _second(
    x, normed, squares, w1, b1, grn_gamma, grn_beta, w2, b2, out, cells, tiles, eps,
    C: tl.constexpr, CP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    tile, batch = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    cell = tile * BLOCK + tl.arange(0, BLOCK)
    channel, every = tl.arange(0, CP), tl.arange(0, HP)
    inside = channel < C
    mask = (cell < cells)[:, None] & inside[None, :]
    at = (batch * cells).to(tl.int64) * C + cell[:, None] * C + channel[None, :]
    y = tl.load(normed + at, mask=mask, other=0.0)
    mean = tl.sum(tl.sqrt(tl.load(squares + batch * H + every, mask=every < H, other=0.0)), 0) / H
    total = tl.zeros((BLOCK, CP), tl.float32)
    for start in range(0, H, STEP):
        hidden = start + tl.arange(0, STEP)
        used = hidden < H
        weight = tl.load(w1 + channel[:, None] * H + hidden[None, :], mask=inside[:, None] & used[None, :], other=0.0)
        bias = tl.load(b1 + hidden, mask=used, other=0.0).to(tl.float32)
        norm = tl.sqrt(tl.load(squares + batch * H + hidden, mask=used, other=0.0))
        scale = 1.0 + tl.load(grn_gamma + hidden, mask=used, other=0.0).to(tl.float32) * norm / (mean + eps)
        shift = tl.load(grn_beta + hidden, mask=used, other=0.0).to(tl.float32)
        value = _gelu(product(y, weight, WIDE) + bias[None, :]) * scale[None, :] + shift[None, :]
        weight = tl.load(w2 + hidden[:, None] * C + channel[None, :], mask=used[:, None] & inside[None, :], other=0.0)
        total += product(rounded(value, w2, WIDE), weight, WIDE)
    total += tl.load(b2 + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
    total += tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, rounded(total, out, WIDE), mask=mask)


class FusedConvNeXt:
    """A block's forward. Its weights are laid out once for the kernels, in the type given."""

    def __init__(self, block: ConvNeXtBlock, dtype: torch.dtype):
        channels, _, kernel, _ = block.dwconv.weight.shape
        self.channels, self.kernel, self.hidden, self.dtype = channels, kernel, block.pwconv1.out_features, dtype
        with torch.no_grad():
            self.taps = block.dwconv.weight[:, 0].permute(1, 2, 0).to(dtype).contiguous()  # (k, k, C)
            self.w1 = block.pwconv1.weight.t().to(dtype).contiguous()  # (C, H)
            self.w2 = block.pwconv2.weight.t().to(dtype).contiguous()  # (H, C)
        self.block = block

    @torch.compiler.disable  # a break in the graph costs nothing once it is captured
    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), channels-last, in the type given."""
        block, channels = self.block, self.channels
        cells = x.permute(0, 2, 3, 1).to(self.dtype).contiguous()
        batch, rows, columns, _ = cells.shape
        normed, out = torch.empty_like(cells), torch.empty_like(cells)
        squares = torch.zeros(batch, self.hidden, device=x.device)
        wide = triton.next_power_of_2(max(channels, 16))
        tiles = triton.cdiv(columns, CELLS)
        _first[(batch * rows * tiles,)](
            cells, self.taps, block.dwconv.bias, block.norm.weight, block.norm.bias, self.w1, block.pwconv1.bias,
            normed, squares, rows, columns, tiles, EPS,
            C=channels, CP=wide, K=self.kernel, H=self.hidden, BLOCK=CELLS, STEP=HIDDEN, WIDE=INTERPRETED,
        )  # fmt: skip
        tiles = triton.cdiv(rows * columns, CELLS)
        _second[(batch * tiles,)](
            cells, normed, squares, self.w1, block.pwconv1.bias, block.grn.gamma, block.grn.beta, self.w2,
            block.pwconv2.bias, out, rows * columns, tiles, EPS,
            C=channels, CP=wide, H=self.hidden, HP=triton.next_power_of_2(self.hidden), BLOCK=CELLS, STEP=HIDDEN,
            WIDE=INTERPRETED,
        )  # fmt: skip
        return out.permute(0, 3, 1, 2)
