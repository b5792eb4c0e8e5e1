"""By how much the patches of a point match better beside its path than on it.

ℓ of likelihood.py is taken at its peak and at places to the side, the further the older a slice is. At the best of them
a parabola in two variables, the shift to the side and depth, is fitted; what a change of depth could explain of the
shift is taken away from what is known of it (Schur complement), as an oblique edge shows only one of the two.
"""

from __future__ import annotations

import math

import numpy as np

from eventspd_ros.motion.compiled import inner, loop
from eventspd_ros.motion.likelihood import SeenScene
from eventspd_ros.motion.patches import ell, project, scratch_patches
from eventspd_ros.motion.slices import SLICES

REACH_PX = 5  # beside the path, over the span of the slices
MIN_PATH_PX = 0.5
NOISE_PX = 0.15  # added to what the parabola says
MIN_BEND, MIN_REST = 0.05, 0.02  # nats a square px, and a share of it: below, the shift is not seen
MAX_STEP_PX = 1.5  # from the best whole pixel to the parabola's top


def off_path(t_ns: int, seen: SeenScene, rays, log_depth, level) -> tuple[np.ndarray, ...]:
    """Of points (K,) with likelihoods' peaks at log_depth in slices of level: the direction across the path (K, 2), by
    how much patches match better that way, px/s, that number's variance, and
    the span of the slices, s. NaN: not known."""
    lag_s = (t_ns - seen.middle_ns) * 1e-9
    out = np.full((len(rays), 5), np.nan)
    _all_off_path(seen.columns, seen.strides, seen.lens, lag_s, rays, np.exp(-log_depth), level, out)
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
        value = ell(scene, strides, lens, level, x, y, rho, moved, False, patches)
        if value > highest:
            best, highest = i, value
    if best == -REACH_PX or best == REACH_PX:
        return
    for a in range(3):
        other = rho * math.exp((a - 1) / path_px)
        for i in range(3):
            px = best + i - 1.0
            _beside(known, rotation, translation, lens, x, y, other, lag_s, right * px, down * px, moved)
            grid[a, i] = ell(scene, strides, lens, level, x, y, other, moved, False, patches)
    slope_a, slope = (grid[2, 1] - grid[0, 1]) / 2, (grid[1, 2] - grid[1, 0]) / 2
    bend_a, bend = 2 * grid[1, 1] - grid[2, 1] - grid[0, 1], 2 * grid[1, 1] - grid[1, 2] - grid[1, 0]
    twist = (grid[2, 0] + grid[0, 2] - grid[2, 2] - grid[0, 0]) / 4
    if bend_a < MIN_BEND or bend < MIN_BEND:
        return
    rest = bend - twist * twist / bend_a
    if rest < MIN_REST * bend:
        return
    shift = (slope - twist * slope_a / bend_a) / rest
    along = (slope_a - twist * shift) / bend_a
    if abs(shift) > MAX_STEP_PX or abs(along) > MAX_STEP_PX:
        return
    out[0], out[1], out[2], out[3], out[4] = best + shift, rest, across_u, across_v, span_s


@loop
def _all_off_path(scene, strides, lens, lag_s, rays, rhos, levels, out):
    moved, grid, patches = np.zeros((SLICES, 3)), np.zeros((3, 3)), scratch_patches()
    for n in range(len(rays)):
        _one(scene, strides, lens, lag_s, rays[n, 0], rays[n, 1], rhos[n], levels[n], moved, grid, patches, out[n])
