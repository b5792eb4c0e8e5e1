"""The losses of the architecture document, §4.1, and of the uncertainty head.

Every term is a mean over the labelled queries (or cells) of a window, then over the windows of a batch: a window with
few labels weighs as much as one with many, and two processes with half the windows each mean the same. A window
without any label adds zero, and keeps the graph.

Depths are canonical metres. Shapes: B windows, K queries, N anything. valid: bool, where a label is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def window_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid entries of each window, (B, N) -> (B,); 0 where there is none."""
    return torch.where(valid, values, 0.0).sum(dim=1) / valid.sum(dim=1).clamp_min(1)


def forgiving(target: Tensor, depth: Tensor, valid: Tensor, scale_told: Tensor) -> Tensor:
    """Labels (B, N) as large as the prediction is, depth (B, N), by the median of their ratio, where scale_told (B,) is
    False: an error of a scale that nothing tells would teach by chance, in all points at once, and drown their shape.
    Not for the likelihoods, which learn from it how wide σ must be."""
    ratio = torch.where(valid, depth.detach() / target, torch.nan).nanmedian(dim=1).values.nan_to_num(nan=1.0)
    return torch.where(scale_told[:, None], target, target * ratio[:, None])


def point_loss(depth: Tensor, target: Tensor, valid: Tensor, delta: float) -> Tensor:
    """L_point, Eq. 29: Huber of inverse depth, (B, K) -> (B,), 1/m. delta: where it turns linear, divided out, so
    that its slope there is 1."""
    target = torch.where(valid, target, 1.0)
    return window_mean(F.huber_loss(1 / depth, 1 / target, reduction="none", delta=delta) / delta, valid)


def silog_loss(log_error: Tensor, valid: Tensor, variance_focus: float) -> Tensor:
    """L_silog, Eq. 30 as corrected: √(mean δ² − λ_var·(mean δ)²), (B, K) -> (B,)."""
    square = window_mean(log_error.square(), valid) - variance_focus * window_mean(log_error, valid).square()
    # The floor keeps the root's slope finite where every error is zero.
    return square.clamp_min(1e-8).sqrt()


def nll_loss(log_error: Tensor, log_stddev: Tensor, valid: Tensor) -> Tensor:
    """The uncertainty loss: −log p(log d*) under a logistic law around log d of standard deviation s, (B, K) -> (B,).

    log σ + z + 2·log(1 + e^−z) with σ = s·√3/π and z = |δ|/σ. Depth errors have long tails (a query on the wrong side
    of an edge is far off), for which a Gaussian's square would widen every interval; they grow linearly here.
    """
    scale = log_stddev * (math.sqrt(3) / math.pi)
    scaled = log_error.abs() / scale
    return window_mean(scale.log() + scaled + 2 * torch.log1p(torch.exp(-scaled)), valid)


def cell_depth(depth: Tensor, stride: int, cells_hw: tuple[int, int]) -> Tensor:
    """Labels for a level's cells: depth (B, H, W), NaN where unknown -> (B, H_l, W_l), the geometric mean of what is
    known in the cell, NaN where nothing is."""
    rows, columns = cells_hw[0] * stride, cells_hw[1] * stride
    depth = depth[:, :rows, :columns]
    depth = F.pad(depth, (0, columns - depth.shape[2], 0, rows - depth.shape[1]), value=torch.nan)
    known = depth.isfinite()
    log = torch.where(known, depth, 1.0).log()
    sums = F.avg_pool2d(torch.stack((log * known, known.to(log.dtype)), dim=1), stride)
    return (sums[:, 0] / sums[:, 1]).exp()  # 0/0: NaN


def dense_loss(prediction: Tensor, target: Tensor, scale_told: Tensor, inverse: bool, delta: float) -> Tensor:
    """One level of L_dense, Eq. 31: a dense prediction (B, H_l, W_l) against cell_depth(), -> (B,).

    inverse: the prediction is inverse depth before its softplus and the loss that of Eq. 31; otherwise it is log
    depth and the loss its absolute error. scale_told: as forgiving() takes it.
    """
    prediction, target = prediction.flatten(1), target.flatten(1)
    valid = target.isfinite()
    depth = 1 / (F.softplus(prediction) + 1e-6) if inverse else prediction.exp()
    target = forgiving(target, depth, valid, scale_told)
    if inverse:
        return point_loss(depth, target, valid, delta)
    return window_mean((prediction - torch.where(valid, target, 1.0).log()).abs(), valid)
