"""A camera that glides through the simulated hall: its events, corners of known depth, and its poses."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.motion.depth_from_motion import MotionAnswer, MotionDepth, Points
from eventspd_ros.motion.trajectory import StampedPose, Trajectory
from eventspd_ros.simulation.camera import PinholeCamera, Pose, rotation_from_vector
from eventspd_ros.simulation.keypoints import event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scenes import hall
from eventspd_ros.simulation.stream import SimulationConfig, World, concatenate, simulate_stream

MS = 1_000_000
POSE_NS = 5 * MS
ASKED_NS = 440 * MS
OFFSET_NS = 1_700_000_000 * 10**9  # of ROS time from the sensor's clock
CAMERA = PinholeCamera.centred(173, 130)
COLUMNS = [field.name for field in fields(MotionAnswer)]


@dataclass(frozen=True)
class Glide:
    """Constant velocity (world, m/s) and rate (rad/s)."""

    velocity: tuple = (0.6, 0.05, 0.2)
    rate: tuple = (0.0, 0.1, 0.0)

    def pose(self, t_s: float) -> Pose:
        return Pose(rotation_from_vector(np.array(self.rate) * t_s), np.array(self.velocity) * t_s)


class PinholeLens:
    def __init__(self, camera=CAMERA):
        self.camera, self.k = camera, np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])

    def rays(self, uv_px):
        return self.camera.rays(uv_px)


class Recorded:
    """The hall's events of 500 ms, and corners at ASKED_NS with their log depth."""

    world = World(hall(np.random.default_rng(3)), Glide())

    @cached_property
    def chunks(self):
        config = SimulationConfig(camera=CAMERA, duration_s=0.5, seed=3)
        return [chunk.events for chunk in simulate_stream(config, self.world)]

    @cached_property
    def corners(self):
        before = [events for events in self.chunks if len(events) and events.t_ns[-1] < ASKED_NS]
        uv_px = event_corners(concatenate(before[-8:]), CAMERA.height, CAMERA.width, 120).astype(np.float64)
        log_depth = np.log(
            Renderer(self.world.scene, CAMERA).depth_at(self.world.pose(ASKED_NS), uv_px, ASKED_NS / 1e9)
        )
        return uv_px[np.isfinite(log_depth)], log_depth[np.isfinite(log_depth)]

    def poses(self, until_ns=ASKED_NS, offset_ns=OFFSET_NS):
        for t_ns in range(0, until_ns + 1, POSE_NS):
            pose = self.world.pose(t_ns)
            yield StampedPose(t_ns + offset_ns, pose.position_W, rotations.from_matrix(pose.rotation_WC))


RECORDED = Recorded()


def stream(poses=None, until_ns=ASKED_NS, lens="default", **arguments):
    """A MotionDepth that has had the events until then, and poses."""
    motion = MotionDepth(CAMERA.height, CAMERA.width, Trajectory(), **arguments)
    motion.set_lens(PinholeLens() if lens == "default" else lens)
    feed(motion, 0, until_ns)
    for pose in RECORDED.poses() if poses is None else poses:
        motion.trajectory.add(pose)
    return motion


def feed(motion, start_ns, end_ns):
    for events in RECORDED.chunks:
        part = (events.t_ns >= start_ns) & (events.t_ns < end_ns)
        if part.any():
            motion.add(events.x[part], events.y[part], events.p[part], events.t_ns[part])


def wrong(bias=0.5, spread=0.1, stddev=0.4, seed=0):
    """The corners with learned depths that are off by so much, and the true log depth."""
    uv_px, truth = RECORDED.corners
    error = bias + np.random.default_rng(seed).normal(0, spread, len(truth))
    return Points(uv_px, truth + error, np.full(len(truth), stddev)), truth


def ask(motion, points, until_ns=ASKED_NS):
    return motion.answer(points, ASKED_NS, until_ns, OFFSET_NS)


def same(a, b):
    """To the bit, NaN included."""
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
