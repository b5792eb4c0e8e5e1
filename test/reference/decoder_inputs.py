"""Feature pyramids, queries and weights that make a test of the decoder worth its time."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.presets import preset_config
from eventspd_ros.model.query_decoder import QueryDecoder

SMALL = DecoderConfig(
    dim=32, heads=4, channels=(16, 24, 32, 40), local_radius=(1, 1, 1, 1), adaptive_points=3, anchors=8, samples=2
)
# Research plan v9's form of every stage, narrow.
POOLED = replace(
    preset_config("eventspd_v9").decoder,
    dim=32, heads=4, channels=(16, 12, 24, 32, 40), adaptive_points=3, anchors=8, samples=2,
)  # fmt: skip

# Tier 1 of its ablations: no global attention and random anchors (1), no deformable read (2), the centres alone (3).
RANDOM = replace(SMALL, global_layers=0, routing="random")
UNREAD = replace(SMALL, anchors=0)
CENTRES = replace(SMALL, local_radius=(-1, 0, 0, 0), adaptive_points=0)


def spread_decoder(config: DecoderConfig, seed: int = 0) -> QueryDecoder:
    """A decoder as training leaves it rather than as it starts: peaked attention, offsets of cells, biases."""
    torch.manual_seed(seed)
    decoder = QueryDecoder(config)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "attention.query" in name or "attention.key" in name or "a3.keys" in name:
                parameter.mul_(2)
            elif "embedding" in name:
                parameter.mul_(15)
        if config.anchors:
            decoder.b4.offsets.weight.add_(0.05 * torch.randn_like(decoder.b4.offsets.weight))
            decoder.b4.offsets.bias.mul_(20)
        decoder.b5.depth[-1].weight.mul_(3)
    return decoder.eval()


def cells_of(config: DecoderConfig, sensor_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """(H_l, W_l) of every level, rounding up, as k3 s2 p1 convolutions do."""
    return [(-(-sensor_hw[0] // stride), -(-sensor_hw[1] // stride)) for stride in config.strides]


def pyramid(config: DecoderConfig, sensor_hw: tuple[int, int], windows: int = 1, seed: int = 1) -> list[Tensor]:
    """Maps (B, C_l, H_l, W_l) of unit scale that vary over about three cells, as normalised features do."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for channels, size in zip(config.channels, cells_of(config, sensor_hw), strict=True):
        coarse = torch.randn(windows, channels, size[0] // 3 + 3, size[1] // 3 + 3, generator=generator)
        maps.append(1.2 * F.interpolate(coarse, size=size, mode="bicubic", align_corners=True))
    return maps


def queries(sensor_hw: tuple[int, int], count: int, windows: int = 1, seed: int = 2) -> Tensor:
    """Sub-pixel queries (B, K, 2), a few of them just outside the image, the first four at its corners."""
    generator = torch.Generator().manual_seed(seed)
    height, width = sensor_hw
    size = torch.tensor([width, height], dtype=torch.float32)
    uv_px = (torch.rand(windows, count, 2, generator=generator) * 1.04 - 0.02) * size
    corners = torch.tensor([[-0.5, -0.5], [width - 1.0, 0.0], [0.0, height - 1.0], [width - 0.51, height - 0.51]])
    uv_px[:, : min(4, count)] = corners[:count]
    return uv_px
