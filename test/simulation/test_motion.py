"""Bodies that move on their own, optical flow, and the lens: against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from reference.slow_simulation import cast_rays

from eventspd_ros.simulation.camera import IDENTITY, PinholeCamera, Pose, rotation_from_vector, straight
from eventspd_ros.simulation.event_sensor import PRESETS
from eventspd_ros.simulation.keypoints import KeypointTracker
from eventspd_ros.simulation.paths import SplinePath
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scenes import PLAIN, Scene, TexturedPlane, X, Z, panel
from eventspd_ros.simulation.stream import SimulationConfig, World, concatenate, simulate_stream, views_of_chunk
from eventspd_ros.simulation.worlds import make_world

CAMERA = PinholeCamera.centred(120, 90)
LENS = PinholeCamera(120, 90, 90.0, 92.0, 58.0, 46.0, (-0.25, 0.05, 0.002, -0.001))
# A wall 8 m away, and before it a board 1 m wide at 4 m that goes right at 2 m/s and away at 1 m/s.
WALL, BOARD = panel((0, 0, 8.0), (99, 99)), replace(panel((0, 0, 4.0), (1.0, 9.0)), body=1)
PASSING = Scene((WALL, BOARD), PLAIN, motions=(straight((2.0, 0.0, 1.0)),))


def test_a_moving_body_is_where_its_motion_says():
    renderer = Renderer(PASSING, CAMERA)
    for t_s in (0.0, 0.3, 0.5):
        depth, moving = renderer.depth_and_moving(IDENTITY, t_s)
        z, left, right = 4 + t_s, 2 * t_s - 0.5, 2 * t_s + 0.5
        column = np.arange(120)
        inside = (column >= 59.5 + 90 * left / z) & (column <= 59.5 + 90 * right / z)
        np.testing.assert_allclose(depth[45], np.where(inside, z, 8.0), rtol=1e-4)
        np.testing.assert_array_equal(moving[45], inside)


def test_where_there_is_nothing_nothing_moves():
    depth, moving = Renderer(replace(PASSING, planes=(BOARD,)), CAMERA).depth_and_moving(IDENTITY)
    np.testing.assert_array_equal(moving, np.isfinite(depth))
    assert 0 < moving.mean() < 1


@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_flow_is_that_of_the_closed_form_on_the_wall_and_on_the_body(camera):
    renderer, dt = Renderer(PASSING, camera), 0.01
    there = Pose(rotation_from_vector(np.array([0.001, 0.002, -0.003])), np.array([0.004, -0.002, 0.003]))
    flow = renderer.flow_px(IDENTITY, 0.2, there, 0.2 + dt)
    depth = renderer.depth_m(IDENTITY, 0.2).astype(np.float64)
    uv = camera.pixel_grid()
    points = np.concatenate([camera.rays(uv), np.ones((90, 120, 1))], -1) * depth[..., None]
    on_board = depth < 6
    assert 0.05 < on_board.mean() < 0.5
    points[on_board] += np.array([2.0, 0.0, 1.0]) * dt
    np.testing.assert_allclose(flow, camera.project(there.to_camera(points)) - uv, atol=1e-4)


def test_flow_of_a_pure_rotation_does_not_depend_on_depth_and_nothing_has_none():
    turn = Pose(rotation_from_vector(np.array([0.0, 0.02, 0.0])), np.zeros(3))
    near, far = (Renderer(Scene((panel((0, 0, z), (z, z)),), PLAIN), CAMERA) for z in (2.0, 20.0))
    flow = near.flow_px(IDENTITY, 0, turn, 0)
    np.testing.assert_allclose(flow, far.flow_px(IDENTITY, 0, turn, 0), atol=1e-9)
    assert np.isnan(flow[45, 0]).all()
    assert flow[45, 60, 0] == pytest.approx(-90 * np.tan(0.02), rel=1e-2)


def test_the_largest_shift_is_the_largest_flow():
    for camera in (CAMERA, LENS):
        scene, path = make_world("drive", 1, 0.5)
        renderer = Renderer(scene, camera)
        frame = renderer.render(path.pose(0.1), 0.1)
        flow = renderer.flow_px(path.pose(0.1), 0.1, path.pose(0.104), 0.104)
        largest = np.nanmax(np.hypot(*np.moveaxis(flow, -1, 0)))
        bound = renderer.largest_shift_px(frame, path.pose(0.104), 0.104)
        assert 0.98 * largest < bound < 1.35 * largest  # through a lens it errs to the safe side


class Turning:
    """A body 4 m ahead that turns about the vertical at 2 rad/s."""

    def pose(self, t_s):
        return Pose(rotation_from_vector(np.array([0.0, 2.0 * t_s, 0.0])), np.array([0.3, 0.0, 4.0]))


def test_a_body_that_only_turns_shifts_too():
    renderer = Renderer(Scene((panel((0, 0, 0), (2.0, 9.0), body=1),), PLAIN, motions=(Turning(),)), CAMERA)
    largest = np.nanmax(np.linalg.norm(renderer.flow_px(IDENTITY, 0.2, IDENTITY, 0.22), axis=-1))
    assert renderer.largest_shift_px(renderer.render(IDENTITY, 0.2), IDENTITY, 0.22) == pytest.approx(largest, rel=0.01)


@pytest.mark.parametrize("domain", ["drive", "indoor", "fly"])
@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_worlds_match_the_slow_caster(domain, camera):
    """Also that no plane is left out by its box: the slow caster has none."""
    scene, path = make_world(domain, 3, 0.5)
    static = Scene(tuple(replace(plane, body=0) for plane in scene.planes), scene.ripmaps)
    for t_s in (0.0, 0.4):
        pose = path.pose(t_s)
        expected, plane = cast_rays(static, camera, pose)
        frame = Renderer(static, camera).render(pose)
        same = frame.plane == plane
        assert same.mean() > 0.99
        assert (np.isnan(frame.depth_m) == np.isnan(expected)).mean() > 0.999
        np.testing.assert_allclose(frame.depth_m[same], expected[same], rtol=1e-4)


def test_depth_of_analytic_planes_through_the_lens():
    floor = TexturedPlane(np.array([0, 1.65, 0]), X, Z, (500, 500))
    pose = Pose(rotation_from_vector(np.array([-0.1, 0.0, 0.05])), np.zeros(3))
    depth = Renderer(Scene((floor,), PLAIN), LENS).depth_m(pose).astype(np.float64)
    rays = np.concatenate([LENS.rays(LENS.pixel_grid()), np.ones((90, 120, 1))], -1) @ pose.rotation_WC.T
    expected = 1.65 / rays[..., 1]
    seen = (expected > 0) & (expected < 80)
    assert seen.sum() > 2000
    np.testing.assert_allclose(depth[seen], expected[seen], rtol=1e-4)


def test_tracks_stick_to_moving_bodies():
    world = World(PASSING, straight((0.0, 0.0, 0.0)))
    renderer = Renderer(PASSING, CAMERA)
    tracker = KeypointTracker(renderer, np.random.default_rng(0), 20, noise_px=0.0, loss_rate=0.0)
    chunks = list(simulate_stream(SimulationConfig(CAMERA, 0.06, 1), replace(world, scene=_textured(PASSING))))
    first = tracker.observe(concatenate([c.events for c in chunks]), IDENTITY, 0.06)
    on_board = renderer.depth_at(IDENTITY, first.uv_px, 0.06) < 6
    assert on_board.sum() >= 2
    nothing = concatenate([chunks[0].events])
    later = tracker.observe(replace(nothing, x=nothing.x[:0], y=nothing.y[:0], p=nothing.p[:0], t_ns=nothing.t_ns[:0]),
                            IDENTITY, 0.16)  # fmt: skip
    _common, a, b = np.intersect1d(first.ids, later.ids, return_indices=True)
    board = on_board[a]
    assert board.sum() >= 2
    rays = (first.uv_px[a][board].astype(np.float64) - (59.5, 44.5)) / 90 * 4.06
    expected = (rays + (0.2, 0)) / 4.16 * 90 + (59.5, 44.5)
    np.testing.assert_allclose(later.uv_px[b][board], expected, atol=1e-3)
    np.testing.assert_allclose(later.uv_px[b][~board], first.uv_px[a][~board], atol=1e-3)


def _textured(scene):
    """The board with a bright rim, so that it sends events."""
    inner = replace(scene.planes[1], centre_W=np.array([0, 0, 3.99]), half_size_m=(0.3, 0.4), gain=0.05)
    return replace(scene, planes=(*scene.planes, inner))


def test_motions_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="body 1, the scene has 0 motions"):
        Scene((BOARD,), PLAIN)


def test_a_spline_reproduces_a_constant_speed_and_holds_its_ends():
    knots = np.zeros((40, 6))
    knots[:, 2], knots[:, 3] = np.arange(40) / 30 * 5.0, 0.01 * np.arange(40)
    path = SplinePath(knots)
    for t_s in (0.0, 0.011, 0.5, 1.2):
        np.testing.assert_allclose(path.pose(t_s).position_W, (0, 0, 5 / 30 + 5 * t_s), atol=1e-9)
        yaw = 0.01 + 0.3 * t_s
        np.testing.assert_allclose(path.pose(t_s).rotation_WC, rotation_from_vector(np.array([0, yaw, 0])), atol=1e-9)
    np.testing.assert_allclose(path.pose(99.0).position_W, path.pose(37 / 30).position_W, atol=1e-6)


def test_a_fast_body_alone_makes_views_closer_in_time():
    """12 m/s at 2 m and f = 90 px are 540 px/s, 2.16 px in 4 ms: three views, while the camera stands still."""
    scene = Scene((WALL, replace(BOARD, centre_W=np.array([0, 0, 2.0]))), PLAIN, motions=(straight((12.0, 0, 0)),))
    still = World(scene, straight((0.0, 0.0, 0.0)))
    views = views_of_chunk(Renderer(scene, CAMERA), still, 0)
    assert [t_ns for t_ns, _ in views] == [1_333_000, 2_666_000, 4_000_000]
    standing = World(replace(scene, motions=(straight((0.0, 0.0, 0.0)),)), still.trajectory)
    assert len(views_of_chunk(Renderer(standing.scene, CAMERA), standing, 0)) == 1


@pytest.mark.parametrize(
    ("domain", "seed"), [("indoor", 4), ("fly", 1), ("desk", 4), ("hall", 2), ("forest", 1), ("jumble", 1)]
)
def test_events_of_the_domains_come_to_a_focus_at_the_true_flow(domain, seed):
    """Contrast maximisation (Gallego et al. 2018, arXiv:1804.01306) with bodies that move, a lens and noise."""
    camera = PinholeCamera(160, 120, 120.0, 121.0, 80.0, 59.0, (-0.2, 0.04, 0.001, 0.0))
    config = SimulationConfig(camera, 0.06, seed, PRESETS["normal"], domain=domain)
    world = World.of(config)
    renderer, target_ns = Renderer(world.scene, camera), 30_000_000
    uv, flow = [], []
    for chunk in simulate_stream(config, world):
        pixels, middle_ns = np.stack([chunk.events.x, chunk.events.y], 1), chunk.start_ns + 2_000_000
        there = renderer.flow_px(world.pose(middle_ns), middle_ns / 1e9, world.pose(target_ns), target_ns / 1e9)
        uv.append(pixels)
        flow.append(there[pixels[:, 1], pixels[:, 0]])
    uv, flow = np.concatenate(uv), np.concatenate(flow)
    known = np.isfinite(flow).all(1)
    sharpness = {}
    for share in (-1.0, 0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0):
        column, row = np.rint(uv[known] + share * flow[known]).astype(int).T
        inside = (column >= 8) & (column < 152) & (row >= 8) & (row < 112)
        image = np.zeros((120, 160))
        np.add.at(image, (row[inside], column[inside]), 1.0)
        sharpness[share] = image[8:112, 8:152].var() / inside.mean() ** 2
    assert max(sharpness, key=sharpness.get) in (0.8, 1.0, 1.2), sharpness
    assert sharpness[1.0] > 1.2 * sharpness[0.0], sharpness
