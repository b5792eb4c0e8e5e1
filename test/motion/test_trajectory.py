"""The trajectory against motions known in closed form, and what it does with odd poses."""

import sys
import threading
from dataclasses import fields

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspd_ros import rotations
from eventspd_ros.motion.trajectory import (
    HORIZON_NS,
    LATE_POSES,
    MAX_GAP_NS,
    MAX_VELOCITY,
    MIN_SPACING_NS,
    Motion,
    StampedPose,
    Trajectory,
)

T0 = 1_700_000_000_000_000_000  # an epoch time, which no float64 holds to the nanosecond
MS = 1_000_000
VELOCITY, RATE = np.array([0.8, -0.3, 1.1]), np.array([0.4, -1.2, 0.7])
FIELDS = [field.name for field in fields(Motion)]
PLACE, TURN = np.array([512.0, -3.0, 20.0]), rotations.from_rotation_vector(np.array([0.3, 1.9, -0.4]))


def line(ms, offset_m=(0.0, 0.0, 0.0), **declared):
    """The pose after that many ms of a camera at constant velocity and rate, from which no interpolation differs."""
    ms = round(ms * MS) / MS
    turn = rotations.multiply(TURN, rotations.from_rotation_vector(RATE * ms * 1e-3))
    return StampedPose(T0 + round(ms * MS), PLACE + VELOCITY * ms * 1e-3 + np.array(offset_m), turn, **declared)


def matrix(pose):
    t_world_camera = np.eye(4)
    t_world_camera[:3, :3], t_world_camera[:3, 3] = rotations.to_matrix(pose.quaternion), pose.position_m
    return t_world_camera


def filled(poses, **arguments):
    trajectory = Trajectory(**arguments)
    for pose in poses:
        trajectory.add(pose)
    return trajectory


def at(*ms):
    return np.array([T0 + round(t * MS) for t in ms], np.int64)


def known(trajectory, ms, *others_ms):
    return trajectory.relative(int(at(ms)[0]), at(*others_ms)).known.tolist()


def as_matrices(motion):
    matrices = np.tile(np.eye(4), (len(motion.known), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = motion.rotation, motion.translation_m
    return matrices


def same(a, b):
    """To the bit, NaN included."""
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)


@pytest.mark.parametrize("hz", [5, 30, 200, 1000])
def test_relative_is_the_product_of_the_poses_matrices(hz):
    trajectory = filled(line(i * 1000 / hz) for i in range(hz // 2 + 2))
    ms = np.random.default_rng(hz).uniform(0, 500, 64)
    motion = trajectory.relative(int(at(217.3)[0]), at(*ms))
    exact = [np.linalg.inv(matrix(line(t))) @ matrix(line(217.3)) for t in ms]
    np.testing.assert_allclose(as_matrices(motion), exact, rtol=0, atol=1e-9)
    assert motion.known.all() and not motion.extrapolated and not trajectory.counts


def test_a_point_of_the_world_is_seen_where_relative_says():
    trajectory = filled(line(5 * i) for i in range(40))
    motion = trajectory.relative(int(at(100)[0]), at(80, 150))
    point = np.array([*PLACE + (0.4, 0.7, 3.0), 1.0])
    seen = [(np.linalg.inv(matrix(line(t))) @ point)[:3] for t in (100, 80, 150)]
    np.testing.assert_allclose(motion.rotation @ seen[0] + motion.translation_m, seen[1:], atol=1e-9)


def screw(ms, turn_rad_s=2.0):
    """A camera on a screw: about z at a constant rate, on a circle of 0.5 m, rising."""
    angle = turn_rad_s * ms * 1e-3
    position = np.array([0.5 * np.cos(angle), 0.5 * np.sin(angle), 0.1 * angle])
    return StampedPose(T0 + round(ms * MS), position, rotations.from_rotation_vector(np.array([0, 0, angle])))


@pytest.mark.parametrize("hz", [30, 200])
def test_on_a_screw_the_error_is_what_it_is_said_to_be(hz):
    trajectory = filled(screw(i * 1000 / hz) for i in range(hz))
    t_ms = 500 + 500 / hz  # half way between two poses, where the chord is furthest from the arc
    motion = trajectory.relative(int(at(500)[0]), at(t_ms))
    exact = np.linalg.inv(matrix(screw(t_ms))) @ matrix(screw(500))
    error_m = np.linalg.norm(motion.translation_m[0] - exact[:3, 3])
    assert 0.98 * motion.interpolation_error_m < error_m < 1.02 * motion.interpolation_error_m
    sagitta_m = 0.5 * (1 - np.cos(2.0 / hz / 2))
    assert motion.interpolation_error_m == pytest.approx(sagitta_m, rel=0.01)
    np.testing.assert_allclose(motion.rotation[0], exact[:3, :3], atol=1e-12)
    assert motion.interpolation_error_rad < 1e-9


@given(st.lists(st.integers(1, 60), min_size=4, max_size=8), st.floats(0.01, 0.99))
def test_the_error_of_a_steady_acceleration_is_exact_at_any_spacing(intervals, share):
    ms = np.cumsum(intervals)
    fall_m = [np.array([0, 9.81 / 2 * (t * 1e-3) ** 2, 0]) for t in ms]
    trajectory = filled(StampedPose(T0 + int(t) * MS, p, TURN) for t, p in zip(ms, fall_m, strict=True))
    t_ns = int(at(ms[-2] + share * intervals[-1])[0])
    motion = trajectory.relative(int(at(ms[-1])[0]), np.array([t_ns]))
    exact_m = 9.81 / 2 * (((t_ns - T0) * 1e-9) ** 2 - (ms[-1] * 1e-3) ** 2)
    moved_m = (rotations.to_matrix(TURN) @ motion.translation_m[0])[1]
    assert abs(moved_m + exact_m) == pytest.approx(motion.interpolation_error_m, rel=1e-6, abs=1e-12)


def test_a_rate_that_grows_is_said_as_an_error_of_the_rotation():
    """Turned by a t²/2, the chord of 10 ms is off by a dt²/8 in its middle."""
    turned = [rotations.from_rotation_vector(np.array([0, 20.0 * (0.01 * i) ** 2 / 2, 0])) for i in range(30)]
    trajectory = filled(StampedPose(T0 + 10 * i * MS, np.zeros(3), q) for i, q in enumerate(turned))
    motion = trajectory.relative(int(at(100)[0]), at(105))
    truth_rad = 20.0 * (0.1**2 - 0.105**2) / 2
    found_rad = cv2.Rodrigues(motion.rotation[0])[0][1, 0]
    assert abs(found_rad - truth_rad) == pytest.approx(20.0 * 0.01**2 / 8, rel=1e-6)
    assert motion.interpolation_error_rad == pytest.approx(20.0 * 0.01**2 / 8, rel=1e-6)


@given(st.lists(st.floats(0, 190), min_size=3, max_size=3))
def test_motions_compose_and_invert(ms):
    trajectory = filled(screw(5 * i) for i in range(40))
    a, b, c = at(*ms)

    def motion(start, end):
        return as_matrices(trajectory.relative(int(start), np.array([end])))[0]

    np.testing.assert_allclose(motion(b, c) @ motion(a, b), motion(a, c), atol=1e-12)
    np.testing.assert_allclose(motion(a, b) @ motion(b, a), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(motion(a, a), np.eye(4), atol=1e-12)


# Poses of a recording with all that happens: intervals with gaps among them, and map corrections.
steps = st.tuples(st.sampled_from([1, 5, 33, 150, 200, 310]), st.sampled_from([0.0, 0.0, 0.01, 0.4, 3.0]))


def recording(steps):
    ms = np.cumsum([interval for interval, _ in steps])
    offsets = np.cumsum([offset for _, offset in steps])
    return [line(t, (0, 0, o)) for t, o in zip(ms, offsets, strict=True) if t <= HORIZON_NS // MS]


def answers(trajectory):
    """Of every pose to every pose and to a time after it."""
    stamps_ns = trajectory._rows["stamp_ns"]
    times = np.concatenate([stamps_ns, stamps_ns + MS // 2])
    return [trajectory.relative(int(t), times) for t in times]


@given(st.lists(steps, min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_the_order_in_which_poses_come_does_not_matter(steps, random):
    poses = recording(steps)
    shuffled = random.sample(poses, len(poses))
    for a, b in zip(answers(filled(poses)), answers(filled(shuffled)), strict=True):
        same(a, b)


@given(st.lists(steps, min_size=3, max_size=12))
def test_what_comes_later_changes_no_answer(steps):
    poses = recording(steps)
    trajectory, before = Trajectory(max_extrapolation_ns=0), []
    for pose in poses:
        trajectory.add(pose)
        times = trajectory.newest_ns - np.arange(9) * 30 * MS
        t_ns = trajectory.newest_ns - 3 * MS
        before.append((t_ns, times, trajectory.relative(t_ns, times), trajectory.covers(t_ns)))
    for t_ns, times, motion, covered in before:
        if times[-1] > trajectory.newest_ns - HORIZON_NS:
            same(trajectory.relative(t_ns, times), motion)
            assert trajectory.covers(t_ns) == covered


def test_answers_of_one_time_do_not_depend_on_what_else_is_asked():
    trajectory = filled(screw(5 * i) for i in range(100))
    times = at(*np.linspace(0, 480, 64))
    together = trajectory.relative(int(at(251)[0]), times)
    for i, t_ns in enumerate(times):
        alone = trajectory.relative(int(at(251)[0]), np.array([t_ns]))
        np.testing.assert_array_equal(alone.rotation[0], together.rotation[i])
        np.testing.assert_array_equal(alone.translation_m[0], together.translation_m[i])


def test_beyond_the_newest_pose_velocity_goes_on_within_bounds_and_is_flagged():
    trajectory = filled((line(5 * i) for i in range(40)), max_extrapolation_ns=20 * MS)
    motion = trajectory.relative(int(at(150)[0]), at(190, 195, 214.9, 215.1))
    assert motion.known.tolist() == [True, True, True, False] and motion.extrapolated
    exact = np.linalg.inv(matrix(line(214.9))) @ matrix(line(150))
    np.testing.assert_allclose(as_matrices(motion)[2], exact, atol=1e-9)
    assert np.isnan(motion.rotation[3]).all() and np.isnan(motion.translation_m[3]).all()
    assert not trajectory.relative(int(at(150)[0]), at(195)).extrapolated
    assert not trajectory.relative(int(at(150)[0]), at(300)).extrapolated  # what is not known is not extrapolated
    assert trajectory.relative(int(at(200)[0]), at(150)).extrapolated
    errors_m = [trajectory.relative(int(at(195)[0]), at(*ms)).interpolation_error_m for ms in ((150,), (150, 300))]
    assert errors_m[0] == errors_m[1]
    assert trajectory.covers(int(at(195)[0])) and not trajectory.covers(int(at(195.1)[0]))


def test_beyond_the_newest_pose_the_error_grows_with_the_square_of_the_time():
    trajectory = filled(screw(5 * i) for i in range(100))
    near, far = (trajectory.relative(int(at(490)[0]), at(t)).interpolation_error_m for t in (500, 520))
    # Circle of 0.5 m at 2 rad/s: a = 2 m/s² and a bit for the rise; |a| (t - 490)(t - 495) / 2.
    assert near == pytest.approx(2 * 0.010 * 0.005 / 2, rel=0.01)
    assert far == pytest.approx(2 * 0.030 * 0.025 / 2, rel=0.01)


def test_before_the_oldest_pose_nothing_is_known():
    trajectory = filled(line(5 * i) for i in range(10))
    assert known(trajectory, 20, -0.001, 0, 3) == [False, True, True]
    assert known(trajectory, -1, 0, 3) == [False, False]
    assert not trajectory.covers(int(at(-1)[0]))


def test_an_empty_trajectory_knows_nothing_and_a_single_pose_only_itself():
    trajectory = Trajectory()
    assert trajectory.newest_ns is None and not trajectory.covers(T0)
    assert known(trajectory, 0, 0, 5) == [False, False]
    trajectory.add(line(0))
    assert trajectory.newest_ns == T0 and trajectory.covers(T0)
    assert known(trajectory, 0, 0, 5, -5) == [True, False, False]
    motion = trajectory.relative(T0, at(0))
    np.testing.assert_allclose(as_matrices(motion)[0], np.eye(4), atol=1e-12)


# The step that is off by this much from a steady motion is explained by 100 m/s², at most 5 m/s, and 2 cm.
EXPLAINED_M = {5: 5 * 0.2 + 0.02, 30: 100 / 30**2 + 0.02, 200: 100 / 200**2 + 0.02, 1000: 100 / 1000**2 + 0.02}


@pytest.mark.parametrize("late", [False, True], ids=["in order", "late"])
@pytest.mark.parametrize("hz", EXPLAINED_M)
def test_a_map_correction_begins_a_segment(hz, late):
    ms = 1000 / hz
    for share in (0.98, 1.02):
        offset = (0, 0, share * EXPLAINED_M[hz])
        poses = [line(i * ms, offset if i > 3 else (0, 0, 0)) for i in range(8)]
        if late:
            poses = poses[:4] + poses[5:] + poses[4:5]
        trajectory = filled(poses)
        correction = share > 1
        assert trajectory.counts["jump"] == correction
        inside, across = known(trajectory, 2.5 * ms, 0, 2 * ms), known(trajectory, 2.5 * ms, 4 * ms, 6.2 * ms)
        assert inside == [True, True] and across == [not correction] * 2
        assert known(trajectory, 6.5 * ms, 4 * ms, 6.2 * ms, 7 * ms) == [True] * 3
        assert trajectory.covers(int(at(3.5 * ms)[0])) is not correction


@pytest.mark.parametrize("hz", [30, 200])
def test_a_correction_of_the_heading_begins_a_segment(hz):
    explained_rad = 300 / hz**2 + np.radians(2)
    for share in (0.98, 1.02):
        turn = rotations.from_rotation_vector(np.array([0, share * explained_rad, 0]))
        poses = [StampedPose(T0 + round(i * 1e9 / hz), PLACE, TURN) for i in range(4)]
        turned = rotations.multiply(TURN, turn)
        poses += [StampedPose(T0 + round(i * 1e9 / hz), PLACE, turned) for i in range(4, 8)]
        assert filled(poses).counts["jump"] == (share > 1)


def test_one_outlier_is_alone_and_the_motion_after_it_is_known():
    trajectory = filled(line(5 * i, (0.5, 0, 0) if i == 10 else (0, 0, 0)) for i in range(20))
    assert trajectory.counts == {"jump": 2}
    assert known(trajectory, 60, 55, 80, 50, 45) == [True, True, False, False]


@pytest.mark.parametrize("hz", [30, 200, 1000])
def test_a_hand_s_tremor_with_noisy_poses_is_no_jump(hz):
    rng = np.random.default_rng(hz)
    t_s = np.arange(2 * hz) / hz
    shake_m = 0.04 * np.sin(2 * np.pi * 6 * t_s)  # 57 m/s²
    shake_rad = 0.1 * np.sin(2 * np.pi * 6 * t_s)
    trajectory = Trajectory()
    for t, x, a in zip(t_s, shake_m, shake_rad, strict=True):
        vector = np.array([0, a, 0]) + rng.normal(0, np.radians(0.15), 3)
        position = np.array([x, 0, 0]) + rng.normal(0, 0.0015, 3)
        trajectory.add(StampedPose(T0 + round(t * 1e9), position, rotations.from_rotation_vector(vector)))
    assert not trajectory.counts


def test_the_sign_of_a_quaternion_is_no_jump_and_no_long_way_round():
    poses = [line(5 * i) for i in range(20)]
    flipped = [StampedPose(p.stamp_ns, p.position_m, p.quaternion * (-1) ** i) for i, p in enumerate(poses)]
    trajectory, plain = filled(flipped), filled(poses)
    assert not trajectory.counts
    a, b = (t.relative(int(at(31)[0]), at(52.5, 77)) for t in (trajectory, plain))
    np.testing.assert_allclose(as_matrices(a), as_matrices(b), atol=1e-12)


def test_nothing_is_interpolated_across_a_gap():
    limit_ms = MAX_GAP_NS / MS
    joined = filled([line(0), line(5), line(5 + limit_ms), line(10 + limit_ms)])
    assert known(joined, 2, 100, 7 + limit_ms) == [True, True] and not joined.counts
    broken = filled([line(0), line(5), line(6 + limit_ms), line(11 + limit_ms)])
    assert known(broken, 2, 0, 5, 100, 8 + limit_ms) == [True, True, False, False]
    assert known(broken, 8 + limit_ms, 7 + limit_ms) == [True]
    assert broken.counts == {"gap": 1}
    broken.add(line(2))
    assert broken.counts["gap"] == 1  # judged again, counted once
    broken.add(line(150))
    assert known(broken, 2, 100, 8 + limit_ms) == [True, True]  # the pose that was missing came late


def test_the_first_step_of_a_segment_is_judged_by_its_speed():
    for share in (0.98, 1.02):
        step_m = share * (MAX_VELOCITY[0] * 0.1 + 0.02)
        still = [StampedPose(T0 + t * MS, np.array([x, 0, 0]), TURN) for t, x in ((0, 0), (100, step_m))]
        assert filled(still).counts["jump"] == (share > 1)


def test_the_first_step_of_a_segment_assumes_an_ordinary_acceleration():
    trajectory = filled([line(0), line(10)])
    assert trajectory.relative(T0, at(5)).interpolation_error_m == pytest.approx(5 * 0.01**2 / 8)
    assert trajectory.relative(T0, at(10, 0)).interpolation_error_m == 0


def test_poses_out_of_order_are_put_in_their_place_and_doubles_ignored():
    trajectory = filled([line(0), line(10), line(5), line(10, (9, 9, 9)), line(5, (9, 9, 9))])
    assert trajectory.counts == {"out_of_order": 1, "duplicate": 2}
    assert trajectory.newest_ns == T0 + 10 * MS
    assert known(trajectory, 1, 6, 10) == [True, True]


def test_a_storm_of_poses_leaves_memory_as_it_is():
    trajectory = Trajectory()
    size = trajectory._store.nbytes
    for i in range(20_000):
        trajectory.add(line(0.01 * i))  # 100 kHz
    assert trajectory.counts == {"storm": 19_600} and len(trajectory._rows) == 400
    for i in range(9_000):
        trajectory.add(line(400 + 0.5 * i))  # at the spacing itself, for more than two horizons
    assert trajectory._store.nbytes == size
    assert len(trajectory._rows) == HORIZON_NS // MIN_SPACING_NS + 1
    newest_ms = 400 + 0.5 * 8_999
    assert known(trajectory, newest_ms, newest_ms - 2000, newest_ms - 2001) == [True, False]
    exact = np.linalg.inv(matrix(line(newest_ms - 1234.3))) @ matrix(line(newest_ms - 0.1))
    motion = trajectory.relative(int(at(newest_ms - 0.1)[0]), at(newest_ms - 1234.3))
    np.testing.assert_allclose(as_matrices(motion)[0], exact, atol=1e-9)


def test_late_poses_are_dropped_until_they_tell_that_time_fell():
    trajectory = filled(line(2500 + 5 * i) for i in range(10))
    for i in range(LATE_POSES - 1):
        trajectory.add(line(5 * i))
    assert trajectory.counts == {"late": LATE_POSES - 1} and trajectory.covers(T0 + 2502 * MS)
    trajectory.add(line(2550))
    for i in range(LATE_POSES - 1):
        trajectory.add(line(5 * i))
    assert trajectory.counts == {"late": 2 * LATE_POSES - 2}
    for i in range(LATE_POSES):
        trajectory.add(line(5 * i))
    assert trajectory.counts["time_fell"] == 1 and not trajectory.covers(T0 + 2502 * MS)
    assert trajectory.covers(T0 + 2 * MS)


def test_one_stamp_far_ahead_heals_by_itself():
    trajectory = filled([line(0), line(5), line(3_600_000), *(line(10 + 5 * i) for i in range(10))])
    assert trajectory.counts == {"gap": 1, "late": LATE_POSES, "time_fell": 1}
    assert known(trajectory, 25, 52) == [True]


def test_a_restart_forgets_and_is_counted():
    trajectory = filled(line(5 * i) for i in range(10))
    trajectory.restart("frames")
    assert trajectory.newest_ns is None and trajectory.counts == {"frames": 1}
    trajectory.add(line(50))
    trajectory.add(line(55))
    assert known(trajectory, 51, 45, 52) == [False, True]


def test_the_largest_declared_error_of_the_poses_used_is_told():
    poses = [line(5 * i, velocity_stddev_m_s=0.01 * i, rate_stddev_rad_s=0.1 - 0.01 * i) for i in range(10)]
    motion = filled(poses).relative(int(at(32)[0]), at(11, 17, 900))
    assert (motion.drift_translation_m_s, motion.drift_rotation_rad_s) == (poses[7].velocity_stddev_m_s, 0.08)


@pytest.mark.parametrize(
    "use",
    [
        lambda trajectory: trajectory.add(line(50)),
        lambda trajectory: trajectory.restart("frames"),
        lambda trajectory: trajectory.newest_ns,
        lambda trajectory: trajectory.covers(T0),
        lambda trajectory: trajectory.relative(T0, at(3)),
    ],
    ids=["add", "restart", "newest_ns", "covers", "relative"],
)
def test_threads_wait_for_one_another(use):
    trajectory = filled(line(5 * i) for i in range(5))
    thread = threading.Thread(target=use, args=(trajectory,))
    with trajectory._lock:
        thread.start()
        thread.join(0.02)
        assert thread.is_alive()
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture
def busy_threads():
    """Threads that take turns every few microseconds."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(2e-6)
    yield
    sys.setswitchinterval(interval_s)


def test_one_thread_adds_while_another_asks(busy_threads):
    trajectory = filled(line(i) for i in range(40))
    done = threading.Event()

    def add():
        for i in range(40, 3000):
            trajectory.add(line(i + (3 if i % 2 else 0)))  # every other one is out of order
        done.set()

    thread = threading.Thread(target=add)
    thread.start()
    errors = []
    while not done.is_set() or len(errors) < 10:  # a busy machine may give the other thread all of the time
        times = trajectory.newest_ns - np.array([4, 9, 33]) * MS
        motion = trajectory.relative(int(times[1]), times)
        exact = [np.linalg.inv(matrix(line((t - T0) / MS))) @ matrix(line((times[1] - T0) / MS)) for t in times]
        errors.append(np.abs(as_matrices(motion) - exact).max())
    thread.join()
    assert max(errors) < 1e-6
