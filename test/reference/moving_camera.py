"""A camera that moves past a wall of marks, and the events that these make, without noise and without a renderer.

A mark is a short edge: when the pixel it falls on changes, it makes an event there, ON or OFF by its contrast and by
the side from which it comes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.motion.likelihood import UndistortedCamera
from eventspd_ros.motion.slices import EventSlices
from eventspd_ros.motion.trajectory import Motion, StampedPose

STEP_NS = 250_000


@dataclass(frozen=True)
class Path:
    """Constant velocity (m/s, world) and turning rate (rad/s, camera) from time 0; shake: amplitude in m of a sine of
    shake_hz along x on top of it."""

    velocity: tuple = (0.0, 0.0, 0.0)
    rate: tuple = (0.0, 0.0, 0.0)
    shake_m: float = 0.0
    shake_hz: float = 3.0

    def pose(self, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Quaternion and position of the camera in the world."""
        t_s = t_ns * 1e-9
        position_m = np.array(self.velocity) * t_s
        position_m[0] += self.shake_m * np.sin(2 * np.pi * self.shake_hz * t_s)
        return rotations.from_rotation_vector(np.array(self.rate, float) * t_s), position_m

    def stamped(self, t_ns: int, offset_ns: int = 0) -> StampedPose:
        quaternion, position_m = self.pose(t_ns)
        return StampedPose(t_ns + offset_ns, position_m, quaternion)

    def to_camera(self, points_m: np.ndarray, t_ns: int) -> np.ndarray:
        """World points (n, 3) in the camera's frame."""
        quaternion, position_m = self.pose(t_ns)
        return (points_m - position_m) @ rotations.to_matrix(quaternion)

    def motion(self, t_ns: int, times_ns: np.ndarray) -> Motion:
        now, there_m = self.pose(t_ns)
        turned, moved = [], []
        for other_ns in times_ns.tolist():
            quaternion, position_m = self.pose(other_ns)
            back = rotations.to_matrix(quaternion).T
            turned.append(back @ rotations.to_matrix(now))
            moved.append(back @ (there_m - position_m))
        return Motion(np.array(turned), np.array(moved), np.ones(len(times_ns), bool))


@dataclass(frozen=True)
class Wall:
    """Marks at random places of a plane z = depth_m, seen over duration_ns; `marks` on it, tilt: rise of z with x."""

    path: Path
    depth_m: float = 2.0
    focal_px: float = 150.0
    width: int = 160
    height: int = 120
    marks: int = 1200
    duration_ns: int = 340_000_000
    tilt: float = 0.0
    seed: int = 0

    @cached_property
    def camera(self) -> UndistortedCamera:
        return UndistortedCamera(self.focal_px, self.focal_px, (self.width - 1) / 2, (self.height - 1) / 2)

    @cached_property
    def points_m(self) -> np.ndarray:
        """(marks, 3), over what the camera sees at the end and once more of it on all sides."""
        rng = np.random.default_rng(self.seed)
        half = self.depth_m * np.array([self.width, self.height]) / self.focal_px
        centre = self.path.pose(self.duration_ns)[1]
        points = rng.uniform(-half, half, (self.marks, 2)) + centre[:2]
        depth_m = self.depth_m + self.tilt * (points[:, 0] - centre[0])
        return np.concatenate([points, depth_m[:, None] + centre[2]], axis=1)

    def seen(self, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (marks, 2) and depth (marks,) of the marks at a time."""
        points = self.path.to_camera(self.points_m, t_ns)
        return points[:, :2] / points[:, 2:] * self.focal_px + (self.camera.cx, self.camera.cy), points[:, 2]

    @cached_property
    def events(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """x, y, p, t_ns, in order of time."""
        rng = np.random.default_rng([self.seed, 1])
        angle, contrast = rng.uniform(0, 2 * np.pi, self.marks), rng.choice([-1, 1], self.marks)
        edge = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        before_px, _ = self.seen(0)
        parts = []
        for t_ns in range(STEP_NS, self.duration_ns, STEP_NS):
            now_px, depth_m = self.seen(t_ns)
            pixel = np.rint(now_px).astype(np.int64)
            made = (pixel != np.rint(before_px)).any(axis=1) & (depth_m > 0.1)
            made &= ((pixel >= 0) & (pixel < (self.width, self.height))).all(axis=1)
            sign = contrast * ((now_px - before_px) * edge).sum(axis=1) > 0
            parts.append((pixel[made, 0], pixel[made, 1], sign[made], np.full(made.sum(), t_ns)))
            before_px = now_px
        x, y, p, t_ns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), t_ns

    def slices(self) -> EventSlices:
        filled = EventSlices(self.height, self.width)
        filled.add(*self.events)
        filled.advance_to(self.duration_ns)
        return filled

    def keypoints(self, border_px: float = 12.0, most: int = 60) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (K, 2) and log depth (K,) of marks inside the image at the end."""
        uv_px, depth_m = self.seen(self.duration_ns)
        low, high = border_px, np.array([self.width, self.height]) - 1 - border_px
        inside = np.flatnonzero(((uv_px > low) & (uv_px < high)).all(axis=1) & (depth_m > 0.1))[:most]
        return uv_px[inside], np.log(depth_m[inside])
