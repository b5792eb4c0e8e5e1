"""Depth, brightness and image motion of known planes."""

import numpy as np
import pytest
from reference.slow_simulation import cast_rays

from eventspd_ros.simulation.camera import IDENTITY, PinholeCamera, Pose, handheld, rotation_from_vector
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scenes import PLAIN, Scene, TexturedPlane, X, Y, Z, box, hall, panel
from eventspd_ros.simulation.textures import reflectance_tile, ripmap

CAMERA = PinholeCamera.centred(120, 90)


def tilted_pose():
    return Pose(rotation_from_vector(np.array([0.1, -0.2, 0.15])), np.array([0.3, -0.2, 0.4]))


@pytest.fixture(scope="module")
def hall_scene():
    return hall(np.random.default_rng(5))


def test_depth_of_a_slanted_plane_matches_its_equation():
    plane = TexturedPlane(np.array([0.5, 0.2, 6.0]), *rotation_from_vector(np.array([0.3, 0.4, 0.1]))[:2], (50, 50))
    pose = tilted_pose()
    normal = np.cross(plane.axis_s, plane.axis_t)
    rays = np.concatenate([CAMERA.rays(CAMERA.pixel_grid()), np.ones((90, 120, 1))], -1) @ pose.rotation_WC.T
    expected = normal @ (plane.centre_W - pose.position_W) / (rays @ normal)
    renderer = Renderer(Scene((plane,), PLAIN), CAMERA)
    np.testing.assert_allclose(renderer.depth_m(pose), expected, atol=1e-4)
    np.testing.assert_allclose(renderer.render(pose).depth_m, expected, atol=1e-4)
    uv = np.array([[10.3, 20.8], [119.4, 89.4], [-3.0, 95.0]])
    rays = np.concatenate([CAMERA.rays(uv), np.ones((3, 1))], 1) @ pose.rotation_WC.T
    expected = normal @ (plane.centre_W - pose.position_W) / (rays @ normal)
    np.testing.assert_allclose(renderer.depth_at(pose, uv), expected, rtol=1e-12)


def test_the_hall_matches_the_slow_caster_from_many_poses(hall_scene):
    renderer, path = Renderer(hall_scene, CAMERA), handheld(np.random.default_rng(6), 0.6, 0.3)
    for t_s in (0.0, 0.7, 1.9, 3.3):
        pose = path.pose(t_s)
        expected, plane = cast_rays(hall_scene, CAMERA, pose)
        frame = renderer.render(pose)
        same = frame.plane == plane
        assert same.mean() > 0.999  # a ray through an edge may fall to either side of it
        np.testing.assert_allclose(frame.depth_m[same], expected[same], atol=1e-4)
        pixels = CAMERA.pixel_grid()[same]
        np.testing.assert_allclose(renderer.depth_at(pose, pixels), expected[same], rtol=1e-9)
        assert len(np.unique(plane)) > 10


def test_the_nearest_plane_hides_the_others_and_nothing_is_nan():
    near, far = panel((0, 0, 2.0), (1.0, 1.0)), panel((0, 0, 4.0), (3.0, 3.0))
    behind = panel((0, 0, -1.0), (50.0, 50.0))
    for planes in ((near, far, behind), (behind, far, near)):
        depth = Renderer(Scene(planes, PLAIN), CAMERA).depth_m(IDENTITY)
        assert depth[45, 60] == pytest.approx(2, abs=1e-6)
        assert depth[45, 60 + 30] == pytest.approx(4, abs=1e-6)  # 30 px · 4 m / 90 px = 1.33 m from the axis
        assert np.isnan(depth[45, 60 + 45])
        columns, rows = np.nonzero(depth[45] == 2.0)[0], np.nonzero(depth[:, 60] == 2.0)[0]
        # 1 m at 2 m is 45 px wide, about the principal point at 59.5, 44.5: pixel centres 37 … 82 and 22 … 67.
        assert (columns[0], columns[-1], rows[0], rows[-1]) == (37, 82, 22, 67)


def test_no_ray_slips_between_the_faces_of_a_box():
    room = Scene(tuple(box((0.1, 0.2, 0.3), (3.0, 2.0, 4.0), 0.4, 0.5)), PLAIN)
    renderer = Renderer(room, PinholeCamera.centred(200, 150, 0.3))
    for turn in np.random.default_rng(7).uniform(-3, 3, (30, 3)):
        assert np.isfinite(renderer.depth_m(Pose(rotation_from_vector(turn), np.zeros(3)))).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_rim_pixel_shows_both_planes_in_proportion(axis):
    """The rim, upright or level, lies at shift from the principal point; up to it all is dark, beyond it bright."""
    along = np.eye(3)[axis]
    near_zero = panel((0, 0, 2.0) - 5 * along, (10, 10), gain=0.2)
    far_from_zero = panel((0, 0, 2.0) + 5 * along, (10, 10), gain=0.6)
    renderer = Renderer(Scene((near_zero, far_from_zero), PLAIN), CAMERA)
    pixels, centre = (120, 59.5) if axis == 0 else (90, 44.5)
    for shift_px in np.linspace(-0.9, 0.9, 13):
        image = renderer.render(Pose(np.eye(3), -shift_px * 2.0 / CAMERA.fx * along)).log_intensity
        brightness = np.exp((image[40] if axis == 0 else image[:, 40]).astype(np.float64))
        coverage = (brightness - 0.2) / 0.4
        assert coverage.sum() == pytest.approx(pixels - 0.5 - (centre + shift_px), abs=0.13)
        middle = pixels // 2
        np.testing.assert_allclose(coverage[[0, middle - 3, middle + 2, -1]], [0, 0, 1, 1], atol=1e-5)


def test_texture_is_averaged_over_the_pixel_and_keeps_its_mean():
    tile = ripmap(reflectance_tile(np.random.default_rng(8), 0.5))
    contrast = []
    for tile_m in (8.0, 1.0, 0.2, 0.02):
        floor = TexturedPlane(np.array([0, 1.0, 0]), X, Z, (500, 500), gain=0.5, tile_m=tile_m)
        frame = Renderer(Scene((floor,), tile[None]), CAMERA).render(IDENTITY)
        ground = frame.log_intensity[60:]
        contrast.append(ground.std())
        if tile_m <= 1:
            assert np.exp(ground).mean() == pytest.approx(0.5, rel=0.1)
    assert contrast[0] > 0.3
    assert contrast[1] > contrast[2] > contrast[3]
    assert contrast[3] < 0.01


def test_texture_sticks_to_its_plane(hall_scene):
    """The same point looks the same from two poses: brightness follows the ground-truth flow."""
    renderer = Renderer(hall_scene, PinholeCamera.centred(240, 180))
    first, second = handheld(np.random.default_rng(1)).pose(0.5), handheld(np.random.default_rng(1)).pose(0.55)
    uv = renderer.camera.pixel_grid().reshape(-1, 2)
    there = renderer.camera.project(second.to_camera(renderer.points_at(first, uv)))
    column, row = np.rint(there).astype(int).clip(0, (239, 179)).T
    a = renderer.render(first).log_intensity.ravel()
    image = renderer.render(second).log_intensity
    still = np.abs(a - image.ravel()).mean()
    assert np.abs(a - image[row, column]).mean() < 0.5 * still


def test_the_largest_shift_is_that_of_the_nearest_point():
    near, far = panel((0.4, 0.3, 2.0), (0.1, 0.1)), panel((0, 0, 10.0), (100, 100))
    renderer = Renderer(Scene((far, near), PLAIN), CAMERA)
    frame = renderer.render(IDENTITY)
    sideways = Pose(np.eye(3), np.array([0.03, 0.04, 0.0]))
    assert renderer.largest_shift_px(frame, sideways) == pytest.approx(0.05 * 90 / 2, rel=1e-4)
    turn = rotation_from_vector(np.array([0, 0, 0.01]))  # about the optical axis: the corner moves by its radius
    corner = np.hypot(59.5, 44.5) * 2 * np.sin(0.005)
    assert renderer.largest_shift_px(frame, Pose(turn, np.zeros(3))) == pytest.approx(corner, rel=1e-3)
    assert renderer.largest_shift_px(frame, IDENTITY) == 0


def test_the_hall_has_depths_from_one_to_twenty_metres_and_comes_from_its_seed():
    for seed in range(6):
        scene = hall(np.random.default_rng(seed))
        depth = Renderer(scene, CAMERA).depth_m(IDENTITY)
        assert np.isfinite(depth).all()
        assert 1.0 < depth.min() < 3.5
        assert 12 < depth.max() < 21
        share = np.histogram(depth, [0, 3, 6, 10, 30])[0] / depth.size
        assert (share > 0.01).all(), share
    again = hall(np.random.default_rng(5))
    np.testing.assert_array_equal(again.ripmaps, scene.ripmaps)
    assert [plane.gain for plane in again.planes] == [plane.gain for plane in scene.planes]


def test_scenes_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="at least one plane"):
        Scene((), PLAIN)
    with pytest.raises(ValueError, match="texture 3, the scene has 1"):
        Scene((panel((0, 0, 1), (1, 1), tile=3),), PLAIN)


def test_a_plane_seen_edge_on_is_invisible():
    edge_on = TexturedPlane(np.array([0.0, 0.0, 3.0]), Z, Y, (1.0, 1.0))
    depth = Renderer(Scene((edge_on, panel((0, 0, 9.0), (99, 99))), PLAIN), CAMERA).depth_m(IDENTITY)
    np.testing.assert_allclose(depth, 9, atol=1e-5)
