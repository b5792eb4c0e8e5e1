"""Triangulated tracks against points whose place is known and a slow twin, and what odd ids do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_motion
from reference.moving_camera import Path

from eventspd_ros.motion.tracks import (
    LOST_NS,
    MAX_NOISE_PX,
    MAX_RESIDUAL,
    MAX_TRACKS,
    MIN_NOISE_PX,
    OBSERVATIONS,
    SPAN_NS,
    START_NOISE_PX,
    Tracks,
)
from eventspd_ros.motion.trajectory import Trajectory

MS = 1_000_000
FOCAL_PX = 250.0
FRAMES_NS = np.arange(13) * 33_333_333  # 30 Hz
SIDEWAYS = Path((0.5, 0.1, 0.0))
PATHS = [
    SIDEWAYS,
    Path((0.4, 0.0, 1.5), (0.2, -0.5, 0.3)),
    Path((0.0, -0.6, -1.0), (0.0, 0.4, 0.0)),
    Path((0.2, 0.3, 3.0)),
]


def trajectory_of(path, until_ns=2_000 * MS):
    trajectory = Trajectory()
    for t_ns in range(0, until_ns, 5 * MS):
        trajectory.add(path.stamped(t_ns))
    return trajectory


def points_ahead(count, seed=0, near_m=1.0, far_m=8.0):
    """World points (count, 3) in view of a camera near the origin."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(near_m, far_m, count)
    return np.stack([rng.uniform(-0.4, 0.4, count) * z, rng.uniform(-0.3, 0.3, count) * z, z + 0.5], axis=1)


def seen(path, points_m, t_ns):
    """Rays (n, 2) and log depth (n,)."""
    places = path.to_camera(points_m, t_ns)
    return places[:, :2] / places[:, 2:], np.log(places[:, 2])


def follow(path, points_m, noise_px=0.0, seed=0, frames_ns=FRAMES_NS, tracks=None, spoil=None):
    """The last answer, the true log depths, and the rays of all frames. spoil(rays, i): another's observation."""
    rng, trajectory = np.random.default_rng(seed), trajectory_of(path)
    tracks, ids = tracks or Tracks(FOCAL_PX), np.arange(len(points_m), dtype=np.uint64)
    rays = []
    for i, t_ns in enumerate(frames_ns.tolist()):
        exact, truth = seen(path, points_m, t_ns)
        rays.append(exact + rng.normal(0, noise_px / FOCAL_PX, exact.shape))
        if spoil is not None:
            spoil(rays[-1], i)
        answer = tracks.triangulate(ids, rays[-1], t_ns, trajectory.relative)
    return answer, truth, np.array(rays)


@pytest.mark.parametrize("path", PATHS, ids=["sideways", "screw", "backward", "fast"])
def test_exact_rays_give_exact_depth(path):
    answer, truth, _ = follow(path, points_ahead(200))
    assert answer.known.all()
    np.testing.assert_allclose(answer.log_depth, truth, atol=1e-6)


def test_two_observations_are_enough():
    points = points_ahead(20)
    for frames, known in ((FRAMES_NS[:1], False), (FRAMES_NS[:2], False), (FRAMES_NS[:3], True)):
        answer, truth, _ = follow(SIDEWAYS, points, frames_ns=frames)
        assert (answer.known == known).all()  # the ray now is not one of them
    np.testing.assert_allclose(answer.log_depth, truth, atol=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=["sideways", "screw", "backward", "fast"])
def test_with_noise_it_finds_the_twin_s_minimum(path):
    """The search minimises what the rounds of least squares do; they stop near it, measured in what is not known."""
    points = points_ahead(100, seed=2, far_m=2.5)
    answer, _, rays = follow(path, points, noise_px=0.5)
    now_ns = int(FRAMES_NS[-1])
    kept = [i for i in range(12) if now_ns - FRAMES_NS[i] <= SPAN_NS][-OBSERVATIONS:]
    motion = path.motion(now_ns, FRAMES_NS[kept])
    some = np.flatnonzero(answer.known & (answer.stddev < 0.3))
    assert len(some) > 0.7 * len(points)
    twin = [
        slow_motion.triangulate(
            rays[-1, n], rays[kept, n], motion.rotation, motion.translation_m, START_NOISE_PX / FOCAL_PX, MAX_RESIDUAL
        )
        for n in some
    ]
    off = np.abs(answer.log_depth[some] + np.log(twin)) / answer.stddev[some]
    assert np.median(off) < 0.03 and off.max() < 0.5


@pytest.mark.parametrize("path", PATHS, ids=["sideways", "screw", "backward", "fast"])
@pytest.mark.parametrize("noise_px", [0.3, 0.7, 1.5])
@pytest.mark.parametrize("frames", [6, 13])
def test_the_standard_deviation_is_honest(path, noise_px, frames):
    """Errors in its units, of points whose error is small enough to be Gaussian. These are chosen by what it is at the
    true depth: at the depth found it is smaller where that is too near."""
    tracks = Tracks(FOCAL_PX)
    tracks.noise_px = noise_px
    answer, truth, _ = follow(
        path, points_ahead(2000, far_m=4.0), noise_px, frames_ns=FRAMES_NS[:frames], tracks=tracks
    )
    some = answer.known & (answer.stddev * np.exp(truth - answer.log_depth) < 0.25)
    assert some.sum() > 50
    normalised = ((answer.log_depth - truth) / answer.stddev)[some]
    assert 0.7 < normalised.std() < 1.4 and abs(normalised.mean()) < 0.35


@pytest.mark.parametrize("noise_px", [0.25, 2.0])
def test_the_front_end_s_noise_is_learnt_from_residuals(noise_px):
    """Towards the truth and within a third of it after ten seconds of tracks that live half a second."""
    tracks, rng = Tracks(FOCAL_PX), np.random.default_rng(1)
    trajectory = trajectory_of(SIDEWAYS)
    for turn in range(20):
        points, ids = points_ahead(40, seed=turn), np.arange(40) + 100 * turn
        for t_ns in FRAMES_NS.tolist():
            rays, _ = seen(SIDEWAYS, points, t_ns)
            tracks.triangulate(ids, rays + rng.normal(0, noise_px / FOCAL_PX, rays.shape), t_ns, trajectory.relative)
    assert noise_px / 1.4 < tracks.noise_px < noise_px * 1.4


def test_the_noise_stays_within_its_limits():
    for noise_px in (0.0, 60.0):
        tracks, trajectory, points = Tracks(FOCAL_PX), trajectory_of(SIDEWAYS), points_ahead(30)
        rng = np.random.default_rng(0)
        for turn in range(60):
            for t_ns in FRAMES_NS.tolist():
                rays, _ = seen(SIDEWAYS, points, t_ns)
                rays = rays + rng.normal(0, noise_px / FOCAL_PX, rays.shape)
                tracks.triangulate(np.arange(30) + 30 * turn, rays, t_ns, trajectory.relative)
            assert MIN_NOISE_PX <= tracks.noise_px <= MAX_NOISE_PX
        assert tracks.noise_px < START_NOISE_PX if not noise_px else tracks.noise_px > START_NOISE_PX


@pytest.mark.parametrize("which", [0, 5, 11])
def test_a_mismatch_among_many_costs_itself_only(which):
    """One observation 40 px off: depth stays within what the others allow."""

    def spoil(rays, i):
        if i == which:
            rays += (40 / FOCAL_PX, -25 / FOCAL_PX)

    points = points_ahead(300, seed=3, far_m=4.0)
    clean, truth, _ = follow(SIDEWAYS, points, noise_px=0.5)
    spoilt, _, _ = follow(SIDEWAYS, points, noise_px=0.5, spoil=spoil)
    assert (spoilt.known == clean.known).all()
    errors = [np.abs(answer.log_depth - truth)[clean.known] for answer in (clean, spoilt)]
    assert np.median(errors[1]) < 1.5 * np.median(errors[0])
    assert np.quantile(errors[1], 0.95) < 2 * np.quantile(errors[0], 0.95)


def test_drift_that_the_poses_declare_widens_old_observations():
    points = points_ahead(100)
    answers = []
    for declared in (0.0, 0.05):
        trajectory, tracks = Trajectory(), Tracks(FOCAL_PX)
        for t_ns in range(0, 500 * MS, 5 * MS):
            pose = SIDEWAYS.stamped(t_ns)
            trajectory.add(type(pose)(pose.stamp_ns, pose.position_m, pose.quaternion, 0.0, declared))
        for t_ns in FRAMES_NS.tolist():
            answers.append(
                tracks.triangulate(np.arange(100), seen(SIDEWAYS, points, t_ns)[0], t_ns, trajectory.relative)
            )
    exact, drifting = answers[len(FRAMES_NS) - 1], answers[-1]
    assert (drifting.stddev > 1.5 * exact.stddev).all()


def test_without_parallax_nothing_is_known():
    points = points_ahead(50)
    for path in (Path(), Path((0, 0, 0), (0.3, -0.5, 0.2))):
        answer, _, _ = follow(path, points, noise_px=0.3)
        assert not (answer.stddev[answer.known] < 0.5).any()


def test_points_that_were_behind_the_camera_or_rays_that_never_meet_are_not_known():
    def turned_round(rays, i):
        if i < 12:
            rays *= -1

    answer, _, _ = follow(SIDEWAYS, points_ahead(50), spoil=turned_round)
    assert not (answer.stddev[answer.known] < 0.3).any()

    def runs_ahead(rays, i):
        rays += (2 * 0.5 * i / 30, 0)  # as if it were far nearer on the other side

    answer, _, _ = follow(SIDEWAYS, np.tile([0.0, 0.0, 1.5], (50, 1)), spoil=runs_ahead)
    assert not answer.known.any()


# Ids


def ask(tracks, ids, t_ns, trajectory, points):
    return tracks.triangulate(np.asarray(ids), seen(SIDEWAYS, points, t_ns)[0], t_ns, trajectory.relative)


def test_ids_are_tracks_whatever_their_order_and_company():
    points, trajectory, rng = points_ahead(30), trajectory_of(SIDEWAYS), np.random.default_rng(0)
    one, other = Tracks(FOCAL_PX), Tracks(FOCAL_PX)
    for t_ns in FRAMES_NS.tolist():
        order = rng.permutation(30)
        a = ask(one, np.arange(30), t_ns, trajectory, points)
        b = ask(other, order, t_ns, trajectory, points[order])
        np.testing.assert_array_equal(a.log_depth[order], b.log_depth)
        np.testing.assert_array_equal(a.stddev[order], b.stddev)
    assert a.known.all()


def test_an_id_that_comes_once_or_twice_in_one_request_harms_no_other():
    points, trajectory, tracks = points_ahead(12), trajectory_of(SIDEWAYS), Tracks(FOCAL_PX)
    for i, t_ns in enumerate(FRAMES_NS.tolist()):
        # The last two points have one id; the first has another id each time.
        ids = [1000 + i, *range(1, 10), 77, 77]
        answer = ask(tracks, ids, t_ns, trajectory, points)
    truth = seen(SIDEWAYS, points, t_ns)[1]
    np.testing.assert_allclose(answer.log_depth[1:10], truth[1:10], atol=1e-6)
    assert not answer.known[0] and not answer.known[10:].any()


def test_a_track_that_is_missing_for_a_while_goes_on_and_one_that_was_lost_begins_anew():
    points, trajectory = points_ahead(5), trajectory_of(SIDEWAYS)
    for gap_ns, known in ((100 * MS, True), (SPAN_NS + MS, False), (LOST_NS + MS, False)):
        tracks = Tracks(FOCAL_PX)
        for t_ns in (0, 33 * MS, 66 * MS):
            ask(tracks, range(5), t_ns, trajectory, points)
        answer = ask(tracks, range(5), 66 * MS + gap_ns, trajectory, points)
        assert (answer.known == known).all()
        again = ask(tracks, range(5), 100 * MS + gap_ns, trajectory, points)
        assert (again.known == known).all()  # begun anew it has one earlier observation
        third = ask(tracks, range(5), 133 * MS + gap_ns, trajectory, points)
        np.testing.assert_allclose(third.log_depth, seen(SIDEWAYS, points, 133 * MS + gap_ns)[1], atol=1e-6)


def test_memory_is_bounded_under_a_storm_of_ids():
    tracks, trajectory, rng = Tracks(FOCAL_PX), trajectory_of(SIDEWAYS), np.random.default_rng(0)
    for i in range(12):
        ids = rng.integers(0, 2**60, 3000) if i % 3 else np.arange(3000)
        tracks.triangulate(ids, rng.uniform(-1, 1, (3000, 2)), i * 3 * MS, trajectory.relative)
        assert len(tracks._rays) <= MAX_TRACKS
    tracks.triangulate(np.arange(3 * MAX_TRACKS), rng.uniform(-1, 1, (3 * MAX_TRACKS, 2)), 50 * MS, trajectory.relative)
    assert len(tracks._rays) == MAX_TRACKS
    for t_ns in range(50 * MS, 1500 * MS, MS):  # at 1 kHz
        tracks.triangulate(np.arange(3), np.zeros((3, 2)), t_ns, trajectory.relative)
        assert max(len(kept.times_ns) for kept in tracks._rays.values()) <= OBSERVATIONS
    assert len(tracks._rays) == 3  # the others are lost


def test_at_any_rate_observations_span_a_good_part_of_what_is_allowed():
    """At 1 kHz too, and the answer is as good as at 30 Hz."""
    points, trajectory = points_ahead(20), trajectory_of(SIDEWAYS)
    stddev = {}
    for period_ns in (MS, 10 * MS, 33 * MS):
        tracks = Tracks(FOCAL_PX)
        for t_ns in range(0, 450 * MS, period_ns):
            answer = ask(tracks, range(20), t_ns, trajectory, points)
        np.testing.assert_allclose(answer.log_depth, seen(SIDEWAYS, points, t_ns)[1], atol=1e-6)
        stddev[period_ns] = answer.stddev
    assert (stddev[MS] < 2.5 * stddev[33 * MS]).all()


def test_when_time_falls_or_restart_is_called_tracks_begin_anew():
    points, trajectory = points_ahead(5), trajectory_of(SIDEWAYS)
    for restart in (False, True):
        tracks = Tracks(FOCAL_PX)
        tracks.noise_px = 3.0
        for t_ns in FRAMES_NS.tolist():
            ask(tracks, range(5), 10**9 + t_ns, trajectory, points)
        if restart:
            tracks.restart()
            assert tracks.noise_px == START_NOISE_PX and not tracks._rays
        for i, t_ns in enumerate((0, 33 * MS, 66 * MS, 99 * MS)):
            answer = ask(tracks, range(5), t_ns, trajectory, points)
            assert (answer.known == (i >= 2)).all()
        np.testing.assert_allclose(answer.log_depth, seen(SIDEWAYS, points, 99 * MS)[1], atol=1e-6)


def test_odd_rays_and_unknown_poses_are_not_known_and_harm_no_other():
    points, trajectory, tracks = points_ahead(6), trajectory_of(SIDEWAYS), Tracks(FOCAL_PX)
    for t_ns in FRAMES_NS.tolist():
        rays, truth = seen(SIDEWAYS, points, t_ns)
        rays[0], rays[1, 0], rays[2, 1] = np.nan, np.inf, np.nan
        answer = tracks.triangulate(np.arange(6), rays, t_ns, trajectory.relative)
    assert answer.known.tolist() == [False] * 3 + [True] * 3
    np.testing.assert_allclose(answer.log_depth[3:], truth[3:], atol=1e-6)
    # Poses that begin later than the tracks, and none at all.
    late, tracks = Trajectory(), Tracks(FOCAL_PX)
    for t_ns in FRAMES_NS.tolist():
        if t_ns > 200 * MS:
            late.add(SIDEWAYS.stamped(t_ns))
        answer = ask(tracks, range(6), t_ns, late, points)
        assert (answer.known == (t_ns > 290 * MS)).all()  # the third pose is at 300 ms
    np.testing.assert_allclose(answer.log_depth, seen(SIDEWAYS, points, t_ns)[1], atol=1e-6)


def test_no_points_are_no_answers():
    answer = Tracks(FOCAL_PX).triangulate(np.zeros(0, np.uint64), np.zeros((0, 2)), 0, Trajectory().relative)
    assert len(answer.log_depth) == len(answer.stddev) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(-200, 700)), min_size=1, max_size=60), st.integers(0, 2**32 - 1)
)
def test_whatever_comes_what_is_known_is_true(requests, seed):
    """Random ids at random times, back and forth: every known depth is the point's, and nothing is kept for ever."""
    points, trajectory, tracks = points_ahead(9, seed), trajectory_of(SIDEWAYS, 1000 * MS), Tracks(FOCAL_PX)
    for which, t_ms in requests:
        answer = ask(tracks, [which], t_ms * MS, trajectory, points[[which]])
        truth = seen(SIDEWAYS, points[[which]], t_ms * MS)[1]
        np.testing.assert_allclose(answer.log_depth[answer.known], truth[answer.known], atol=1e-5)
        assert all(0 < len(kept.times_ns) <= OBSERVATIONS for kept in tracks._rays.values())
