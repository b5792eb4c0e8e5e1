"""The node with other messages than its own: events as EventArray, keypoints of SLAM front-ends, and what it draws."""

import array
import sys
import time

import numpy as np
import pytest
import streams
from eventspd_ros.msg import KeypointDepthArray
from geometry_msgs.msg import Point32
from rclpy.node import Node
from rclpy.parameter import Parameter
from reference.encoders import event_array_cdr
from sensor_msgs.msg import CameraInfo, ChannelFloat32, Image, PointCloud, PointCloud2
from spinning import Spinner

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.messages import EVENT_TYPES, time_to_ns
from eventspd_ros.inputs.point_cloud import POINT
from eventspd_ros.predictor import Status
from eventspd_ros.ros.coarse import coarse_grid
from eventspd_ros.ros.messages import EVENTS_QOS, KEYPOINTS_QOS, event_input, ns_to_time
from eventspd_ros.ros.node import EventspdNode

dvs_msgs = pytest.importorskip("dvs_msgs.msg", reason="dvs_msgs is not built; run make")


class Robot:
    """A node fed with dvs_msgs and normalised VINS-Mono features, and someone who looks at what it draws."""

    def __init__(self):
        parameters = {
            "events_type": "dvs_msgs/msg/EventArray",
            "keypoints_layout": "vins_mono",
            "keypoints_coordinates": "normalized",
            "weights": "",
            "allow_untrained": True,
            "max_cache_age_ms": 10_000.0,
        }
        self.node = EventspdNode(parameter_overrides=[Parameter(n, value=v) for n, v in parameters.items()])
        self.node.start()
        self.camera = self.node.cameras[""]
        self.client = Node("client")
        self.events = self.client.create_publisher(dvs_msgs.EventArray, "/events", EVENTS_QOS)
        self.camera_info = self.client.create_publisher(CameraInfo, "/camera_info", 1)
        self.features = self.client.create_publisher(PointCloud, "/keypoints", KEYPOINTS_QOS)
        self.heard = {}
        for kind, topic in (
            (KeypointDepthArray, "keypoint_depths"),
            (PointCloud2, "points"),
            (Image, "depth/image"),
            (Image, "overlay"),
            (Image, "depth/coarse/image"),
            (Image, "depth/coarse/stddev"),
            (CameraInfo, "depth/coarse/camera_info"),
            (PointCloud2, "depth/coarse/points"),
        ):
            self.heard[topic] = []
            self.client.create_subscription(kind, f"/eventspd/{topic}", self.heard[topic].append, 10)
        self.spinner = Spinner(self.node, self.client)
        outputs = self.camera.outputs
        coarse = self.camera.coarse
        drawn = (coarse.image, coarse.stddev, coarse.info, coarse.points)
        drawn += (outputs.points, outputs.depth, outputs.overlay, self.camera.topics.answers)
        streams.until(lambda: all(p.get_subscription_count() for p in (self.events, self.camera_info, self.features)))
        streams.until(lambda: all(p.get_subscription_count() for p in drawn))

    def ask(self, rays, stamp_ns, ids) -> KeypointDepthArray:
        columns = (ids, *np.zeros((4, len(ids))))  # u, v and speeds, which normalised coordinates do not need
        message = PointCloud(
            points=[Point32(x=float(x), y=float(y), z=1.0) for x, y in rays],
            channels=[ChannelFloat32(values=array.array("f", column)) for column in columns],
        )
        message.header.stamp, message.header.frame_id = ns_to_time(stamp_ns), "world"
        before = len(self.heard["keypoint_depths"])
        self.features.publish(message)
        streams.until(lambda: len(self.heard["keypoint_depths"]) > before)
        return self.heard["keypoint_depths"][-1]

    def close(self):
        self.spinner.close()
        self.node.close()
        self.node.destroy_node()
        self.client.destroy_node()


@pytest.fixture
def robot(ros):
    one = Robot()
    yield one
    one.close()


def test_dvs_events_and_vins_features_become_depths_points_and_images(robot):
    decoder = make_decoder("evt3", streams.WIDTH, streams.HEIGHT)
    packets = streams.make_packets(30)
    for packet in packets:
        robot.events.publish(event_array_cdr(decoder.decode(packet), packet.stamp_ns, "dvs"))
        time.sleep(0.002)
    robot.events.publish(event_array_cdr(decoder.decode(packets[-1]), 5)[:-40])  # cut off: refused and counted
    stream = robot.camera.stream
    streams.until(lambda: stream.intake.packets_rejected == 1)
    streams.until(lambda: stream.lane.encoded > 0 and stream.idle and robot.node.encoder.idle)
    stamp_ns = packets[-1].stamp_ns
    # The principal point, and a point outside the image.
    answer = robot.ask([[0.0, 0.0], [3.0, 0.0]], stamp_ns, [70, 71])
    assert list(answer.status) == [Status.UNCALIBRATED] * 2 and list(answer.id) == [70, 71]
    fx = 60.0
    info = CameraInfo(width=streams.WIDTH, height=streams.HEIGHT, k=[fx, 0, 31.0, 0, fx, 24.0, 0, 0, 1])
    info.header.frame_id = "camera_optical"
    robot.camera_info.publish(info)
    streams.until(lambda: robot.camera.camera_model() is not None)
    answer = robot.ask([[0.0, 0.0], [3.0, 0.0]], stamp_ns, [70, 71])
    assert list(answer.status) == [Status.OK, Status.OUT_OF_IMAGE] and answer.header.frame_id == "world"
    assert (list(answer.u), list(answer.v)) == ([31.0, 31.0 + 3 * fx], [24.0, 24.0])
    streams.until(lambda: robot.heard["points"] and robot.heard["depth/image"] and robot.heard["overlay"])
    (point,) = np.frombuffer(robot.heard["points"][-1].data, POINT)
    assert (point["x"], point["y"], point["z"], point["id"]) == (0.0, 0.0, np.float32(answer.depth[0]), 70)
    image = robot.heard["depth/image"][-1]
    assert image.header.frame_id == "camera_optical" and image.header.stamp == answer.header.stamp
    depth = np.frombuffer(image.data, np.float32).reshape(streams.HEIGHT, streams.WIDTH)
    assert np.argwhere(np.isfinite(depth)).tolist() == [[24, 31]]
    overlay = robot.heard["overlay"][-1]
    assert (overlay.height, overlay.width, overlay.encoding) == (streams.HEIGHT, streams.WIDTH, "rgb8")


def test_a_coarse_map_is_what_a_request_at_its_pixels_is_answered(robot, monkeypatch):
    drawn, put = {}, robot.camera.coarse.put

    def note(predictor, camera, offset_ns):
        drawn[predictor.cache.end_ns + offset_ns] = predictor.cache
        put(predictor, camera, offset_ns)

    monkeypatch.setattr(robot.camera.coarse, "put", note)
    info = CameraInfo(width=streams.WIDTH, height=streams.HEIGHT, k=[60.0, 0, 31.0, 0, 60.0, 24.0, 0, 0, 1])
    info.header.frame_id = "camera_optical"
    decoder = make_decoder("evt3", streams.WIDTH, streams.HEIGHT)
    for number, packet in enumerate(streams.make_packets(60)):
        robot.events.publish(event_array_cdr(decoder.decode(packet), packet.stamp_ns, "dvs"))
        if number == 2:
            streams.until(lambda: robot.camera.stream.predictor is not None)
            robot.camera_info.publish(info)
            streams.until(lambda: robot.camera.camera_model() is not None)
        time.sleep(0.005)
    maps = [robot.heard[f"depth/coarse/{name}"] for name in ("image", "stddev", "camera_info", "points")]
    streams.until(lambda: all(maps))
    image, stddev, small, cloud = (heard[-1] for heard in maps)
    assert (image.height, image.width, image.encoding) == (streams.HEIGHT // 8, streams.WIDTH // 8, "32FC1")
    assert image.header == stddev.header == small.header and image.header.frame_id == "camera_optical"
    cache = drawn[time_to_ns(image.header.stamp)]
    _, uv_px = coarse_grid(streams.HEIGHT, streams.WIDTH, 8)
    wanted = robot.camera.stream.predictor.learned(uv_px, cache.end_ns, cache)
    np.testing.assert_array_equal(np.frombuffer(image.data, np.float32), wanted.depth_m)
    np.testing.assert_array_equal(np.frombuffer(stddev.data, np.float32), wanted.depth_stddev_m)
    points = np.frombuffer(cloud.data, POINT)
    np.testing.assert_array_equal(points["z"], wanted.depth_m)
    np.testing.assert_array_equal(points["id"], np.arange(len(uv_px)))
    assert robot.camera.outputs.skipped == 0 and len(robot.heard["keypoint_depths"]) == 0


@pytest.mark.parametrize("name", EVENT_TYPES[1:])
def test_a_message_package_that_is_not_there_is_named_with_what_to_do(monkeypatch, name):
    assert event_input(name).message_type.__name__ == "EventArray"
    package = name.split("/")[0]
    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    with pytest.raises(ValueError, match=f"events of type {name}: build {package} into this workspace"):
        event_input(name)
