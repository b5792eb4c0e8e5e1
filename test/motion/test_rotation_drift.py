"""What events show of a drift of the poses' rotation: walls of marks seen through motions that are wrong by a known
turn, and a slow twin of what one point measures."""

from copy import copy
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_motion
from reference.moving_camera import Path, Wall

from eventspd_ros import rotations
from eventspd_ros.motion.likelihood import SeenScene, depth_likelihoods
from eventspd_ros.motion.off_path import NOISE_PX, REACH_PX, off_path
from eventspd_ros.motion.rotation_drift import MAX_RATE_RAD_S, RotationDrift
from eventspd_ros.motion.slices import SLICES
from eventspd_ros.motion.trajectory import Motion

MS = 1_000_000
DECLARED = 0.002
SIDEWAYS, FORWARD, SCREW = Path((0.6, 0, 0)), Path((0, 0, 1.5)), Path((0.4, 0.1, 1.0), (0.05, -0.1, 0.1))
TURNS = np.radians([[2.0, 0, 0], [0, -2.0, 0], [0, 0, 3.0], [1.0, 1.5, -1.0]])


@cache
def wall(path):
    # Sideways through a narrow lens: through a wide one perspective tells yaw from depth towards the corners.
    lens = {"focal_px": 500.0, "depth_m": 6.0} if path == SIDEWAYS else {}
    return Wall(path, marks=1500, duration_ns=600 * MS, **lens)


@cache
def events(path):
    return wall(path).slices()


@dataclass(frozen=True)
class Marks:
    """Rays (K, 2) and log depth (K,) of a wall's marks in the image."""

    rays: np.ndarray
    log_depth: np.ndarray


def points_at(scenery, t_ns, border_px=12.0, most=80):
    uv_px, depth_m = scenery.seen(t_ns)
    high = np.array([scenery.width, scenery.height]) - 1 - border_px
    inside = np.flatnonzero(((uv_px > border_px) & (uv_px < high)).all(axis=1) & (depth_m > 0.1))[:most]
    return Marks(scenery.camera.rays(uv_px[inside]), np.log(depth_m[inside]))


def turned(motion: Motion, rate_rad_s, lag_s) -> Motion:
    """What poses say whose rotation runs away at rate_rad_s (camera now): their turn since then is too large."""
    turn = rotations.to_matrix(rotations.from_rotation_vector(np.asarray(rate_rad_s) * lag_s[:, None]))
    return replace(motion, rotation=motion.rotation @ turn)


def follow(path, rate_rad_s, times_ms=range(500, 600, 20), drift=None, declared=DECLARED):
    """A drift that has learnt from a wall's marks at those times, each looked at three times."""
    scenery, filled = wall(path), events(path)
    drift = drift or RotationDrift()
    drift.expect(declared)
    for t_ns in (t_ms * MS for t_ms in times_ms):
        points = points_at(scenery, t_ns)
        look = filled.look(t_ns)
        lag_s = (t_ns - look.middle_ns.ravel()) * 1e-9
        said = turned(path.motion(t_ns, look.middle_ns.ravel()), rate_rad_s, lag_s)
        for _ in range(3):
            scene = SeenScene.of(look, filled, drift.correct(said, lag_s), scenery.camera)
            rays, prior = points.rays, (points.log_depth, np.full(len(points.rays), 0.3))
            found = depth_likelihoods(scene, rays, prior, np.full((2, len(rays)), 0.1))
            sharp = (found.level >= 0) & (found.stddev < 0.2) & (found.strength > 2) & (found.parallax_px > 0.7)
            drift.learn(t_ns, scene, rays[sharp], found.of(sharp))
    return drift


@pytest.mark.parametrize("path", [FORWARD, SCREW], ids=["forward", "screw"])
@pytest.mark.parametrize("rate_rad_s", TURNS, ids=["pitch", "yaw", "roll", "all"])
def test_where_paths_go_all_ways_the_whole_drift_is_found(path, rate_rad_s):
    drift = follow(path, rate_rad_s)
    error = drift.rate_rad_s - rate_rad_s
    assert np.linalg.norm(error) < (0.1 if path == FORWARD else 0.35) * np.linalg.norm(rate_rad_s)
    assert np.sqrt(np.diag(drift.covariance)).max() < np.radians(0.9)


@pytest.mark.parametrize("path", [FORWARD, SCREW, SIDEWAYS], ids=["forward", "screw", "sideways"])
def test_of_exact_poses_none_is_found_and_less_is_left_unknown(path):
    drift = follow(path, np.zeros(3))
    assert (np.abs(drift.rate_rad_s) < 3 * DECLARED).all()
    before, after = DECLARED**2 * np.eye(3), drift.covariance
    assert np.linalg.eigvalsh(before - after).min() > -1e-9
    assert np.linalg.eigvalsh(after).min() < 0.7 * DECLARED**2


def test_a_turn_that_looks_like_depth_stays_unknown():
    """Sideways: pitch and roll are found, yaw is not; that it may be as large as these follows."""
    drift = follow(SIDEWAYS, TURNS[3])
    np.testing.assert_allclose(drift.rate_rad_s[[0, 2]], TURNS[3][[0, 2]], atol=np.radians(0.3))
    stddev = np.sqrt(np.diag(drift.covariance))
    assert stddev[1] > np.radians(0.5) and (stddev[[0, 2]] < np.radians(0.3)).all()
    assert abs(drift.rate_rad_s[1] - TURNS[3][1]) < 2 * stddev[1]


def test_what_is_unseen_is_as_large_as_declared_where_nothing_is_seen_to_be_larger():
    for declared in (DECLARED, 0.03):
        drift = follow(SIDEWAYS, np.zeros(3), declared=declared)
        assert 0.5 * declared < np.sqrt(drift.covariance[1, 1]) < 1.02 * declared


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-0.05, 0.05)] * 3), st.integers(0, 2**32 - 1))
def test_correcting_takes_away_what_was_put_in(rate_rad_s, seed):
    rng = np.random.default_rng(seed)
    times_ns = rng.integers(0, 10**9, 20)
    exact, lag_s = SCREW.motion(10**9, times_ns), (10**9 - times_ns) * 1e-9
    drift = RotationDrift()
    drift.rate_rad_s, drift.covariance = np.array(rate_rad_s), np.diag([1e-4, 4e-4, 4e-4])
    corrected = drift.correct(turned(exact, rate_rad_s, lag_s), lag_s)
    np.testing.assert_allclose(corrected.rotation, exact.rotation, atol=1e-12)
    np.testing.assert_array_equal(corrected.translation_m, exact.translation_m)
    assert corrected.drift_rotation_rad_s == pytest.approx(np.sqrt(3e-4))


def test_a_turn_moves_points_as_far_as_projection_says():
    """stddev_px_s against a turn of every point, step by step."""
    rng = np.random.default_rng(0)
    rays, along = rng.uniform(-0.6, 0.6, (50, 2)), rng.normal(size=(50, 2))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    focal_px, rate_rad_s = (200.0, 190.0), np.array([0.02, -0.01, 0.03])
    drift = RotationDrift()
    drift.covariance = np.outer(rate_rad_s, rate_rad_s)
    step_s = 1e-4
    moved = (
        np.column_stack([rays, np.ones(50)])
        @ rotations.to_matrix(rotations.from_rotation_vector(rate_rad_s * step_s)).T
    )
    px_s = (moved[:, :2] / moved[:, 2:] - rays) * focal_px / step_s
    np.testing.assert_allclose(drift.stddev_px_s(rays, along, focal_px), np.abs((px_s * along).sum(axis=1)), rtol=1e-3)


def test_one_point_measures_what_the_twin_measures():
    """Finite differences of ℓ beside the path, patch by patch: the best whole pixel, then a parabola."""
    scenery, filled, t_ns = wall(SCREW), events(SCREW), 560 * MS
    points, look = points_at(scenery, t_ns), filled.look(t_ns)
    lag_s = (t_ns - look.middle_ns) * 1e-9
    said = turned(SCREW.motion(t_ns, look.middle_ns.ravel()), TURNS[3], lag_s.ravel())
    scene = SeenScene.of(look, filled, said, scenery.camera)
    found = depth_likelihoods(
        scene, points.rays, (points.log_depth, np.full(len(points.rays), 0.3)), np.full((2, len(points.rays)), 0.1)
    )
    chosen = np.flatnonzero((found.level >= 0) & (found.strength > 2))[:25]
    *columns, _ = off_path(t_ns, scene, points.rays[chosen], found.peak[chosen], found.level[chosen])
    known, size, measured = scene.columns[4], (scenery.height, scenery.width), 0
    for n, across, shift_px_s, variance in zip(chosen, *columns, strict=True):
        level = found.level[n]
        rotation, translation = scene.columns[5][level], scene.columns[6][level]
        motion = [(rotation[j], translation[j]) if known[level, j] else None for j in range(SLICES)]
        images = slow_motion.pictures(filled, look, level, False)
        args = scenery.camera, motion, lag_s[level], points.rays[n], np.exp(-found.peak[n])
        ell, side = slow_motion.beside_path(images, size, *args)
        s = np.arange(-REACH_PX, REACH_PX + 1)
        best = s[np.argmax([ell(0.0, each) for each in s])]
        grid = np.array([[ell(a, best + d) for d in (-1, 0, 1)] for a in (-1, 0, 1)])
        da, ds = np.gradient(grid)
        hessian = -np.array(
            [
                [grid[2, 1] - 2 * grid[1, 1] + grid[0, 1], (grid[2, 2] - grid[2, 0] - grid[0, 2] + grid[0, 0]) / 4],
                [0.0, grid[1, 2] - 2 * grid[1, 1] + grid[1, 0]],
            ]
        )
        hessian[1, 0] = hessian[0, 1]
        if not np.isfinite(shift_px_s):
            continue
        measured += 1
        oldest = lag_s[level][next(j for j in range(SLICES) if known[level, j])]
        step = np.linalg.solve(hessian, [da[1, 1], ds[1, 1]])
        np.testing.assert_allclose(across, side, atol=1e-6)
        assert shift_px_s * oldest == pytest.approx(best + step[1], abs=0.02)
        told = (np.linalg.inv(hessian)[1, 1] + NOISE_PX**2) / oldest**2
        assert variance == pytest.approx(told, rel=0.05)
    assert measured > 10


# What is kept


def test_looking_twice_at_one_moment_counts_once():
    once = follow(SCREW, np.zeros(3), [560])
    again = copy(once)
    follow(SCREW, np.zeros(3), [560], drift=again)
    np.testing.assert_allclose(again.covariance, once.covariance, rtol=0.05, atol=1e-9)


def test_the_past_is_forgotten_and_a_silence_leaves_what_is_declared():
    drift = follow(SCREW, TURNS[3])
    nobody = follow_nobody(drift, 10_000 * MS)
    np.testing.assert_allclose(nobody.rate_rad_s, 0, atol=1e-6)
    np.testing.assert_allclose(nobody.covariance, DECLARED**2 * np.eye(3), rtol=1e-3, atol=1e-12)
    drift.restart()
    assert not drift.rate_rad_s.any() and not drift.covariance.any()


def follow_nobody(drift, t_ns):
    """A request without points."""
    later, scenery, filled = copy(drift), wall(SCREW), events(SCREW)
    look = filled.look(560 * MS)
    scene = SeenScene.of(look, filled, SCREW.motion(560 * MS, look.middle_ns.ravel()), scenery.camera)
    rays = np.zeros((0, 2))
    later.learn(t_ns, scene, rays, depth_likelihoods(scene, rays, (rays[:, 0], rays[:, 0]), np.zeros((2, 0))))
    return later


def test_no_answer_is_turned_by_more_than_an_odometry_errs():
    drift = follow(SCREW, [0.0, 0.0, 0.9])
    assert np.linalg.norm(drift.rate_rad_s) <= MAX_RATE_RAD_S * (1 + 1e-9)
    assert np.isfinite(drift.covariance).all()
