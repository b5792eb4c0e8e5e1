"""The pinhole camera, poses and paths."""

import cv2
import numpy as np
import pytest

from eventspd_ros.simulation.camera import PinholeCamera, Pose, handheld, parse_size, rotation_from_vector, straight

CAMERA = PinholeCamera(64, 48, 50.0, 52.0, 30.0, 25.0)


def test_the_ray_of_the_principal_point_is_the_optical_axis_and_one_pixel_is_one_over_f():
    np.testing.assert_array_equal(CAMERA.rays([[30.0, 25.0], [31.0, 26.0]]), [[0, 0], [1 / 50, 1 / 52]])


def test_projection_inverts_the_rays_at_any_depth():
    rng = np.random.default_rng(0)
    uv = rng.uniform(-10, 70, (200, 2))
    z = rng.uniform(0.1, 50, (200, 1))
    points = np.concatenate([CAMERA.rays(uv), np.ones((200, 1))], 1) * z
    np.testing.assert_allclose(CAMERA.project(points), uv, atol=1e-10)


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(CAMERA.project([[0, 0, -1.0], [1, 1, 0.0]])).all()


def test_the_image_ends_half_a_pixel_beyond_the_outer_pixel_centres():
    edge = [[-0.5, -0.5], [-0.51, 0], [63.49, 47.49], [63.5, 0], [0, 47.5]]
    np.testing.assert_array_equal(CAMERA.contains(np.array(edge)), [True, False, True, False, False])


def test_a_centred_camera_sees_as_far_left_as_right():
    camera = PinholeCamera.centred(346, 260)
    assert camera.fx == camera.fy == 259.5
    np.testing.assert_allclose(camera.rays([[-0.5, -0.5]]), -camera.rays([[345.5, 259.5]]))


@pytest.mark.parametrize("vector", [(0, 0, 0), (1e-9, 0, 0), (0.3, -0.2, 0.1), (0, 0, np.pi), (2, -1, 1.5)])
def test_rotations_agree_with_opencv(vector):
    np.testing.assert_allclose(
        rotation_from_vector(np.array(vector, float)), cv2.Rodrigues(np.array(vector, float))[0], atol=1e-12
    )


def test_to_world_inverts_to_camera():
    pose = Pose(rotation_from_vector(np.array([0.3, -0.2, 0.1])), np.array([1.0, -2.0, 0.5]))
    points = np.random.default_rng(1).normal(size=(20, 3))
    np.testing.assert_allclose(pose.to_camera(pose.to_world(points)), points, atol=1e-12)
    np.testing.assert_allclose(pose.to_camera(pose.position_W), 0)


def test_a_hand_stays_within_its_sway_and_moves_smoothly():
    path = handheld(np.random.default_rng(3), sway_m=0.3, tilt_rad=0.06)
    position = np.stack([path.pose(t).position_W for t in np.arange(0, 60, 0.004)])
    assert (abs(position).max(0) <= (0.3, 0.15, 0.3)).all()
    assert (np.ptp(position, axis=0) > (0.2, 0.1, 0.2)).all()
    speed = np.diff(position, axis=0) / 0.004
    assert abs(speed).max() < 2 * np.pi * 0.9 * 0.3
    assert abs(np.diff(speed, axis=0)).max() / 0.004 < (2 * np.pi * 0.9) ** 2 * 0.3


def test_a_straight_path_is_straight():
    pose = straight((1.0, 0.0, -0.5)).pose(2.0)
    np.testing.assert_allclose(pose.position_W, (2, 0, -1))
    np.testing.assert_allclose(pose.rotation_WC, np.eye(3))


def test_impossible_cameras_are_refused():
    with pytest.raises(ValueError, match="0×48"):
        PinholeCamera(0, 48, 50, 50, 0, 0)
    with pytest.raises(ValueError, match="fx=-1"):
        PinholeCamera(64, 48, -1, 50, 0, 0)


LENS = PinholeCamera(64, 48, 50.0, 52.0, 30.0, 25.0, (-0.3, 0.08, 0.002, -0.001))


def test_the_lens_agrees_with_opencv():
    matrix = np.array([[50, 0, 30], [0, 52, 25], [0, 0, 1.0]])
    points = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 4), (300, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(LENS.distortion))
    np.testing.assert_allclose(LENS.project(points), expected[:, 0], atol=1e-10)


def test_rays_through_the_lens_come_back_to_their_pixels():
    uv = LENS.pixel_grid().reshape(-1, 2)
    rays = LENS.rays(uv)
    assert abs(rays - CAMERA.rays(uv)).max() > 0.02
    np.testing.assert_allclose(LENS.project(np.concatenate([rays, np.ones((len(rays), 1))], 1) * 3.0), uv, atol=1e-9)


def test_a_lens_that_folds_the_image_is_refused():
    with pytest.raises(ValueError, match=r"distortion \(-3.0, 0.0, 0.0, 0.0\): the lens folds"):
        PinholeCamera(64, 48, 50.0, 52.0, 30.0, 25.0, (-3.0, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="four numbers"):
        PinholeCamera(64, 48, 50.0, 52.0, 30.0, 25.0, (0.1, 0.1))


def test_sizes_are_read_from_words():
    assert parse_size("346x260") == (346, 260)
    for text in ("346", "346x", "ax2", "-1x2"):
        with pytest.raises(ValueError, match=f"size '{text}'"):
            parse_size(text)
