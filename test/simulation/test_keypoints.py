"""Corners of events and tracks of keypoints."""

import numpy as np
import pytest

from eventspd_ros.events.types import EventArray
from eventspd_ros.simulation.camera import IDENTITY, PinholeCamera, Pose, straight
from eventspd_ros.simulation.keypoints import BORDER_PX, KeypointTracker, event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scenes import PLAIN, Scene, panel
from eventspd_ros.simulation.stream import SimulationConfig, World, concatenate, simulate_stream

CAMERA = PinholeCamera.centred(120, 90)


def drawn(pixels, width=120, height=90):
    """One event at each (x, y)."""
    x, y = np.array(pixels, np.uint16).reshape(-1, 2).T
    return EventArray(x, y, np.ones(len(x), np.uint8), np.arange(len(x), dtype=np.int64), width, height)


def square(left, top, right, bottom):
    across, down = np.arange(left, right + 1), np.arange(top, bottom + 1)
    return [(x, y) for x in across for y in (top, bottom)] + [(x, y) for x in (left, right) for y in down]


NOTHING = drawn([])


def test_the_corners_of_a_square_are_its_four_corners():
    corners = event_corners(drawn(square(30, 20, 80, 60)), 90, 120, 4)
    assert corners.dtype == np.float32
    expected = np.array([[30, 20], [30, 60], [80, 20], [80, 60]])
    distance = np.linalg.norm(corners[:, None] - expected, axis=-1)
    assert sorted(distance.argmin(1)) == [0, 1, 2, 3]
    assert distance.min(1).max() <= 2.5


def test_corners_stay_in_dense_regions_and_hot_pixels_do_not_win():
    rng = np.random.default_rng(0)
    noise = np.stack([rng.integers(0, 120, 40), rng.integers(0, 90, 40)], 1).tolist()
    hot = [(100, 80), (45, 21)] * 5000  # one alone, one beside an edge
    corners = event_corners(drawn(square(30, 20, 60, 50) * 3 + noise + hot), 90, 120, 40)
    on_square = (abs(corners - (45, 35)).max(1) < 19).mean()
    assert on_square > 0.7
    for corner in ((30, 20), (30, 50), (60, 20), (60, 50)):
        assert np.linalg.norm(corners - corner, axis=1).min() < 4
    assert np.linalg.norm(corners[0] - (100, 80)) > 5


def test_corners_keep_apart_from_each_other_and_from_places_taken():
    events = drawn(np.stack(np.random.default_rng(1).integers(5, 85, (2, 3000)), 1))
    taken = np.array([[20.0, 20.0], [50.2, 60.7]])
    corners = event_corners(events, 90, 120, 200, taken)
    apart = np.linalg.norm(corners[:, None] - corners, axis=-1) + 99 * np.eye(len(corners))
    assert len(corners) > 50
    assert apart.min() >= 3
    assert np.linalg.norm(corners[:, None] - taken, axis=-1).min() >= 3


@pytest.mark.parametrize("events", [NOTHING, drawn([(0, 0)]), drawn([(119, 89)] * 100), drawn(square(0, 0, 119, 89))])
def test_few_events_give_few_corners_inside_the_image(events):
    corners = event_corners(events, 90, 120, 50)
    assert corners.shape[1] == 2
    assert corners.dtype == np.float32
    assert CAMERA.contains(corners).all()
    assert len(event_corners(events, 90, 120, 0)) == 0


def test_corners_do_not_depend_on_the_order_of_events():
    events = drawn(np.stack(np.random.default_rng(2).integers(5, 85, (2, 2000)), 1))
    backwards = drawn(np.stack([events.x[::-1], events.y[::-1]], 1))
    np.testing.assert_array_equal(event_corners(events, 90, 120, 60), event_corners(backwards, 90, 120, 60))


@pytest.fixture(scope="module")
def tracks():
    """(pose, keypoints) every 20 ms of a sideways flight past the hall, and the renderer."""
    config = SimulationConfig(CAMERA, duration_s=0.6, seed=1)
    world = World(World.from_seed(config.seed).scene, straight((1.5, 0.2, 0.3)))
    renderer = Renderer(world.scene, CAMERA)
    tracker = KeypointTracker(renderer, np.random.default_rng(0), max_keypoints=60, noise_px=0.3, loss_rate=0.01)
    chunks, seen = list(simulate_stream(config, world)), []
    for k in range(5, len(chunks), 5):
        recent = concatenate([chunk.events for chunk in chunks[k - 5 : k]])
        seen.append((chunks[k - 1].pose, tracker.observe(recent, chunks[k - 1].pose)))
    return renderer, seen


def test_ids_are_unique_stable_and_never_used_again(tracks):
    _, seen = tracks
    gone, before = set(), set()
    for _, keypoints in seen:
        assert keypoints.ids.dtype == np.uint64
        assert keypoints.uv_px.dtype == np.float32
        now = set(keypoints.ids.tolist())
        assert len(now) == len(keypoints.ids) == len(keypoints.uv_px) <= 60
        assert CAMERA.contains(keypoints.uv_px).all()
        gone |= before - now
        before = now
        # A track near the border may be reported outside by its noise and be left out once; others never come back.
        assert len(gone & now) <= 2
    ever = set().union(*(keypoints.ids.tolist() for _, keypoints in seen))
    assert len(ever) > 60, "tracks die and are born"
    assert len(set(seen[0][1].ids.tolist()) & set(seen[8][1].ids.tolist())) > 15, "tracks last"


def test_tracks_follow_the_true_flow_with_the_noise_asked_for(tracks):
    """A point triangulated at birth and seen later lies where projection says, within √2 times the noise."""
    renderer, seen = tracks
    errors = []
    for (pose, first), (later_pose, later) in zip(seen, seen[3:], strict=False):
        common, a, b = np.intersect1d(first.ids, later.ids, return_indices=True)
        assert len(common) > 5
        points_W = renderer.points_at(pose, first.uv_px[a])
        errors.append(CAMERA.project(later_pose.to_camera(points_W)) - later.uv_px[b])
        moved = np.linalg.norm(first.uv_px[a] - later.uv_px[b], axis=1)
        assert np.median(moved) > 0.5
    errors = np.concatenate(errors)
    spread = 1.4826 * np.median(abs(errors))  # robust: at a rim the noise may land on another surface
    assert spread == pytest.approx(0.3 * np.sqrt(2), rel=0.15)


def quiet_tracker(renderer, events):
    """A tracker without noise and loss that has seen the events from the origin."""
    tracker = KeypointTracker(renderer, np.random.default_rng(0), 20, noise_px=0.0, loss_rate=0.0)
    return tracker, tracker.observe(events, IDENTITY)


def test_tracks_end_at_the_border():
    renderer = Renderer(Scene((panel((0, 0, 2.0), (99, 99)),), PLAIN), CAMERA)
    tracker, first = quiet_tracker(renderer, drawn(square(30, 20, 80, 60)))
    for step in range(1, 60):
        shift_px = 1.07 * step
        keypoints = tracker.observe(NOTHING, Pose(np.eye(3), np.array([shift_px * 2.0 / CAMERA.fx, 0, 0])))
        expected = first.uv_px - (shift_px, 0)
        alive = CAMERA.contains(expected, BORDER_PX)
        np.testing.assert_array_equal(keypoints.ids, first.ids[alive])
        np.testing.assert_allclose(keypoints.uv_px, expected[alive], atol=1e-3)
    assert 0 < alive.sum() < len(alive)


def test_tracks_end_where_something_nearer_hides_them():
    wall, post = panel((0, 0, 4.0), (99, 99)), panel((-0.6, 0, 1.0), (0.1, 9.0))
    renderer = Renderer(Scene((wall, post), PLAIN), CAMERA)
    tracker, first = quiet_tracker(renderer, drawn(square(30, 20, 80, 60)))
    # 0.4 m to the left the wall shifts by 9 px, its corners at column 30 to 39, and the post by 36: from 5.5 to 41.5.
    pose = Pose(np.eye(3), np.array([-0.4, 0, 0]))
    keypoints = tracker.observe(NOTHING, pose)
    expected = CAMERA.project(pose.to_camera(renderer.points_at(IDENTITY, first.uv_px)))
    hidden = renderer.depth_at(pose, expected) < 3.9
    assert 0 < hidden.sum() < len(hidden)
    np.testing.assert_array_equal(keypoints.ids, first.ids[~hidden])


def test_a_lost_track_is_replaced_by_one_with_another_id():
    renderer = Renderer(Scene((panel((0, 0, 2.0), (99, 99)),), PLAIN), CAMERA)
    events = drawn(square(30, 20, 80, 60))
    tracker = KeypointTracker(renderer, np.random.default_rng(0), 20, noise_px=0.0, loss_rate=1.0)
    first, second = tracker.observe(events, IDENTITY), tracker.observe(events, IDENTITY)
    assert second.ids.min() > first.ids.max()
    np.testing.assert_allclose(first.uv_px, second.uv_px, atol=1e-4)
