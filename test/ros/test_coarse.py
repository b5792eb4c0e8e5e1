"""The coarse map: where its pixels are, its camera_info, and that it is what a request there would be answered."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from eventspd_ros.events.pitch import pixel_pitch
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.model.presets import preset_config
from eventspd_ros.ros.coarse import coarse_camera_info, coarse_grid

W, H = 64, 48
LENS = [-0.2, 0.05, 1e-3, 1e-3, 0.0]


@given(st.integers(16, 1000), st.integers(16, 1000), st.sampled_from([8, 16, 32]))
def test_its_pixels_lie_inside_the_sensor_a_step_apart(height, width, step_px):
    (rows, columns), uv_px = coarse_grid(height, width, step_px)
    grid = uv_px.reshape(rows, columns, 2)
    assert (uv_px[0] == (step_px - 1) / 2).all()
    np.testing.assert_array_equal(np.diff(grid[..., 0], axis=1), step_px)
    np.testing.assert_array_equal(np.diff(grid[..., 1], axis=0), step_px)
    if min(height, width) >= step_px:
        assert (uv_px < (width, height)).all() and height - step_px < rows * step_px <= height


def test_a_point_seen_at_a_sensor_s_pixel_is_seen_at_the_map_s():
    info = CameraInfo(width=W, height=H, distortion_model="plumb_bob", d=LENS)
    info.k, info.p = np.array([60.0, 0, 31, 0, 61, 24, 0, 0, 1]), np.array([58.0, 0, 30, -6, 0, 59, 23, 0, 0, 0, 1, 0])
    camera = CameraModel.from_info(info, W, H)
    header = Header(frame_id="optical")
    small = coarse_camera_info(header, camera, (6, 8), 8)
    assert (small.height, small.width, small.header) == (6, 8, header) and list(small.d) == LENS
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 1, 3)) + (0, 0, 1)
    seen, on_map = (
        cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.reshape(k, (3, 3)), np.array(LENS))[0][:, 0]
        for k in (info.k, small.k)
    )
    np.testing.assert_allclose((on_map + 0.5) * 8, seen + 0.5)
    rectified, on_map = (
        (np.reshape(p, (3, 4)) @ np.append(points[:, 0], np.ones((20, 1)), axis=1).T).T for p in (info.p, small.p)
    )
    np.testing.assert_allclose(
        (on_map[:, :2] / on_map[:, 2:] + 0.5) * 8, rectified[:, :2] / rectified[:, 2:] + 0.5, atol=1e-9
    )
    assert info.width == W and info.k[0] == 60.0, "the calibration itself stays"
    info.p[:] = 0
    assert not coarse_camera_info(header, CameraModel.from_info(info, W, H), (6, 8), 8).p.any()


@pytest.mark.parametrize("hw", [(480, 640), (720, 1280)])
def test_the_map_of_a_fine_sensor_is_as_large_as_that_of_a_coarse_one(hw):
    pitch = pixel_pitch(preset_config("eventspd_lite"), *hw)
    (rows, columns), _ = coarse_grid(*hw, 8 * pitch.n)
    assert columns == 40 and rows in (22, 30)
