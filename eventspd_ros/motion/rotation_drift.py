"""How fast the rotation of the poses runs away from the true one, as far as events show it.

Where the poses turn by ω (rad/s, in the camera now) too much, a still point was in slice j, τ_j ago, not at c_j but at

    c_j − τ_j J ω,   J = ∂π(ω × X)/∂ω,   X = (x, y, 1),

whatever its depth. Along its path (the epipolar line) nobody can tell that from another depth; across it it shows as
patches that match better beside the path. So each point with a sharp likelihood measures n·Jω, n across its path: ℓ of
likelihood.py is taken at places beside its peak and fitted with a parabola, of which the part that another depth could
make is taken away (Schur complement). Points whose paths go different ways measure all of ω; where all go one way, as
in steady motion to the side, the turn about the axis across it is not seen.

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
from eventspd_ros.motion.patches import ell, project, scratch_patches
from eventspd_ros.motion.slices import SLICES
from eventspd_ros.motion.trajectory import Motion

MIN_ANCHORS, MAX_ANCHORS = 4, 64
REACH_PX = 5  # beside the path, over the span of the slices
MIN_PATH_PX = 0.5
NOISE_PX = 0.15  # added to what the parabola says
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
        self._information, self._vector, self._last_ns = np.zeros((3, 3)), np.zeros(3), None
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
        if len(rows) < MIN_ANCHORS:
            self._solve()
            return
        predicted = self._solve()
        lever = 1.5 / max(np.median(span_s[known]), 1e-3) ** 2
        weight = 1.0 / variance
        for _ in range(ROUNDS):
            own, vector = (rows * weight[:, None]).T @ rows, rows.T @ (weight * measured)
            shrink = self._share * np.linalg.inv(np.eye(3) + lever * self.white_rad**2 * own)
            self._information = self._before[0] + shrink @ own
            self._vector = self._before[1] + shrink @ vector
            self._solve()
            weight = 1.0 / (variance + (measured - rows @ self.rate_rad_s) ** 2 / CAUCHY)
        self._learn_white(own, vector, predicted, lever)

    def _learn_white(self, own, vector, predicted, lever) -> None:
        """How much a request's own rate differs from the one predicted, beyond what both say of themselves."""
        told, ways = np.linalg.eigh(own)
        if not self._before[0].any() or told[2] <= 0:
            return
        best = ways[:, 2]
        rate, covariance = predicted
        off = best @ vector / told[2] - best @ rate
        excess = max(0.0, off**2 - best @ covariance @ best - 1 / told[2])
        square = self.white_rad**2 + WHITE_GAIN * (excess / lever - self.white_rad**2)
        self.white_rad = max(math.sqrt(square), WHITE_RAD)

    def _solve(self) -> tuple[np.ndarray, np.ndarray]:
        """ω, its covariance, and s by two steps from the last one."""
        least = max(self._declared, 1e-6) ** 2
        size = max(self._size, least)
        for _ in range(2):
            covariance = np.linalg.inv(self._information + np.eye(3) / size)
            rate = covariance @ self._vector
            told = 3.0 - np.trace(covariance) / size
            size = max(least, (DECLARED_WEIGHT * least + rate @ rate) / (DECLARED_WEIGHT + told))
        self.covariance = np.linalg.inv(INDEPENDENT * self._information + np.eye(3) / size)
        self._size = size
        self.rate_rad_s = rate * min(1.0, MAX_RATE_RAD_S / max(math.sqrt(rate @ rate), 1e-12))
        return self.rate_rad_s, self.covariance


def _turn_flow(rays: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
    """J of points at rays (K, 2), (K, 2, 3), px."""
    x, y = rays.T
    flow = np.stack([np.stack([-x * y, 1 + x * x, -y], -1), np.stack([-(1 + y * y), x * y, x], -1)], 1)
    return flow * np.array(focal_px)[:, None]


def _flow_along(directions: np.ndarray, rays: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
    """n·J of points at rays, for directions n, (K, 2) each: (K, 3), px."""
    return np.einsum("ki,kij->kj", directions, _turn_flow(rays, focal_px))


def off_path(t_ns: int, seen: SeenScene, rays, log_depth, level) -> tuple[np.ndarray, ...]:
    """Of points (K,) with likelihoods' peaks at log_depth in slices of level: the direction across the path (K, 2), by
    how much patches match better that way, px/s, that number's variance, and
    the span of the slices, s. NaN: not known."""
    lag_s = (t_ns - seen.middle_ns) * 1e-9
    out = np.full((len(rays), 5), np.nan)
    _all(seen.columns, seen.strides, seen.lens, lag_s, rays, np.exp(-log_depth), level, out)
    span_s = out[:, 4]
    return out[:, 2:4], out[:, 0] / span_s, (1 / out[:, 1] + NOISE_PX**2) / span_s**2, span_s


@inner
def _beside(known, rotation, translation, lens, x, y, rho, lag_s, right, down, out):
    """The translation that moves the path of one point at ρ by (right, down) px for each second of lag."""
    for j in range(SLICES):
        out[j, 0], out[j, 1], out[j, 2] = translation[j, 0], translation[j, 1], translation[j, 2]
        if known[j]:
            depth = rotation[j, 2, 0] * x + rotation[j, 2, 1] * y + rotation[j, 2, 2] + rho * translation[j, 2]
            out[j, 0] += right * lag_s[j] / lens[0] * depth / rho
            out[j, 1] += down * lag_s[j] / lens[1] * depth / rho


@inner
def _one(scene, strides, lens, lag_s, x, y, rho, level, moved, grid, patches, out):
    """out: shift across the path (px over the span), its information, the direction (2), and the span, s."""
    known, rotation, translation = scene[4][level], scene[5][level], scene[6][level]
    lag_s, oldest = lag_s[level], -1
    for j in range(SLICES):
        if known[j] and oldest < 0:
            oldest = j
    if oldest < 0:
        return
    u, v = project(rotation[oldest], translation[oldest], lens, x, y, rho)
    far_u, far_v = project(rotation[oldest], translation[oldest], lens, x, y, 0.0)
    path_px = math.hypot(u - far_u, v - far_v)
    if not (path_px >= MIN_PATH_PX and path_px < 1e6):
        return
    span_s = lag_s[oldest]
    across_u, across_v = -(v - far_v) / path_px, (u - far_u) / path_px
    right, down = across_u / span_s, across_v / span_s
    best, highest = 0, -1e9
    for i in range(-REACH_PX, REACH_PX + 1):
        _beside(known, rotation, translation, lens, x, y, rho, lag_s, right * i, down * i, moved)
        value = ell(scene, strides, lens, level, x, y, rho, moved, patches)
        if value > highest:
            best, highest = i, value
    if best == -REACH_PX or best == REACH_PX:
        return
    for a in range(3):
        other = rho * math.exp((a - 1) / path_px)
        for i in range(3):
            px = best + i - 1.0
            _beside(known, rotation, translation, lens, x, y, other, lag_s, right * px, down * px, moved)
            grid[a, i] = ell(scene, strides, lens, level, x, y, other, moved, patches)
    slope_a, slope = (grid[2, 1] - grid[0, 1]) / 2, (grid[1, 2] - grid[1, 0]) / 2
    bend_a, bend = 2 * grid[1, 1] - grid[2, 1] - grid[0, 1], 2 * grid[1, 1] - grid[1, 2] - grid[1, 0]
    twist = (grid[2, 0] + grid[0, 2] - grid[2, 2] - grid[0, 0]) / 4
    if bend_a < 0.05 or bend < 0.05:
        return
    rest = bend - twist * twist / bend_a
    if rest < 0.02 * bend:
        return
    shift = (slope - twist * slope_a / bend_a) / rest
    along = (slope_a - twist * shift) / bend_a
    if abs(shift) > 1.5 or abs(along) > 1.5:
        return
    out[0], out[1], out[2], out[3], out[4] = best + shift, rest, across_u, across_v, span_s


@loop
def _all(scene, strides, lens, lag_s, rays, rhos, levels, out):
    moved, grid, patches = np.zeros((SLICES, 3)), np.zeros((3, 3)), scratch_patches()
    for n in range(len(rays)):
        _one(scene, strides, lens, lag_s, rays[n, 0], rays[n, 1], rhos[n], levels[n], moved, grid, patches, out[n])
