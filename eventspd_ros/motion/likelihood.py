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
from dataclasses import dataclass

import numpy as np
from numba import njit, uint64

from eventspd_ros.motion.slices import LEVELS, MARGIN, SLICES, SPANS_NS, EventSlices, Look
from eventspd_ros.motion.trajectory import Motion

BINS = 64  # of log depth, around the likelihood's peak
PARALLAX_LEVEL = LEVELS - 2  # whose newer half spans 80 ms
N = 12.0
NOISE_R = 0.07  # correlation that noise reaches: what a hypothesis without any support is worth
FLOOR = -N * math.log(1 - NOISE_R)
STEP_PX = 1.0
COARSE = 2.0  # the coarse search's step, and its slices' pixels, are that many times larger
MAX_NODES = 64
MAX_PX_PER_SLICE = 5.0  # a pattern that moves by more inside a slice is smeared
MIN_SLICES = 4
LOW_LEVEL_PX = 4.0  # a shorter span in which all hypotheses lie closer tells nothing more
ENERGY_0 = 3.0  # events' energy in a patch below which its correlation means little
CENTRAL_SHARE = 0.25  # of the energy in the middle, for even content; where less is there the pattern is a neighbour's
REACH = 3.0  # standard deviations of the prior that are searched, and
MIN_STDDEV = 0.4  # at least as if it had this one
VAGUE = 0.8  # standard deviation after the coarse search that is not worth refining
OUTLIERS = 0.05
STUDENT = 4.0  # degrees of freedom of the prior, whose tails are heavy: networks err
NEAR_Z = 0.05  # a point must be that far ahead of the camera, relative to its depth now

_ROWS, _COLUMNS, _HALF_ROWS, _HALF_COLUMNS = 13, 16, 7, 8


def _gaussian(rows: int, columns: int, stddev_px: float) -> np.ndarray:
    """Weights (rows, columns) float32 around pixel (rows // 2, rows // 2); zero in columns past the square."""
    middle = rows // 2
    y, x = np.mgrid[:rows, :columns] - middle
    weights = np.exp(-0.5 * (x**2 + y**2) / stddev_px**2)
    weights[:, rows:] = 0
    return weights.astype(np.float32)


_WEIGHTS, _NARROW = _gaussian(_ROWS, _COLUMNS, 3.0), _gaussian(_ROWS, _COLUMNS, 1.5)
_HALF_WEIGHTS = _gaussian(_HALF_ROWS, _HALF_COLUMNS, 1.5)


@dataclass(frozen=True, slots=True)
class Camera:
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


def depth_likelihoods(
    look: Look,
    slices: EventSlices,
    motion: Motion,
    camera: Camera,
    rays: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray],
    errors_px: tuple[np.ndarray, np.ndarray],
) -> Likelihoods:
    """look: of slices, whose lock is held. motion: to look.middle_ns, flattened. rays: (K, 2). prior: mean and standard
    deviation of log depth, (K,) each. errors_px: by how much errors of the poses move patterns, (K,) each: from pose to
    pose (px), and for each second (px/s)."""
    out = Likelihoods.empty(len(rays))
    shape = look.known.shape
    scene = (
        look.full,
        look.half,
        look.full_at,
        look.half_at,
        (look.known.ravel() & motion.known).reshape(shape),
        np.nan_to_num(motion.rotation).reshape(*shape, 3, 3),
        np.nan_to_num(motion.translation_m).reshape(*shape, 3),
    )
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy, slices.height, slices.width], np.float64)
    strides = np.uint64(slices.stride), np.uint64(slices.half_stride)
    # Compiled code knows no NaN (fastmath): what is none of its business does not get there.
    valid = np.isfinite(rays).all(axis=1) & np.isfinite(prior[0]) & np.isfinite(prior[1])
    columns = out.low, out.width, out.log_density, out.log_uniform, out.level
    columns += out.parallax_px, out.peak, out.stddev, out.strength
    _all_points(scene, strides, lens, rays, prior, errors_px, valid, columns)
    return out


@njit(nogil=True, inline="always")
def _blend(image, at, stride, k, j):
    return (
        k[j, 0] * image[at]
        + k[j, 1] * image[at + uint64(1)]
        + k[j, 2] * image[at + stride]
        + k[j, 3] * image[at + stride + uint64(1)]
    )


@njit(nogil=True, inline="always")
def _energies(image, stride, at, k, weights, rows, columns):
    """Σ w P² and Σ w Q of eight patches. Written out slice by slice: only so does the compiler keep a whole row of all
    of them in registers (0.15 µs; a loop over slices takes seven times as long)."""
    pattern, total = np.float32(0.0), np.float32(0.0)
    a0, a1, a2, a3, a4, a5, a6, a7 = at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]
    for row in range(uint64(rows)):
        for c in range(uint64(columns)):
            v0, v1 = _blend(image, a0 + c, stride, k, 0), _blend(image, a1 + c, stride, k, 1)
            v2, v3 = _blend(image, a2 + c, stride, k, 2), _blend(image, a3 + c, stride, k, 3)
            v4, v5 = _blend(image, a4 + c, stride, k, 4), _blend(image, a5 + c, stride, k, 5)
            v6, v7 = _blend(image, a6 + c, stride, k, 6), _blend(image, a7 + c, stride, k, 7)
            p = v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7
            w = weights[row, c]
            pattern += w * p * p
            total += w * (v0 * v0 + v1 * v1 + v2 * v2 + v3 * v3 + v4 * v4 + v5 * v5 + v6 * v6 + v7 * v7)
        a0, a1, a2, a3 = a0 + stride, a1 + stride, a2 + stride, a3 + stride
        a4, a5, a6, a7 = a4 + stride, a5 + stride, a6 + stride, a7 + stride
    return pattern, total


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _full_energies(image, stride, at, k, weights):
    return _energies(image, stride, at, k, weights, 13, 16)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _half_energies(image, stride, at, k, weights):
    return _energies(image, stride, at, k, weights, 7, 8)


@njit(nogil=True, inline="always")
def _project(rotation, translation, lens, x, y, rho):
    """c_j(ρ), px; far outside where the point is behind the camera."""
    depth = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] + rho * translation[2]
    if depth < NEAR_Z:
        return -1e9, -1e9
    across = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] + rho * translation[0]
    down = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] + rho * translation[1]
    return lens[0] * across / depth + lens[2], lens[1] * down / depth + lens[3]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def displacement(known, rotation, translation, lens, x, y, far, near):
    """The largest distance in px, over the known slices, between the places of two inverse depths; and in which."""
    largest, where = 0.0, -1
    for j in range(len(known)):
        if known[j]:
            u0, v0 = _project(rotation[j], translation[j], lens, x, y, far)
            u1, v1 = _project(rotation[j], translation[j], lens, x, y, near)
            if u0 > -1e8 and u1 > -1e8:
                distance = math.hypot(u1 - u0, v1 - v0)
                if distance > largest or where < 0:
                    largest, where = distance, j
    return largest, where


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _choose_level(known, rotation, translation, lens, x, y, far, near, middle, max_px):
    """The longest slices in which neither the hypotheses lie too far apart nor the pattern is smeared; −1: none."""
    for level in range(len(known) - 1, -1, -1):
        slices, oldest, newest = 0, -1, -1
        for j in range(SLICES):
            if known[level, j]:
                slices, newest = slices + 1, j
                if oldest < 0:
                    oldest = j
        if slices < MIN_SLICES:
            continue
        reach_px, where = displacement(known[level], rotation[level], translation[level], lens, x, y, far, near)
        if where < 0 or reach_px > max_px:
            continue
        # Against the far background: what a turn smears it smears alike in all slices.
        right, down = 0.0, 0.0
        for j, sign in ((oldest, -1.0), (newest, 1.0)):
            u, v = _project(rotation[level, j], translation[level, j], lens, x, y, middle)
            far_u, far_v = _project(rotation[level, j], translation[level, j], lens, x, y, 0.0)
            right, down = right + sign * (u - far_u), down + sign * (v - far_v)
        if math.hypot(right, down) <= MAX_PX_PER_SLICE * (newest - oldest):
            return level
    return -1


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _place_patches(known, rotation, translation, lens, x, y, rho, coarse, begins, stride, at, k, path):
    """Where each slice's patch begins, and the four weights of its bilinear values; zero where it is not seen, negative
    where the point moved the other way, which turns ON into OFF. Returns how many are seen."""
    seen, fastest, fu, fv = 0, 0.0, 0.0, 0.0
    for j in range(SLICES):
        path[j, 0], path[j, 1] = _project(rotation[j], translation[j], lens, x, y, rho) if known[j] else (-1e9, -1e9)
        if j and path[j, 0] > -1e8 and path[j - 1, 0] > -1e8:
            du, dv = path[j, 0] - path[j - 1, 0], path[j, 1] - path[j - 1, 1]
            if du * du + dv * dv > fastest:
                fastest, fu, fv = du * du + dv * dv, du, dv
    for j in range(SLICES):
        k[j, :] = 0.0
        at[j] = begins[j]
        u, v = path[j, 0], path[j, 1]
        if not (u > -0.5 and u < lens[5] - 0.5 and v > -0.5 and v < lens[4] - 0.5):
            continue
        seen += 1
        back = 6
        before, after = max(j - 1, 0), min(j + 1, SLICES - 1)
        along = (path[after, 0] - path[before, 0]) * fu + (path[after, 1] - path[before, 1]) * fv
        sign = np.float32(-1.0 if along < 0 and path[before, 0] > -1e8 and path[after, 0] > -1e8 else 1.0)
        if coarse:
            u, v, back = (u - 0.5) / 2, (v - 0.5) / 2, 3
        left, top = math.floor(u), math.floor(v)
        right, down = np.float32(u - left), np.float32(v - top)
        at[j] += uint64((np.int64(top) + MARGIN - back) * np.int64(stride) + np.int64(left) + MARGIN - back)
        k[j, 3] = sign * right * down
        k[j, 1] = sign * right - k[j, 3]
        k[j, 2] = sign * down - k[j, 3]
        k[j, 0] = sign - sign * right - k[j, 2]
    return seen


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _scan(scene, strides, lens, level, x, y, far, near, coarse, rhos, ells, patches):
    """ℓ above the floor at inverse depths from far to near, even in displacement. Returns their number and step, px."""
    full, half, full_at, half_at, known, rotation, translation = scene
    at, k, path = patches
    known, rotation, translation = known[level], rotation[level], translation[level]
    reach_px, j = displacement(known, rotation, translation, lens, x, y, far, near)
    if j < 0:
        return 0, 0.0
    step_px = STEP_PX * COARSE if coarse else STEP_PX
    nodes = min(max(math.ceil(reach_px / step_px) + 1, 3), MAX_NODES)
    # The displacement in slice j goes with ρ / (1 + ρ q).
    q = translation[j, 2] / (rotation[j, 2, 0] * x + rotation[j, 2, 1] * y + rotation[j, 2, 2])
    first, last = far / (1 + far * q), near / (1 + near * q)
    for i in range(nodes):
        g = first + (last - first) * i / (nodes - 1)
        rhos[i], ells[i] = g / (1 - g * q), 0.0
        args = known, rotation, translation, lens, x, y, rhos[i], coarse
        if coarse:
            seen = _place_patches(*args, half_at[level], strides[1], at, k, path)
        else:
            seen = _place_patches(*args, full_at[level], strides[0], at, k, path)
        if seen < MIN_SLICES:
            continue
        if coarse:
            pattern, total = _half_energies(half, strides[1], at, k, _HALF_WEIGHTS)
        else:
            pattern, total = _full_energies(full, strides[0], at, k, _WEIGHTS)
        r = (pattern - total) / ((total + ENERGY_0) * (seen - 1.0))
        ells[i] = -N * (seen - 1.0) / (SLICES - 1.0) * math.log(max(1.0 - r, 1e-3)) - FLOOR
    return nodes, reach_px / (nodes - 1)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_interpolated(rhos, ells, nodes, other_rhos, other_ells, others):
    j = 1
    for i in range(nodes):
        while j < others - 1 and other_rhos[j] < rhos[i]:
            j += 1
        f = (rhos[i] - other_rhos[j - 1]) / (other_rhos[j] - other_rhos[j - 1])
        f = min(max(f, 0.0), 1.0)
        ells[i] += other_ells[j - 1] * (1 - f) + other_ells[j] * f


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _central_share(scene, strides, lens, level, x, y, rho, patches):
    """How much of the patches' energy lies in the middle, where the point is: 1 for CENTRAL_SHARE and more."""
    full, _, full_at, _, known, rotation, translation = scene
    at, k, path = patches
    args = known[level], rotation[level], translation[level], lens, x, y, rho, False
    _place_patches(*args, full_at[level], strides[0], at, k, path)
    _, wide = _full_energies(full, strides[0], at, k, _WEIGHTS)
    _, narrow = _full_energies(full, strides[0], at, k, _NARROW)
    return min(1.0, narrow / (wide * CENTRAL_SHARE + 1e-9))


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
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


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
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


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
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


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _one_point(scene, strides, lens, point, scratch, out, n):
    x, y, mean, stddev, white_px, drift_px_s = point
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
        level = _choose_level(*args, math.exp(-now), (MAX_NODES - 2) * step_px)
        if level < 0:
            break
        nodes, step_px = _scan(scene, strides, lens, level, x, y, far, near, coarse, rhos, ells, patches)
        if level:
            shorter = level - 1
            args = known[shorter], rotation[shorter], translation[shorter], lens, x, y, far, near
            if displacement(*args)[0] >= LOW_LEVEL_PX:
                args = scene, strides, lens, shorter, x, y, far, near, coarse, other_rhos, other_ells, patches
                others, _ = _scan(*args)
                _add_interpolated(rhos, ells, nodes, other_rhos, other_ells, others)
        top = 0
        for i in range(nodes):
            if ells[i] > ells[top]:
                top = i
        share = _central_share(scene, strides, lens, level, x, y, rhos[top], patches)
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


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _describe(motion, mean, reach, low, width, values):
    """Turn ℓ at the bins into the logarithm of a density per px of displacement. Returns mean and standard deviation of
    what of it is above the floor, and the logarithm of an even density over all that was searched."""
    _, rotation, translation, lens, x, y = motion
    highest = 0.0
    for i in range(BINS):
        highest = max(highest, values[i])
    floor = math.exp(-highest)
    range_px, j = displacement(*motion, math.exp(-mean - reach), math.exp(-mean + reach))
    range_px = max(range_px, 1.0)
    total, first, second, area = 1e-12, 0.0, 0.0, 0.0
    rho, step = math.exp(-low), math.exp(-width)
    u0, v0 = _project(rotation[j], translation[j], lens, x, y, rho)
    for i in range(BINS):
        z = low + (i + 0.5) * width
        rho *= step
        u1, v1 = _project(rotation[j], translation[j], lens, x, y, rho)
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


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _all_points(scene, strides, lens, rays, prior, errors_px, valid, out):
    scratch = (
        np.empty(MAX_NODES),
        np.empty(MAX_NODES),
        np.empty(MAX_NODES),
        np.empty(MAX_NODES),
        (np.empty(SLICES, np.uint64), np.zeros((SLICES, 4), np.float32), np.empty((SLICES, 2))),
    )
    for n in range(len(rays)):
        if valid[n]:
            point = rays[n, 0], rays[n, 1], prior[0][n], prior[1][n], errors_px[0][n], errors_px[1][n]
            _one_point(scene, strides, lens, point, scratch, out, n)
