"""ℓ(ρ) of one point in slices of one length: the patches along its path, and how alike they are.

The formulas are those of likelihood.py, compiled. A point is its ray (x, y); `scene` holds the slices of a Look, which
of them have a known pose, and the motion to each; `lens` is fx, fy, cx, cy, height, width.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, uint64

from eventspd_ros.motion.compiled import inner
from eventspd_ros.motion.slices import MARGIN, SLICES

N = 12.0
NOISE_R = 0.07  # correlation that noise reaches: what a hypothesis without any support is worth
FLOOR = -N * math.log(1 - NOISE_R)
STEP_PX = 1.0
COARSE = 2.0  # the coarse search's step, and its slices' pixels, are that many times larger
MAX_NODES = 64
MAX_PX_PER_SLICE = 5.0  # a pattern that moves by more inside a slice is smeared
MIN_SLICES = 4
ENERGY_0 = 3.0  # events' energy in a patch below which its correlation means little
CENTRAL_SHARE = 0.25  # of the energy in the middle, for even content; where less is there the pattern is a neighbour's
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


@inner
def scratch_patches():
    """Room for where eight patches begin, their weights, and their places."""
    return np.empty(SLICES, np.uint64), np.zeros((SLICES, 4), np.float32), np.empty((SLICES, 2))


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


@inner
def _full_energies(image, stride, at, k, weights):
    return _energies(image, stride, at, k, weights, 13, 16)


@inner
def _half_energies(image, stride, at, k, weights):
    return _energies(image, stride, at, k, weights, 7, 8)


@njit(nogil=True, inline="always")
def project(rotation, translation, lens, x, y, rho):
    """c_j(ρ), px; far outside where the point is behind the camera."""
    depth = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] + rho * translation[2]
    if depth < NEAR_Z:
        return -1e9, -1e9
    across = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] + rho * translation[0]
    down = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] + rho * translation[1]
    return lens[0] * across / depth + lens[2], lens[1] * down / depth + lens[3]


@inner
def displacement(known, rotation, translation, lens, x, y, far, near):
    """The largest distance in px, over the known slices, between the places of two inverse depths; and in which."""
    largest, where = 0.0, -1
    for j in range(len(known)):
        if known[j]:
            u0, v0 = project(rotation[j], translation[j], lens, x, y, far)
            u1, v1 = project(rotation[j], translation[j], lens, x, y, near)
            if u0 > -1e8 and u1 > -1e8:
                distance = math.hypot(u1 - u0, v1 - v0)
                if distance > largest or where < 0:
                    largest, where = distance, j
    return largest, where


@inner
def choose_level(known, rotation, translation, lens, x, y, far, near, middle, max_px):
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
            u, v = project(rotation[level, j], translation[level, j], lens, x, y, middle)
            far_u, far_v = project(rotation[level, j], translation[level, j], lens, x, y, 0.0)
            right, down = right + sign * (u - far_u), down + sign * (v - far_v)
        if math.hypot(right, down) <= MAX_PX_PER_SLICE * (newest - oldest):
            return level
    return -1


@inner
def _place_patches(known, rotation, translation, lens, x, y, rho, coarse, begins, stride, at, k, path):
    """Where each slice's patch begins, and the four weights of its bilinear values; zero where it is not seen, negative
    where the point moved the other way, which turns ON into OFF. Returns how many are seen."""
    seen, fastest, fu, fv = 0, 0.0, 0.0, 0.0
    for j in range(SLICES):
        path[j, 0], path[j, 1] = project(rotation[j], translation[j], lens, x, y, rho) if known[j] else (-1e9, -1e9)
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


@inner
def _ell(pattern, total, seen):
    r = (pattern - total) / ((total + ENERGY_0) * (seen - 1.0))
    return -N * (seen - 1.0) / (SLICES - 1.0) * math.log(max(1.0 - r, 1e-3)) - FLOOR


@inner
def ell(scene, strides, lens, level, x, y, rho, translation, coarse, patches):
    """ℓ above the floor at one inverse depth, with a translation to the slices; 0: too few see it. coarse: in slices of
    half the size."""
    full, half, full_at, half_at, known, rotation, _ = scene
    at, k, path = patches
    args = known[level], rotation[level], translation, lens, x, y, rho, coarse
    if coarse:
        seen = _place_patches(*args, half_at[level], strides[1], at, k, path)
    else:
        seen = _place_patches(*args, full_at[level], strides[0], at, k, path)
    if seen < MIN_SLICES:
        return 0.0
    if coarse:
        pattern, total = _half_energies(half, strides[1], at, k, _HALF_WEIGHTS)
    else:
        pattern, total = _full_energies(full, strides[0], at, k, _WEIGHTS)
    return _ell(pattern, total, seen)


@inner
def scan(scene, strides, lens, level, x, y, far, near, coarse, rhos, ells, patches):
    """ℓ above the floor at inverse depths from far to near, even in displacement. Returns their number and step, px."""
    known, rotation, translation = scene[4][level], scene[5][level], scene[6][level]
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
        rhos[i] = g / (1 - g * q)
        ells[i] = ell(scene, strides, lens, level, x, y, rhos[i], translation, coarse, patches)
    return nodes, reach_px / (nodes - 1)


@inner
def central_share(scene, strides, lens, level, x, y, rho, patches):
    """How much of the patches' energy lies in the middle, where the point is: 1 for CENTRAL_SHARE and more."""
    full, _, full_at, _, known, rotation, translation = scene
    at, k, path = patches
    args = known[level], rotation[level], translation[level], lens, x, y, rho, False
    _place_patches(*args, full_at[level], strides[0], at, k, path)
    _, wide = _full_energies(full, strides[0], at, k, _WEIGHTS)
    _, narrow = _full_energies(full, strides[0], at, k, _NARROW)
    return min(1.0, narrow / (wide * CENTRAL_SHARE + 1e-9))
