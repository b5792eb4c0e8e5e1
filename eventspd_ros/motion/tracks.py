"""A front-end's tracks under known motion: each observation of an id is a ray that the point's depth must meet.

With x the ray now and x_i, y_i that of an earlier observation, R_i, b_i the motion to it, the point at inverse depth ρ
was seen at (a + ρ b)_xy / (a + ρ b)_z, a = R_i (x, y, 1), b = b_i. The difference to (x_i, y_i) times its depth there
is linear in ρ, so ρ follows by weighted least squares, weights 1/depth² renewed twice (Hartley and Sturm,
Triangulation, 1997, §5.1). An observation that lies off by much more than the front-end's noise weighs less
(Geman-McClure), so that a mismatch costs itself and no other.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numba import njit

from eventspd_ros.motion.trajectory import Motion

Relative = Callable[[int, np.ndarray], Motion]  # Trajectory.relative is one

MAX_TRACKS = 4096
OBSERVATIONS = 12  # of a track, evenly spread over
SPAN_NS = 400_000_000
SPACING_NS = SPAN_NS // OBSERVATIONS
LOST_NS = 500_000_000  # a track that was not asked for so long is over
START_NOISE_PX, MIN_NOISE_PX, MAX_NOISE_PX = 0.7, 0.1, 5.0
NOISE_GAIN = 0.05
MIN_OBSERVATIONS = 2
ROUNDS = 3
MAX_RESIDUAL = 3.0  # in noise; what lies further off is a mismatch


@dataclass(frozen=True, slots=True)
class Triangulated:
    """Of K points. log_depth, stddev: (K,) of log depth; NaN where the id is new or its rays do not meet ahead."""

    log_depth: np.ndarray
    stddev: np.ndarray

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.log_depth)


@dataclass(frozen=True, slots=True)
class _Track:
    """Its observations: when, and x and y of each ray in one row."""

    times_ns: list[int]
    rays: list[float]

    def clear(self) -> None:
        self.times_ns.clear()
        self.rays.clear()


_NEW = _Track([], [])


class Tracks:
    """Rays of the newest observations of each id. noise_px: of the front-end, as its residuals show it."""

    def __init__(self, focal_px: float):
        self.focal_px = focal_px
        self.restart()

    def restart(self) -> None:
        self.noise_px = START_NOISE_PX
        self._rays: OrderedDict[int, _Track] = OrderedDict()

    def triangulate(self, ids: np.ndarray, rays: np.ndarray, t_ns: int, relative: Relative) -> Triangulated:
        """Depth of points with ids (K,), seen at rays (K, 2) at t_ns (ROS time), from their earlier observations; then
        these are kept too. relative: the motion to them."""
        count = len(ids)
        times_ns, seen = self._observations(ids, t_ns)
        used = np.isfinite(seen[:, :, 0])
        out = np.full((2, count), np.nan)
        if used.any():
            moments, where = np.unique(times_ns[used], return_inverse=True)
            motion = relative(t_ns, moments)
            index = np.full((count, OBSERVATIONS), -1)
            index[used] = np.where(motion.known[where], where, -1)
            drift = motion.drift_rotation_rad_s
            noise = np.hypot(self.noise_px / self.focal_px, drift * (t_ns - moments) * 1e-9)
            residuals = np.full(count, np.nan)
            _triangulate(
                np.array(rays, np.float64, order="C"),
                seen,
                index,
                np.nan_to_num(motion.rotation),
                np.nan_to_num(motion.translation_m),
                noise,
                out,
                residuals,
            )
            self._learn_noise(residuals)
        self._keep(ids, rays, t_ns)
        return Triangulated(out[0], out[1])

    def _observations(self, ids: np.ndarray, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Times (K, OBSERVATIONS), ns, and rays (K, OBSERVATIONS, 2) of ids; NaN where there is none that counts."""
        times_ns = np.zeros((len(ids), OBSERVATIONS), np.int64)
        seen = np.full((len(ids), OBSERVATIONS, 2), np.nan)
        tracks = [self._rays.get(number, _NEW) for number in ids.tolist()]
        # One array of all of them, as a loop over two thousand observations takes a millisecond.
        lengths = np.array([len(track.times_ns) for track in tracks], np.int64)
        then_ns = np.array(list(chain.from_iterable(track.times_ns for track in tracks)), np.int64)
        rays = np.array(list(chain.from_iterable(track.rays for track in tracks)), np.float64).reshape(-1, 2)
        row = np.repeat(np.arange(len(ids)), lengths)
        column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        counts = (then_ns < t_ns) & (t_ns - then_ns <= SPAN_NS)
        times_ns[row[counts], column[counts]], seen[row[counts], column[counts]] = then_ns[counts], rays[counts]
        return times_ns, seen

    def _learn_noise(self, residuals: np.ndarray) -> None:
        """residuals: (K,) root mean square of each track's, in units of the noise assumed."""
        known = residuals[np.isfinite(residuals)]
        if len(known) >= 5:
            seen_px = float(np.clip(np.median(known) * self.noise_px, MIN_NOISE_PX, MAX_NOISE_PX))
            self.noise_px += NOISE_GAIN * (seen_px - self.noise_px)

    def _keep(self, ids: np.ndarray, rays: np.ndarray, t_ns: int) -> None:
        for number, ray in zip(ids.tolist(), rays.tolist(), strict=True):
            if not (math.isfinite(ray[0]) and math.isfinite(ray[1])):
                continue
            if (kept := self._rays.get(number)) is None:
                kept = self._rays[number] = _Track([], [])
            self._rays.move_to_end(number)
            if kept.times_ns and kept.times_ns[-1] >= t_ns:
                kept.clear()  # time fell, or the id came twice in one request
            if not kept.times_ns or t_ns - kept.times_ns[-1] >= SPACING_NS // 2:
                kept.times_ns.append(t_ns)
                kept.rays.extend(ray)
            while len(kept.times_ns) > OBSERVATIONS or t_ns - kept.times_ns[0] > SPAN_NS:
                del kept.times_ns[0], kept.rays[:2]
        while self._rays and (len(self._rays) > MAX_TRACKS or t_ns - self._oldest.times_ns[-1] > LOST_NS):
            self._rays.popitem(last=False)

    @property
    def _oldest(self) -> _Track:
        """The track that was asked for longest ago."""
        return next(iter(self._rays.values()))


@njit(nogil=True, cache=True, error_model="numpy")
def _triangulate(rays, seen, index, rotation, translation, noise, out, residuals):
    observations = seen.shape[1]
    for n in range(len(rays)):
        x, y = rays[n]
        rho, used, information, square = 0.0, 0, 0.0, 0.0
        for turn in range(ROUNDS):
            above, below, square, used, weight = 0.0, 0.0, 0.0, 0, 0.0
            for k in range(observations):
                j = index[n, k]
                if j < 0:
                    continue
                r, b = rotation[j], translation[j]
                ax = r[0, 0] * x + r[0, 1] * y + r[0, 2]
                ay = r[1, 0] * x + r[1, 1] * y + r[1, 2]
                az = r[2, 0] * x + r[2, 1] * y + r[2, 2]
                u, v = seen[n, k]
                depth = az + rho * b[2]
                if depth < 0.05:
                    continue
                # (a + ρ b)_xy − (u, v)(a + ρ b)_z = e + ρ g
                ex, ey = ax - u * az, ay - v * az
                gx, gy = b[0] - u * b[2], b[1] - v * b[2]
                scale = 1 / (depth * depth * noise[j] * noise[j])
                off = ((ex + rho * gx) ** 2 + (ey + rho * gy) ** 2) * scale
                w = scale
                if turn:
                    robust = 1 / (1 + off / (2 * MAX_RESIDUAL**2))
                    w *= robust * robust
                above -= w * (ex * gx + ey * gy)
                below += w * (gx * gx + gy * gy)
                square += min(off, 2 * MAX_RESIDUAL**2)
                weight += 1.0
                used += 1
            if used < MIN_OBSERVATIONS or below <= 0:
                break
            rho, information = above / below, below
        if used < MIN_OBSERVATIONS or not (rho > 1e-4) or information <= 0:
            continue
        residuals[n] = math.sqrt(square / (2 * weight))
        # The ray now has the noise too, and every difference holds it: their mean does not shrink below it.
        variance = (1 + used / 2) / information
        out[0, n] = -math.log(rho)
        out[1, n] = math.sqrt(variance) / rho
