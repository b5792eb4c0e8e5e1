"""Baseline C: what local event features alone can say. F³ features, a bilinear read at the keypoint, a small MLP.

No pyramid, no memory, no global context. It is the cheapest model and the floor the others are measured against.
Shapes: B windows, K queries, C feature channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS, init_weights
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.geometry import bilinear_read
from eventspd_ros.model.heads import StddevHead
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.stages import Phase, Stage


@dataclass(frozen=True)
class MinimalTensors:
    """The cache: F³ features (B, C, H/s, W/s)."""

    features: Tensor


class MinimalModel(PointDepthModel):
    """F³ → bilinear lookup → LN → Linear → GELU → log depth and its standard deviation."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        if config.head.parametrization != "log":
            raise ValueError(
                f"head.parametrization={config.head.parametrization!r}: the minimal model knows only 'log'"
            )
        channels = self.encoder.channels
        self.hidden = nn.Sequential(nn.LayerNorm(channels, eps=EPS), nn.Linear(channels, config.head.hidden), nn.GELU())
        self.log_depth = nn.Linear(config.head.hidden, 1)
        self.stddev = StddevHead(config.head.hidden, config.head.initial_stddev)
        self.hidden.apply(init_weights)
        self.log_depth.apply(init_weights)
        nn.init.constant_(self.log_depth.bias, math.log(config.head.median_depth_m))

    def stages(self) -> dict[str, Stage]:
        """As PointDepthModel.stages()."""
        head = nn.ModuleList([self.hidden, self.log_depth])
        return super().stages() | {"head": Stage(head, Phase.B), "sigma": Stage(self.stddev, Phase.B)}

    def phase_a(self, field: Tensor, memory: Tensor | None = None) -> tuple[MinimalTensors, None]:
        """Event field (B, 8, H, W) -> features."""
        return MinimalTensors(self.encoder(field).to(field.dtype)), None

    def phase_b(self, tensors: MinimalTensors, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, K, 2) in pixels -> canonical depth and standard deviation, (B, K) float32, metres."""
        features = bilinear_read(tensors.features, uv_px, self.config.stem.stride)
        hidden = self.hidden(features).float()
        with torch.autocast(hidden.device.type, enabled=False):
            depth = torch.exp(self.log_depth(hidden)[..., 0])
        return depth, depth * self.stddev(hidden) * self.config.head.temperature
