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
            return F.softplus(super().forward(h.float())[..., 0]) + STDDEV_FLOOR
