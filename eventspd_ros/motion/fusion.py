"""The learned depth as a prior, times the likelihood from motion: depth of each point, and how sure that is.

Over z = log depth the prior is a Student-t law p(z) (networks err far more often than a Gaussian allows). What the
events show is either the point's own depth or, with probability π, anything: a thing that moves by itself, a pattern
that repeats. So, with ℓ as a density per pixel of displacement and u an even one over the range that was searched,

    p(z | events) ∝ p(z) [(1 − π) e^ℓ(z) + π u],

a mixture of the prior sharpened by the likelihood and of the prior alone (as in REMODE, Pizzoli et al., ICRA 2014). Its
median is the answer. σ is the standard deviation of the logistic law whose intervals of 68 and 95 % are as wide, in
a geometric mean of the two: the one law by which the package turns σ into intervals. A standard deviation would be
ruled by the tails.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eventspd_ros.motion.compiled import inner, loop
from eventspd_ros.motion.likelihood import BINS, STUDENT, Likelihoods

BISECTIONS = 14
WEIGHT_95 = 2 / 3
SPREAD = 0.92  # chosen on simulated scenes, docs/motion.md
# Half-widths of intervals of the logistic law (evaluation/scoring/uncertainty.py) with standard deviation 1.
_HALF_68, _HALF_95 = (2 * math.sqrt(3) / math.pi * math.atanh(level) for level in (0.68, 0.95))
# The Student-t law's density at its middle, and its variance, for scale 1 and four degrees of freedom.
_DENSITY_0 = 0.375
_VARIANCE = 2.0


def posterior(
    likelihoods: Likelihoods, mean: np.ndarray, stddev: np.ndarray, outlier: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median and standard deviation of log depth, and the probability that the likelihood is not of the point, (K,)
    each. mean, stddev: of the prior; outlier: π, (K,)."""
    out = np.empty((3, len(mean)))
    _all(
        likelihoods.low, likelihoods.width, likelihoods.log_density, likelihoods.log_uniform, mean, stddev, outlier, out
    )
    return out[0], out[1], out[2]


@njit(nogil=True, inline="always")
def _student_below(t):
    """Distribution function of the Student-t law with four degrees of freedom."""
    s = 1 + t * t / 4
    return 0.5 + _DENSITY_0 * t / math.sqrt(s) * (1 - t * t / (12 * s))


@loop
def _all(low, width, log_density, log_uniform, mean, stddev, outlier, out):
    below = np.empty(BINS + 1)
    for n in range(len(mean)):
        _one(low[n], width[n], log_density[n], log_uniform[n], mean[n], stddev[n], outlier[n], below, out, n)


@inner
def _one(low, width, log_density, log_uniform, mean, stddev, outlier, below, out, n):
    """below: (BINS + 1,), of the inlier's part at the bins' borders."""
    scale = stddev / math.sqrt(_VARIANCE)
    below[0] = 0.0
    for i in range(BINS):
        d = (low + (i + 0.5) * width - mean) / scale
        t = 1 + d * d / STUDENT
        prior = _DENSITY_0 / (scale * t * t * math.sqrt(t))
        below[i + 1] = below[i] + (1 - outlier) * prior * width * math.exp(log_density[i])
    away = outlier * math.exp(log_uniform)
    total = below[BINS] + away
    start, end = min(low, mean - 12 * stddev), max(low + BINS * width, mean + 12 * stddev)
    args = low, width, below, away, mean, scale, start, end
    out[0, n] = _quantile(0.5 * total, *args)
    log_spread = 0.0
    for share, half_width, weight in ((0.68, _HALF_68, 1 - WEIGHT_95), (0.95, _HALF_95, WEIGHT_95)):
        lower = _quantile(0.5 * (1 - share) * total, *args)
        half = (_quantile(0.5 * (1 + share) * total, *args) - lower) / 2
        log_spread += weight * math.log(half / half_width + 1e-6)
    out[1, n] = SPREAD * math.exp(log_spread)
    out[2, n] = away / total


@inner
def _quantile(wanted, low, width, below, away, mean, scale, start, end):
    """The log depth below which that much of the mixture lies."""
    for _ in range(BISECTIONS):
        z = (start + end) / 2
        place = min(max((z - low) / width, 0.0), BINS * 1.0)
        whole = min(int(place), BINS - 1)
        share = below[whole] + (below[whole + 1] - below[whole]) * (place - whole)
        if share + away * _student_below((z - mean) / scale) < wanted:
            start = z
        else:
            end = z
    return (start + end) / 2
