"""The learned depth as a prior, times the likelihood from motion: depth of each point, and how sure that is.

Over z = log depth the prior is a Student-t law p(z) (networks err far more often than a Gaussian allows). What the
events show is either the point's own depth or, with probability π, anything: a thing that moves by itself, a pattern
that repeats. So, with ℓ as a density per pixel of displacement and u an even one over the range that was searched,

    p(z | events) ∝ p(z) [(1 − π) e^ℓ(z) + π u],

a mixture of the prior sharpened by the likelihood and of the prior alone (as in REMODE, Pizzoli et al., ICRA 2014). Its
median is the answer; its standard deviation around it, σ.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eventspd_ros.motion.likelihood import BINS, STUDENT, Likelihoods

MEDIAN_STEPS = 14
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


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _all(low, width, log_density, log_uniform, mean, stddev, outlier, out):
    weights = np.empty(BINS)
    for n in range(len(mean)):
        _one(low[n], width[n], log_density[n], log_uniform[n], mean[n], stddev[n], outlier[n], weights, out, n)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _one(low, width, log_density, log_uniform, mean, stddev, outlier, weights, out, n):
    scale = stddev / math.sqrt(_VARIANCE)
    inlier, first, second = 0.0, 0.0, 0.0
    for i in range(BINS):
        z = low + (i + 0.5) * width
        d = (z - mean) / scale
        t = 1 + d * d / STUDENT
        prior = _DENSITY_0 / (scale * t * t * math.sqrt(t))
        weights[i] = (1 - outlier) * prior * width * math.exp(log_density[i])
        inlier += weights[i]
        first += weights[i] * z
        second += weights[i] * z * z
    away = outlier * math.exp(log_uniform)
    total = inlier + away
    low_z, high_z = min(low, mean - 12 * stddev), max(low + BINS * width, mean + 12 * stddev)
    for _ in range(MEDIAN_STEPS):
        z = (low_z + high_z) / 2
        below = away * _student_below((z - mean) / scale)
        place = min(max((z - low) / width, 0.0), BINS * 1.0)
        whole = min(int(place), BINS - 1)
        for i in range(whole):
            below += weights[i]
        below += weights[whole] * (place - whole)
        if below < total / 2:
            low_z = z
        else:
            high_z = z
    median = (low_z + high_z) / 2
    variance = (second - 2 * median * first + median * median * inlier) / total
    variance += away / total * (stddev * stddev + (mean - median) ** 2)
    out[0, n], out[1, n], out[2, n] = median, math.sqrt(max(variance, 1e-8)), away / total
