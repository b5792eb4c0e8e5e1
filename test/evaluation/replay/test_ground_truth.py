"""Depth as bags hold it, against depth maps that are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from reference.rewritten_bags import cloud

from eventspd_ros import rotations
from eventspd_ros.evaluation.replay.ground_truth import DepthImages, LidarDepth, depth_at, read_extrinsics
from eventspd_ros.inputs.camera_model import CameraModel

H, W = 6, 8
RNG = np.random.default_rng(0)
DEPTH = RNG.uniform(1, 50, (H, W)).astype(np.float32)
TRANSFORM = ["0.1", "-0.2", "0.3", "0.5", "-0.5", "0.5", "0.5"]


def image(depth: np.ndarray, encoding: str, step: int, big: int = 0) -> SimpleNamespace:
    data = np.zeros((H, step), np.uint8)
    data[:, : W * depth.itemsize] = np.ascontiguousarray(depth).view(np.uint8)
    fields = {"height": H, "width": W, "encoding": encoding, "is_bigendian": big, "step": step}
    return SimpleNamespace(**fields, data=data.ravel())


@pytest.mark.parametrize(("kind", "big"), [("<f4", 0), (">f4", 1)])
@pytest.mark.parametrize("padding", [0, 5])
def test_metres_come_as_they_are_and_what_is_no_depth_is_unknown(kind, big, padding):
    depth = DEPTH.copy()
    depth[0, :4] = (np.nan, np.inf, 0, -1)
    expected = DEPTH.copy()
    expected[0, :4] = np.nan
    given = DepthImages("/d", H, W).depth_m(image(depth.astype(kind), "32FC1", 4 * W + padding, big))
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(("kind", "big"), [("<u2", 0), (">u2", 1)])
def test_millimetres_become_metres_and_0_is_unknown(kind, big):
    stored = np.rint(1000 * DEPTH).astype(kind)
    stored[2, 3] = 0
    expected = (1e-3 * stored).astype(np.float32)
    expected[2, 3] = np.nan
    given = DepthImages("/d", H, W).depth_m(image(stored, "16UC1", 2 * W, big))
    np.testing.assert_allclose(given, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoding": "rgb8"}, "encoding 'rgb8'"),
        ({"width": 9}, "depth of 9x6 px for events of 8x6"),
        ({"step": 3}, "step 3: its 192 bytes do not hold it"),
    ],
)
def test_other_images_are_one_line(change, said):
    message = image(DEPTH, "32FC1", 4 * W)
    message.__dict__.update(change)
    with pytest.raises(ValueError, match=said) as error:
        DepthImages("/d", H, W).depth_m(message)
    assert "\n" not in str(error.value)


def lens() -> CameraModel:
    info = SimpleNamespace(
        **{"width": W, "height": H, "binning_x": 0, "binning_y": 0, "roi": SimpleNamespace(x_offset=0, y_offset=0)},
        **{"k": [7.0, 0, 3.5, 0, 7.2, 2.5, 0, 0, 1], "r": np.eye(3).ravel(), "p": np.zeros(12)},
        **{"distortion_model": "plumb_bob", "d": [-0.2, 0.05, 0.0, 0.0, 0.0]},
    )
    return CameraModel.from_info(info, W, H)


def test_a_lidar_sees_what_the_camera_sees_from_where_it_stands():
    """Every pixel's point, moved into the LiDAR's frame by the inverse of the extrinsics, falls back into its pixel."""
    camera, transform = lens(), read_extrinsics(TRANSFORM)
    v, u = np.mgrid[:H, :W]
    rays = camera.rays(np.stack((u.ravel(), v.ravel()), axis=1))
    in_camera = np.concatenate((rays, np.ones((H * W, 1))), axis=1) * DEPTH.reshape(-1, 1)
    behind = in_camera * [1, 1, -1]
    further = 2 * in_camera
    points = np.concatenate((in_camera, behind, further, np.full((1, 3), np.nan)))
    x, y, z = ((points - transform[:3, 3]) @ transform[:3, :3]).T
    given = LidarDepth("/l", transform, camera).depth_m(cloud(None, x=x, y=y, z=z))
    np.testing.assert_allclose(given, DEPTH, rtol=1e-5)
    with pytest.raises(ValueError, match="/l: no field z"):
        LidarDepth("/l", transform, camera).depth_m(cloud(None, x=x, y=y))


def test_a_sparse_depth_is_looked_for_around_the_point_but_not_across_an_edge():
    depth = np.full((H, W), np.nan, np.float32)
    depth[1, 1], depth[1, 2], depth[4, 5] = 10, 10.5, 3
    points = np.array([[1.4, 1.4], [1.6, 1.0], [1, 4], [3, 4], [2, 3], [7, 5], [-0.6, 1], [np.nan, 1], [1e12, 1]])
    points = np.concatenate((points, [[5, 4], [7.4, 4]]))
    expected = np.array([10, 10.5, np.nan, 3, 10.5, 3, np.nan, np.nan, np.nan, 3, 3], np.float32)
    np.testing.assert_array_equal(depth_at(depth, points, 2), expected)
    depth[2, 2] = 20
    assert np.isnan(depth_at(depth, points[:1], 2)).all(), "on an edge"
    np.testing.assert_array_equal(
        depth_at(depth, np.array([[1.4, 1.4], [2, 3]]), 0), np.array([10, np.nan], np.float32)
    )
    assert depth_at(depth, np.empty((0, 2)), 2).shape == (0,)


def test_extrinsics_as_numbers_and_as_a_file_are_the_same(tmp_path):
    transform = read_extrinsics(TRANSFORM)
    rotation = transform[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotations.from_matrix(rotation), [0.5, -0.5, 0.5, 0.5], atol=1e-12)
    np.testing.assert_array_equal(transform[:3, 3], [0.1, -0.2, 0.3])
    # A quarter turn about z takes x to y.
    about_z = read_extrinsics(["0", "0", "0", "0", "0", str(0.5**0.5), str(0.5**0.5)])[:3, :3]
    np.testing.assert_allclose(about_z @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    path = tmp_path / "extrinsics.yaml"
    path.write_text(f"T_camera_lidar: {transform.tolist()}\n")
    np.testing.assert_array_equal(read_extrinsics([str(path)]), transform)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("T_camera_lidar: 3", "no rigid"),
        ("T_lidar_camera: []", "no T_camera_lidar"),
        ("a: [", "no T_camera_lidar"),
        ("", "no T_"),
    ],
)
def test_a_file_without_a_transformation_is_one_line(tmp_path, text, said):
    path = tmp_path / "extrinsics.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_extrinsics([str(path)])
    assert "\n" not in str(error.value)
    mirrored = np.diag([1.0, 1, -1, 1]).tolist()
    path.write_text(f"T_camera_lidar: {mirrored}")
    with pytest.raises(ValueError, match="no rigid transformation"):
        read_extrinsics([str(path)])
    with pytest.raises(ValueError, match="unit quaternion"):
        read_extrinsics("0 0 0 1 1 1 1".split())
