"""The pixel-centre convention, stated once for every read of a feature map.

Pixel (0, 0) is the centre of the top-left pixel (OpenCV and ROS), so a keypoint (u, v) lies at continuous image
coordinate (u + 0.5, v + 0.5). Cell (i, j) of a level with stride s covers [i·s, (i+1)·s) × [j·s, (j+1)·s) of
that continuous plane. Points are (x, y) = (u, v); sizes are (H, W).

Shapes: B batch, K queries, C channels, "..." any leading dimensions.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Pixels = TypeVar("Pixels", Tensor, np.ndarray)


def size_hw(features: Tensor) -> tuple[int, int]:
    """(H, W) of a map (..., H, W)."""
    return features.shape[-2], features.shape[-1]


def cell_coordinates(uv_px: Tensor, stride: int | Tensor) -> Tensor:
    """Pixels (..., 2) to continuous cell coordinates (u + 0.5)/s of a level; cell i spans [i, i + 1)."""
    return (uv_px + 0.5) / stride


def sample_grid(uv_px: Tensor, stride: int, cells_hw: tuple[int, int], offset_cells: Tensor | None = None) -> Tensor:
    """Pixels (..., 2) to grid_sample coordinates (..., 2) of a level, for align_corners=False.

    grid = 2·((u + 0.5)/s + δ)/W_l − 1. cells_hw: the level's (H_l, W_l) in cells. offset_cells: δ in cells of that
    level, broadcast against uv_px. Rounded sizes need no care: s·W_l, not the sensor's width, is what −1…1 spans.
    """
    rows, columns = cells_hw
    cells = cell_coordinates(uv_px, stride)
    if offset_cells is not None:
        cells = cells + offset_cells
    # Each axis by a Python number: no tensor is made here, so any device serves and a captured graph stays whole.
    return torch.stack((cells[..., 0] * (2.0 / columns) - 1.0, cells[..., 1] * (2.0 / rows) - 1.0), dim=-1)


def bilinear_read(features: Tensor, uv_px: Tensor, stride: int, padding_mode: str = "border") -> Tensor:
    """features (B, C, H_l, W_l) read at pixels uv_px (B, K, 2) -> (B, K, C), in the type of uv_px.

    Coordinates are never rounded to a narrower type: in bfloat16 they would be pixels off.
    """
    grid = sample_grid(uv_px, stride, size_hw(features))
    read = F.grid_sample(
        features.to(grid.dtype), grid[:, :, None], mode="bilinear", padding_mode=padding_mode, align_corners=False
    )
    return read[..., 0].transpose(1, 2)


def cell_centres_px(stride: int, cells_hw: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Centres of a level's cells in pixels, (H_l·W_l, 2) float32, row by row.

    Cell (i, j) has its centre at continuous ((i + 0.5)·s, (j + 0.5)·s), that is pixel ((i + 0.5)·s − 0.5, …), so
    that sample_grid() of a centre hits the cell exactly.
    """
    rows, columns = cells_hw
    u_px = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride - 0.5
    v_px = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride - 0.5
    return torch.stack((u_px.repeat(rows), v_px.repeat_interleave(columns)), dim=-1)


def unit_coordinates(uv_px: Tensor, height: int, width: int) -> Tensor:
    """Pixels (..., 2) to (u/W, v/H) of the continuous plane, 0…1 inside the image: what Fourier features take."""
    return torch.stack(((uv_px[..., 0] + 0.5) / width, (uv_px[..., 1] + 0.5) / height), dim=-1)


def inside_image(uv_px: Pixels, height: int, width: int) -> Pixels:
    """(..., 2) -> (...,) bool: −0.5 ≤ u < W − 0.5 and −0.5 ≤ v < H − 0.5. NaN is outside."""
    u_px, v_px = uv_px[..., 0], uv_px[..., 1]
    return (u_px >= -0.5) & (u_px < width - 0.5) & (v_px >= -0.5) & (v_px < height - 0.5)
