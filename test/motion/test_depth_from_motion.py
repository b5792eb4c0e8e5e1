"""Depth from events and poses, end to end, of a camera that glides through the simulated hall."""

from dataclasses import replace

import numpy as np
import pytest
from reference.gliding_hall import (
    ASKED_NS,
    CAMERA,
    COLUMNS,
    MS,
    OFFSET_NS,
    POSE_NS,
    RECORDED,
    Glide,
    PinholeLens,
    ask,
    feed,
    same,
    stream,
    wrong,
)

from eventspd_ros import rotations
from eventspd_ros.evaluation.scoring.uncertainty import interval_half_width
from eventspd_ros.motion import fusion, learned_scale, likelihood, tracks
from eventspd_ros.motion.depth_from_motion import (
    SUFFICIENT_STDDEV,
    Basis,
    MotionDepth,
    Points,
)
from eventspd_ros.motion.learned_scale import START_STDDEV
from eventspd_ros.motion.rotation_drift import RotationDrift
from eventspd_ros.motion.slices import LATE_NS, SLICE_NS
from eventspd_ros.motion.trajectory import StampedPose, Trajectory
from eventspd_ros.simulation.keypoints import event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import SimulationConfig, concatenate, simulate_stream

pytestmark = pytest.mark.filterwarnings("error")


def is_the_learned_depth(answer, points):
    np.testing.assert_array_equal(answer.depth_m, np.exp(points.log_depth))
    np.testing.assert_allclose(answer.depth_stddev_m, np.exp(points.log_depth) * points.log_stddev, rtol=1e-12)
    np.testing.assert_array_equal(answer.basis, np.full(len(points.uv_px), Basis.LEARNED))


def test_a_bystander_is_answered_alike_and_teaches_nothing():
    points, _ = wrong(0.4)
    plain, watched = stream(), stream()
    for t_ns in (ASKED_NS - 100 * MS, ASKED_NS - 50 * MS, ASKED_NS):
        args = t_ns, t_ns, OFFSET_NS
        seen = watched.bystander().answer(points, *args)
        wanted = plain.answer(points, *args)
        same(seen, wanted)
        same(watched.answer(points, *args), wanted)


# What motion makes of wrong depths


@pytest.mark.parametrize("form", ["Fortran", "read-only", "strided"])
def test_the_form_of_its_arrays_changes_no_bit_and_compiles_nothing_anew(form):
    """Each other form of a loop sums in another order: offline and online would differ by what was asked before."""
    points, _ = wrong(0.3)

    def other(array):
        if form == "strided":
            return np.repeat(array, 2, axis=0)[::2]
        array = np.array(array, order="F" if form == "Fortran" else "C")
        array.flags.writeable = form != "read-only"
        return array

    ids = np.arange(len(points.uv_px))
    plain, formed = stream(), stream()
    for t_ns in (ASKED_NS - 50 * MS, ASKED_NS):  # the second time there are tracks
        args = t_ns, ASKED_NS, OFFSET_NS
        wanted = plain.answer(replace(points, ids=ids), *args)
        columns = (points.uv_px, points.log_depth, points.log_stddev, ids)
        same(formed.answer(Points(*map(other, columns)), *args), wanted)
    assert (wanted.basis & Basis.MOTION).any()
    loops = [likelihood._all_points, fusion._all, tracks._triangulate]
    loops += [learned_scale._fit, learned_scale._read, learned_scale._mean_of_neighbours]
    assert {loop.__name__: len(loop.signatures) for loop in loops} == {loop.__name__: 1 for loop in loops}


@pytest.mark.parametrize("bias", [-0.6, 0.0, 0.6])
def test_with_poses_depth_beats_a_learned_depth_that_is_wrong(bias):
    points, truth = wrong(bias, 0.15)
    answer = ask(stream(), points)
    error, learned = np.abs(np.log(answer.depth_m) - truth), np.abs(points.log_depth - truth)
    moved = (answer.basis & Basis.MOTION) > 0
    assert moved.mean() > 0.6 and (answer.basis & Basis.LEARNED).all()
    assert np.median(error[moved]) < 0.05 and error[moved].mean() < 0.6 * learned[moved].mean()
    assert error.mean() < (0.4 if bias else 1.0) * learned.mean()
    half_95 = interval_half_width(answer.depth_stddev_m / answer.depth_m, 0.95)
    assert (error < half_95).mean() > 0.85
    assert (answer.parallax_px[moved] > 0).all()


@pytest.mark.parametrize("stddev", [1.6, 3.0])
def test_a_network_that_knows_nothing_is_no_worse_than_none(stddev):
    """Its σ may be wider than what is taken where there is no network; as far need not be searched."""
    points, truth = wrong(-0.3, 0.15)
    points = replace(points, log_stddev=np.full(len(truth), stddev), scale_stddev=0.6 * stddev)
    answer = ask(stream(), points)
    moved = (answer.basis & Basis.MOTION) > 0
    error = np.abs(np.log(answer.depth_m) - truth)[moved]
    alone = ask(stream(), Points(points.uv_px))
    both = np.isfinite(alone.depth_m[moved])
    assert np.median(error) < 0.05
    assert error[both].mean() < 1.2 * np.abs(np.log(alone.depth_m[moved][both]) - truth[moved][both]).mean()


def test_without_a_learned_depth_what_is_answered_is_sure_and_true():
    uv_px, truth = RECORDED.corners
    answer = ask(stream(), Points(uv_px))
    known = np.isfinite(answer.depth_m)
    assert known.mean() > 0.5
    np.testing.assert_array_equal(answer.basis, np.where(known, Basis.MOTION, Basis.NOTHING))
    np.testing.assert_array_equal(np.isfinite(answer.depth_stddev_m), known)
    log_stddev = (answer.depth_stddev_m / answer.depth_m)[known]
    assert (log_stddev < SUFFICIENT_STDDEV).all()
    error = np.abs(np.log(answer.depth_m) - truth)[known]
    assert np.median(error) < 0.06 and (error < interval_half_width(log_stddev, 0.95)).mean() > 0.75


def test_points_with_and_without_a_learned_depth_are_answered_in_one_request():
    points, truth = wrong()
    without = np.arange(len(truth)) % 3 == 0
    points.log_depth[without] = np.nan
    points.log_stddev[np.arange(len(truth)) % 3 == 1] = np.inf
    answer = ask(stream(), points)
    has = np.isfinite(points.log_depth) & np.isfinite(points.log_stddev)
    assert np.isfinite(answer.depth_m[has]).all()
    np.testing.assert_array_equal((answer.basis & Basis.LEARNED) > 0, has)
    known = np.isfinite(answer.depth_m)
    assert known[~has].any() and np.median(np.abs(np.log(answer.depth_m) - truth)[known & ~has]) < 0.1


def tracked_answer(points, learned=True):
    """The corners followed for 300 ms, without any event; and the same without learned depths."""
    motion = stream(until_ns=0)
    renderer, ids = Renderer(RECORDED.world.scene, CAMERA), np.arange(len(points.uv_px))
    surface = renderer.surface_at(RECORDED.world.pose(ASKED_NS), points.uv_px, ASKED_NS / 1e9)
    rng = np.random.default_rng(0)
    for t_ns in range(ASKED_NS - 300 * MS, ASKED_NS + 1, 20 * MS):
        uv_px = CAMERA.project(renderer.to_camera(surface, RECORDED.world.pose(t_ns), t_ns / 1e9))
        at = replace(points, uv_px=uv_px + rng.normal(0, 0.2, uv_px.shape), ids=ids)
        at = at if learned else replace(at, log_depth=None, log_stddev=None)
        answer = motion.answer(at, t_ns, t_ns, OFFSET_NS)
    return answer


def test_tracks_help_where_they_persist_and_say_so():
    points, truth = wrong(0.4)
    answer = tracked_answer(points)
    tracked = (answer.basis & Basis.TRACKS) > 0
    assert tracked.mean() > 0.7 and not (answer.basis & Basis.MOTION).any()
    error = np.abs(np.log(answer.depth_m) - truth)
    assert np.median(error[tracked]) < 0.1
    half_95 = interval_half_width((answer.depth_stddev_m / answer.depth_m)[tracked], 0.95)
    assert (error[tracked] < half_95).mean() > 0.85
    alone = tracked_answer(points, learned=False)
    known = np.isfinite(alone.depth_m)
    assert known.any() and set(alone.basis[known]) == {Basis.TRACKS}
    assert np.median(np.abs(np.log(alone.depth_m) - truth)[known]) < 0.1


def test_a_track_in_conflict_with_the_learned_depth_makes_the_answer_wide():
    agreeing, torn = (tracked_answer(wrong(bias, 0.0, 0.15)[0]) for bias in (0.0, 0.4))
    both = ((agreeing.basis & torn.basis & Basis.TRACKS) > 0) & (agreeing.depth_stddev_m / agreeing.depth_m < 0.08)
    assert both.sum() > 10
    ratio = (torn.depth_stddev_m / torn.depth_m)[both] / (agreeing.depth_stddev_m / agreeing.depth_m)[both]
    assert np.median(ratio) > 1.5


# Where motion tells nothing


def test_without_poses_the_learned_depth_is_the_answer():
    points, _ = wrong()
    motion = stream(poses=[])
    is_the_learned_depth(ask(motion, points), points)
    assert motion.without_poses == 1
    answer = ask(motion, Points(points.uv_px))
    assert np.isnan(answer.depth_m).all() and not answer.basis.any() and not answer.parallax_px.any()


def test_poses_that_do_not_reach_the_points_time_count_as_none():
    points, _ = wrong()
    motion = stream(poses=RECORDED.poses(ASKED_NS - 100 * MS))
    is_the_learned_depth(ask(motion, points), points)
    assert motion.without_poses == 1


@pytest.mark.parametrize("rate", [(0.0, 0.0, 0.0), (0.0, 0.4, 0.1)], ids=["rest", "rotation"])
def test_at_rest_and_in_pure_rotation_the_learned_depth_is_the_answer(rate):
    """Events come all the same: noise, or the scene as the camera turns. Asked often, nothing drifts."""
    turn = Glide((0.0, 0.0, 0.0), rate)
    poses = [
        StampedPose(t + OFFSET_NS, pose.position_W, rotations.from_matrix(pose.rotation_WC))
        for t in range(0, ASKED_NS + 1, POSE_NS)
        for pose in [turn.pose(t / 1e9)]
    ]
    motion, (points, _) = stream(poses=poses), wrong()
    for _ in range(50):
        answer = ask(motion, points)
        is_the_learned_depth(answer, points)
        np.testing.assert_allclose(answer.parallax_px, 0, atol=1e-6)
    assert answer.log_scale_stddev <= START_STDDEV * (1 + 1e-9)
    assert np.isnan(ask(motion, Points(points.uv_px)).depth_m).all()


def test_without_a_lens_the_learned_depth_is_the_answer():
    points, _ = wrong()
    motion = stream(lens=None)
    is_the_learned_depth(ask(motion, points), points)
    is_the_learned_depth(ask(motion, replace(points, ids=np.arange(len(points.uv_px)))), points)
    assert not ask(motion, Points(points.uv_px)).basis.any()


def test_without_events_or_with_all_of_them_too_old_the_learned_depth_is_the_answer():
    points, _ = wrong()
    is_the_learned_depth(ask(stream(until_ns=0), points), points)
    motion = stream()
    motion.advance_to(ASKED_NS + LATE_NS + 2 * SLICE_NS)
    is_the_learned_depth(ask(motion, points), points)


@pytest.mark.parametrize("uv_px", [(np.nan, 5.0), (np.inf, 5.0), (-400.0, 60.0), (1e9, 1e9)])
def test_a_point_outside_is_answered_by_its_learned_depth_and_harms_no_other(uv_px):
    points, _ = wrong()
    clean = ask(stream(), points)
    odd = replace(
        points,
        uv_px=np.vstack([uv_px, points.uv_px]),
        log_depth=np.append(1.0, points.log_depth),
        log_stddev=np.append(0.3, points.log_stddev),
    )
    answer = ask(stream(), odd)
    assert answer.basis[0] & Basis.LEARNED and abs(np.log(answer.depth_m[0]) - 1.0) < 0.9
    assert np.isfinite(answer.depth_stddev_m[0])
    np.testing.assert_allclose(answer.depth_m[1:], clean.depth_m, rtol=1e-6)
    np.testing.assert_array_equal(answer.basis[1:], clean.basis)


def test_no_points_are_no_answers():
    for empty in (Points(np.zeros((0, 2))), Points(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))):
        answer = ask(stream(), empty)
        assert (
            answer.depth_m.shape
            == answer.depth_stddev_m.shape
            == answer.basis.shape
            == answer.parallax_px.shape
            == (0,)
        )


# Time, epochs and lenses


def test_an_answer_does_not_depend_on_what_comes_after_its_time():
    """Events and poses that are there already, and the question asked again by a stream that has had as many."""
    points, _ = wrong()
    early = ask(stream(), points)
    late = stream(until_ns=500 * MS, poses=RECORDED.poses(500 * MS))
    same(ask(late, points), early)
    longer = stream(poses=RECORDED.poses(500 * MS))
    longer.advance_to(ASKED_NS + 50 * MS)
    same(ask(longer, points), early)


@pytest.mark.parametrize("until_ns", [ASKED_NS - 1, ASKED_NS - SLICE_NS + 1, ASKED_NS - 13 * MS])
def test_only_events_before_the_time_given_count(until_ns):
    points, _ = wrong()
    same(ask(stream(until_ns=until_ns), points, until_ns), ask(stream(until_ns=500 * MS), points, until_ns))


def test_how_events_are_cut_into_packets_changes_no_answer():
    points, _ = wrong()
    motion = MotionDepth(CAMERA.height, CAMERA.width, Trajectory())
    motion.set_lens(PinholeLens())
    for start_ns in range(0, ASKED_NS, 7 * MS):
        feed(motion, start_ns, min(start_ns + 7 * MS, ASKED_NS))
    for pose in RECORDED.poses():
        motion.trajectory.add(pose)
    same(ask(motion, points), ask(stream(), points))


def test_the_two_clocks_differ_by_the_offset_and_nothing_else():
    points, _ = wrong()
    other = stream(poses=RECORDED.poses(offset_ns=0))
    a, b = ask(stream(), points), other.answer(points, ASKED_NS, ASKED_NS, 0)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9, err_msg=name)


def test_a_wrong_offset_is_not_harmless_so_the_offset_is_used():
    points, truth = wrong(0.0)
    motion = stream(poses=[])
    for pose in RECORDED.poses():
        motion.trajectory.add(replace(pose, stamp_ns=pose.stamp_ns + 40 * MS))
    is_the_learned_depth(motion.answer(points, ASKED_NS + 60 * MS, ASKED_NS, OFFSET_NS + 60 * MS), points)
    assert np.median(np.abs(np.log(ask(stream(), points).depth_m) - truth)) < 0.05


def test_restart_forgets_events_tracks_and_scale_and_poses_stay():
    points, _ = wrong(0.6)
    motion = stream()
    for _ in range(3):
        ask(motion, replace(points, ids=np.arange(len(points.uv_px))))
    assert abs(motion.learned.scale) > 0.1
    motion.restart()
    is_the_learned_depth(ask(motion, points), points)
    motion.restart()
    feed(motion, 0, ASKED_NS)
    same(ask(motion, points), ask(stream(), points))


def test_another_lens_begins_anew_and_the_same_one_changes_nothing():
    points, _ = wrong()
    lens = PinholeLens()
    motion = stream(lens=lens)
    motion.set_lens(lens)
    same(ask(motion, points), ask(stream(), points))
    for other in (PinholeLens(), None):
        motion.set_lens(other)
        motion.learned.restart()
        is_the_learned_depth(ask(motion, points), points)
        assert motion.has_lens == (other is not None)


def test_a_lens_with_distortion_bends_the_events_back(monkeypatch):
    """The same scene through a lens that bends: keypoints in its raw pixels, depth as good. A wrong lens looks much
    like a turn: here nobody learns that."""
    monkeypatch.setattr(RotationDrift, "learn", lambda *args: None)
    bent = replace(CAMERA, distortion=(-0.25, 0.06, 0.001, -0.001))
    config = SimulationConfig(camera=bent, duration_s=0.4, seed=3)
    events = concatenate([chunk.events for chunk in simulate_stream(config, RECORDED.world)])
    t_ns = 400 * MS
    recent = concatenate([events]).t_ns > t_ns - 30 * MS
    picked = type(events)(events.x[recent], events.y[recent], events.p[recent], events.t_ns[recent], 173, 130)
    uv_px = event_corners(picked, 130, 173, 120).astype(np.float64)
    truth = np.log(Renderer(RECORDED.world.scene, bent).depth_at(RECORDED.world.pose(t_ns), uv_px, 0.4))
    uv_px, truth = uv_px[np.isfinite(truth)], truth[np.isfinite(truth)]
    errors = {}
    for lens in (PinholeLens(bent), PinholeLens(CAMERA)):
        motion = MotionDepth(130, 173, Trajectory())
        motion.set_lens(lens)
        motion.add(events.x, events.y, events.p, events.t_ns)
        for pose in RECORDED.poses(t_ns):
            motion.trajectory.add(pose)
        answer = motion.answer(Points(uv_px, truth + 0.4, np.full(len(truth), 0.4)), t_ns, t_ns, OFFSET_NS)
        corner = np.abs(uv_px - (86, 65)).max(axis=1) > 40
        errors[lens.camera is bent] = np.median(np.abs(np.log(answer.depth_m) - truth)[corner])
    assert errors[True] < 0.06 and errors[True] < 0.8 * errors[False]
