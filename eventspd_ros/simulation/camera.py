"""The pinhole camera, its pose and the smooth path it takes. The pixel convention is stated here, once for this room.

Pixel (0, 0) is the CENTRE of the top-left pixel. Camera axes: x right, y down, z forward (REP-103, optical frame).
Points carry the frame they are given in: `_W` world, `_C` camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from eventspd_ros.lens import PolynomialLens

NO_DISTORTION = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """A pinhole camera, with a lens where one is given. width, height, fx, fy, cx, cy: pixels.

    distortion: k1, k2, p1, p2 of the radial-tangential model (Brown 1966; OpenCV's order), all 0 for none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float] = NO_DISTORTION

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera size {self.width}×{self.height}: both sides must be at least 1 pixel")
        if not (self.fx > 0 and self.fy > 0):
            raise ValueError(f"focal lengths fx={self.fx}, fy={self.fy}: both must be positive pixels")
        if len(self.distortion) != 4:
            raise ValueError(f"distortion {self.distortion}: must be the four numbers k1, k2, p1, p2")
        if any(self.distortion):
            self._refuse_folding()

    def _refuse_folding(self) -> None:
        """A lens whose image folds back on itself inside the sensor has no rays there."""
        rays = self.rays(self.pixel_grid())
        back = np.abs(self._seen(rays) - self.pixel_grid())
        ordered = (np.diff(rays[..., 0], axis=1) > 0).all() and (np.diff(rays[..., 1], axis=0) > 0).all()
        if not (ordered and back.max() < 1e-6):
            raise ValueError(f"distortion {self.distortion}: the lens folds the image; give smaller coefficients")

    @classmethod
    def centred(cls, width: int, height: int, focal_over_width: float = 0.75) -> PinholeCamera:
        """A camera with square pixels and its principal point in the middle of the image."""
        focal_px = focal_over_width * width
        return cls(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)

    def with_focal(self, focal_over_width: float) -> PinholeCamera:
        """The same sensor behind another lens: fx that many widths, the ratio of fy to fx as it is."""
        times = focal_over_width * self.width / self.fx
        return replace(self, fx=self.fx * times, fy=self.fy * times)

    def rays(self, uv_px: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) → directions (..., 2), the (x, y) of the ray (x, y, 1)."""
        rays = (np.asarray(uv_px, np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        return self._lens.undistort(rays) if any(self.distortion) else rays

    def pixel_grid(self) -> np.ndarray:
        """(u, v) of every pixel centre, (H, W, 2) float64."""
        return np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), -1).astype(np.float64)

    def project(self, points_C: np.ndarray) -> np.ndarray:
        """Points (..., 3) m in the camera frame → pixels (..., 2) float64; NaN for points not in front of it."""
        points_C = np.asarray(points_C, np.float64)
        z = np.where(points_C[..., 2:] > 0, points_C[..., 2:], np.nan)
        return self._seen(points_C[..., :2] / z)

    @property
    def _lens(self) -> PolynomialLens:
        return PolynomialLens(np.array(self.distortion))

    def _seen(self, rays: np.ndarray) -> np.ndarray:
        """Rays (..., 2) → pixels (..., 2)."""
        seen = self._lens.distort(rays) if any(self.distortion) else rays
        return seen * (self.fx, self.fy) + (self.cx, self.cy)

    def contains(self, uv_px: np.ndarray, border_px: float = 0.0) -> np.ndarray:
        """Whether pixels (..., 2) lie inside the image and at least border_px away from its edge."""
        low, high = -0.5 + border_px, np.array((self.width, self.height)) - 0.5 - border_px
        return ((uv_px >= low) & (uv_px < high)).all(-1)


def parse_size(text: str) -> tuple[int, int]:
    """ "346x260" → (346, 260)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(f"size {text!r}: must be WIDTHxHEIGHT in pixels, such as 346x260")
    return int(width), int(height)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the camera is. rotation_WC: (3, 3), its columns are the camera's axes in the world; position_W: (3,) m."""

    rotation_WC: np.ndarray
    position_W: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """Camera → world, (4, 4) float64."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.rotation_WC, self.position_W
        return out

    def to_camera(self, points_W: np.ndarray) -> np.ndarray:
        """Points (..., 3) m, world → camera."""
        return (np.asarray(points_W, np.float64) - self.position_W) @ self.rotation_WC

    def to_world(self, points_C: np.ndarray) -> np.ndarray:
        """Points (..., 3) m, camera → world."""
        return np.asarray(points_C, np.float64) @ self.rotation_WC.T + self.position_W


IDENTITY = Pose(np.eye(3), np.zeros(3))


class Path(Protocol):
    """Where a camera or a body is at a time."""

    def pose(self, t_s: float) -> Pose:
        """Its pose at t_s seconds."""


@dataclass(frozen=True, slots=True)
class SinePath:
    """A drift plus a sum of sines in each of the six degrees of freedom: smooth, and bounded if drift_m_s is zero.

    amplitude, frequency_hz, phase: (6, K); rows are x, y, z in metres and the rotation vector in radians.
    drift_m_s: (3,) constant velocity in the world.
    """

    amplitude: np.ndarray
    frequency_hz: np.ndarray
    phase: np.ndarray
    drift_m_s: np.ndarray

    def pose(self, t_s: float) -> Pose:
        """The camera's pose at t_s seconds."""
        swing = (self.amplitude * np.sin(2 * np.pi * self.frequency_hz * t_s + self.phase)).sum(1)
        return Pose(rotation_from_vector(swing[3:]), swing[:3] + self.drift_m_s * t_s)


def straight(velocity_m_s: tuple[float, float, float]) -> SinePath:
    """Constant velocity from the origin, no rotation."""
    none = np.zeros((6, 1))
    return SinePath(none, none, none, np.asarray(velocity_m_s, np.float64))


def handheld(rng: np.random.Generator, sway_m: float = 0.3, tilt_rad: float = 0.06, waves: int = 3) -> SinePath:
    """A hand that sways about the origin by about sway_m (half of it up and down) and tilts by about tilt_rad.

    Frequencies are 0.25 to 0.9 Hz, so speeds peak near 0.5 m/s and 10 °/s with the defaults.
    """
    size = np.array([sway_m, sway_m / 2, sway_m, tilt_rad, tilt_rad, tilt_rad])
    share = rng.uniform(0.4, 1.0, (6, waves))
    amplitude = size[:, None] * share / share.sum(1, keepdims=True)
    frequency_hz = rng.uniform(0.25, 0.9, (6, waves))
    phase = rng.uniform(0, 2 * np.pi, (6, waves))
    return SinePath(amplitude, frequency_hz, phase, np.zeros(3))


def rotation_from_vector(vector_rad: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) → matrix (3, 3), Rodrigues' formula."""
    angle = float(np.linalg.norm(vector_rad))
    x, y, z = vector_rad
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # np.sinc(a/π) = sin(a)/a, finite at zero; 1 − cos a = 2 sin²(a/2) keeps its digits for small angles.
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross
