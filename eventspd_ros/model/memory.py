"""The recurrence of A2: a ConvGRU on L4 carries the scene from window to window (architecture document, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eventspd_ros.model.blocks import SeparableConv


class ConvGRU(nn.Module):
    """z, r and h̃ from depthwise-separable 3×3 convolutions of [x; h]; G_t = (1 − z)·h + z·h̃ (Ballas et al., arXiv
    1511.06432). The state stays in float32 whatever the precision around it: it is carried for minutes. keep: what of h
    is left before each step. Below 1 the past fades, with a time constant of 1 / (1 − keep) windows, which bounds how
    far h drifts in streams that last longer than training unrolled."""

    def __init__(self, channels: int, keep: float = 1.0):
        super().__init__()
        self.keep = keep
        self.update = SeparableConv(2 * channels, channels)
        self.reset = SeparableConv(2 * channels, channels)
        self.candidate = SeparableConv(2 * channels, channels)  # PyTorch's start: 0.02 twice would let 1 % through

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x of this window and h of the last one, both (B, C, H, W) -> G_t, which is also the next h."""
        h = h * self.keep
        joint = torch.cat((x, h.to(x.dtype)), dim=1)
        z = torch.sigmoid(self.update(joint)).to(h.dtype)
        r = torch.sigmoid(self.reset(joint)).to(h.dtype)
        candidate = torch.tanh(self.candidate(torch.cat((x, (r * h).to(x.dtype)), dim=1))).to(h.dtype)
        return (1 - z) * h + z * candidate
