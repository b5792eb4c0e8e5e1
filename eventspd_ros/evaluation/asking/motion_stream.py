"""One scene as a stream of events and poses, asked for depth by motion where a model has answered already."""

from __future__ import annotations

import time
import zlib
from collections import deque
from dataclasses import dataclass, fields
from types import SimpleNamespace

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.datasets.sample import Intrinsics, known_depth
from eventspd_ros.evaluation.asking import motion_truth
from eventspd_ros.evaluation.asking.questions import KEYPOINT, Questions, WindowedScene
from eventspd_ros.events.types import EventArray
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.odometry import declared_errors
from eventspd_ros.motion.depth_from_motion import MotionAnswer, MotionDepth, Points
from eventspd_ros.motion.trajectory import StampedPose, Trajectory
from eventspd_ros.simulation.odometry import OdometryConfig, erroneous, twist_covariance

LEARNED, SCALED, MOTION, FUSED = METHODS = ("learned", "learned × scale", "motion", "fused")
MAX_WAIT_NS = 50_000_000  # for a pose that covers a request, as in the node
TIMED = 256  # keypoints asked at once
LENS_MODELS = {"none": "", "radtan": "plumb_bob", "equidistant": "equidistant"}  # as camera_info calls them


@dataclass(frozen=True)
class PoseVariant:
    """A set's poses as an odometry tells them; None: the motion follows from the events alone. declared: it also tells
    how fast its rotation drifts."""

    name: str
    odometry: OdometryConfig | None
    declared: bool = False


EXACT = PoseVariant("exact", OdometryConfig())
BY_EVENTS = PoseVariant("none: motion by events", None)


@dataclass(frozen=True)
class Asked:
    """A scene, and what a model answered to its K questions: depth_m (K,), σ of log depth log_stddev (K,), and what of
    it the points of a window share scale_stddev (K,)."""

    scene: WindowedScene
    questions: Questions
    depth_m: np.ndarray
    log_stddev: np.ndarray
    scale_stddev: np.ndarray


@dataclass(frozen=True)
class Columns:
    """K points, (K,) each.

    kind: of questions.KINDS. domain: str. true_m; nearest_m, farthest_m: the surfaces around. moving: the pixel shows a
    thing that moves by itself; beside_moving: one around it does; False where that is not known. parallax_px: NaN where
    not known. at_rest: the camera. depth_m, log_stddev: of each method, NaN where it does not answer; log_stddev is σ
    of log depth.
    """

    kind: np.ndarray
    domain: np.ndarray
    true_m: np.ndarray
    nearest_m: np.ndarray
    farthest_m: np.ndarray
    moving: np.ndarray
    beside_moving: np.ndarray
    parallax_px: np.ndarray
    at_rest: np.ndarray
    depth_m: dict[str, np.ndarray]
    log_stddev: dict[str, np.ndarray]

    @classmethod
    def joined(cls, parts: list[Columns]) -> Columns:
        out = []
        for name in (field.name for field in fields(cls)):
            columns = [getattr(part, name) for part in parts]
            if isinstance(columns[0], dict):
                out.append({method: np.concatenate([c[method] for c in columns]) for method in columns[0]})
            else:
                out.append(np.concatenate(columns))
        return cls(*out)


@dataclass(frozen=True)
class Moved:
    """A scene with motion. says_what_moves: its sequence knows. Processor time: us_per_keypoint of each label's
    keypoints, TIMED at once; ns_per_event of what came between two windows."""

    columns: Columns
    says_what_moves: bool
    us_per_keypoint: list[float]
    ns_per_event: list[float]


def ask_with_motion(asked: Asked, poses: PoseVariant) -> Moved:
    """Events as they come, poses as they arrive, one request at each label that is asked. As in the node, a request
    waits for a pose that covers it."""
    scene, questions = asked.scene, asked.questions
    trajectory = Trajectory()
    motion = MotionDepth(*scene.size, trajectory, by_events=poses.odometry is None)
    motion.set_lens(lens_of(scene.sequence.intrinsics))
    answers = {method: np.full((2, len(questions.true_m)), np.nan) for method in METHODS}
    pending = deque() if poses.odometry is None else _told(scene, poses)
    us_per_keypoint, ns_per_event = [], []
    begin_ns, numbers = int(scene.ends_ns[0]) - scene.window_ns, set(questions.window.tolist())
    for number, end_ns in enumerate(scene.ends_ns.tolist()):
        ns_per_event.append(_add(motion, scene.sequence.events.read(begin_ns, end_ns), end_ns))
        begin_ns = end_ns
        if number not in numbers:
            continue
        t_ns = int(scene.sequence.times_ns[scene.labels[number]])
        while pending and not trajectory.covers(t_ns) and pending[0][0] <= t_ns + MAX_WAIT_NS:
            trajectory.add(pending.popleft()[1])
        which = np.flatnonzero(questions.window == number)
        for method, own in _request(motion, asked, which, t_ns, end_ns).items():
            answers[method][:, which] = own
        us_per_keypoint.append(_timed(motion, asked, which, t_ns, end_ns))
    columns, says_what_moves = _columns(scene, questions, answers)
    return Moved(columns, says_what_moves, us_per_keypoint, ns_per_event)


def lens_of(camera: Intrinsics) -> CameraModel:
    """A dataset's camera as if it came as a camera_info."""
    k = [camera.fx_px, 0.0, camera.cx_px, 0.0, camera.fy_px, camera.cy_px, 0.0, 0.0, 1.0]
    info = SimpleNamespace(
        **{"width": camera.width, "height": camera.height, "k": k, "r": np.zeros(9), "p": np.zeros(12)},
        **{"d": camera.distortion, "distortion_model": LENS_MODELS[camera.distortion_model]},
        **{"binning_x": 0, "binning_y": 0, "roi": SimpleNamespace(x_offset=0, y_offset=0)},
    )
    return CameraModel.from_info(info, camera.width, camera.height)


def _told(scene: WindowedScene, poses: PoseVariant) -> deque[tuple[int, StampedPose]]:
    """(arrival, pose) in order. Which errors follows from the seed and the scene's name."""
    times_ns, T_WC = scene.sequence.poses()
    rng = np.random.default_rng((scene.settings.seed, zlib.crc32(scene.name.encode())))
    told = erroneous(T_WC, times_ns, poses.odometry, rng)
    stddev = declared_errors(twist_covariance(np.zeros(6), poses.odometry).ravel()) if poses.declared else (0.0, 0.0)
    turns = rotations.from_matrix(told.T_WC[:, :3, :3])
    rows = zip(told.stamp_ns.tolist(), told.T_WC[:, :3, 3], turns, strict=True)
    return deque(zip(told.arrival_ns.tolist(), (StampedPose(*row, *stddev) for row in rows), strict=True))


def _add(motion: MotionDepth, events: EventArray, end_ns: int) -> float:
    """Adds all events before end_ns that are new: processor time, ns an event."""
    start_ns = time.process_time_ns()
    motion.add(events.x, events.y, events.p, events.t_ns)
    motion.advance_to(end_ns)
    return (time.process_time_ns() - start_ns) / max(len(events), 1)


def _request(motion: MotionDepth, asked: Asked, which: np.ndarray, t_ns: int, until_ns: int) -> dict[str, tuple]:
    """method → depth and σ of log depth at the questions `which`, (K,) each."""
    points = _points(asked, which)
    flat = motion.bystander().answer(Points(points.uv_px), t_ns, until_ns)
    fused = motion.answer(points, t_ns, until_ns)
    scaled = motion.learned.rough(points.log_depth, motion.learned.own(points.log_stddev))
    return {
        LEARNED: (asked.depth_m[which], points.log_stddev),
        SCALED: (np.exp(scaled[0]), scaled[1]),
        MOTION: _columns_of(flat),
        FUSED: _columns_of(fused),
    }


def _points(asked: Asked, which: np.ndarray) -> Points:
    uv_px = asked.questions.uv_px[which].astype(np.float64)
    shared = float(asked.scale_stddev[which][0])
    columns = np.log(asked.depth_m[which]), asked.log_stddev[which]
    return Points(uv_px, *columns, scale_stddev=None if np.isnan(shared) else shared)


def _columns_of(answer: MotionAnswer) -> tuple[np.ndarray, np.ndarray]:
    return answer.depth_m, answer.depth_stddev_m / answer.depth_m


def _timed(motion: MotionDepth, asked: Asked, which: np.ndarray, t_ns: int, until_ns: int) -> float:
    """Processor time, µs a keypoint. What the stream has learnt stays as it is."""
    keypoints = which[asked.questions.kind[which] == KEYPOINT]
    points = _points(asked, np.resize(keypoints if len(keypoints) else which, TIMED))
    bystander = motion.bystander()
    start_ns = time.process_time_ns()
    bystander.answer(points, t_ns, until_ns)
    spent_ns = time.process_time_ns() - start_ns
    return spent_ns / TIMED / 1e3


def _columns(scene: WindowedScene, questions: Questions, answers: dict[str, np.ndarray]) -> tuple[Columns, bool]:
    """Beside the answers what is exactly known, label by label; and whether the sequence says what moves."""
    sequence, parts, says_what_moves = scene.sequence, [], True
    lens, poses = lens_of(sequence.intrinsics), sequence.poses()
    for number in np.unique(questions.window).tolist():
        which, label = questions.window == number, int(scene.labels[number])
        u, v = questions.uv_px[which].astype(np.int64).T
        depth_label, t_ns = int(sequence.depth_labels[label]), int(sequence.times_ns[label])
        nearest_m, farthest_m = motion_truth.surfaces_m(known_depth(sequence.read_depth(depth_label)))
        moving = sequence.read_moving(depth_label)
        says_what_moves = says_what_moves and moving is not None
        moving = np.zeros(scene.size, bool) if moving is None else moving
        true_m, rays = questions.true_m[which], lens.rays(questions.uv_px[which])
        parts.append(
            Columns(
                questions.kind[which],
                np.repeat(scene.domain, len(true_m)),
                true_m,
                *(image[v, u] for image in (nearest_m, farthest_m, moving, motion_truth.near(moving))),
                motion_truth.parallax_px(rays, true_m, (lens.k[0, 0], lens.k[1, 1]), poses, t_ns),
                np.repeat(motion_truth.is_at_rest(poses, t_ns), len(true_m)),
                {method: own[0, which] for method, own in answers.items()},
                {method: own[1, which] for method, own in answers.items()},
            )
        )
    return Columns.joined(parts), says_what_moves
