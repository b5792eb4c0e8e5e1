"""The event camera's lens as camera_info describes it: pixels of the raw image, of the rectified one, and rays.

Rays and the lens's models, plumb_bob, rational_polynomial and equidistant (also called fisheye), are those of lens.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eventspd_ros.lens import FisheyeLens, Lens, PolynomialLens

COORDINATES = ("pixel", "rectified", "normalized")
# The names of sensor_msgs, then Kalibr's.
POLYNOMIAL, FISHEYE = ("plumb_bob", "rational_polynomial", "radtan"), ("equidistant", "fisheye", "equi")
NO_LENS = ("", "none")
COEFFICIENTS = (0, 4, 5, 8, 12, 14)  # that OpenCV's polynomial models may have
MAX_ERROR_PX = 1e-4  # of a ray projected again; a larger one means that the lens has no such ray
LARGEST = 1e9  # of a calibration's numbers; with larger ones powers of them overflow, and no lens has them


@dataclass(frozen=True, eq=False)
class CameraModel:
    """One camera_info, checked. k: (3, 3); r: (3, 3) and p: (3, 4) of the rectified image, p None where there is none.
    info: the message, for whoever publishes it beside an image."""

    info: Any
    width: int
    height: int
    k: np.ndarray
    lens: Lens
    r: np.ndarray
    p: np.ndarray | None

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
        lens = _lens(info.distortion_model, d)
        rotation = r if r.any() else np.eye(3)
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError("camera_info: r is no rotation; calibrate the camera")
        rectified = p if p[0, 0] > 0 and p[1, 1] > 0 else None
        return cls(info, width, height, k, lens, rotation, rectified)

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
            rays = self.lens.undistort((uv_px - self.k[:2, 2]) / (self.k[0, 0], self.k[1, 1]))
            good = np.abs(self._project(rays) - uv_px).max(axis=1, keepdims=True) <= MAX_ERROR_PX
        return np.where(good & self._within_reach(rays), rays, np.nan)

    def _within_reach(self, rays: np.ndarray) -> np.ndarray:
        """(K, 1) bool, False for NaN."""
        with np.errstate(all="ignore"):
            return np.hypot(rays[:, :1], rays[:, 1:]) < self.lens.reach

    def _project(self, rays: np.ndarray) -> np.ndarray:
        """Rays (K, 2) to raw pixels (K, 2)."""
        return self.lens.distort(rays) * (self.k[0, 0], self.k[1, 1]) + self.k[:2, 2]

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


def _lens(model: str, d: np.ndarray) -> Lens:
    """The lens of a distortion model, in any spelling.

    Drivers add zeros at the end (realsense a fifth to equidistant), or leave all coefficients out. ValueError: the
    model is not known, or it has a wrong number of coefficients.
    """
    name, used = model.strip().lower(), len(np.trim_zeros(d, "b"))
    if name in FISHEYE:
        if used > 4:
            raise ValueError(f"camera_info: {model} with {used} coefficients; it has 4")
        return FisheyeLens(np.pad(d, (0, 4))[:4])
    if name in NO_LENS and not used:
        return PolynomialLens(np.zeros(4))
    if name not in POLYNOMIAL:
        known = ", ".join((*POLYNOMIAL, *FISHEYE, "none"))
        raise ValueError(f"camera_info: distortion model {model!r} is not known; known are {known}")
    if len(d) not in COEFFICIENTS:
        fits = next((count for count in COEFFICIENTS if used <= count < len(d)), None)
        if fits is None:
            raise ValueError(f"camera_info: {model} with {len(d)} coefficients; OpenCV takes 0, 4, 5, 8, 12 or 14")
        d = d[:fits]
    return PolynomialLens(d if used else np.zeros(4))
