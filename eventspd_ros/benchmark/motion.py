"""What depth from motion costs on one core: an event added, a keypoint answered."""

from __future__ import annotations

from types import SimpleNamespace

import numba
import numpy as np

from eventspd_ros import rotations
from eventspd_ros.benchmark.inputs import events_sha256
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import REPETITIONS, WARM_UPS, times_ms
from eventspd_ros.events.types import EventArray
from eventspd_ros.motion.depth_from_motion import Basis, MotionDepth, Points
from eventspd_ros.motion.trajectory import StampedPose, Trajectory
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.keypoints import event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import SimulationConfig, World, concatenate, simulate_stream
from eventspd_ros.simulation.worlds import COMMON_DOMAINS

DURATION_S, SEED, KEYPOINTS, POSE_NS = 0.5, 1_700_000, 256, 5_000_000
LEARNED_ERROR, LEARNED_STDDEV = 0.3, 0.3  # of log depth: a network as good as it says


def bench_motion(sensor_hw: tuple[int, int], repetitions: int = REPETITIONS) -> dict:
    """A scene of each domain at that size, with poses at 200 Hz: adding its events, and answering 256 corners of its
    last 20 ms, with poses and by events alone, on this thread. The times are of whole passes; us_per_keypoint, with
    poses, and ns_per_event of the median one."""
    height, width = sensor_hw
    rows, hashes = {}, []
    for domain in COMMON_DOMAINS:
        config = SimulationConfig(PinholeCamera.centred(width, height), DURATION_S, SEED, domain=domain)
        rows[domain], events = _bench_scene(config, repetitions)
        hashes.append(events_sha256([events]))
    return {
        "bench": "motion",
        "sensor": f"{width}x{height}",
        "keypoints": KEYPOINTS,
        "domains": rows,
        "repetitions": repetitions,
        "warm_ups": WARM_UPS,
        "input_sha256": hashes,
        **conditions(numba, np),
    }


def _bench_scene(config: SimulationConfig, repetitions: int) -> tuple[dict, EventArray]:
    world, end_ns = World.of(config), round(config.duration_s * NS_PER_S)
    events = concatenate([chunk.events for chunk in simulate_stream(config, world)])
    parts = config.camera.height, config.camera.width, _trajectory(world, end_ns)
    motion, by_events = MotionDepth(*parts), MotionDepth(*parts, by_events=True)
    for each in (motion, by_events):
        each.set_lens(_lens(config.camera))

    def add(each: MotionDepth = motion) -> None:
        each.restart()
        each.add(events.x, events.y, events.p, events.t_ns)

    add_ms = times_ms(add, repetitions)
    add(by_events)
    points = _points(config.camera, world, events, end_ns)
    answer_ms = times_ms(lambda: motion.answer(points, end_ns, end_ns), repetitions)
    by_events_ms = times_ms(lambda: by_events.answer(points, end_ns, end_ns), repetitions)
    basis, shape = (each.answer(points, end_ns, end_ns).basis for each in (motion, by_events))
    row = {
        "events": len(events),
        "events_per_second": round(len(events) / config.duration_s),
        "ns_per_event": round(add_ms["median"] * NS_PER_MS / max(len(events), 1), 2),
        "us_per_keypoint": round(answer_ms["median"] * 1e3 / KEYPOINTS, 2),
        "share_by_motion": round(float(np.mean((basis & Basis.MOTION) > 0)), 3),
        "share_by_shape": round(float(np.mean((shape & Basis.SHAPE) > 0)), 3),
        "add_ms": add_ms,
        "answer_ms": answer_ms,
        "answer_by_events_ms": by_events_ms,
    }
    return row, events


def _trajectory(world: World, end_ns: int) -> Trajectory:
    trajectory = Trajectory()
    for t_ns in range(0, end_ns + 1, POSE_NS):
        pose = world.pose(t_ns)
        trajectory.add(StampedPose(t_ns, pose.position_W, rotations.from_matrix(pose.rotation_WC)))
    return trajectory


def _lens(camera: PinholeCamera) -> SimpleNamespace:
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    return SimpleNamespace(k=k, rays=camera.rays)


def _points(camera: PinholeCamera, world: World, events: EventArray, end_ns: int) -> Points:
    """Corners, some of them more than once where there are too few, with the depth a network may have answered."""
    first = int(np.searchsorted(events.t_ns, end_ns - 20_000_000))
    columns = (column[first:] for column in (events.x, events.y, events.p, events.t_ns))
    corners = event_corners(EventArray(*columns, camera.width, camera.height), camera.height, camera.width, KEYPOINTS)
    true_m = Renderer(world.scene, camera).depth_at(world.pose(end_ns), corners, end_ns * 1e-9)
    corners, true_m = corners[np.isfinite(true_m)], true_m[np.isfinite(true_m)]
    uv_px, true_m = np.resize(corners, (KEYPOINTS, 2)).astype(np.float64), np.resize(true_m, KEYPOINTS)
    error = np.random.default_rng(0).normal(0, LEARNED_ERROR, KEYPOINTS)
    return Points(uv_px, np.log(true_m) + error, np.full(KEYPOINTS, LEARNED_STDDEV))
