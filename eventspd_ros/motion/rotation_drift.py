"""How fast the rotation of the poses runs away from the true one, as far as events show it.

Where the poses turn by ω (rad/s, in the camera now) too much, a still point was in slice j, τ_j ago, not at c_j but at

    c_j − τ_j J ω,   J = ∂π(ω × X)/∂ω,   X = (x, y, 1),

whatever its depth. Along its path (the epipolar line) nobody can tell that from another depth; across it it shows as
patches that match better beside the path (off_path.py). So each point with a sharp likelihood measures n·Jω, n across
its path. Points whose paths go different ways measure all of ω; where all go one way, as in steady motion to the side,
the turn about the axis across it is not seen.

The errors of all axes are thought to be of one size s: ω ~ N(0, s² I). s is what the odometry declares, or more where
what is seen says so (evidence: MacKay, Bayesian Interpolation, 1992, eq. 4.10); what is not seen then counts as s.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.motion.compiled import inner, loop
from eventspd_ros.motion.likelihood import Likelihoods, SeenScene
from eventspd_ros.motion.off_path import off_path
from eventspd_ros.motion.trajectory import Motion

MIN_ANCHORS, MAX_ANCHORS = 4, 64
MAX_RATE_RAD_S = math.radians(3.0)  # a larger one is an error of ours
# White noise of single poses looks like a drift, the more so the shorter the span: this much at least, and what of a
# request's rate could not be predicted.
WHITE_RAD, WHITE_GAIN = math.radians(0.02), 0.2
MEMORY_S = 0.2  # rates of the beginning are too small, as the depths are wrong too then
SPAN_S = 0.03  # requests closer than that see the same events
INDEPENDENT = 0.25  # of what requests say: they share events, and a point errs much as its neighbours do
DECLARED_WEIGHT = 0.2  # axes that the declared size counts as
ROUNDS = 4
CAUCHY = 4.0  # squared deviations from which on a point weighs less than half


class RotationDrift:
    """rate_rad_s: (3,), of the poses' rotation minus the true one's. covariance: (3, 3), (rad/s)²."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Another odometry, or another time."""
        self.rate_rad_s, self.covariance = np.zeros(3), np.zeros((3, 3))
        self._information, self._vector = np.zeros((3, 3)), np.zeros(3)
        self._last_ns: int | None = None
        self._declared = self._size = 0.0
        self.white_rad = WHITE_RAD

    def expect(self, declared_rad_s: float) -> None:
        """declared_rad_s: standard deviation about each axis."""
        if declared_rad_s != self._declared:
            self._declared = declared_rad_s
            self._solve()

    def correct(self, motion: Motion, lag_s: np.ndarray) -> Motion:
        """motion: to the camera lag_s (n,) ago, as the poses say."""
        turned = rotations.to_matrix(rotations.from_rotation_vector(-self.rate_rad_s * lag_s[:, None]))
        left_rad_s = math.sqrt(np.trace(self.covariance) / 3)
        return replace(motion, rotation=motion.rotation @ turned, drift_rotation_rad_s=left_rad_s)

    def stddev_px_s(self, rays: np.ndarray, along: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
        """What is not known of the drift moves points at rays (K, 2) along directions (K, 2), of unit length in the
        image, by that standard deviation, (K,) px/s."""
        rows = _flow_along(along, rays, focal_px)
        return np.sqrt(np.einsum("ki,ij,kj->k", rows, self.covariance, rows))

    def learn(self, t_ns: int, seen: SeenScene, rays: np.ndarray, likelihoods: Likelihoods) -> None:
        """What points with sharp likelihoods show at t_ns (sensor clock); a second time at t_ns in place of the first.

        seen: the scene through the motion that correct() gave. rays: (A, 2).
        """
        across, shift_px_s, variance, span_s = off_path(t_ns, seen, rays, likelihoods.peak, likelihoods.level)
        known = np.isfinite(shift_px_s)
        rows = _flow_along(across[known], rays[known], seen.focal_px)
        measured, variance = rows @ self.rate_rad_s - shift_px_s[known], variance[known]
        if t_ns != self._last_ns:
            since_s = math.inf if self._last_ns is None else abs(t_ns - self._last_ns) * 1e-9
            self._share, kept = min(1.0, since_s / SPAN_S), math.exp(-since_s / MEMORY_S)
            self._before = kept * self._information, kept * self._vector, self.white_rad
            self._last_ns = t_ns
        self._information, self._vector, self.white_rad = self._before
        predicted = self._solve()
        few = len(rows) < MIN_ANCHORS
        lever = 0.0 if few else 1.5 / max(np.median(span_s[known]), 1e-3) ** 2
        numbers = self._share, lever * self.white_rad**2, self._least, self._size
        points = (rows[:0], measured[:0], variance[:0]) if few else (rows, measured, variance)
        state, request = (np.zeros((3, 3)), np.zeros(3), np.zeros(3), np.zeros((3, 3))), (np.zeros((3, 3)), np.zeros(3))
        self._size = _fit_rate(points, self._before[:2], numbers, state, request)
        self._information, self._vector, self.rate_rad_s, self.covariance = state
        if not few:
            self._learn_white(*request, predicted, lever)

    def _learn_white(self, own, own_vector, predicted, lever) -> None:
        """How much a request's own rate differs from the one predicted, beyond what both say of themselves."""
        told, ways = np.linalg.eigh(own)
        if not self._before[0].any() or told[2] <= 0:
            return
        best = ways[:, 2]
        rate, covariance = predicted
        off = best @ own_vector / told[2] - best @ rate
        excess = max(0.0, off**2 - best @ covariance @ best - 1 / told[2])
        square = self.white_rad**2 + WHITE_GAIN * (excess / lever - self.white_rad**2)
        self.white_rad = max(math.sqrt(square), WHITE_RAD)

    @property
    def _least(self) -> float:
        return max(self._declared, 1e-6) ** 2

    def _solve(self) -> tuple[np.ndarray, np.ndarray]:
        self.rate_rad_s, self.covariance = np.zeros(3), np.zeros((3, 3))
        self._size = _solve_rate(
            self._information, self._vector, self._least, self._size, self.rate_rad_s, self.covariance, np.zeros((3, 3))
        )
        return self.rate_rad_s, self.covariance


@inner
def _invert(m, out):
    """Of a symmetric 3x3 matrix."""
    out[0, 0] = m[1, 1] * m[2, 2] - m[1, 2] * m[1, 2]
    out[0, 1] = m[0, 2] * m[1, 2] - m[0, 1] * m[2, 2]
    out[0, 2] = m[0, 1] * m[1, 2] - m[0, 2] * m[1, 1]
    out[1, 1] = m[0, 0] * m[2, 2] - m[0, 2] * m[0, 2]
    out[1, 2] = m[0, 1] * m[0, 2] - m[0, 0] * m[1, 2]
    out[2, 2] = m[0, 0] * m[1, 1] - m[0, 1] * m[0, 1]
    one = 1 / (m[0, 0] * out[0, 0] + m[0, 1] * out[0, 1] + m[0, 2] * out[0, 2])
    for i in range(3):
        for k in range(i, 3):
            out[i, k] *= one
            out[k, i] = out[i, k]


@inner
def _solved(information, vector, least, size, rate, covariance, scratch):
    """ω, its covariance, and s² by two steps from the last one, which is returned."""
    size = max(size, least)
    for _ in range(2):
        for i in range(3):
            scratch[i, :] = information[i, :]
            scratch[i, i] += 1 / size
        _invert(scratch, covariance)
        square, told = 0.0, 3.0
        for i in range(3):
            rate[i] = covariance[i, 0] * vector[0] + covariance[i, 1] * vector[1] + covariance[i, 2] * vector[2]
            square += rate[i] * rate[i]
            told -= covariance[i, i] / size
        size = max(least, (DECLARED_WEIGHT * least + square) / (DECLARED_WEIGHT + told))
    for i in range(3):
        rate[i] *= min(1.0, MAX_RATE_RAD_S / max(math.sqrt(square), 1e-12))
        scratch[i, :] = INDEPENDENT * information[i, :]
        scratch[i, i] += 1 / size
    _invert(scratch, covariance)
    return size


@loop
def _solve_rate(information, vector, least, size, rate, covariance, scratch):
    return _solved(information, vector, least, size, rate, covariance, scratch)


@loop
def _fit_rate(points, before, numbers, state, request):
    """Weighted least squares over points (rows (A, 3), measured (A,), variance (A,)) and what was known before; into
    state what is known now, into request what this one says alone. numbers: the request's share, the variance that its
    points have in common, and of s² the least and the last. Returns s²."""
    rows, measured, variance = points
    share, common, least, size = numbers
    information, vector, rate, covariance = state
    own, own_vector = request
    scratch, shrink = np.zeros((3, 3)), np.zeros((3, 3))
    weight = 1 / variance
    for _ in range(ROUNDS):
        own[:], own_vector[:] = 0.0, 0.0
        for n in range(len(rows)):
            for i in range(3):
                own_vector[i] += weight[n] * rows[n, i] * measured[n]
                for k in range(3):
                    own[i, k] += weight[n] * rows[n, i] * rows[n, k]
        # (1 + c A)⁻¹, of A = own: what a variance that all points have in common leaves of what they say.
        scratch[:] = common * own
        for i in range(3):
            scratch[i, i] += 1.0
        _invert(scratch, shrink)
        for i in range(3):
            vector[i] = before[1][i]
            for k in range(3):
                vector[i] += share * shrink[i, k] * own_vector[k]
                information[i, k] = before[0][i, k]
                for m in range(3):
                    information[i, k] += share * shrink[i, m] * own[m, k]
        size = _solved(information, vector, least, size, rate, covariance, scratch)
        for n in range(len(rows)):
            off = measured[n] - rows[n, 0] * rate[0] - rows[n, 1] * rate[1] - rows[n, 2] * rate[2]
            weight[n] = 1 / (variance[n] + off * off / CAUCHY)
    return size


def turn_flow(rays: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
    """J of points at rays (K, 2), (K, 2, 3), px."""
    x, y = rays.T
    flow = np.stack([np.stack([-x * y, 1 + x * x, -y], -1), np.stack([-(1 + y * y), x * y, x], -1)], 1)
    return flow * np.array(focal_px)[:, None]


def _flow_along(directions: np.ndarray, rays: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
    """n·J of points at rays, for directions n, (K, 2) each: (K, 3), px."""
    return np.einsum("ki,kij->kj", directions, turn_flow(rays, focal_px))
