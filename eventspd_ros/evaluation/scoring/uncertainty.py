"""Is σ honest, and does it know which depths are wrong?

σ is the predicted standard deviation of log depth (depth_stddev / depth), δ = ln predicted − ln true, K points of each.

From σ to a probability the package takes ONE distribution: true log depth is logistic around ln predicted, with
standard deviation σ, as the uncertainty loss of training has it. Depth errors have heavier tails than a Gaussian's (a
keypoint beside an edge reads the other surface, a scene's scale is misread): a Gaussian σ that covers 68 % leaves too
much outside 95 %. They are less peaked than Laplace's, whose σ that covers 95 % leaves too much outside 50 %. An
interval of 95 % is 2.21 times as wide as one of 68 %, a Gaussian one 1.97 times, Laplace's 2.63 times.
"""

from __future__ import annotations

import math

import numpy as np

from eventspd_ros.evaluation.results import CalibrationCurve, NoPoints, Sparsification, Uncertainty

LEVELS = (0.50, 0.68, 0.90, 0.95)
QUANTILES = np.arange(0.05, 0.96, 0.05)
STEPS = 50  # of a sparsification curve: 2 % of the points each
SCALE = math.sqrt(3.0) / math.pi  # of a logistic law with standard deviation 1


def interval_half_width(log_stddev: np.ndarray, level: float) -> np.ndarray:
    """h with P(|δ| ≤ h) = level: σ·√3/π · ln((1 + level) / (1 − level)). Depth lies in [p·e^−h, p·e^h]."""
    if not 0 <= level < 1:
        raise ValueError(f"level {level}: must be at least 0 and below 1")
    return log_stddev * (SCALE * 2 * math.atanh(level))


def negative_log_likelihood(log_error: np.ndarray, log_stddev: np.ndarray) -> float:
    """Mean of ln s + |z| + 2·ln(1 + e^−|z|) with s = σ·√3/π and z = δ/s, nats, of log depth; of depth itself it is
    larger by the mean ln t."""
    z = np.abs(log_error) / (SCALE * log_stddev)
    return float(np.mean(np.log(SCALE * log_stddev) + z + 2 * np.log1p(np.exp(-z))))


def coverage(log_error: np.ndarray, log_stddev: np.ndarray, level: float) -> float:
    """Share of points inside their interval of that level."""
    return float(np.mean(np.abs(log_error) <= interval_half_width(log_stddev, level)))


def calibration_curve(log_error: np.ndarray, log_stddev: np.ndarray) -> np.ndarray:
    """Observed share of true depths below the predicted quantile q, of q = 5, 10, …, 95 %: (19,)."""
    reached = 0.5 + 0.5 * np.tanh(-0.5 * log_error / (SCALE * log_stddev))
    return np.searchsorted(np.sort(reached), QUANTILES, side="right") / len(reached)


def expected_calibration_error(log_error: np.ndarray, log_stddev: np.ndarray) -> float:
    """Mean of |observed share − q| over calibration_curve() (Kuleshov et al. 2018, arXiv:1807.00263)."""
    return float(np.mean(np.abs(calibration_curve(log_error, log_stddev) - QUANTILES)))


def sparsification(error: np.ndarray, uncertainty: np.ndarray, root: bool = False) -> np.ndarray:
    """Mean error (with root: its root) of the points that stay when the most uncertain 0, 2, … 98 % are dropped, (50,).

    error: (K,), |p − t|/t for AbsRel, (p − t)² with root for RMSE. uncertainty = error gives the oracle's curve.
    """
    order = np.argsort(uncertainty, kind="stable")
    stay = -(-len(error) * (STEPS - np.arange(STEPS)) // STEPS)
    curve = np.cumsum(np.asarray(error, np.float64)[order])[stay - 1] / stay
    return np.sqrt(curve) if root else curve


def sparsification_areas(error: np.ndarray, uncertainty: np.ndarray, root: bool = False) -> Sparsification:
    """AUSE, AURG and AUSE over that of a random order (Ilg et al. 2018, arXiv:1802.07095; Poggi et al. 2020,
    arXiv:2005.06209), and the curves they are taken from, as sparsification() gives them."""
    curve, oracle = sparsification(error, uncertainty, root), sparsification(error, error, root)
    ause, aurg = _area(curve - oracle), _area(curve[0] - curve)
    ratio = ause / (ause + aurg) if ause + aurg > 0 else None
    return Sparsification(ause, aurg, ratio, curve.tolist(), oracle.tolist())


def _area(gap: np.ndarray) -> float:
    """Trapezoids; with no point dropped, and with all of them, there is no gap."""
    return float(gap.sum() / STEPS)


def uncertainty_report(predicted_m: np.ndarray, true_m: np.ndarray, log_stddev: np.ndarray) -> Uncertainty | NoPoints:
    """Everything about σ over K independent points: predicted_m, true_m (K,) m, log_stddev (K,). Points without one are
    left out."""
    counts = np.isfinite(predicted_m) & np.isfinite(true_m) & np.isfinite(log_stddev) & (log_stddev > 0)
    predicted, true, stddev = (np.asarray(a, np.float64)[counts] for a in (predicted_m, true_m, log_stddev))
    if len(true) == 0:
        return NoPoints()
    error, log_error = predicted - true, np.log(predicted / true)
    return Uncertainty(
        len(true),
        negative_log_likelihood(log_error, stddev),
        expected_calibration_error(log_error, stddev),
        CalibrationCurve(QUANTILES.tolist(), calibration_curve(log_error, stddev).tolist()),
        {f"{level:.0%}": coverage(log_error, stddev, level) for level in LEVELS},
        {f"{level:.0%}": float(2 * interval_half_width(stddev, level).mean()) for level in LEVELS},
        sparsification_areas(np.abs(error) / true, stddev),
        sparsification_areas(error**2, predicted * stddev, root=True),
        joint_nll=None,
        coverage_error={},
    )


def fit_temperature(log_error: np.ndarray, log_stddev: np.ndarray, group: np.ndarray | None = None) -> float:
    """The factor for σ that brings coverage nearest to 50, 68, 90 and 95 %, in the worst group and at the worst level.

    log_error, log_stddev: (K,) of scenes that are neither trained nor tested on. group: (K,) integers, such as each
    point's domain; None: one group. Deviations are in units of √(level·(1 − level)), the spread of a coin of that
    chance, so that the ends count as much as the middle. Searched over factors 0.5 % apart.
    """
    ratio = np.abs(log_error) / log_stddev
    if len(ratio) == 0 or not (np.isfinite(ratio).all() and np.median(ratio) > 0):
        raise ValueError(f"temperature of {len(ratio)} points: needs finite errors that are not all 0")
    group = np.zeros(len(ratio), np.int64) if group is None else np.asarray(group)
    temperatures = np.median(ratio) / interval_half_width(1.0, 0.5) * np.exp(np.arange(-600, 601) * 0.005)
    worst = np.zeros(len(temperatures))
    for number in np.unique(group):
        own = np.sort(ratio[group == number])
        for level in LEVELS:
            inside = np.searchsorted(own, temperatures * interval_half_width(1.0, level), side="right") / len(own)
            worst = np.maximum(worst, np.abs(inside - level) / math.sqrt(level * (1 - level)))
    return float(temperatures[worst.argmin()])
