"""What events say about the depth of a point, where the camera's motion is known.

A point of the still scene, seen at ray x = (x, y, 1) now and at inverse depth ρ, was in slice j at
c_j(ρ) = K π(R_j x + ρ b_j). If ρ is right, the patches of all slices around c_j(ρ) show one and the same pattern of
signed events; if not, each shows another place. With v_j(p) the slice's count at pixel p of the patch (bilinear), and
a Gaussian w(p) around its centre,

    r(ρ) = Σ_p w (P² − Q) / ((n − 1) Σ_p w Q),   P = Σ_j v_j,   Q = Σ_j v_j²,

is the mean correlation of two of the n patches: 1 for equal ones, about 0 for noise. (Where the point moved the other
way its events change sign, and v_j with them.) "One pattern plus noise of unknown
variance" has the profile likelihood ℓ(ρ) = −N ln(1 − r(ρ)), N the number of values that count as independent
(maximum likelihood over pattern and variance; r in place of the explained share e = P²/nQ, which noise raises to 1/n,
so that hypotheses seen by fewer slices are not preferred). It is flat without parallax and along an aperture.

ℓ is summed over slices of two lengths: long ones see the motion of far points, shorter ones still match where a point
left the image or was hidden before. Hypotheses are even in displacement in the image: first coarsely, in slices of half
the size and over all that the prior allows, then finely around what that found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from eventspd_ros.motion.compiled import inner, loop
from eventspd_ros.motion.patches import (
    COARSE,
    MAX_NODES,
    STEP_PX,
    central_share,
    choose_level,
    displacement,
    project,
    scan,
    scratch_patches,
)
from eventspd_ros.motion.slices import LEVELS, SLICES, SPANS_NS, EventSlices, Look
from eventspd_ros.motion.trajectory import Motion

BINS = 64  # of log depth, around the likelihood's peak
PARALLAX_LEVEL = LEVELS - 2  # whose newer half spans 80 ms
LOW_LEVEL_PX = 4.0  # a shorter span in which all hypotheses lie closer tells nothing more
REACH = 3.0  # standard deviations of the prior that are searched, and
MIN_STDDEV = 0.4  # at least as if it had this one
VAGUE = 0.8  # standard deviation after the coarse search that is not worth refining
SHARP_STDDEV, SHARP_NATS, SHARP_PARALLAX_PX = 0.2, 4.0, 0.7
OUTLIERS = 0.05
STUDENT = 4.0  # degrees of freedom of the prior, whose tails are heavy: networks err


@dataclass(frozen=True, slots=True)
class UndistortedCamera:
    """Focal lengths and principal point of the undistorted image, px."""

    fx: float
    fy: float
    cx: float
    cy: float

    def rays(self, uv_px: np.ndarray) -> np.ndarray:
        """Undistorted pixels (K, 2) to (x, y) of the ray (x, y, 1)."""
        return (uv_px - (self.cx, self.cy)) / (self.fx, self.fy)


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Of K points, over log depth.

    low, width: (K,), bin i of BINS is centred at low + (i + ½) width. log_density: (K, BINS), ℓ as the logarithm of a
    density per pixel of displacement; log_uniform: (K,), what an even one over the range searched would have.
    level: (K,), −1 where there is no likelihood. parallax_px: (K,), between the prior's depth and twice that over 80
    ms. peak, stddev: (K,), of the likelihood alone above its floor; strength: (K,), of the peak above the floor, nats.
    """

    low: np.ndarray
    width: np.ndarray
    log_density: np.ndarray
    log_uniform: np.ndarray
    level: np.ndarray
    parallax_px: np.ndarray
    peak: np.ndarray
    stddev: np.ndarray
    strength: np.ndarray

    @classmethod
    def empty(cls, count: int) -> Likelihoods:
        zero = np.zeros(count)
        level = np.full(count, -1, np.int64)
        return cls(zero, np.ones(count), np.zeros((count, BINS)), zero.copy(), level, *(zero.copy() for _ in range(4)))

    def of(self, which: np.ndarray) -> Likelihoods:
        """Those of some points, indices or bool."""
        return Likelihoods(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class SeenScene:
    """A look and the motion to its slices, as compiled loops take them. middle_ns: int64 (LEVELS, SLICES)."""

    columns: tuple[np.ndarray, ...]
    strides: tuple[np.uint64, np.uint64]
    lens: np.ndarray
    middle_ns: np.ndarray

    @classmethod
    def of(cls, look: Look, slices: EventSlices, motion: Motion, camera: UndistortedCamera) -> SeenScene:
        """look: of slices, whose lock is held as long as this is read. motion: to look.middle_ns, flattened."""
        shape = look.known.shape
        columns = (
            look.full,
            look.half,
            look.full_at,
            look.half_at,
            (look.known.ravel() & motion.known).reshape(shape),
            np.nan_to_num(motion.rotation).reshape(*shape, 3, 3),
            np.nan_to_num(motion.translation_m).reshape(*shape, 3),
        )
        lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy, slices.height, slices.width], np.float64)
        return cls(columns, (np.uint64(slices.stride), np.uint64(slices.half_stride)), lens, look.middle_ns)

    @property
    def focal_px(self) -> tuple[float, float]:
        return float(self.lens[0]), float(self.lens[1])


def depth_likelihoods(
    seen: SeenScene,
    rays: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray],
    errors_px: tuple[np.ndarray, np.ndarray],
) -> Likelihoods:
    """rays: (K, 2). prior: mean and standard deviation of log depth, (K,) each. errors_px: by how much errors of the
    poses move patterns, (K,) each: from pose to pose (px), and for each second (px/s)."""
    out = Likelihoods.empty(len(rays))
    # One type and layout whatever the caller's: for each other the loop is compiled once more, with other last bits,
    # and which of the forms then answers depends on what the process was asked before.
    points = np.column_stack((rays, *prior, *errors_px)).astype(np.float64, copy=False)
    # Compiled code knows no NaN (fastmath): what is none of its business does not get there.
    valid = np.isfinite(points[:, :4]).all(axis=1)
    columns = out.low, out.width, out.log_density, out.log_uniform, out.level
    columns += out.parallax_px, out.peak, out.stddev, out.strength
    _all_points(seen.columns, seen.strides, seen.lens, points, valid, columns)
    return out


def are_sharp(likelihoods: Likelihoods, stddev: np.ndarray, nats: float = SHARP_NATS) -> np.ndarray:
    """Which points a stream learns from, (K,) bool. stddev: of log depth by motion."""
    sharp = (likelihoods.level >= 0) & (likelihoods.parallax_px >= SHARP_PARALLAX_PX)
    return sharp & (stddev < SHARP_STDDEV) & (likelihoods.strength > nats)


@inner
def _add_interpolated(rhos, ells, nodes, other_rhos, other_ells, others):
    j = 1
    for i in range(nodes):
        while j < others - 1 and other_rhos[j] < rhos[i]:
            j += 1
        f = (rhos[i] - other_rhos[j - 1]) / (other_rhos[j] - other_rhos[j - 1])
        f = min(max(f, 0.0), 1.0)
        ells[i] += other_ells[j - 1] * (1 - f) + other_ells[j] * f


@inner
def _blur(ells, nodes, stddev, scratch):
    """Convolve e^ℓ with a Gaussian of that many nodes: errors of the poses move the pattern along its path."""
    if stddev < 0.2:
        return
    highest = 0.0
    for i in range(nodes):
        highest = max(highest, ells[i])
    for i in range(nodes):
        scratch[i] = math.exp(ells[i] - highest)
    reach = min(math.ceil(3 * stddev), nodes)
    for i in range(nodes):
        total, weight = 0.0, 0.0
        for d in range(-reach, reach + 1):
            w = math.exp(-0.5 * (d / stddev) ** 2)
            total += w * scratch[min(max(i + d, 0), nodes - 1)]
            weight += w
        ells[i] = math.log(total / weight + 1e-30) + highest


@inner
def _onto_bins(low, width, rhos, ells, nodes, values):
    """ℓ at the bins of log depth."""
    j, rho, step = nodes - 1, math.exp(-(low + 0.5 * width)), math.exp(-width)
    for i in range(BINS):
        while j > 1 and rhos[j - 1] > rho:
            j -= 1
        f = (rho - rhos[j - 1]) / (rhos[j] - rhos[j - 1])
        f = min(max(f, 0.0), 1.0)
        values[i] = ells[j - 1] * (1 - f) + ells[j] * f
        rho *= step


@inner
def _with_prior(low, width, values, mean, stddev):
    """Mean and standard deviation of log depth under the prior and ℓ over the bins."""
    highest = 0.0
    for i in range(BINS):
        highest = max(highest, values[i])
    floor = OUTLIERS * math.exp(-highest)
    total, first, second = 0.0, 0.0, 0.0
    for i in range(BINS):
        z = low + (i + 0.5) * width
        d = (z - mean) / stddev
        t = 1 + d * d / STUDENT
        p = ((1 - OUTLIERS) * math.exp(values[i] - highest) + floor) / (t * t * math.sqrt(t))
        total += p
        first += p * (z - mean)
        second += p * (z - mean) ** 2
    first /= total
    return mean + first, math.sqrt(max(second / total - first * first, 1e-8))


@inner
def _one_point(scene, strides, lens, point, scratch, out, n):
    x, y, mean, stddev, white_px, drift_px_s = point[0], point[1], point[2], point[3], point[4], point[5]
    low_, width_, log_density, log_uniform, level_, parallax_px, peak_, stddev_, strength_ = out
    known, rotation, translation = scene[4], scene[5], scene[6]
    rhos, ells, other_rhos, other_ells, patches = scratch
    rho, newer, p = math.exp(-mean), slice(SLICES // 2, SLICES), PARALLAX_LEVEL
    args = known[p, newer], rotation[p, newer], translation[p, newer], lens, x, y
    parallax_px[n], _ = displacement(*args, rho / 2, rho)
    reach = REACH * max(stddev, MIN_STDDEV)
    low, high, now = mean - reach, mean + reach, mean
    values = log_density[n]
    for coarse in (True, False):
        far, near = math.exp(-high), math.exp(-low)
        step_px = STEP_PX * COARSE if coarse else STEP_PX
        args = known, rotation, translation, lens, x, y, far, near
        level = choose_level(*args, math.exp(-now), (MAX_NODES - 2) * step_px)
        if level < 0:
            break
        nodes, step_px = scan(scene, strides, lens, level, x, y, far, near, coarse, rhos, ells, patches)
        if level:
            shorter = level - 1
            args = known[shorter], rotation[shorter], translation[shorter], lens, x, y, far, near
            if displacement(*args)[0] >= LOW_LEVEL_PX:
                args = scene, strides, lens, shorter, x, y, far, near, coarse, other_rhos, other_ells, patches
                others, _ = scan(*args)
                _add_interpolated(rhos, ells, nodes, other_rhos, other_ells, others)
        top = 0
        for i in range(nodes):
            if ells[i] > ells[top]:
                top = i
        share = central_share(scene, strides, lens, level, x, y, rhos[top], patches)
        for i in range(nodes):
            ells[i] *= share
        level_[n], low_[n], width_[n], strength_[n] = level, low, (high - low) / BINS, ells[top]
        error_px = math.hypot(white_px, drift_px_s * SPANS_NS[level] * 1e-9)
        _blur(ells, nodes, error_px / max(step_px, 1e-3), other_ells)
        _onto_bins(low, width_[n], rhos, ells, nodes, values)
        now, now_stddev = _with_prior(low, width_[n], values, mean, stddev)
        if now_stddev > VAGUE or not coarse:
            break
        args = known[level], rotation[level], translation[level], lens, x, y
        span_px, _ = displacement(*args, 0.0, math.exp(-now))
        half = REACH * max(now_stddev, min(1.2 * step_px / max(span_px, 1e-3), 0.3))
        if half > 0.8 * (high - low) / 2:
            break
        low, high = now - half, now + half
    level = level_[n]
    if level >= 0:
        args = known[level], rotation[level], translation[level], lens, x, y
        described = _describe(args, mean, reach, low_[n], width_[n], values)
        peak_[n], stddev_[n], log_uniform[n] = described


@inner
def _describe(motion, mean, reach, low, width, values):
    """Turn ℓ at the bins into the logarithm of a density per px of displacement. Returns mean and standard deviation of
    what of it is above the floor, and the logarithm of an even density over all that was searched."""
    known, rotation, translation, lens, x, y = motion
    highest = 0.0
    for i in range(BINS):
        highest = max(highest, values[i])
    floor = math.exp(-highest)
    far, near = math.exp(-mean - reach), math.exp(-mean + reach)
    range_px, j = displacement(known, rotation, translation, lens, x, y, far, near)
    range_px = max(range_px, 1.0)
    total, first, second, area = 1e-12, 0.0, 0.0, 0.0
    rho, step = math.exp(-low), math.exp(-width)
    u0, v0 = project(rotation[j], translation[j], lens, x, y, rho)
    for i in range(BINS):
        z = low + (i + 0.5) * width
        rho *= step
        u1, v1 = project(rotation[j], translation[j], lens, x, y, rho)
        e = math.exp(values[i] - highest)
        if u0 > -1e8 and u1 > -1e8:
            area += e * math.hypot(u1 - u0, v1 - v0)
        u0, v0 = u1, v1
        p = max(e - floor, 0.0)
        total += p
        first += p * (z - mean)
        second += p * (z - mean) ** 2
    first /= total
    if total < 1e-6:  # nothing is above the floor
        second = total * reach**2
    # Outside the bins the likelihood is at its floor.
    log_area = math.log(area + floor * range_px) + highest
    for i in range(BINS):
        values[i] -= log_area
    return mean + first, math.sqrt(max(second / total - first * first, 1e-6)), -math.log(range_px)


@loop
def _all_points(scene, strides, lens, points, valid, out):
    scratch = (
        np.empty(MAX_NODES),
        np.empty(MAX_NODES),
        np.empty(MAX_NODES),
        np.empty(MAX_NODES),
        scratch_patches(),
    )
    for n in range(len(points)):
        if valid[n]:
            _one_point(scene, strides, lens, points[n], scratch, out, n)
