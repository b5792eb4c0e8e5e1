"""What lenses do to rays, and the way back, for every room. The models are those of OpenCV and sensor_msgs/CameraInfo.

A ray is (x, y) of the direction (x, y, 1) in the camera's optical frame, also called normalised coordinates. Distorted,
it is where a pinhole of focal length 1 px would see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import Polynomial

NEWTON_STEPS = 20
SOLVED = 1e-13  # of distorted rays: some 1e-10 px
MAX_REACH = 1e6  # rays longer than this are at right angles to the axis
SMALLEST = 1e-80  # coefficients below this move nothing within reach, and dividing by them overflows
MOST_COEFFICIENTS = 14


@dataclass(frozen=True, eq=False)
class PolynomialLens:
    """plumb_bob (radial-tangential, Brown 1966) and rational_polynomial. d: k1, k2, p1, p2, k3, k4 to k6, s1 to s4, τx,
    τy in OpenCV's order, or the first of them."""

    d: np.ndarray

    @cached_property
    def _d(self) -> list[float]:
        return np.pad(self.d, (0, MOST_COEFFICIENTS))[:MOST_COEFFICIENTS].tolist()

    @cached_property
    def reach(self) -> float:
        """Length of the rays up to which the image grows outwards, MAX_REACH where it always does.

        Beyond it the model folds the image back onto itself and is no lens any more. Tangential coefficients and those
        of thin prisms and tilts move points by little and are left out.
        """
        k1, k2, _, _, k3, k4, k5, k6 = self._d[:8]
        above, below, s = Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6]), Polynomial([0, 1])
        # s = r^2; the image's radius r above(s) / below(s) grows by this over below^2.
        growth = (above + 2 * s * above.deriv()) * below - 2 * s * above * below.deriv()
        return min(float(np.sqrt(min(_first_root(growth), _first_root(below)))), MAX_REACH)

    def distort(self, rays: np.ndarray) -> np.ndarray:
        """Rays (..., 2) as the lens bends them."""
        bent = self._upright(rays)
        if self._tilt is None:
            return bent
        seen = bent @ self._tilt[:, :2].T + self._tilt[:, 2]
        return seen[..., :2] / seen[..., 2:]

    def undistort(self, bent: np.ndarray) -> np.ndarray:
        """The rays (..., 2) that are bent so; where there are none, others.

        Newton's method: OpenCV's own inverse is not exact and has another interface in each version.
        """
        flat = np.asarray(bent, np.float64).reshape(-1, 2)
        rays = flat * np.minimum(1.0, 0.9 * self.reach / np.hypot(flat[:, :1], flat[:, 1:]).clip(1e-9))
        left = np.arange(len(rays))
        for _ in range(NEWTON_STEPS):
            error = flat[left] - self.distort(rays[left])
            wrong = np.abs(error).max(axis=1) > SOLVED
            left, (e, f) = left[wrong], error[wrong].T
            if not len(left):
                break
            (a, b), (c, d) = self._slopes(rays[left])
            rays[left] += np.stack([d * e - b * f, a * f - c * e], axis=1) / (a * d - b * c)[:, None]
        return rays.reshape(np.shape(bent))

    def _upright(self, rays: np.ndarray) -> np.ndarray:
        """Without the sensor's tilt."""
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = self._d[:12]
        x, y = rays[..., 0], rays[..., 1]
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4),
            ],
            -1,
        )

    def _slopes(self, rays: np.ndarray) -> np.ndarray:
        """The derivative (2, 2, K) of distort() at rays (K, 2)."""
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = self._d[:12]
        x, y = rays.T
        r2 = x * x + y * y
        below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / below
        # By r2.
        growth = (k1 + r2 * (2 * k2 + 3 * r2 * k3) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))) / below
        prism_x, prism_y = 2 * (s1 + 2 * r2 * s2), 2 * (s3 + 2 * r2 * s4)
        both = 2 * (x * y * growth + p1 * x + p2 * y)
        slopes = np.array(
            [
                [radial + 2 * (x * x * growth + p1 * y + 3 * p2 * x) + x * prism_x, both + y * prism_x],
                [both + x * prism_y, radial + 2 * (y * y * growth + 3 * p1 * y + p2 * x) + y * prism_y],
            ]
        )
        if self._tilt is None:
            return slopes
        seen = self._tilt[:, :2] @ self._upright(rays).T + self._tilt[:, 2:]
        of_tilt = (self._tilt[:2, :2, None] - seen[:2, None] / seen[2] * self._tilt[2, :2, None]) / seen[2]
        return np.einsum("ijk,jmk->imk", of_tilt, slopes)

    @cached_property
    def _tilt(self) -> np.ndarray | None:
        """The homography (3, 3) of a sensor that is not parallel to the lens (Scheimpflug); None where it is."""
        tilt_x, tilt_y = self._d[12:]
        if not (tilt_x or tilt_y):
            return None
        (sx, sy), (cx, cy) = np.sin([tilt_x, tilt_y]), np.cos([tilt_x, tilt_y])
        turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]]) @ [[1, 0, 0], [0, cx, sx], [0, -sx, cx]]
        return np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn


@dataclass(frozen=True, eq=False)
class FisheyeLens:
    """equidistant, also called fisheye (Kannala and Brandt 2006). d: k1, k2, k3, k4."""

    d: np.ndarray

    @cached_property
    def _radius(self) -> Polynomial:
        """Of the image, by the ray's angle t: t (1 + k1 t^2 + ... + k4 t^8)."""
        return Polynomial([0, 1, *np.ravel([(0, k) for k in self.d])])

    @cached_property
    def reach(self) -> float:
        """As of a PolynomialLens."""
        d = self.d  # in powers of t^2 the radius grows by
        angle = np.sqrt(_first_root(Polynomial([1, 3 * d[0], 5 * d[1], 7 * d[2], 9 * d[3]])))
        return min(float(np.tan(angle)), MAX_REACH) if angle < np.pi / 2 else MAX_REACH

    def distort(self, rays: np.ndarray) -> np.ndarray:
        """Rays (..., 2) as the lens bends them."""
        length = np.hypot(rays[..., :1], rays[..., 1:])
        return rays * np.where(length > 0, self._radius(np.arctan(length)) / np.where(length > 0, length, 1.0), 1.0)

    def undistort(self, bent: np.ndarray) -> np.ndarray:
        """The rays (..., 2) that are bent so; where there are none, others.

        Newton's method for the ray's angle: OpenCV's own inverse stops at a distorted angle of a quarter turn.
        """
        radius = np.hypot(bent[..., :1], bent[..., 1:])
        angle, slope = np.minimum(radius, 0.99 * np.arctan(self.reach)), self._radius.deriv()
        for _ in range(NEWTON_STEPS):
            angle = angle - (self._radius(angle) - radius) / slope(angle)
        return bent * np.tan(angle) / radius.clip(1e-12)


Lens = PolynomialLens | FisheyeLens


def _first_root(polynomial: Polynomial) -> float:
    """The smallest positive real root; inf where there is none."""
    roots = polynomial.trim(SMALLEST).roots()
    return min((r.real for r in roots if abs(r.imag) < 1e-9 * abs(r) and r.real > 0), default=np.inf)
