"""Keypoints as a SLAM front-end would give them: corners of the recent events, and tracks with stable ids."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from eventspd_ros.events.types import EventArray
from eventspd_ros.simulation.camera import Pose
from eventspd_ros.simulation.renderer import BodyPoints, Renderer

CORNER_QUALITY = 0.02  # of the strongest corner's score
SPACING_PX_PER_WIDTH = 1 / 40  # corners keep this share of the image's width apart
OCCLUSION = 0.03  # a surface nearer by this share of the depth hides a point
BORDER_PX = 3.0


def event_corners(
    events: EventArray, height: int, width: int, max_corners: int, taken_px: np.ndarray | None = None
) -> np.ndarray:
    """Corners of the image that the events draw, where events are dense; strongest first.

    events: those of some 10 to 50 ms. taken_px: (M, 2) places that corners must keep away from.
    Returns (K, 2) float32 (u, v) px, K <= max_corners; (0, 2) where there are no events.
    """
    if max_corners < 1 or len(events) == 0:
        return np.empty((0, 2), np.float32)
    counts = np.bincount(events.y.astype(np.int64) * width + events.x, minlength=height * width)
    counts = counts.reshape(height, width).astype(np.float32)
    # The square root and the cap keep hot pixels from outshining every edge.
    drawn = np.sqrt(np.minimum(counts, np.percentile(counts[counts > 0], 95)))
    drawn = cv2.GaussianBlur(drawn, (0, 0), 1.2)
    density = cv2.boxFilter((counts > 0).astype(np.float32), -1, (9, 9))
    allowed = (density >= np.percentile(density[counts > 0], 75) / 2).astype(np.uint8)
    spacing_px = max(3.0, width * SPACING_PX_PER_WIDTH)
    for u, v in np.rint(taken_px if taken_px is not None else np.empty((0, 2))).astype(int):
        cv2.circle(allowed, (int(u), int(v)), int(spacing_px), 0, -1)
    corners = cv2.goodFeaturesToTrack(drawn, max_corners, CORNER_QUALITY, spacing_px, mask=allowed)
    return np.empty((0, 2), np.float32) if corners is None else corners.reshape(-1, 2).astype(np.float32)


@dataclass(frozen=True, slots=True)
class TrackedKeypoints:
    """Keypoints of one moment. ids: (K,) uint64; uv_px: (K, 2) float32."""

    ids: np.ndarray
    uv_px: np.ndarray


class KeypointTracker:
    """Tracks that follow points of the scene and its moving bodies exactly, reported with a front-end's noise.

    A track is born at a corner of the recent events, sits on the surface seen there, keeps its id, and dies when its
    point leaves the image, is hidden, or is lost by chance (loss_rate per observation). Ids are never used again.
    """

    def __init__(
        self,
        renderer: Renderer,
        rng: np.random.Generator,
        max_keypoints: int = 150,
        noise_px: float = 0.3,
        loss_rate: float = 0.01,
    ) -> None:
        self._renderer, self._rng = renderer, rng
        self._max_keypoints, self._noise_px, self._loss_rate = max_keypoints, noise_px, loss_rate
        self._ids = np.empty(0, np.uint64)
        self._points = BodyPoints(np.empty(0, np.int64), np.empty((0, 3)))
        self._next_id = 1

    def observe(self, recent: EventArray, pose: Pose, t_s: float = 0.0) -> TrackedKeypoints:
        """What the front-end reports at this pose. recent: the events of some 30 ms, at whose corners tracks start."""
        seen = self._seen(pose, t_s)
        self._ids, self._points = self._ids[seen], self._points[seen]
        self._start_tracks(recent, pose, t_s)
        uv_px, _ = self._project(pose, t_s)
        uv_px += self._rng.normal(0.0, self._noise_px, uv_px.shape)
        inside = self._renderer.camera.contains(uv_px)
        return TrackedKeypoints(self._ids[inside], uv_px[inside].astype(np.float32))

    def _project(self, pose: Pose, t_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the tracks' points are: pixels (K, 2) and depth (K,) m."""
        points_C = self._renderer.to_camera(self._points, pose, t_s)
        return self._renderer.camera.project(points_C), points_C[:, 2]

    def _seen(self, pose: Pose, t_s: float) -> np.ndarray:
        """Which tracks go on, (K,) bool."""
        kept = self._rng.random(len(self._ids)) >= self._loss_rate
        uv_px, depth_m = self._project(pose, t_s)
        kept &= self._renderer.camera.contains(uv_px, BORDER_PX)
        kept[kept] &= self._renderer.depth_at(pose, uv_px[kept], t_s) > (1 - OCCLUSION) * depth_m[kept]
        return kept

    def _start_tracks(self, recent: EventArray, pose: Pose, t_s: float) -> None:
        camera = self._renderer.camera
        wanted = self._max_keypoints - len(self._ids)
        uv_px = event_corners(recent, camera.height, camera.width, wanted, self._project(pose, t_s)[0])
        points = self._renderer.surface_at(pose, uv_px[camera.contains(uv_px, BORDER_PX)], t_s)
        points = points[np.isfinite(points.points_B).all(1)]
        new_ids = np.arange(self._next_id, self._next_id + len(points.body), dtype=np.uint64)
        self._next_id += len(new_ids)
        self._ids = np.concatenate([self._ids, new_ids])
        self._points = BodyPoints(
            np.concatenate([self._points.body, points.body]), np.concatenate([self._points.points_B, points.points_B])
        )
