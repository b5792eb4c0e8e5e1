"""L_feat: the features of L3 and L4 learn to look like a teacher's (architecture document §4.1, Eq. 32).

    L_feat = Σ_{l ∈ 3, 4} λ_fl / |P_l| · Σ_{p ∈ P_l} w_p · (1 − cos(F̂_event(p), F_teacher(p)))
    F̂_event = W_c2 · GELU(W_c1 · F_event),   w_p = min(n_p / n̄, 2)

n_p: events in cell p, n̄: their mean over the cells. L3 follows the teacher's block 6, L4 (with memory, G_t) its block
12. The connectors W_c belong to training and are not shipped. With the stated widths (192 → 384 → 384 and
384 → 384 → 384) they count 222 K and 296 K; the document's table says 148 K for the first.

Shapes: B windows, C_l channels and (H_l, W_l) cells of a level, C and (h, w) of the teacher.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.event_tensors import EventTensors
from eventspd_ros.model.geometry import cell_centres_px, unit_coordinates

MOST_WEIGHT = 2.0


class FeatureLoss(nn.Module):
    """Connectors and loss for levels of the given channels and strides (px a cell), L3 and L4 in that order."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], teacher_channels: int):
        super().__init__()
        self.strides = strides
        self.connectors = nn.ModuleList(_connector(own, teacher_channels) for own in channels)

    def forward(
        self, levels: tuple[Tensor, ...], targets: tuple[Tensor, ...], events: EventTensors
    ) -> tuple[Tensor, ...]:
        """The loss of each level for each window, without λ_fl: (B,) float32 a level.

        levels: (B, C_l, H_l, W_l), of these windows. targets: Teacher.features() of their images, (B, C, h, w).
        events: of the windows at whose end the images were taken. A window without events adds 0; where a sample has no
        image, the caller sets its loss to 0.
        """
        losses = []
        for level, target, stride, connector in zip(levels, targets, self.strides, self.connectors, strict=True):
            cells_hw = (level.shape[-2], level.shape[-1])
            wanted = read_at_cells(target, stride, cells_hw, (events.height, events.width))
            weight = sparsity_weight(count_events(events, stride, cells_hw))
            distance = 1 - F.cosine_similarity(connector(level).float(), wanted, dim=1)
            losses.append((weight * distance).mean(dim=(1, 2)))
        return tuple(losses)


def _connector(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out_channels, 1), nn.GELU(), nn.Conv2d(out_channels, out_channels, 1))


def read_at_cells(target: Tensor, stride: int, cells_hw: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
    """A map (B, C, h, w) that covers the whole image, read bilinearly at the centres of a level's cells -> float32
    (B, C, H_l, W_l). size_hw: the image's, px; a level may cover a little more or less than that."""
    centres_px = cell_centres_px(stride, cells_hw, target.device)
    grid = 2 * unit_coordinates(centres_px, *size_hw) - 1
    grid = grid.view(1, *cells_hw, 2).expand(len(target), -1, -1, -1)
    return F.grid_sample(target.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def count_events(events: EventTensors, stride: int, cells_hw: tuple[int, int]) -> Tensor:
    """n_p: events of each window in each cell of a level, float32 (B, H_l, W_l). Those beyond the last cell are in
    none."""
    rows, columns = cells_hw
    row, column = events.site // events.width // stride, events.site % events.width // stride
    inside = ((row < rows) & (column < columns)).float()
    cell = (events.window * rows + row.clamp_max(rows - 1)) * columns + column.clamp_max(columns - 1)
    counts = inside.new_zeros(events.windows * rows * columns).index_add_(0, cell, inside)
    return counts.view(events.windows, rows, columns)


def sparsity_weight(counts: Tensor) -> Tensor:
    """w_p = min(n_p / n̄, 2) of counts (B, H_l, W_l); 0 everywhere where there is no event."""
    mean = counts.mean(dim=(1, 2), keepdim=True)
    return (counts / torch.where(mean > 0, mean, 1.0)).clamp_max(MOST_WEIGHT)
