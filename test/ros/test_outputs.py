"""Point cloud, depth image and overlay of an answer: where things are, what stands in them, and when they are made."""

import array
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import streams
import yaml
from eventspd_ros.msg import KeypointDepthArray
from reference.windows import random_image
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from eventspd_ros.drawing import FAR_M, NEAR_M, depth_colours
from eventspd_ros.events.types import EventWindow, PixelPitch
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.keypoints import KeypointSource
from eventspd_ros.inputs.point_cloud import COVARIANCE, POINT, POINT_WITH_COVARIANCE
from eventspd_ros.predictor import Status
from eventspd_ros.ros.messages import ns_to_time
from eventspd_ros.ros.outputs import (
    Outputs,
    camera_info_at,
    depth_image,
    overlay_image,
    point_cloud,
)
from eventspd_ros.ros.workers import Reporter

W, H = 64, 48
K = np.array([[60.0, 0, 31.0], [0, 61.0, 24.0], [0, 0, 1]])
RVIZ = Path(__file__).parents[2] / "config/eventspd.rviz"


def camera(model="plumb_bob", d=(-0.2, 0.05, 1e-3, 1e-3, 0.0), frame_id="optical") -> CameraModel:
    info = CameraInfo(width=W, height=H, distortion_model=model, d=list(d), k=K.ravel())
    info.header.frame_id = frame_id
    return CameraModel.from_info(info, W, H)


def answer(uv, depth, status=None, ids=None) -> KeypointDepthArray:
    uv = np.asarray(uv, np.float32).reshape(-1, 2)
    depth = np.asarray(depth, np.float32)
    message = KeypointDepthArray(
        id=array.array("Q", range(len(uv)) if ids is None else ids),
        u=array.array("f", uv[:, 0]),
        v=array.array("f", uv[:, 1]),
        depth=array.array("f", depth),
        depth_stddev=array.array("f", 0.1 * depth),
        status=array.array("B", [Status.OK] * len(uv) if status is None else status),
    )
    message.header.frame_id, message.header.stamp = "world", ns_to_time(5_000_000_007)
    return message


def points_of(cloud: PointCloud2) -> np.ndarray:
    return np.frombuffer(cloud.data, POINT)


def pixels_of(image: Image) -> np.ndarray:
    kind = {"32FC1": ("<f4", ()), "rgb8": ("u1", (3,))}[image.encoding]
    return np.frombuffer(image.data, kind[0]).reshape(image.height, image.width, *kind[1])


@pytest.mark.parametrize("lens", [("plumb_bob", (-0.2, 0.05, 1e-3, 1e-3, 0.0)), ("equidistant", (0.02, -0.01, 0, 0))])
def test_opencv_projects_the_points_back_onto_their_keypoints(lens):
    model = camera(*lens)
    rng = np.random.default_rng(0)
    uv = rng.uniform((-0.5, -0.5), (W - 0.5, H - 0.5), (200, 2)).astype(np.float32)
    depth = rng.uniform(0.3, 60, 200).astype(np.float32)
    cloud = point_cloud(answer(uv, depth), model)
    points = points_of(cloud)
    np.testing.assert_array_equal(points["z"], depth)
    np.testing.assert_array_equal(points["depth_stddev"], np.float32(0.1 * depth))
    xyz = np.stack([points[name] for name in "xyz"], axis=1).astype(np.float64)[:, None]
    project = cv2.fisheye.projectPoints if lens[0] == "equidistant" else cv2.projectPoints
    seen, _ = project(xyz, np.zeros(3), np.zeros(3), K, np.array(lens[1]))
    assert np.abs(seen.reshape(-1, 2) - uv).max() < 1e-3


def test_only_keypoints_with_a_depth_become_points_under_their_ids():
    asked = answer(
        [[1, 1], [2, 2], [3, 3], [np.nan, 1]], [1, np.nan, 3, np.nan], [0, 4, 0, 1], [2**64 - 1, 6, 2**53 + 1, 8]
    )
    cloud = point_cloud(asked, camera())
    assert points_of(cloud)["id"].tolist() == [2**64 - 1, 2**53 + 1]
    assert (cloud.height, cloud.width, cloud.row_step, cloud.is_dense) == (1, 2, 2 * cloud.point_step, True)
    assert cloud.header.frame_id == "optical" and cloud.header.stamp == asked.header.stamp
    assert point_cloud(asked, camera(frame_id="")).header.frame_id == "world"
    empty = point_cloud(answer([], []), camera())
    assert (empty.width, len(empty.data)) == (0, 0)


def test_the_fields_say_where_the_numbers_are():
    cloud = point_cloud(answer([[31, 24]], [2.0], ids=[3 << 32 | 9]), camera())
    fields = {f.name: (f.offset, f.datatype, f.count) for f in cloud.fields}
    assert fields == {"x": (0, 7, 1), "y": (4, 7, 1), "z": (8, 7, 1), "depth_stddev": (12, 7, 1), "id": (16, 6, 2)}
    for field in cloud.fields:  # our own reader of clouds takes u, v and id from it
        field.name = {"x": "u", "y": "v"}.get(field.name, field.name)
    keypoints = KeypointSource("point_cloud2").read(cloud, None)
    assert keypoints.id.tolist() == [3 << 32 | 9] and np.abs(keypoints.uv_px).max() < 1e-6


@pytest.mark.parametrize("lens", [("plumb_bob", (-0.2, 0.05, 1e-3, 1e-3, 0.0)), ("equidistant", (0.02, -0.01, 0, 0))])
def test_the_covariance_is_that_of_keypoints_and_depths_with_noise(lens):
    model, rng, n = camera(*lens), np.random.default_rng(0), 40_000
    for uv, depth, stddev in (((50.0, 9.0), 4.0, 0.2), ((31.0, 24.0), 2.0, 0.02), ((0.0, 0.0), 10.0, 0.1)):
        asked = answer([uv], [depth])
        asked.depth_stddev = array.array("f", [stddev])
        cloud = point_cloud(asked, model, noise_px=0.4)
        (point,) = np.frombuffer(cloud.data, POINT_WITH_COVARIANCE)
        assert [(f.name, f.offset) for f in cloud.fields[5:]] == [(c, 24 + 4 * k) for k, c in enumerate(COVARIANCE)]
        rays = model.rays(rng.normal(uv, 0.4, (n, 2)))
        xyz = np.concatenate([rays, np.ones((n, 1))], axis=1) * rng.normal(depth, stddev, (n, 1))
        expected = np.cov(xyz[np.isfinite(xyz).all(axis=1)].T)
        size = np.sqrt(np.diag(expected))
        found = np.array([point[name] for name in COVARIANCE])
        np.testing.assert_allclose(
            found, expected[np.triu_indices(3)], atol=0.03 * np.outer(size, size).max(), rtol=0.05
        )


def test_the_depth_image_holds_the_nearest_depth_at_the_pixel_and_nan_elsewhere():
    uv = [[-0.5, -0.5], [W - 0.51, H - 0.51], [10.4, 20.6], [10.3, 21.2], [9.51, 20.9], [30, 30]]
    asked = answer(uv, [1, 2, 5, 4, 6, 7], [0, 0, 0, 0, 0, 4])
    image = depth_image(asked, camera())
    assert (image.encoding, image.step, image.is_bigendian) == ("32FC1", 4 * W, 0)
    assert image.header.frame_id == "optical" and image.header.stamp == asked.header.stamp
    depth = pixels_of(image)
    filled = {(int(r), int(c)): float(depth[r, c]) for r, c in np.argwhere(np.isfinite(depth))}
    assert filled == {(0, 0): 1.0, (H - 1, W - 1): 2.0, (21, 10): 4.0}
    model = camera()
    info = camera_info_at(image.header, model)
    assert info.header == image.header and info.k.tolist() == model.info.k.tolist()
    assert list(info.d) == list(model.lens.d)
    assert model.info.header.stamp != image.header.stamp, "the calibration itself keeps its header"


def test_cv_bridge_reads_the_depth_image():
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed (it comes with a ROS 2 from apt)")
    image = bridge.CvBridge().imgmsg_to_cv2(depth_image(answer([[3, 4]], [2.5]), camera()))
    assert image.shape == (H, W) and image[4, 3] == 2.5 and np.isnan(image).sum() == H * W - 1


def some_events() -> EventWindow:
    x, y, p = np.array([50, 50, 5], np.uint16), np.array([4, 4, 40], np.uint16), np.array([1, 1, 0], np.uint8)
    return EventWindow(x, y, p, np.arange(3, dtype=np.int64), W, H, 0, 3)


def test_the_overlay_shows_events_keypoints_and_failures_where_they_are():
    uv = [[20, 10], [40, 30], [20, 30], [np.nan, 1], [1e30, 2]]
    asked = answer(uv, [1.0, 20.0, np.nan, np.nan, np.nan], [0, 0, 4, 1, 2])
    image = overlay_image(asked, some_events())
    assert image.header == asked.header and (image.height, image.width, image.step) == (H, W, 3 * W)
    picture = pixels_of(image).astype(int)
    assert picture[4, 50].argmax() == 0 and np.ptp(picture[4, 50]) > 40, "brighter is red"
    assert picture[40, 5].argmax() == 2, "darker is blue"
    near, far = depth_colours(np.array([1.0, 20.0])).astype(int)
    assert np.abs(picture[10, 20] - near).max() <= 2 and np.abs(picture[30, 40] - far).max() <= 2
    assert np.ptp(picture[30, 20]) == 0 and picture[30, 20, 0] < 128, "a grey cross"
    assert (picture[2, 30] == 255).all()


def test_the_overlay_of_events_of_cells_is_as_large_as_the_sensor():
    seen, pitch = (
        some_events(),
        PixelPitch(n=2, sensor_height=H, sensor_width=W, height=H // 2 + 4, width=W // 2, top=2),
    )
    seen = replace(seen, x=seen.x // 2, y=seen.y // 2 + 2, width=pitch.width, height=pitch.height, pitch=pitch)
    image = overlay_image(answer([[20, 10]], [1.0]), seen)
    picture = pixels_of(image).astype(int)
    assert picture.shape[:2] == (H, W)
    assert picture[4, 50].argmax() == 0 and (picture[4:6, 50:52] == picture[4, 50]).all()
    assert picture[40, 5].argmax() == 2 and (picture[20, 60] == 255).all()
    assert np.abs(picture[10, 20] - depth_colours(np.array([1.0]))[0]).max() <= 2


def test_the_overlay_of_an_image_is_the_image_under_the_keypoints():
    seen = random_image(W, H)
    asked = answer([[10, 10]], [2.0])
    picture = np.frombuffer(overlay_image(asked, seen).data, np.uint8).reshape(seen.image.shape)
    changed = (picture != seen.image).any(axis=-1)
    assert changed[10, 10] and not changed[:6].any() and not changed[15:-20, 20:].any()


def test_colours_are_the_same_in_every_image_and_end_at_the_scales_ends():
    colours = depth_colours(np.array([0.01, NEAR_M, 5.0, FAR_M, 1e4]))
    assert (colours[0] == colours[1]).all() and (colours[3] == colours[4]).all()
    assert len(np.unique(colours[1:4], axis=0)) == 3 and depth_colours(np.empty(0)).shape == (0, 3)
    assert colours[1].sum() > colours[2].sum() > colours[3].sum(), "near is bright"


@pytest.fixture
def log():
    return streams.Log()


@pytest.fixture
def outputs(ros, log):
    """Outputs on a node, a client that listens to what a test names, and what it heard."""
    node, client = ros.create_node("drawing"), ros.create_node("eye")
    faults, heard = [], {}

    def publisher(kind, topic, qos):
        return node.create_publisher(kind, f"~/{topic}", qos)

    made = Outputs(publisher, Reporter(log), faults.append)

    def listen(kind, topic):
        heard[topic] = []
        client.create_subscription(kind, f"/drawing/{topic}", heard[topic].append, 10)

    def wait(done):
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline, "timed out"
            ros.spin_once(client, timeout_sec=0.05)

    yield made, heard, listen, wait
    assert made.close() and faults == []
    assert "outputs" not in [thread.name for thread in threading.enumerate()]
    node.destroy_node()
    client.destroy_node()


def test_nothing_is_computed_while_nobody_listens(outputs, monkeypatch):
    made, _, _, _ = outputs
    monkeypatch.setattr(made._answers, "put", lambda item: pytest.fail("queued"))
    made.put(answer([[1, 1]], [1.0]), camera(), some_events())


def test_each_listener_gets_its_own_and_no_other_is_computed(outputs, monkeypatch):
    made, heard, listen, wait = outputs
    monkeypatch.setattr("eventspd_ros.ros.outputs.overlay_image", lambda *_: pytest.fail("nobody looks at it"))
    listen(PointCloud2, "points")
    listen(Image, "depth/image")
    listen(CameraInfo, "depth/camera_info")
    wait(lambda: all(p.get_subscription_count() for p in (made.points, made.depth, made.depth_info)))
    made.put(answer([[1, 1]], [1.0]), None, some_events())  # no camera_info yet
    made.put(answer([[1, 1]], [2.0]), camera(), None)
    wait(lambda: all(heard.values()))
    assert points_of(heard["points"][0])["z"] == 2.0
    assert heard["depth/image"][0].header == heard["depth/camera_info"][0].header
    assert [len(messages) for messages in heard.values()] == [1, 1, 1]


def test_a_picture_that_fails_is_logged_and_the_next_one_comes(outputs, log):
    made, heard, listen, wait = outputs
    listen(Image, "overlay")
    wait(lambda: made.overlay.get_subscription_count())
    made.put("no answer", None, some_events())
    made.put(answer([[1, 1]], [2.0]), None, some_events())
    wait(lambda: heard["overlay"])
    assert len(log.lines) == 1 and log.lines[0].startswith("outputs: AttributeError")


def test_the_rviz_file_shows_what_the_node_publishes(outputs):
    made, _, _, _ = outputs
    displays = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    shown = {d["Topic"]["Value"]: (d["Class"], d["Topic"]["Reliability Policy"]) for d in displays if "Topic" in d}
    topics = [p.topic_name.replace("/drawing/", "/eventspd/") for p in (made.points, made.overlay, made.depth)]
    kinds = ["PointCloud2", "Image", "Image"]
    assert shown == {t: (f"rviz_default_plugins/{kind}", "Reliable") for t, kind in zip(topics, kinds, strict=True)}
    (cloud,) = (d for d in displays if d["Class"].endswith("PointCloud2"))
    assert (cloud["Channel Name"], cloud["Min Intensity"], cloud["Max Intensity"]) == ("z", NEAR_M, FAR_M)
