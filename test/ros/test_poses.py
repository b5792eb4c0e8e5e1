"""Poses on their way to an answer, without DDS: late, early, missing, odd, too many, lost."""

import re
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from moving import (
    END_NS,
    LOG_DEPTH,
    MS,
    POINTS_PX,
    WALL,
    UntrainedModel,
    odometry,
    serialized,
    stamps,
    wall_info,
    wall_packets,
)
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from streams import Log, Running, until

from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.odometry import PoseIntake, PoseSource
from eventspd_ros.motion.depth_from_motion import Basis, MotionDepth
from eventspd_ros.motion.trajectory import MAX_POSES, Trajectory
from eventspd_ros.predictor import Status
from eventspd_ros.ros.poses import MAX_WAITING, Poses, TopicMessages
from eventspd_ros.ros.stream import StreamSettings
from eventspd_ros.ros.workers import Reporter

PACKETS = wall_packets()
LENS = CameraModel.from_info(wall_info(), WALL.width, WALL.height)
PATIENT = StreamSettings(max_wait_ms=20_000.0)
HASTY = StreamSettings(max_wait_ms=150.0)


@contextmanager
def moving(settings=PATIENT, **predictor):
    """A stream of the wall, with all its events, and its poses; untrained, so that only motion has depths."""
    log = Log()
    intake = PoseIntake(PoseSource("odometry"), Trajectory(), Reporter(log))
    poses = Poses(TopicMessages("odometry", Odometry), intake, Reporter(log), log.error)
    motion = MotionDepth(WALL.height, WALL.width, intake.trajectory)
    motion.set_lens(LENS)
    values = {"fx_px": WALL.focal_px, "allow_untrained": False, "motion": motion} | predictor
    with Running(model=UntrainedModel(), settings=settings, poses=poses, **values) as running:
        running.poses, running.pose_log = poses, log
        running.play(PACKETS)
        yield running


def give(running, messages):
    """Hand the messages over, no more than may wait, and wait until they are taken."""
    intake, put = running.poses.intake, running.poses.messages.put
    for first in range(0, len(messages), MAX_WAITING):
        some = serialized(messages[first : first + MAX_WAITING])
        goal = intake.accepted + intake.rejected + len(some)
        for raw in some:
            put(raw)
        until(lambda goal=goal: intake.accepted + intake.rejected >= goal)


def ask(running, stamp_ns=END_NS):
    start_s = time.monotonic()
    answer, _ = running.ask(POINTS_PX, stamp_ns)
    return answer, time.monotonic() - start_s


def by_motion(answer, median: float = 0.05) -> float:
    """Share of the points that motion has answered; those are to be right."""
    moved = answer.basis == Basis.MOTION
    assert ((answer.status == Status.OK) == moved).all() and np.isfinite(answer.depth_m[moved]).all()
    off = np.abs(np.log(answer.depth_m[moved]) - LOG_DEPTH[moved])
    assert not moved.any() or (np.median(off) < median and (off < 0.25).mean() > 0.9), off
    return float(moved.mean())


@pytest.fixture(scope="module")
def expected():
    with moving() as running:
        give(running, [odometry(s) for s in stamps()])
        answer, _ = ask(running)
    assert by_motion(answer) > 0.8
    return answer


def same(one, other):
    np.testing.assert_array_equal(one.depth_m, other.depth_m)
    np.testing.assert_array_equal(one.basis, other.basis)


@pytest.mark.parametrize("mode", ["latest", "covering", "exact"])
def test_a_request_waits_for_the_pose_that_reaches_its_stamp(expected, mode):
    stamp_ns = END_NS if mode == "latest" else END_NS - 12 * MS
    early = [s for s in stamps() if s < stamp_ns - 20 * MS]
    with moving(mode=mode) as running:
        give(running, [odometry(s) for s in early])
        running.request(POINTS_PX, stamp_ns)
        time.sleep(0.1)
        assert not running.answers
        give(running, [odometry(s) for s in stamps() if s not in early])
        until(lambda: running.answers, "the pose is there, and nobody was told", timeout_s=10)
        answer = running.answers[0][1]
        assert by_motion(answer) > 0.6 and running.stream.cache_wait.expired_poses == 0
    if mode == "latest":
        same(answer, expected)


def test_a_pose_that_comes_too_late_leaves_it_to_extrapolation_and_one_further_off_to_the_learned_depth():
    for behind_ms, share in ((20, 0.8), (60, 0.0)):
        with moving(HASTY) as running:
            give(running, [odometry(s) for s in stamps(until_ns=END_NS - behind_ms * MS)])
            answer, took_s = ask(running)
            assert took_s >= 0.15 and running.stream.cache_wait.expired_poses == 1
            assert by_motion(answer) >= share and bool(by_motion(answer)) == bool(share)
            assert share or (answer.status == Status.UNTRAINED).all()


def test_an_odometry_that_is_lost_costs_no_waiting_and_is_said_once_each_time():
    with moving(max_cache_age_ms=100.0) as running:
        answer, took_s = ask(running)  # none came yet
        give(running, [odometry(s) for s in stamps(until_ns=END_NS - 101 * MS)])
        for _ in range(3):
            answer, more_s = ask(running)
            took_s += more_s
            assert (answer.status == Status.UNTRAINED).all()
        assert took_s < 10 and running.stream.cache_wait.expired_poses == 0
        said = [line for line in running.pose_log.lines if "until they come" in line]
        assert len(said) == 1 and "no pose of odometry" in said[0]
        give(running, [odometry(s) for s in stamps() if s > END_NS - 101 * MS])
        assert by_motion(ask(running)[0]) > 0.8


def test_a_reset_and_the_end_let_go_of_those_who_wait():
    for end in ("reset", "close"):
        with moving() as running:
            give(running, [odometry(s) for s in stamps(until_ns=END_NS - 50 * MS)])
            for k in range(5):
                running.request(POINTS_PX, END_NS, message=k)
            time.sleep(0.1)
            assert not running.answers
            if end == "reset":
                running.stream.reset()
                give(running, [odometry(END_NS)])
                until(lambda: len(running.answers) == 5)
        assert [message for message, _, _ in running.answers] == list(range(5))


def test_poses_out_of_order_and_twice_change_nothing(expected):
    order = stamps()
    swapped = [s for pair in zip(order[1::2], order[::2], strict=False) for s in pair] + order[len(order) // 2 * 2 :]
    with moving() as running:
        give(running, [odometry(s) for s in swapped + order[-20:]])
        same(ask(running)[0], expected)
        counts = running.poses.trajectory.counts
        assert counts["out_of_order"] == len(order) // 2 and counts["duplicate"] == 20


@pytest.mark.parametrize(("rate_hz", "ignored"), [(5.0, 0), (1000.0, 0), (10_000.0, 10_000)])
def test_poses_slow_fast_and_in_a_storm(rate_hz, ignored):
    with moving() as running:
        give(running, [odometry(s) for s in stamps(rate_hz, END_NS + 200 * MS)])
        assert by_motion(ask(running)[0]) > 0.8
        assert running.poses.trajectory.counts["storm"] >= ignored


def test_a_storm_of_poses_takes_bounded_memory():
    messages = TopicMessages("odometry", Odometry)
    intake = PoseIntake(PoseSource("odometry"), Trajectory(), Reporter(Log()))
    for raw in serialized([odometry(END_NS)]) * (3 * MAX_WAITING):
        messages.put(raw)
    assert messages.dropped == 2 * MAX_WAITING
    for k in range(20_000):
        intake.take(odometry(END_NS + k * 100_000))
    assert len(intake.trajectory._rows) <= MAX_POSES and intake.trajectory.counts["storm"] >= 10_000


def odd_messages():
    nan, flat, unstamped = (odometry(END_NS + MS) for _ in range(3))
    nan.pose.pose.position.y = float("nan")
    flat.pose.pose.orientation.w = 0.0
    unstamped.header.stamp.sec = unstamped.header.stamp.nanosec = 0
    return [nan, flat, unstamped]


def test_poses_that_are_none_are_left_out_counted_and_said(expected):
    with moving() as running:
        give(running, [odometry(s) for s in stamps()] + odd_messages())
        running.poses.messages.put(b"\0\1\0\0" + b"\xff" * 30)
        running.poses.messages.put(b"")
        until(lambda: running.poses.intake.rejected == 5)
        same(ask(running)[0], expected)
        said = " ".join(running.pose_log.lines)
        assert "position 0.2046 nan 0 is not finite" in said
        assert re.fullmatch(
            r"pose left out: 0 bytes are no Odometry \(\w+\); drop the message", running.poses.intake.last_error
        )
    assert not running.faults


def test_frames_that_change_begin_the_motion_anew():
    with moving() as running:
        give(running, [odometry(s) for s in stamps(until_ns=END_NS - 10 * MS)])
        other = [odometry(s, shift_m=(0.0, 4.0, 0.0)) for s in stamps() if s > END_NS - 10 * MS]
        for msg in other:
            msg.header.frame_id = "map"
        give(running, other)
        assert by_motion(ask(running)[0]) == 0.0
        assert running.poses.trajectory.counts["frames"] == 1
        assert any("now from 'map' to 'optical': motion begins anew" in line for line in running.pose_log.lines)


def test_no_motion_is_read_across_a_correction_of_the_map():
    with moving() as running:
        turn_ns = END_NS - 100 * MS
        give(running, [odometry(s, shift_m=(0.0, 0.7 * (s > turn_ns), 0.0)) for s in stamps()])
        assert running.poses.trajectory.counts["jump"] == 1
        assert by_motion(ask(running)[0], median=0.1) > 0.2  # from the 100 ms since


def test_a_bag_that_begins_again_is_answered_as_the_first_time(expected):
    with moving() as running:
        for _ in range(2):
            give(running, [odometry(s) for s in stamps()])
            same(ask(running)[0], expected)
            running.stream.ros_clock_fell(PACKETS[0].stamp_ns - 10**9)
            running.play(PACKETS)
        assert running.poses.trajectory.counts["ros_clock_fell"] == 2
        assert running.stream.intake.resets["ros_clock_fell"] == 2


def test_storms_of_events_and_poses_together_leave_answers_coming():
    with moving(HASTY) as running:
        stop = threading.Event()

        def storm():
            raw = serialize_message(odometry(END_NS))
            while not stop.is_set():
                running.poses.messages.put(raw)
                running.stream.put_packet(PACKETS[-1])
                time.sleep(0)

        thread = threading.Thread(target=storm)
        thread.start()
        for k in range(20):
            running.ask(POINTS_PX, END_NS + k * MS)
        stop.set()
        thread.join()
    assert len(running.answers) == 20 and not running.faults


def test_a_tracked_keypoint_says_so():
    with moving() as running:
        give(running, [odometry(s) for s in stamps()])
        ids = np.arange(len(POINTS_PX), dtype=np.uint64) + np.uint64(2**63)
        for back_ns in range(160 * MS, -1, -20 * MS):
            uv_px, _ = WALL.seen(WALL.duration_ns - back_ns)
            held = np.linalg.norm(WALL.seen(WALL.duration_ns)[0][:, None] - POINTS_PX[None], axis=2).argmin(axis=0)
            count = len(running.answers)
            running.request(uv_px[held], END_NS - back_ns, ids=ids)
            until(lambda count=count: len(running.answers) > count)
        answer = running.answers[-1][1]
        assert (answer.basis & Basis.TRACKS).astype(bool).mean() > 0.5
        assert np.median(np.abs(np.log(answer.depth_m) - LOG_DEPTH)) < 0.03
