"""Near and far without poses: a camera glides through the simulated hall, and nobody says so."""

from dataclasses import replace

import numpy as np
import pytest
from reference.gliding_hall import ASKED_NS, MS, RECORDED, PinholeLens, ask, same, stream

from eventspd_ros.evaluation.scoring.uncertainty import interval_half_width
from eventspd_ros.events.types import EventArray
from eventspd_ros.motion.depth_from_motion import Basis, MotionDepth, Points
from eventspd_ros.motion.trajectory import Trajectory
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.keypoints import event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import SimulationConfig, World, before, concatenate, simulate_stream

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


def blind(domain, seed):
    """Of a network that says one depth of all corners: log error of the learned depths and of the answers, and their σ
    of log depth; None where it abstains."""
    config = SimulationConfig(PinholeCamera.centred(240, 180), 0.4, seed, domain=domain)
    world, camera, now_ns = World.of(config), config.camera, 390 * MS
    events = before(concatenate([chunk.events for chunk in simulate_stream(config, world)]), now_ns)
    newest = events.t_ns >= now_ns - 20 * MS
    columns = (column[newest] for column in (events.x, events.y, events.p, events.t_ns))
    uv_px = event_corners(EventArray(*columns, 240, 180), 180, 240, 200).astype(np.float64)
    truth = np.log(Renderer(world.scene, camera).depth_at(world.pose(now_ns), uv_px, now_ns * 1e-9))
    uv_px, truth = uv_px[np.isfinite(truth)], truth[np.isfinite(truth)]
    motion = MotionDepth(180, 240, Trajectory(), by_events=True)
    motion.set_lens(PinholeLens(camera))
    motion.add(events.x, events.y, events.p, events.t_ns)
    same, stddev = np.full(len(truth), np.median(truth)), np.full(len(truth), np.hypot(0.8, SCALE))
    answer = motion.answer(Points(uv_px, same, stddev, scale_stddev=SCALE), now_ns, now_ns)
    if motion.without_poses or (answer.basis & Basis.SHAPE == 0).mean() > 0.5:
        return None
    return same - truth, np.log(answer.depth_m) - truth, answer.depth_stddev_m / answer.depth_m


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_beside_a_network_that_knows_nothing_near_and_far_are_seen_and_intervals_hold():
    found = [blind(domain, seed) for domain in ("drive", "jumble", "desk", "fly", "indoor") for seed in range(8)]
    shown = [one for one in found if one is not None]
    assert len(shown) >= 8
    learned, now = (np.mean([around_its_middle(one[i]) for one in shown]) for i in (0, 1))
    assert now < 0.75 * learned
    inside = np.concatenate([np.abs(error) < interval_half_width(1.0, 0.95) * stddev for _, error, stddev in shown])
    assert inside.mean() > 0.9
