"""How patterns of events move in the image, where nothing is known of the camera's motion.

A pattern that moves by f (px/s) was in slice j, τ_j ago, at c − τ_j f. If f is right, the patches of all slices there
show one pattern: ℓ of likelihood.py, over the two components of f in place of inverse depth. f is sought first over all
of a disc, in slices of half the size, then by single pixels; a parabola gives it to fractions of one, and how sure of
it in which direction, as an edge tells only of what is across it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from eventspd_ros.motion.compiled import inner, loop
from eventspd_ros.motion.likelihood import SeenScene
from eventspd_ros.motion.patches import ell, scratch_patches
from eventspd_ros.motion.slices import LEVELS, MARGIN, SLICES, SPANS_NS, EventSlices, Look

FIRST_LEVELS = (1, 2, 3, 4)  # slices in which nothing is known yet: spans of 40 to 320 ms
REACH_PX, LONGER_REACH_PX = 24, 3  # over the span: of the first search, and around what a shorter span found
LONGER_BELOW_PX = 12.0  # a pattern that moved by less is sought in a longer span
KEPT = 0.6  # of the nats of a shorter span that a longer one must have, or motion changed meanwhile
MIN_NATS = 4.0  # chance reaches that now and then, among some thousand places
NOISE_PX = 0.5  # over the span, added to what the parabola says
CELLS_ACROSS, CORNER_SHARE = 22, 0.02  # one corner a cell, and of the strongest ones' strength
TRIED = 4  # one of so many is sought in all of the first levels, the others in the one where most was found
FORM_EVENTS = 0.05  # a pixel, by their sum: corners are sought in the shortest slice that has so many


@dataclass(frozen=True, slots=True)
class Flow:
    """Of K patterns at undistorted pixels uv_px (K, 2): px_s (K, 2), px/s, its covariance (K, 2, 2), over span_s."""

    uv_px: np.ndarray
    px_s: np.ndarray
    covariance: np.ndarray
    span_s: float


def corner_flow(look: Look, slices: EventSlices, seen: SeenScene, t_ns: int) -> Flow:
    """The flow of corners, spread over the image, at t_ns. seen: the look without any motion."""
    uv_px = corners(look, slices)
    rays = (uv_px - seen.lens[2:4]) / seen.lens[:2]
    lag_s = (t_ns - seen.middle_ns) * 1e-9
    found, level = _shortest(seen, rays, lag_s)
    for longer in range(level + 1, LEVELS):
        good = _good(found)
        if good.sum() < 8 or not seen.columns[4][longer].all():
            break
        span_s = SPANS_NS[longer] * 1e-9
        if np.median(np.hypot(*found[good, :2].T)) * span_s > LONGER_BELOW_PX:
            break
        guess = np.where(good[:, None], found[:, :2], np.median(found[good, :2], axis=0))
        other = _search(seen, rays, lag_s, longer, guess, LONGER_REACH_PX, False)
        if _nats(other) < KEPT * _nats(found):
            break
        found, level = other, longer
    good, span_s = _good(found), SPANS_NS[level] * 1e-9
    (xx, xy, yy), own = found[good, 3:6].T, (NOISE_PX / span_s) ** 2
    determinant = np.maximum(xx * yy - xy * xy, 1e-12)
    covariance = np.stack((np.stack((yy, -xy), -1), np.stack((-xy, xx), -1)), 1) / determinant[:, None, None]
    return Flow(uv_px[good], found[good, :2], covariance + own * np.eye(2), span_s)


def corners(look: Look, slices: EventSlices) -> np.ndarray:
    """Pixels (K, 2) around which the newest events have structure in all directions, the best of each cell (Shi and
    Tomasi, Good Features to Track, CVPR 1994)."""
    rows, columns = slice(MARGIN, MARGIN + slices.height), slice(MARGIN, MARGIN + slices.width)
    for at in look.full_at[:, -1].astype(np.int64).tolist():
        form = look.full[at : at + slices.size].reshape(-1, slices.stride)[rows, columns].astype(np.float32)
        if np.abs(form).sum() >= FORM_EVENTS * form.size:
            break
    strength = cv2.cornerMinEigenVal(cv2.GaussianBlur(form, (0, 0), 1.0), 9, ksize=3)
    side = -(-slices.width // CELLS_ACROSS)
    padded = np.pad(strength, ((0, -slices.height % side), (0, -slices.width % side)))
    cells = padded.reshape(padded.shape[0] // side, side, -1, side).swapaxes(1, 2).reshape(-1, side * side)
    best, most = cells.argmax(axis=1), cells.max(axis=1)
    across = padded.shape[1] // side
    cell = np.arange(len(cells))
    uv_px = np.stack((cell % across * side + best % side, cell // across * side + best // side), axis=1)
    return uv_px[most > CORNER_SHARE * max(np.quantile(most, 0.9), 1e-12)].astype(np.float64)


def _shortest(seen: SeenScene, rays: np.ndarray, lag_s: np.ndarray) -> tuple[np.ndarray, int]:
    """Of the first levels that is taken in which most is found."""
    nowhere = np.zeros((len(rays), 2))
    tried = {
        level: _search(seen, rays[::TRIED], lag_s, level, nowhere[::TRIED], REACH_PX, True)
        for level in FIRST_LEVELS
        if seen.columns[4][level].all()
    }
    if not tried:
        return np.zeros((len(rays), 7)), FIRST_LEVELS[0]
    level = max(tried, key=lambda level: _nats(tried[level]))
    return _search(seen, rays, lag_s, level, nowhere, REACH_PX, True), level


def _search(seen, rays, lag_s, level, guess, reach_px, coarse) -> np.ndarray:
    """(K, 7): flow, px/s; ℓ; its information xx, xy, yy, (s/px)²; whether it has a peak."""
    out = np.zeros((len(rays), 7))
    _all_flows(seen.columns, seen.strides, seen.lens, lag_s, rays, level, guess, reach_px, coarse, out)
    return out


def _good(found: np.ndarray) -> np.ndarray:
    return (found[:, 6] > 0) & (found[:, 2] > MIN_NATS)


def _nats(found: np.ndarray) -> float:
    return float((found[:, 2] - MIN_NATS)[_good(found)].sum())


@inner
def _moving(lag_s, lens, right, down, out):
    """The translation to the slices of a pattern that moves by (right, down) px/s, at inverse depth 1."""
    for j in range(SLICES):
        out[j, 0], out[j, 1], out[j, 2] = -lag_s[j] * right / lens[0], -lag_s[j] * down / lens[1], 0.0


@inner
def _peak(grid, out):
    """Of the parabola through nine values: its place from the middle in (0, 1), bends xx, xy, yy in (2, 3, 4). Whether
    it is one, and near."""
    slope_x, slope_y = (grid[2, 1] - grid[0, 1]) / 2, (grid[1, 2] - grid[1, 0]) / 2
    xx, yy = 2 * grid[1, 1] - grid[2, 1] - grid[0, 1], 2 * grid[1, 1] - grid[1, 2] - grid[1, 0]
    xy = (grid[2, 0] + grid[0, 2] - grid[2, 2] - grid[0, 0]) / 4
    determinant = xx * yy - xy * xy
    out[2], out[3], out[4] = xx, xy, yy
    if xx < 1e-3 or yy < 1e-3 or determinant < 1e-3 * xx * yy:
        return False
    out[0], out[1] = (yy * slope_x - xy * slope_y) / determinant, (xx * slope_y - xy * slope_x) / determinant
    return abs(out[0]) <= 1.0 and abs(out[1]) <= 1.0


@loop
def _all_flows(scene, strides, lens, lag_s, rays, level, guess, reach_px, coarse, out):
    moved, grid, top, patches = np.zeros((SLICES, 3)), np.zeros((3, 3)), np.zeros(5), scratch_patches()
    lag_s, span_s = lag_s[level], 0.0
    for j in range(SLICES):
        span_s = max(span_s, lag_s[j])
    for n in range(len(rays)):
        x, y, best_x, best_y, around = rays[n, 0], rays[n, 1], 0, 0, reach_px
        if coarse:
            # Every second pixel of the halved slices, then the ones around the best.
            around = 1
            for step, reach in ((4, reach_px), (2, 2)):
                middle_x, middle_y, highest = best_x, best_y, -1e9
                for i in range(middle_x - reach, middle_x + reach + 1, step):
                    for k in range(middle_y - reach, middle_y + reach + 1, step):
                        if i * i + k * k <= reach_px * reach_px:
                            _moving(lag_s, lens, guess[n, 0] + i / span_s, guess[n, 1] + k / span_s, moved)
                            value = ell(scene, strides, lens, level, x, y, 1.0, moved, True, patches)
                            if value > highest:
                                highest, best_x, best_y = value, i, k
        middle_x, middle_y, highest = best_x, best_y, -1e9
        for i in range(middle_x - around, middle_x + around + 1):
            for k in range(middle_y - around, middle_y + around + 1):
                _moving(lag_s, lens, guess[n, 0] + i / span_s, guess[n, 1] + k / span_s, moved)
                value = ell(scene, strides, lens, level, x, y, 1.0, moved, False, patches)
                if value > highest:
                    highest, best_x, best_y = value, i, k
        for i in range(3):
            for k in range(3):
                right, down = guess[n, 0] + (best_x + i - 1) / span_s, guess[n, 1] + (best_y + k - 1) / span_s
                _moving(lag_s, lens, right, down, moved)
                grid[i, k] = ell(scene, strides, lens, level, x, y, 1.0, moved, False, patches)
        top[:2] = 0.0
        out[n, 6] = 1.0 if _peak(grid, top) else 0.0
        out[n, 0], out[n, 1] = guess[n, 0] + (best_x + top[0]) / span_s, guess[n, 1] + (best_y + top[1]) / span_s
        out[n, 2] = highest
        for i in range(3):
            out[n, 3 + i] = top[2 + i] * span_s * span_s
