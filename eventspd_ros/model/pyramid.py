"""A2: the wide pyramid, from F³ features to four levels of maps (architecture document §3, A2).

    stem   Conv k3 + LN
    L1     ConvNeXt V2 k7      fine texture
    L2     ConvNeXt V2 k13     local structure
    L3     shifted windows     mid-range context
    L4     full self-attention the whole scene; its tokens carry a fixed 2-D sin-cos position

`residual` takes dense 3×3 residual blocks for L1 to L3 and group norm for LN: they learn far faster from little data.
Between levels: Conv k2 s2 + LN, which floors (45 → 22); the stem's k3 s2 p1 and A1's strides ceil (173 → 87).
Shapes: B windows, C_l channels and (H_l, W_l) cells of level l, N = H_4·W_4 tokens.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypedDict

import torch
from torch import Tensor, nn

from eventspd_ros.model.blocks import (
    ConvNeXtBlock,
    ConvNorm,
    LayerNorm2d,
    ResidualBlock,
    SelfAttentionBlock,
    SwinBlock,
    init_weights,
)
from eventspd_ros.model.config import EncoderConfig, ImageConfig, PyramidConfig

LEVELS = 4


class Pyramid(nn.Module):
    """F_t of A1 -> L1…L4, each at twice the stride of the one before."""

    def __init__(self, config: PyramidConfig, in_channels: int):
        super().__init__()
        self.config = config
        channels = config.channels
        *_, blocks4 = config.blocks
        self.l4 = nn.Sequential(*(SelfAttentionBlock(channels[3], config.heads[1]) for _ in range(blocks4)))
        if config.residual:
            self.l4.apply(init_weights)
            self.stem: nn.Module = ConvNorm(in_channels, channels[0], 3, config.stem_stride)
            self.downs = nn.ModuleList(ConvNorm(*pair, 2, 2) for pair in pairwise(channels))
            self.l1, self.l2, self.l3 = (
                nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
                for width, count in zip(channels[:3], config.blocks[:3], strict=True)
            )
        else:
            self._build_wide(in_channels)
            self.apply(init_weights)

    def _build_wide(self, in_channels: int) -> None:
        """L1 to L3 as the document has them."""
        config, (c1, c2, c3, _) = self.config, self.config.channels
        n1, n2, n3, _ = config.blocks
        k1, k2 = config.kernels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, c1, 3, config.stem_stride, padding=1), LayerNorm2d(c1))
        self.downs = nn.ModuleList(_down(*pair) for pair in pairwise(config.channels))
        self.l1 = nn.Sequential(*(ConvNeXtBlock(c1, k1) for _ in range(n1)))
        self.l2 = nn.Sequential(*(ConvNeXtBlock(c2, k2) for _ in range(n2)))
        shifts = (0, config.window // 2)
        self.l3 = nn.Sequential(*(SwinBlock(c3, config.heads[0], config.window, shifts[i % 2]) for i in range(n3)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> L1…L4, each (B, C_l, H_l, W_l)."""
        l1 = self.l1(self.stem(features))
        l2 = self.l2(self.downs[0](l1))
        l3 = self.downs[1](l2)
        l3 = self.l3(l3) if self.config.residual else self.l3(l3.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return l1, l2, l3, self._top(l3)

    def _top(self, l3: Tensor) -> Tensor:
        """L4 of L3, (B, C_3, H_3, W_3) -> (B, C_4, H_4, W_4)."""
        l4 = self.downs[2](l3)
        rows, columns = l4.shape[-2:]
        tokens = l4.flatten(2).transpose(1, 2)
        tokens = tokens + position_code(rows, columns, tokens.shape[-1], tokens.device).to(tokens.dtype)
        return self.l4(tokens).unflatten(1, (rows, columns)).permute(0, 3, 1, 2)


def _down(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out_channels, 2, stride=2), LayerNorm2d(out_channels))


def position_code(rows: int, columns: int, channels: int, device: torch.device) -> Tensor:
    """Fixed sin-cos code of every cell, (rows·columns, C), at wavelengths from 2π to 2π·10,000 cells.

    A quarter of the channels each for sin x, cos x, sin y and cos y, x and y counted in cells.
    """
    frequency = torch.exp(torch.arange(channels // 4, device=device) * (-4 * math.log(10_000.0) / channels))
    x = torch.arange(columns, device=device)[:, None] * frequency
    y = torch.arange(rows, device=device)[:, None] * frequency
    across = torch.cat((x.sin(), x.cos()), dim=-1).expand(rows, -1, -1)
    down = torch.cat((y.sin(), y.cos()), dim=-1)[:, None].expand(-1, columns, -1)
    return torch.cat((across, down), dim=-1).flatten(0, 1)


class Levels(TypedDict):
    """Two of DecoderConfig's fields. strides: pixels a cell."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]


def decoder_levels(stem: EncoderConfig | ImageConfig, pyramid: PyramidConfig, with_stem: bool = False) -> Levels:
    """The levels that a decoder reads: L1 to L4, and ahead of them, with_stem, A1's own map, as in plan v9."""
    finest = stem.stride * pyramid.stem_stride
    strides, channels = tuple(finest * 2**level for level in range(LEVELS)), pyramid.channels
    if with_stem:
        strides, channels = (stem.stride, *strides), (stem.channels, *channels)
    return Levels(channels=channels, strides=strides)


def level_cells(height: int, width: int, config: PyramidConfig, encoder_stride: int) -> tuple[tuple[int, int], ...]:
    """(H_l, W_l) of L1…L4 for a sensor in pixels: A1 and the stem ceil, every later level floors."""
    sides = []
    for side in (height, width):
        features = math.ceil(side / encoder_stride)
        finest = math.ceil(features / config.stem_stride)
        sides.append([finest, finest // 2, finest // 4, finest // 8])
    if min(sides[0][3], sides[1][3]) < 1:
        smallest = encoder_stride * config.stem_stride * 8
        raise ValueError(f"sensor of {width}x{height} pixels: this model needs at least {smallest} pixels a side")
    return tuple(zip(*sides, strict=True))
