"""THE STORY of this room: one stream's events and poses, and the depth that they give at keypoints.

    motion = MotionDepth(height, width, trajectory)
    motion.set_lens(lens)                              # rays of pixels; without one it abstains
    motion.add(events.x, events.y, events.p, events.t_ns)   # each event once
    trajectory.add(pose)                               # as they come, ROS time
    answer = motion.answer(Points(uv_px, log_depth, log_stddev, ids), t_ns, until_ns, offset_ns)

Learned depths are the prior of what events (likelihood.py) and tracks (tracks.py) show under the known motion
(fusion.py); learned_scale.py keeps what the stream has learnt about them. Where there is no parallax, or no pose, the
learned depth is the answer. docs/motion.md explains it to a SLAM engineer.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Protocol

import numpy as np

from eventspd_ros.motion.fusion import posterior
from eventspd_ros.motion.learned_scale import LearnedScale, Prior, spread
from eventspd_ros.motion.likelihood import Likelihoods, SeenScene, UndistortedCamera, are_sharp, depth_likelihoods
from eventspd_ros.motion.own_motion import Twist
from eventspd_ros.motion.rotation_drift import MAX_ANCHORS, RotationDrift
from eventspd_ros.motion.slices import EventSlices
from eventspd_ros.motion.tracks import Tracks, Triangulated
from eventspd_ros.motion.trajectory import Motion, Trajectory
from eventspd_ros.motion.without_poses import shape_likelihoods

MIN_PARALLAX_PX = 0.3  # between a depth and its double over 80 ms; below it events tell nothing of depth
# Without a learned depth: one to ten metres, and what is answered then.
FLAT_LOG_DEPTH, FLAT_STDDEV, SUFFICIENT_STDDEV = float(np.log(3.0)), 1.0, 0.3
DRIFT_NATS = 2.0
SURPRISE_RAD_S = 0.002
LOOKS = 3
SURPRISE = 0.4  # change of the stream's log scale after which a request is looked at again
# Displacement of patterns that poses do not explain: sensor latency, rounding to pixels.
PLACE_ERROR_PX = 0.1
OWN_SHARE = 0.4  # of the network's own error that is in an own motion, too, and so in all that is seen by it
OWN_SCALE_STDDEV = 0.15  # by which the speed of an own motion may be off the learned depths


class Basis(IntFlag):
    """What a depth rests on; the constants of KeypointDepthArray.msg."""

    NOTHING = 0
    LEARNED = 1
    MOTION = 2
    TRACKS = 4
    SHAPE = 8


class Lens(Protocol):
    """inputs/camera_model.py has one."""

    @property
    def k(self) -> np.ndarray:
        """(3, 3), of the raw image and of the undistorted one."""

    def rays(self, uv_px: np.ndarray) -> np.ndarray:
        """Raw pixels (K, 2) to (x, y) of the ray (x, y, 1), NaN where the lens has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseErrors:
    """Declared errors of the motion, as standard deviations: drift of the rotation (rad/s), of the translation (m/s,
    and as a share of the velocity), and white noise of each pose (rad, m). What messages declare counts where it is
    larger."""

    rotation_rad_s: float = math.radians(0.115)  # in degrees as the node's parameter, so that both are one number
    translation_m_s: float = 0.0
    translation_share: float = 0.01
    white_rotation_rad: float = 0.0
    white_translation_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Points:
    """K points in raw pixels. log_depth, log_stddev: the network's, of metric depth, (K,); NaN or None: it has none.
    ids: of a front-end's tracks, (K,) int; None where they do not persist. scale_stddev: what of log_stddev all points
    share, as the network says; None: it does not say."""

    uv_px: np.ndarray
    log_depth: np.ndarray | None = None
    log_stddev: np.ndarray | None = None
    ids: np.ndarray | None = None
    scale_stddev: float | None = None


@dataclass(frozen=True, slots=True)
class MotionAnswer:
    """Of K points. depth_m, depth_stddev_m: float64 (K,), NaN where nothing is known. basis: uint8 (K,), Basis.
    log_scale_stddev: standard deviation of the log scale that the learned depths share. parallax_px: (K,), between
    the learned depth and its double over 80 ms; 0 where the motion is not known."""

    depth_m: np.ndarray
    depth_stddev_m: np.ndarray
    basis: np.ndarray
    log_scale_stddev: float
    parallax_px: np.ndarray


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a stream through one lens."""

    lens: Lens
    camera: UndistortedCamera
    slices: EventSlices
    tracks: Tracks


class MotionDepth:
    """One camera. add() may run in one thread and answer() in another; trajectory is fed by whoever has poses."""

    def __init__(
        self,
        height: int,
        width: int,
        trajectory: Trajectory,
        errors: PoseErrors | None = None,
        by_events: bool = False,
    ):
        """by_events: the camera's motion follows from the events alone (without_poses.py), whatever poses there are."""
        self.height, self.width = height, width
        self.trajectory, self.errors = trajectory, errors or PoseErrors()
        self.learned, self.drift = LearnedScale(), RotationDrift()
        self._by_events, self._shape = by_events, LearnedScale()
        self._twist: Twist | None = None  # the last one
        self.without_poses = 0  # answers for which the motion was not known
        self._lens: Lens | None = None
        self._seen: _Seen | None = None

    @property
    def track_noise_px(self) -> float:
        """Of the front-end, as residuals of its tracks show it; NaN before the lens is known."""
        return float("nan") if (seen := self._seen) is None else seen.tracks.noise_px

    @property
    def has_lens(self) -> bool:
        """Whether it can answer: the rays of all pixels are known."""
        return self._seen is not None

    def set_lens(self, lens: Lens | None) -> None:
        """The lens, or another one, which begins anew. The same one again changes nothing."""
        if lens is self._lens:
            return
        self._seen, self._lens = None, lens
        if lens is None:
            return
        k = lens.k
        camera = UndistortedCamera(k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        grid = np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), axis=-1)
        rays = lens.rays(grid.reshape(-1, 2).astype(np.float64))
        flat = np.nan_to_num(np.rint(rays * (camera.fx, camera.fy) + (camera.cx, camera.cy)), nan=-1.0)
        flat = np.clip(flat, -1, 1 << 20).astype(np.int64).reshape(self.height, self.width, 2)
        self._seen = _Seen(lens, camera, EventSlices(self.height, self.width, flat), Tracks(camera.fx))

    def restart(self) -> None:
        """Another epoch of the stream: events, tracks and scale are of the past. Poses stay."""
        self.learned.restart()
        self.drift.restart()
        self._shape.restart()
        self._twist = None
        if (seen := self._seen) is not None:
            seen.slices.restart()
            seen.tracks.restart()

    def add(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, t_ns: np.ndarray) -> None:
        """Events (n,), raw pixels, in order of time (sensor clock), each once."""
        if (seen := self._seen) is not None:
            seen.slices.add(x, y, p, t_ns)

    def advance_to(self, t_ns: int) -> None:
        """No event before t_ns (sensor clock) will come any more: the sensor is silent."""
        if (seen := self._seen) is not None:
            seen.slices.advance_to(t_ns)

    def bystander(self) -> MotionDepth:
        """The same stream, for requests that are to teach it nothing: they change no later answer."""
        other = copy(self)
        other.learned, other.drift, other._shape = copy(self.learned), copy(self.drift), copy(self._shape)
        return other

    def answer(self, points: Points, t_ns: int, until_ns: int | None = None, offset_ns: int = 0) -> MotionAnswer:
        """Depth of points observed at t_ns (sensor clock).

        until_ns: only events before it count, and all of them have come, so that the answer does not depend on when it
        is asked; None: those there are. offset_ns: ROS time, which poses have, minus sensor time.
        """
        points = replace(points, uv_px=np.ascontiguousarray(points.uv_px, np.float64))
        nan = np.full(len(points.uv_px), np.nan)
        log_depth, log_stddev = (nan if each is None else each for each in (points.log_depth, points.log_stddev))
        has_learned = np.isfinite(log_depth) & np.isfinite(log_stddev)
        log_depth = np.where(has_learned, log_depth, FLAT_LOG_DEPTH)
        if has_learned.any():
            self.learned.expect(points.scale_stddev)
        log_stddev = np.where(has_learned, self.learned.own(log_stddev), FLAT_STDDEV)
        learned = log_depth, log_stddev, has_learned
        tracked = self._triangulate(points, t_ns + offset_ns)
        if self._by_events:
            return self._from_own_motion(points, learned, t_ns, until_ns, tracked)
        scale = self.learned.scale
        answer = self._fuse(points, learned, self._look(points, learned, t_ns, until_ns, offset_ns), tracked)
        if abs(self.learned.scale - scale) > SURPRISE:  # what was searched was searched around the wrong depths
            answer = self._fuse(points, learned, self._look(points, learned, t_ns, until_ns, offset_ns), tracked)
        return answer

    def _triangulate(self, points: Points, t_ns: int) -> Triangulated:
        """What tracks show at t_ns (ROS time)."""
        if (seen := self._seen) is None or points.ids is None:
            return Triangulated(*np.full((2, len(points.uv_px)), np.nan))
        return seen.tracks.triangulate(points.ids, seen.lens.rays(points.uv_px), t_ns, self._relative)

    def _look(self, points, learned, t_ns, until_ns, offset_ns) -> tuple[Likelihoods, np.ndarray]:
        """What events show, and what errors of the poses do to log depth; nothing without a lens or known motion."""
        log_depth, log_stddev, has_learned = learned
        nothing = Likelihoods.empty(len(log_depth)), np.zeros(len(log_depth))
        if (seen := self._seen) is None or not len(log_depth):
            return nothing
        rough = self.learned.rough(log_depth, log_stddev)
        vague = np.minimum(rough[1], FLAT_STDDEV)  # a network that knows nothing is searched for as none is
        prior = np.where(has_learned, rough[0], log_depth), np.where(has_learned, vague, log_stddev)
        rays = seen.lens.rays(points.uv_px)
        with seen.slices.lock:
            look = seen.slices.look(until_ns)
            if look is None:
                return nothing
            for _ in range(LOOKS):
                motion = self._relative(t_ns + offset_ns, look.middle_ns.ravel() + offset_ns)
                if not motion.known.any():
                    self.without_poses += 1
                    return nothing
                scene = SeenScene.of(look, seen.slices, motion, seen.camera)
                errors_px = self._errors_px(motion, seen.camera, prior[0], rays)
                likelihoods = depth_likelihoods(scene, rays, prior, errors_px)
                rate = self.drift.rate_rad_s
                self._learn_drift(t_ns, scene, points, rays, likelihoods)
                if np.abs(self.drift.rate_rad_s - rate).max() < SURPRISE_RAD_S:
                    break
            # Of the displacement between the learned depth and its double in 80 ms, half is one unit of log depth.
            return likelihoods, errors_px[1] * 0.08 / (2 * np.maximum(likelihoods.parallax_px, 1e-6))

    def _from_own_motion(self, points, learned, t_ns, until_ns, tracked) -> MotionAnswer:
        """Near and far by how events move, at the scale of the learned depths, which stays as uncertain as it is."""
        log_depth, log_stddev, has_learned = learned
        alone = self.learned.alone(log_depth, log_stddev)
        log_depth, found = np.where(has_learned, alone[0], np.nan), None
        if (seen := self._seen) is not None:
            with seen.slices.lock:  # not for as long as a camera's motion takes: events would wait
                look = seen.slices.look(until_ns)
                look = look and look.copied(seen.slices)
            if look is not None:
                asked = seen.lens.rays(points.uv_px), log_depth, log_stddev * max(self._shape.trust, 1.0)
                found = shape_likelihoods(look, seen.slices, seen.camera, t_ns, asked, self._twist)
        self.without_poses += found is None
        *shown, self._twist = found or (Likelihoods.empty(len(log_depth)), np.zeros(len(log_depth)), None)
        self._shape.scale, self._shape.variance = 0.0, OWN_SCALE_STDDEV**2
        return self._fuse(points, (log_depth, log_stddev, has_learned), shown, tracked, alone)

    def _relative(self, t_ns: int, times_ns: np.ndarray) -> Motion:
        """What the poses say (ROS time), less what events show to be wrong with it."""
        motion = self.trajectory.relative(t_ns, times_ns)
        self.drift.expect(max(self.errors.rotation_rad_s, motion.drift_rotation_rad_s))
        return self.drift.correct(motion, (t_ns - times_ns) * 1e-9)

    def _learn_drift(self, t_ns, scene, points, rays, likelihoods) -> None:
        sharp = are_sharp(likelihoods, likelihoods.stddev, DRIFT_NATS)
        anchors = spread(self._widths(points), likelihoods.stddev, sharp)[:MAX_ANCHORS]
        self.drift.learn(t_ns, scene, rays[anchors], likelihoods.of(anchors))

    def _widths(self, points: Points) -> np.ndarray:
        """Places in image widths, (K, 2)."""
        return np.nan_to_num(points.uv_px / self.width, posinf=0, neginf=0)

    def _errors_px(
        self, motion: Motion, camera: UndistortedCamera, log_depth: np.ndarray, rays: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Displacement that errors of the poses make, (K,): from pose to pose, px, and for each second, px/s."""
        errors, inverse_depth = self.errors, np.exp(-log_depth)
        turn = errors.white_rotation_rad + motion.interpolation_error_rad
        shift_m = errors.white_translation_m + motion.interpolation_error_m
        white_px = np.sqrt(PLACE_ERROR_PX**2 + camera.fx**2 * (turn**2 + (shift_m * inverse_depth) ** 2))
        shift_m_s = max(errors.translation_m_s, motion.drift_translation_m_s)
        rays = np.nan_to_num(rays, posinf=0.0, neginf=0.0)
        turn_px_s = self.drift.stddev_px_s(rays, _paths(motion, rays), (camera.fx, camera.fy))
        return white_px, np.hypot(turn_px_s, camera.fx * shift_m_s * inverse_depth)

    def _fuse(self, points, learned, seen, tracked, alone=None) -> MotionAnswer:
        """alone: what is answered without parallax, where only the shape is seen; None: the scale, too."""
        (log_depth, log_stddev, has_learned), (likelihoods, drift) = learned, seen
        moved = (likelihoods.level >= 0) & (likelihoods.parallax_px >= MIN_PARALLAX_PX)
        # All points have the errors of the poses alike: neighbours that agree do not help.
        measured_stddev = np.hypot(likelihoods.stddev, drift)
        sharp = has_learned & are_sharp(likelihoods, measured_stddev)
        prior = Prior.flat(log_depth, log_stddev)
        by, book = (Basis.MOTION, self.learned) if alone is None else (Basis.SHAPE, self._shape)
        if has_learned.any():
            learnt = book.learn(
                self._widths(points),
                log_depth=log_depth,
                stddev=log_stddev,
                measured=likelihoods.peak,
                measured_stddev=measured_stddev,
                sharp=sharp,
            )
            prior = prior.where(has_learned, learnt)
        mean, stddev, _ = posterior(likelihoods, prior.mean, prior.stddev, prior.outlier)
        alone = alone or self.learned.alone(log_depth, log_stddev)
        mean, stddev = np.where(moved, mean, alone[0]), np.where(moved, stddev, alone[1])
        together = stddev**2 + prior.doubt**2 + np.minimum(drift, alone[1]) ** 2
        # Odometry is long or short by a share; without it all hangs on the learned scale.
        shape = self.learned.variance + OWN_SCALE_STDDEV**2 + (OWN_SHARE * log_stddev) ** 2
        together += self.errors.translation_share**2 if by == Basis.MOTION else shape
        stddev = np.where(moved, np.sqrt(together), stddev)
        basis = np.where(moved, by, Basis.NOTHING) | np.where(has_learned, Basis.LEARNED, Basis.NOTHING)
        mean, stddev, basis = _with_tracks(mean, stddev, basis, tracked)
        known = np.isfinite(mean) & (has_learned | ((basis != 0) & (stddev < SUFFICIENT_STDDEV)))
        depth_m = np.where(known, np.exp(mean), np.nan)
        return MotionAnswer(
            depth_m,
            depth_m * stddev,
            np.where(known, basis, Basis.NOTHING).astype(np.uint8),
            float(np.sqrt(self.learned.variance)),
            likelihoods.parallax_px,
        )


def _paths(motion: Motion, rays: np.ndarray) -> np.ndarray:
    """Directions in the image, (K, 2) of unit length, along which points at rays move with their depth."""
    known = np.flatnonzero(motion.known)
    moved = np.einsum("nij,ni->nj", motion.rotation[known], motion.translation_m[known])  # in the camera now
    moved = moved[np.argmax((moved**2).sum(axis=1))]
    along = moved[:2] - rays * moved[2]
    return along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)


def _with_tracks(mean, stddev, basis, tracked: Triangulated) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a track's depth agrees with the posterior, both together; else the track is left out, and σ says that
    something is wrong."""
    known = tracked.known & (tracked.stddev < 1.0)
    track = np.where(known, tracked.log_depth, mean)
    # Its error is even in inverse depth: of log depth it is larger where the point is farther than the track says.
    width = np.where(known, tracked.stddev * np.exp(np.clip(mean - track, 0.0, 3.0)), 1.0)
    both = 1 / (1 / stddev**2 + 1 / width**2)
    gap = (track - mean) / np.hypot(stddev, width)
    share = both / width**2
    fused = mean + share * (track - mean)
    fused_stddev = np.sqrt(both * np.maximum(1.0, gap**2))
    use = known & (np.abs(gap) < 4.0)
    stddev = np.where(known & ~use, np.hypot(stddev, np.minimum(np.abs(track - mean) / 2, 1.0)), stddev)
    mean, stddev = np.where(use, fused, mean), np.where(use, fused_stddev, stddev)
    return mean, stddev, np.where(use, basis | Basis.TRACKS, basis)
