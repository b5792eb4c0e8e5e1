"""A dense coarse log depth, once a window: where every query starts from, the query decoder adding a residual.

L4 and L3 flow down to L2 through two fusion blocks, and a 1×1 convolution reads the map off at L2's stride. Queries
decided alone have no spatial prior; this gives them one, and the decoder reads the fused L2 and L3 in place of the
pyramid's. Dense and sparse evaluation are then one function: the map at a pixel plus the residual there.

Shapes: B windows, C_l channels and (H_l, W_l) cells of level l.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import ConvNorm
from eventspd_ros.model.geometry import size_hw


class Fusion(nn.Module):
    """A coarse map onto the next finer one: x + up(coarse), then conv 3×3 → group norm → ReLU."""

    def __init__(self, coarse_channels: int, channels: int):
        super().__init__()
        self.lateral = nn.Conv2d(coarse_channels, channels, 1)
        self.mix = ConvNorm(channels, channels, 3)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """x (B, C, H, W) and coarse (B, C_coarse, ⌊H/2⌋, ⌊W/2⌋) -> (B, C, H, W)."""
        return self.mix(x + upsample_twice(self.lateral(coarse), size_hw(x)))


class CoarsePrior(nn.Module):
    """L2…L4 -> a log depth map at L2's stride, and L2 and L3 with the context of what lies above them."""

    def __init__(self, channels: Sequence[int], median_depth_m: float):
        """channels: of L2 to L4."""
        super().__init__()
        c2, c3, c4 = channels
        self.onto_l3 = Fusion(c4, c3)
        self.onto_l2 = Fusion(c3, c2)
        self.log_depth = nn.Conv2d(c2, 1, 1)
        nn.init.trunc_normal_(self.log_depth.weight, std=0.02)
        nn.init.constant_(self.log_depth.get_parameter("bias"), math.log(median_depth_m))

    def forward(self, l2: Tensor, l3: Tensor, l4: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> log depth (B, 1, H_2, W_2) in float32, fused L2, fused L3."""
        l3 = self.onto_l3(l3, l4.to(l3.dtype))
        l2 = self.onto_l2(l2, l3)
        with torch.autocast(l2.device.type, enabled=False):
            return self.log_depth(l2.to(self.log_depth.weight.dtype)), l2, l3


def upsample_twice(x: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """Bilinear ×2 in the pixel-centre convention, then the odd last row and column repeated: (B, C, *cells_hw).

    Resizing straight to an odd size would stretch the map against its stride.
    """
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    missing = (cells_hw[0] - x.shape[-2], cells_hw[1] - x.shape[-1])
    return F.pad(x, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else x
