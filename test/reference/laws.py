"""Laws of errors, of torch's own parts."""

import math

import torch
from torch.distributions import AffineTransform, SigmoidTransform, TransformedDistribution, Uniform


def logistic(stddev: torch.Tensor) -> TransformedDistribution:
    """Around 0, of that standard deviation."""
    scale = AffineTransform(0.0, stddev * math.sqrt(3) / math.pi)
    return TransformedDistribution(
        Uniform(torch.zeros_like(stddev), torch.ones_like(stddev)), [SigmoidTransform().inv, scale]
    )
