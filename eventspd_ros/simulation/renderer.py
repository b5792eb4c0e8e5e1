"""Ray casting of textured planes: exact Z-depth, optical flow and anti-aliased brightness at any pose and time.

For a plane with normal n' and centre c' in the camera frame the ray (x, y, 1) meets it at inverse depth
(n'·ray)/(n'·c'), and the place on the plane, times that inverse depth, is linear in the ray as well. So a plane is
three linear forms N, S, T in (x, y, 1): inverse depth w = N·ray, s = S·ray / w and t = T·ray / w metres from the
centre along the plane's axes; the nearest plane has the greatest w. Rays, not pixels, enter the kernels (raycast.py):
a lens with distortion needs other rays and nothing else.

Bodies that move on their own carry their planes along: body 0 is the world, which stands still. Times are seconds of
the sensor's clock; scenes without moving bodies may leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventspd_ros.simulation.camera import IDENTITY, PinholeCamera, Pose
from eventspd_ros.simulation.raycast import cast, largest_shift, prepare, shade
from eventspd_ros.simulation.scenes import Scene


@dataclass(frozen=True, slots=True)
class Frame:
    """One view, arrays of shape (H, W). log_intensity: float32, natural logarithm of the brightness.

    inverse_depth: float32, 1/m along the optical axis, 0 where there is nothing. plane: int32, -1 where nothing.
    """

    pose: Pose
    log_intensity: np.ndarray
    inverse_depth: np.ndarray
    plane: np.ndarray
    t_s: float = 0.0

    @property
    def depth_m(self) -> np.ndarray:
        """(H, W) float32, metres along the optical axis, NaN where there is nothing (REP-117)."""
        return _depth_m(self.inverse_depth).astype(np.float32)

    @property
    def grey(self) -> np.ndarray:
        """(H, W) uint8, the picture a camera would store: brightness 1 is white, with a gamma of 0.45."""
        return (255 * np.clip(np.exp(self.log_intensity), 0, 1) ** 0.45).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class BodyPoints:
    """Points that stick to bodies. body: (K,) int64; points_B: (K, 3) m in the frame of that body, NaN for nothing."""

    body: np.ndarray
    points_B: np.ndarray

    def __getitem__(self, which: np.ndarray) -> BodyPoints:
        return BodyPoints(self.body[which], self.points_B[which])


class Renderer:
    """One scene seen through one camera."""

    def __init__(self, scene: Scene, camera: PinholeCamera) -> None:
        self.scene, self.camera = scene, camera
        planes = scene.planes
        self._body = np.array([plane.body for plane in planes], np.int64)
        self._moves = np.append(self._body > 0, False)  # the last is the one of plane −1, nothing
        self._centre_B = np.stack([plane.centre_W for plane in planes])
        self._axes_B = np.stack([(plane.axis_s, plane.axis_t) for plane in planes])
        self._half_m = np.array([plane.half_size_m for plane in planes], np.float64)
        self._look = np.array([(p.tile, 1 / p.tile_m, *p.shift, p.gain) for p in planes], np.float32)
        rays = camera.rays(camera.pixel_grid())
        self._rays = np.ascontiguousarray(rays.transpose(2, 0, 1), np.float32)
        self._pixel = _pixel_steps(camera, rays)
        self._reach = _reach(rays)

    def render(self, pose: Pose, t_s: float = 0.0) -> Frame:
        """Brightness and depth of every pixel."""
        forms, boxes = self._in_camera(pose, t_s)
        forms = forms.astype(np.float32)
        inverse_depth, plane = cast(self._rays, forms, boxes)
        args = (self._rays, self._pixel, forms, self._look, self.scene.ripmaps, np.float32(self.scene.sky))
        return Frame(pose, shade(inverse_depth, plane, *args), inverse_depth, plane, t_s)

    def depth_m(self, pose: Pose, t_s: float = 0.0) -> np.ndarray:
        """Z-depth of every pixel, (H, W) float32 m, NaN where there is nothing."""
        return self.depth_and_moving(pose, t_s)[0]

    def depth_and_moving(self, pose: Pose, t_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Z-depth as depth_m(), and (H, W) bool: which pixels show a body that moves on its own."""
        forms, boxes = self._in_camera(pose, t_s)
        inverse_depth, plane = cast(self._rays, forms.astype(np.float32), boxes)
        return _depth_m(inverse_depth).astype(np.float32), self._moves[plane]

    def depth_at(self, pose: Pose, uv_px: np.ndarray, t_s: float = 0.0) -> np.ndarray:
        """Z-depth at pixels (K, 2), also between pixel centres or outside the image; (K,) float64 m or NaN."""
        return self._cast_at(pose, uv_px, t_s)[0]

    def _cast_at(self, pose: Pose, uv_px: np.ndarray, t_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Depth (K,) m and plane (K,) at pixels (K, 2), in float64."""
        rays = np.ascontiguousarray(self.camera.rays(uv_px).T.reshape(2, 1, -1))
        everything = np.tile(np.array([0, 1, 0, rays.shape[2]], np.int32), (len(self._half_m), 1))
        inverse_depth, plane = cast(rays, self._in_camera(pose, t_s)[0], everything)
        return _depth_m(inverse_depth[0]), plane[0]

    def points_at(self, pose: Pose, uv_px: np.ndarray, t_s: float = 0.0) -> np.ndarray:
        """The points of the scene seen at pixels (K, 2), (K, 3) float64 m in the world, NaN where there is nothing."""
        rays = self.camera.rays(uv_px)
        depth = self.depth_at(pose, uv_px, t_s)[:, None]
        return pose.to_world(np.concatenate([rays * depth, depth], 1))

    def surface_at(self, pose: Pose, uv_px: np.ndarray, t_s: float = 0.0) -> BodyPoints:
        """The points seen at pixels (K, 2), each on the body it sticks to."""
        rays = self.camera.rays(uv_px)
        depth, plane = self._cast_at(pose, uv_px, t_s)
        points_W = pose.to_world(np.concatenate([rays * depth[:, None], depth[:, None]], 1))
        body = np.where(plane >= 0, self._body[plane], 0)
        points_B = points_W.copy()
        for b, at in enumerate(self._body_poses(t_s)):
            points_B[body == b] = at.to_camera(points_W[body == b])
        return BodyPoints(body, points_B)

    def to_camera(self, points: BodyPoints, pose: Pose, t_s: float = 0.0) -> np.ndarray:
        """Where points of bodies are at time t_s, (K, 3) m in the frame of the camera at the given pose."""
        points_W = points.points_B.copy()
        for b, at in enumerate(self._body_poses(t_s)):
            points_W[points.body == b] = at.to_world(points.points_B[points.body == b])
        return pose.to_camera(points_W)

    def flow_px(self, pose: Pose, t_s: float, later_pose: Pose, later_t_s: float) -> np.ndarray:
        """How far each pixel's point moves in the image until later_t_s, (H, W, 2) float64 px (u, v).

        Exact, also on moving bodies and through the lens; NaN where there is nothing, or the point ends behind the
        camera. Divided by the time between the two, and this short, it is the optical flow.
        """
        uv_px = self.camera.pixel_grid().reshape(-1, 2)
        points_C = self.to_camera(self.surface_at(pose, uv_px, t_s), later_pose, later_t_s)
        return (self.camera.project(points_C) - uv_px).reshape(self.camera.height, self.camera.width, 2)

    def largest_shift_px(self, frame: Frame, pose: Pose, t_s: float = 0.0) -> float:
        """How far, at most, a point seen in the frame moves in the image until the camera is at the given pose."""
        moves = []
        for before, after in zip(self._body_poses(frame.t_s), self._body_poses(t_s), strict=True):
            # camera of the frame → world → body → world at t_s → camera at the pose
            turn = after.rotation_WC @ before.rotation_WC.T
            relative = pose.rotation_WC.T @ turn @ frame.pose.rotation_WC
            there = turn @ (frame.pose.position_W - before.position_W) + after.position_W
            offset = pose.rotation_WC.T @ (there - pose.position_W)
            moves.append(np.concatenate([relative, offset[:, None]], 1))
        moves = np.stack(moves).astype(np.float32)
        return float(largest_shift(self._rays, frame.inverse_depth, frame.plane, self._body, moves, self._pixel))

    def _body_poses(self, t_s: float) -> list[Pose]:
        return [IDENTITY, *(motion.pose(t_s) for motion in self.scene.motions)]

    def _in_camera(self, pose: Pose, t_s: float) -> tuple[np.ndarray, np.ndarray]:
        """The linear forms of every plane (P, 11) float64, and pixel boxes around their images (P, 4)."""
        moves = []
        for body in self._body_poses(t_s):
            offset = pose.to_camera(body.position_W)
            moves.append(np.concatenate([pose.rotation_WC.T @ body.rotation_WC, offset[:, None]], 1))
        return prepare(self._centre_B, self._axes_B, self._half_m, self._body, np.stack(moves), *self._reach)


def _reach(rays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Least and greatest x of every column, then y of every row, a pixel and a half further out than they are."""
    out = []
    for axis in (0, 1):
        least, most = rays[..., axis].min(axis), rays[..., axis].max(axis)
        margin = 1.5 * max(float(np.diff(least).max(initial=0)), float(np.diff(most).max(initial=0)), 1e-6)
        out += [least - margin, most + margin]
    return tuple(out)


def _pixel_steps(camera: PinholeCamera, rays: np.ndarray) -> np.ndarray:
    """How far the ray's x goes in one pixel along u, and its y in one along v: (2, H, W) float32."""
    if not any(camera.distortion):
        steps = np.array([1 / camera.fx, 1 / camera.fy], np.float32)
        return np.ascontiguousarray(np.broadcast_to(steps[:, None, None], (2, camera.height, camera.width)))
    grid = camera.pixel_grid()
    along_u = camera.rays(grid + (0.5, 0)) - camera.rays(grid - (0.5, 0))
    along_v = camera.rays(grid + (0, 0.5)) - camera.rays(grid - (0, 0.5))
    return np.stack([along_u[..., 0], along_v[..., 1]]).astype(np.float32)


def _depth_m(inverse_depth: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(inverse_depth > 0, 1 / inverse_depth, np.nan)
