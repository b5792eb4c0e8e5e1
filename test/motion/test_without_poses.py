"""Near and far without poses: a camera glides through the simulated hall, and nobody says so."""

from dataclasses import replace

import numpy as np
import pytest
from reference.gliding_hall import ASKED_NS, MS, RECORDED, ask, same, stream

from eventspd_ros.motion.depth_from_motion import Basis, Points
from eventspd_ros.simulation.stream import concatenate

pytestmark = pytest.mark.filterwarnings("error")

SCALE, OWN, BIAS = 0.5, 0.3, 0.45


def learned(bias=BIAS, spread=OWN, seed=0):
    """The corners with learned depths: all are off by the bias, each by its own error."""
    uv_px, truth = RECORDED.corners
    error = bias + np.random.default_rng(seed).normal(0, spread, len(truth))
    stddev = np.full(len(truth), np.hypot(SCALE, max(spread, 0.1)))
    return Points(uv_px, truth + error, stddev, scale_stddev=SCALE), truth


def by_events(poses=(), **arguments):
    return stream(poses=poses, by_events=True, **arguments)


def around_its_middle(error):
    return np.abs(error - np.median(error)).mean()


def test_near_and_far_are_seen_and_the_scale_stays_the_networks():
    points, truth = learned()
    answer = ask(by_events(), points)
    before, after = points.log_depth - truth, np.log(answer.depth_m) - truth
    assert around_its_middle(after) < 0.6 * around_its_middle(before)
    assert np.median(after) == pytest.approx(np.median(before), abs=0.1)
    shape = answer.basis == Basis.LEARNED | Basis.SHAPE
    assert shape.mean() > 0.8 and (shape | (answer.basis == Basis.LEARNED)).all()
    assert (answer.depth_stddev_m / answer.depth_m >= SCALE * (1 - 1e-9)).all(), "as uncertain as the scale is"
    assert answer.log_scale_stddev == pytest.approx(SCALE)


def test_the_scale_is_not_learnt_however_often_it_is_asked():
    points, truth = learned()
    motion = by_events()
    for _ in range(5):
        answer = ask(motion, points)
    assert motion.learned.scale == 0 and motion.learned.variance == pytest.approx(SCALE**2)
    assert np.median(np.log(answer.depth_m) - truth) == pytest.approx(np.median(points.log_depth - truth), abs=0.1)


def test_poses_change_nothing():
    points, _ = learned()
    same(ask(by_events(), points), ask(by_events(list(RECORDED.poses())), points))


def test_a_bystander_is_answered_alike_and_teaches_nothing():
    points, _ = learned()
    plain, watched = by_events(), by_events()
    for t_ns in (ASKED_NS - 40 * MS, ASKED_NS):
        seen = watched.bystander().answer(points, t_ns, t_ns)
        wanted = plain.answer(points, t_ns, t_ns)
        same(seen, wanted)
        same(watched.answer(points, t_ns, t_ns), wanted)


def test_a_restart_forgets_it_all():
    points, _ = learned()
    fresh, used = by_events(), by_events()
    ask(used, points)
    used.restart()
    for events in RECORDED.chunks:
        part = events.t_ns < ASKED_NS
        used.add(events.x[part], events.y[part], events.p[part], events.t_ns[part])
    same(ask(used, points), ask(fresh, points))


@pytest.mark.parametrize("case", ["no network", "no lens", "no events", "a camera at rest", "a few points"])
def test_it_abstains(case):
    points, _ = learned()
    if case == "no network":
        points = Points(points.uv_px)
    if case == "a few points":
        points = Points(points.uv_px[:8], points.log_depth[:8], points.log_stddev[:8], scale_stddev=SCALE)
    motion = by_events(lens=None) if case == "no lens" else by_events(until_ns=0 if case == "no events" else ASKED_NS)
    if case == "a camera at rest":
        events = concatenate(RECORDED.chunks)
        motion.restart()
        some = np.random.default_rng(0).random(len(events)) < 0.02
        t_ns = np.sort(np.random.default_rng(1).permutation(events.t_ns[some]))
        motion.add(events.x[some], events.y[some], events.p[some], t_ns)
    answer = ask(motion, points)
    assert motion.without_poses == 1
    if case == "no network":
        assert np.isnan(answer.depth_m).all() and not answer.basis.any()
    else:
        np.testing.assert_array_equal(answer.depth_m, np.exp(points.log_depth))
        np.testing.assert_array_equal(answer.basis, np.full(len(points.uv_px), Basis.LEARNED))


def test_points_without_a_learned_depth_get_none():
    points, _ = learned()
    log_depth = points.log_depth.copy()
    log_depth[::4] = np.nan
    answer = ask(by_events(), replace(points, log_depth=log_depth))
    np.testing.assert_array_equal(np.isnan(answer.depth_m), np.isnan(log_depth))
    assert not answer.basis[::4].any()


def test_ids_and_odd_places_change_nothing_else():
    points, _ = learned()
    uv_px = np.concatenate((points.uv_px, [[np.nan, 3], [1e9, 3], [-40, np.inf]]))
    more = Points(
        uv_px,
        np.append(points.log_depth, [0.5] * 3),
        np.append(points.log_stddev, [0.6] * 3),
        ids=np.arange(len(uv_px)),
        scale_stddev=SCALE,
    )
    answer = ask(by_events(), more)
    assert ((answer.basis[:-3] & Basis.SHAPE) > 0).mean() > 0.8
    assert np.isfinite(answer.depth_m).all() and (answer.depth_stddev_m > 0).all()
    assert not (answer.basis & (Basis.MOTION | Basis.TRACKS)).any()
