"""How a code becomes canonical depth and an uncertainty, and where both start before training.

Shapes: B windows, K queries, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STDDEV_FLOOR = 0.01
INVERSE_DEPTH_FLOOR = 1e-6


def inverse_softplus(value: float) -> float:
    """The x with softplus(x) = value."""
    return value + math.log(-math.expm1(-value))


class StddevHead(nn.Linear):
    """Standard deviation of log depth: s = softplus(w·h + b) + 0.01; depth_stddev = depth·s."""

    def __init__(self, channels: int, initial_stddev: float = 0.5):
        super().__init__(channels, 1)
        self.initial_stddev = initial_stddev
        self.start()

    def start(self) -> None:
        """Small weights and the bias that answers initial_stddev."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.constant_(self.bias, inverse_softplus(self.initial_stddev - STDDEV_FLOOR))

    def forward(self, h: Tensor) -> Tensor:
        """(..., C) -> (...), in float32 whatever the precision around it."""
        with torch.autocast(h.device.type, enabled=False):
            return F.softplus(super().forward(h.to(self.weight.dtype))[..., 0]) + STDDEV_FLOOR


class SharedScale(nn.Module):
    """Standard deviation of the log scale that all depths of a window share, from pooled L4: how well the picture as a
    whole tells its size."""

    def __init__(self, channels: int, initial_stddev: float):
        super().__init__()
        self.hidden = nn.Linear(2 * channels, channels)
        self.stddev = StddevHead(channels, initial_stddev)

    def forward(self, level4: Tensor) -> Tensor:
        """G_t (B, C, H, W) -> (B,)."""
        with torch.autocast(level4.device.type, enabled=False):
            level4 = level4.to(self.hidden.weight.dtype)
            pooled = torch.cat((level4.mean(dim=(2, 3)), level4.amax(dim=(2, 3))), dim=-1)
            return self.stddev(F.gelu(self.hidden(pooled)))


class WindowCalibration(nn.Module):
    """A4: a scale and a shift for the whole window, from mean-pooled L4 (Eqs. 4–5)."""

    def __init__(self, channels: int, median_depth_m: float):
        super().__init__()
        self.scale, self.shift = nn.Linear(channels, 1), nn.Linear(channels, 1)
        for layer, start in ((self.scale, 1.0), (self.shift, 1.0 / median_depth_m - INVERSE_DEPTH_FLOOR)):
            # Smaller than elsewhere: L4 without a memory is of any scale.
            nn.init.trunc_normal_(layer.weight, std=0.002)
            nn.init.constant_(layer.bias, inverse_softplus(start))

    def forward(self, level4: Tensor) -> Tensor:
        """G_t (B, C, H, W) -> (B, 2): s_t and b_t."""
        with torch.autocast(level4.device.type, enabled=False):
            pooled = level4.to(self.scale.weight.dtype).mean(dim=(2, 3))
            return torch.cat((F.softplus(self.scale(pooled)), self.shift(pooled)), dim=-1)


def calibrated_depth(z: Tensor, calibration: Tensor) -> Tensor:
    """Eq. 26: codes z (B, K) and A4 (B, 2) -> depth = 1 / (softplus(s_t·z + b_t) + ε), canonical metres."""
    return 1.0 / (F.softplus(calibration[:, :1] * z + calibration[:, 1:]) + INVERSE_DEPTH_FLOOR)
