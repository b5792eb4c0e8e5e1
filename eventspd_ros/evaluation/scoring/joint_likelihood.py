"""How likely a window's true depths are together, where one error of scale is in all of them.

δ_i = s + e_i, the error of log depth at point i: s normal of the standard deviation that the window's points share,
e_i logistic of what each has beside it. Counted as independent, one wrong scale is a hundred errors at once. Both what
`eventspd evaluate` says of σ in two parts and the loss that teaches them.

Shapes: B windows, K points.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

UNIT_PER_STDDEV = math.sqrt(3) / math.pi  # of a logistic law
NODES = 16  # of the integral, to each side
REACH = 8  # standard deviations to each side


def joint_nll(log_error: Tensor, log_stddev: Tensor, scale_stddev: Tensor, valid: Tensor) -> Tensor:
    """−1/K · ln ∫ N(s) Π_i p(δ_i − s) ds, nats a point: δ (B, K), the whole σ (B, K), the shared part of it (B,), bool
    (B, K) -> (B,); 0 where no point is valid, whose δ must be finite all the same.

    By the trapezoidal rule around the s that the points agree on.
    """
    own = (log_stddev.square() - scale_stddev[:, None].square()).clamp_min(1e-6).sqrt()
    middle, step = _where_points_agree(*(values.detach() for values in (log_error, own, scale_stddev)), valid)
    s = middle[:, None] + step[:, None] * torch.arange(-NODES, NODES + 1, device=middle.device)
    unit = own * UNIT_PER_STDDEV
    z = (log_error[:, None] - s[..., None]).abs() / unit[:, None]
    points = torch.where(valid[:, None], unit.log()[:, None] + z + 2 * torch.log1p(torch.exp(-z)), 0.0).sum(dim=-1)
    prior = 0.5 * (s / scale_stddev[:, None]).square() + (scale_stddev[:, None] * math.sqrt(2 * math.pi)).log()
    joint = -torch.logsumexp(-points - prior, dim=-1) - step.log()
    count = valid.sum(dim=1)
    return torch.where(count > 0, joint / count.clamp_min(1), 0.0)


def _where_points_agree(log_error: Tensor, own: Tensor, scale: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of s given the points, and a step of which NODES to each side hold it: (B,) each.

    By reweighting: a logistic law's score is tanh(z/2) a unit, so that a point far off weighs little.
    """
    unit = own * UNIT_PER_STDDEV
    weight = torch.where(valid, 1 / own.square(), 0.0)
    for _ in range(8):
        precision = weight.sum(dim=1) + 1 / scale.square()
        middle = (weight * log_error).sum(dim=1) / precision
        z = ((log_error - middle[:, None]).abs() / unit).clamp_min(1e-3)
        weight = torch.where(valid, torch.tanh(z / 2) / (z * unit.square()), 0.0)
    return middle, REACH / NODES / precision.sqrt()


def joint_negative_log_likelihood(
    log_error: np.ndarray, log_stddev: np.ndarray, scale_stddev: np.ndarray, image: np.ndarray
) -> float:
    """joint_nll() over several images, nats a point: (K,) each, image equal within one."""
    columns = [torch.from_numpy(np.asarray(values, np.float64)) for values in (log_error, log_stddev, scale_stddev)]
    total = 0.0
    for number in np.unique(image):
        which = torch.from_numpy(image == number)
        error, stddev, shared = (column[which][None] for column in columns)
        total += joint_nll(error, stddev, shared[:, 0], torch.ones_like(error, dtype=torch.bool)).item() * len(error[0])
    return total / len(log_error)
