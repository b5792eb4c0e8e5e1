"""The event camera's lens as camera_info describes it: pixels of the raw image, of the rectified one, and rays.

A ray is (x, y) of the direction (x, y, 1) in the camera's optical frame, also called normalised coordinates. The models
are those of sensor_msgs/CameraInfo and OpenCV: plumb_bob, rational_polynomial, equidistant (also called fisheye).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.polynomial import Polynomial

COORDINATES = ("pixel", "rectified", "normalized")
# The names of sensor_msgs, then Kalibr's.
POLYNOMIAL, FISHEYE = ("plumb_bob", "rational_polynomial", "radtan"), ("equidistant", "fisheye", "equi")
NO_LENS = ("", "none")
COEFFICIENTS = (0, 4, 5, 8, 12, 14)  # that OpenCV's polynomial models may have
NEWTON_STEPS = 20
SOLVED_PX = 1e-7
MAX_ERROR_PX = 1e-4  # of a ray projected again; a larger one means that the lens has no such ray
LARGEST = 1e9  # of a calibration's numbers; with larger ones powers of them overflow, and no lens has them
MAX_REACH = 1e6  # rays longer than this are at right angles to the axis
SMALLEST = 1e-80  # coefficients below this move nothing within reach, and dividing by them overflows
_STILL = np.zeros(3)


@dataclass(frozen=True, eq=False)
class CameraModel:
    """One camera_info, checked. k: (3, 3); d: distortion coefficients; r: (3, 3) and p: (3, 4) of the rectified image,
    p None where there is none. reach: see _reach(). info: the message, for whoever publishes it beside an image."""

    info: Any
    width: int
    height: int
    k: np.ndarray
    d: np.ndarray
    r: np.ndarray
    p: np.ndarray | None
    fisheye: bool
    reach: float

    @classmethod
    def from_info(cls, info, width: int, height: int) -> CameraModel:
        """The model of a sensor of width x height px. info: sensor_msgs/CameraInfo, of rclpy or rosbags.

        ValueError, one line, says what is wrong with camera_info.
        """
        k, r, p = (np.asarray(m, np.float64).reshape(3, -1) for m in (info.k, info.r, info.p))
        d = np.asarray(info.d, np.float64)
        if not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):  # uncalibrated drivers send zeros
            raise ValueError(f"camera_info: focal lengths {k[0, 0]:g}, {k[1, 1]:g} px; calibrate the camera")
        if info.width not in (0, width) or info.height not in (0, height):
            raise ValueError(f"camera_info: {info.width}x{info.height} px, the events are {width}x{height}")
        if max(info.binning_x, info.binning_y) > 1 or info.roi.x_offset or info.roi.y_offset:
            raise ValueError("camera_info: binning or region of interest; publish the calibration of the whole sensor")
        if not (np.isfinite(d).all() and np.isfinite(r).all() and np.isfinite(p).all()) or k[0, 1]:
            raise ValueError("camera_info: d, r or p not finite, or k with skew; calibrate the camera")
        if max(np.abs(numbers).max(initial=0.0) for numbers in (k, d, r, p)) > LARGEST:
            raise ValueError(f"camera_info: k, d, r or p with numbers beyond {LARGEST:g}; calibrate the camera")
        fisheye, d = _distortion(info.distortion_model, d)
        rotation = r if r.any() else np.eye(3)
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError("camera_info: r is no rotation; calibrate the camera")
        rectified = p if p[0, 0] > 0 and p[1, 1] > 0 else None
        return cls(info, width, height, k, d, rotation, rectified, fisheye, _reach(d, fisheye))

    @property
    def fx_px(self) -> float:
        return float(self.k[0, 0])

    @property
    def frame_id(self) -> str:
        """The camera's optical frame; may be empty."""
        return self.info.header.frame_id

    def to_pixels(self, points: np.ndarray, coordinates: str) -> np.ndarray:
        """Points (K, 2), as `coordinates` names them, to raw pixels (K, 2) float64. NaN where the lens cannot see.

        ValueError: rectified points, but camera_info has no rectified image.
        """
        points = np.asarray(points, np.float64).reshape(-1, 2)
        if coordinates == "pixel":
            return points
        with np.errstate(all="ignore"):  # points may be anything
            rays = points if coordinates == "normalized" else self._rectified_rays(points)
            uv_px = self._project(rays)
        return np.where(self._within_reach(rays), uv_px, np.nan)

    def rays(self, uv_px: np.ndarray) -> np.ndarray:
        """Raw pixels (K, 2) to rays (K, 2) float64, distortion removed; NaN where the lens has no ray."""
        uv_px = np.asarray(uv_px, np.float64).reshape(-1, 2)
        if not len(uv_px):
            return uv_px
        with np.errstate(all="ignore"):
            rays = self._solve_fisheye(uv_px) if self.fisheye else self._solve(uv_px)
            good = np.abs(self._project(rays) - uv_px).max(axis=1, keepdims=True) <= MAX_ERROR_PX
        return np.where(good & self._within_reach(rays), rays, np.nan)

    def _within_reach(self, rays: np.ndarray) -> np.ndarray:
        """(K, 1) bool, False for NaN."""
        with np.errstate(all="ignore"):
            return np.hypot(rays[:, :1], rays[:, 1:]) < self.reach

    def _solve(self, uv_px: np.ndarray) -> np.ndarray:
        """Newton's method; OpenCV's own inverse is not exact and has another interface in each version."""
        rays = (uv_px - self.k[:2, 2]) / (self.k[0, 0], self.k[1, 1])
        rays = rays * np.minimum(1.0, 0.9 * self.reach / np.hypot(rays[:, :1], rays[:, 1:]).clip(1e-9))
        for _ in range(NEWTON_STEPS):
            seen_px, slope = self._project_polynomial(rays)
            error_px = uv_px - seen_px
            wrong = np.abs(error_px).max(axis=1) > SOLVED_PX
            if not wrong.any():
                break
            (a, b), (c, d) = slope[wrong].transpose(1, 2, 0)
            e, f = error_px[wrong].T
            rays[wrong] += np.stack([d * e - b * f, a * f - c * e], axis=1) / (a * d - b * c)[:, None]
        return rays

    def _solve_fisheye(self, uv_px: np.ndarray) -> np.ndarray:
        """Newton's method for the ray's angle; OpenCV's own inverse stops at a distorted angle of a quarter turn."""
        flat = (uv_px - self.k[:2, 2]) / (self.k[0, 0], self.k[1, 1])
        radius = np.hypot(flat[:, :1], flat[:, 1:])
        bent = Polynomial([0, 1, *np.ravel([(0, k) for k in self.d])])
        angle = np.minimum(radius, 0.99 * np.arctan(self.reach))
        for _ in range(NEWTON_STEPS):
            angle = angle - (bent(angle) - radius) / bent.deriv()(angle)
        return flat * np.tan(angle) / radius.clip(1e-12)

    def _project(self, rays: np.ndarray) -> np.ndarray:
        """Rays (K, 2) to raw pixels (K, 2)."""
        if not len(rays):
            return rays
        if self.fisheye:
            return cv2.fisheye.projectPoints(_at_depth_1(rays), _STILL, _STILL, self.k, self.d)[0][:, 0]
        return self._project_polynomial(rays)[0]

    def _project_polynomial(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays (K, 2) to raw pixels (K, 2), and their derivative (K, 2, 2), of a model that is a polynomial."""
        uv_px, jacobian = cv2.projectPoints(_at_depth_1(rays), _STILL, _STILL, self.k, self.d)
        # At depth 1 the derivative by the camera's translation along x and y is that by the ray's x and y.
        return uv_px[:, 0], jacobian[:, 3:5].reshape(-1, 2, 2)

    def _rectified_rays(self, points_px: np.ndarray) -> np.ndarray:
        if self.p is None:
            raise ValueError("camera_info: p has no focal length; publish a rectified calibration, or raw pixels")
        p = self.p
        flat = (points_px - p[:2, 2]) / (p[0, 0], p[1, 1])
        turned = np.concatenate([flat, np.ones((len(flat), 1))], axis=1) @ self.r  # r turns raw into rectified rays
        return turned[:, :2] / np.where(turned[:, 2:] > 0, turned[:, 2:], np.nan)


def _at_depth_1(rays: np.ndarray) -> np.ndarray:
    """Rays (K, 2) to points (K, 1, 3), as OpenCV takes them."""
    return np.concatenate([rays, np.ones((len(rays), 1))], axis=1)[:, None]


def focal_length_px(info, width: int) -> float | None:
    """The focal length in camera_info for a sensor of that width; None: it has none. ValueError: another width."""
    if info is None or not 0.0 < info.k[0] < float("inf"):  # uncalibrated drivers send zeros
        return None
    if info.width not in (0, width):
        raise ValueError(f"camera_info is for a width of {info.width} px, the events for {width}: no focal length")
    return float(info.k[0])


def _distortion(model: str, d: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether the distortion model, in any spelling, is a fisheye, and its coefficients as OpenCV takes them.

    Drivers add zeros at the end (realsense a fifth to equidistant), or leave all coefficients out. ValueError: the
    model is not known, or it has a wrong number of coefficients.
    """
    name, used = model.strip().lower(), len(np.trim_zeros(d, "b"))
    if name in FISHEYE:
        if used > 4:
            raise ValueError(f"camera_info: {model} with {used} coefficients; it has 4")
        return True, np.pad(d, (0, 4))[:4]
    if name in NO_LENS and not used:
        return False, np.zeros(4)
    if name not in POLYNOMIAL:
        known = ", ".join((*POLYNOMIAL, *FISHEYE, "none"))
        raise ValueError(f"camera_info: distortion model {model!r} is not known; known are {known}")
    if len(d) not in COEFFICIENTS:
        fits = next((count for count in COEFFICIENTS if used <= count < len(d)), None)
        if fits is None:
            raise ValueError(f"camera_info: {model} with {len(d)} coefficients; OpenCV takes 0, 4, 5, 8, 12 or 14")
        d = d[:fits]
    return False, d if used else np.zeros(4)


def _reach(d: np.ndarray, fisheye: bool) -> float:
    """Length of the rays up to which the image grows outwards, MAX_REACH where it always does.

    Beyond it the model folds the image back onto itself and is no lens any more. Tangential coefficients and those of
    thin prisms and tilts move points by little and are left out.
    """
    if fisheye:  # the image's radius is t (1 + k1 t^2 + ... + k4 t^8), t the angle; in powers of t^2 it grows by
        angle = np.sqrt(_first_root(Polynomial([1, 3 * d[0], 5 * d[1], 7 * d[2], 9 * d[3]])))
        return min(float(np.tan(angle)), MAX_REACH) if angle < np.pi / 2 else MAX_REACH
    k1, k2, _, _, k3, k4, k5, k6 = np.pad(d, (0, 8))[:8]
    above, below, s = Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6]), Polynomial([0, 1])
    # s = r^2; the image's radius r above(s) / below(s) grows by this over below^2.
    growth = (above + 2 * s * above.deriv()) * below - 2 * s * above * below.deriv()
    return min(float(np.sqrt(min(_first_root(growth), _first_root(below)))), MAX_REACH)


def _first_root(polynomial: Polynomial) -> float:
    """The smallest positive real root; inf where there is none."""
    roots: np.ndarray = polynomial.trim(SMALLEST).roots()
    return min((r.real for r in roots if abs(r.imag) < 1e-9 * abs(r) and r.real > 0), default=np.inf)
