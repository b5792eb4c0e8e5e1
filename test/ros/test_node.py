import array
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import streams
from diagnostic_msgs.msg import DiagnosticArray
from event_camera_msgs.msg import EventPacket as EventPacketMsg
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from sensor_msgs.msg import CameraInfo

from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import Status
from eventspd_ros.ros.messages import EVENTS_QOS, KEYPOINTS_QOS, ns_to_time
from eventspd_ros.ros.node import EventspdNode

README = Path(__file__).parents[2] / "README.md"


class Robot:
    """The node and a client that plays the camera, the front-end and the consumer, spun by one thread."""

    def __init__(self, **parameters):
        overrides = [RosParameter(name, value=value) for name, value in parameters.items()]
        self.node = EventspdNode(parameter_overrides=overrides)
        self.node.start()
        self.client = Node("client")
        self.events = self.client.create_publisher(EventPacketMsg, "/events", EVENTS_QOS)
        self.camera_info = self.client.create_publisher(CameraInfo, "/camera_info", 1)
        self.keypoints = self.client.create_publisher(KeypointArray, "/keypoints", KEYPOINTS_QOS)
        self.answers, self.diagnostics = [], []
        self.client.create_subscription(
            KeypointDepthArray, "/eventspd/keypoint_depths", self.answers.append, KEYPOINTS_QOS
        )
        self.client.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.client)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()
        publishers = (self.events, self.camera_info, self.keypoints)
        self.wait(
            lambda: (
                all(p.get_subscription_count() for p in publishers)
                and self.camera.topics.answers.get_subscription_count()
            )
        )

    @property
    def camera(self):
        return self.node.cameras[""]

    @property
    def stream(self):
        return self.camera.stream

    def close(self):
        self.executor.shutdown()
        self.thread.join()
        self.node.close()
        self.node.destroy_node()
        self.client.destroy_node()

    def wait(self, done, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.01)

    def play(self, packets):
        for p in packets:
            self.events.publish(streams.to_msg(p))
            time.sleep(0.002)
        self.wait(lambda: self.stream.intake.decoder and self.stream.intake.decoder.stats.packets >= len(packets))
        time.sleep(0.2)

    def ask(self, uv, stamp_ns, ids=None) -> KeypointDepthArray:
        uv = np.asarray(uv, np.float32).reshape(-1, 2)
        ids = range(len(uv)) if ids is None else ids
        msg = KeypointArray(id=array.array("Q", ids), u=array.array("f", uv[:, 0]), v=array.array("f", uv[:, 1]))
        msg.header.stamp, msg.header.frame_id = ns_to_time(stamp_ns), "optical"
        before = len(self.answers)
        self.keypoints.publish(msg)
        self.wait(lambda: len(self.answers) > before)
        return self.answers[-1]


@pytest.fixture
def robot(ros):
    made = []

    def make(**parameters):
        made.append(Robot(**parameters))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_keypoints_are_answered_with_metric_depth(robot):
    packets = streams.make_packets(30)
    bot = robot(allow_untrained=True, max_cache_age_ms=500.0)
    stamp_ns = packets[-1].stamp_ns
    bot.play(packets)
    assert list(bot.ask([[5, 5]], stamp_ns).status) == [Status.UNCALIBRATED]
    info = CameraInfo(width=streams.WIDTH, height=streams.HEIGHT, k=[60.0, 0, 32, 0, 60.0, 24, 0, 0, 1])
    bot.camera_info.publish(info)
    bot.wait(lambda: bot.camera.camera_info is not None)
    answer = bot.ask([[5, 5], [np.nan, 1], [64, 1]], stamp_ns, ids=[2**40, 7, 8])
    assert list(answer.status) == [Status.OK, Status.NOT_FINITE, Status.OUT_OF_IMAGE]
    assert list(answer.id) == [2**40, 7, 8] and answer.header.frame_id == "optical"
    depth_at_60 = answer.depth[0]
    assert depth_at_60 > 0 and answer.depth_stddev[0] > 0
    info.k[0] = 120.0
    bot.camera_info.publish(info)
    bot.wait(lambda: bot.camera.camera_info.k[0] == 120.0)
    # Depth from one camera scales with the focal length: canonical depth times fx / width.
    assert bot.ask([[5, 5]], stamp_ns).depth[0] == pytest.approx(2 * depth_at_60, rel=1e-4)
    info.width = 2 * streams.WIDTH
    bot.camera_info.publish(info)
    bot.wait(lambda: bot.camera.camera_info.width == 2 * streams.WIDTH)
    assert list(bot.ask([[5, 5]], stamp_ns).status) == [Status.UNCALIBRATED]


def test_unequal_arrays_are_answered_malformed(robot):
    bot = robot(fx_px=60.0, allow_untrained=True)
    msg = KeypointArray(id=array.array("Q", [1, 2, 3]), u=array.array("f", [1.0]), v=array.array("f", []))
    bot.keypoints.publish(msg)
    bot.wait(lambda: bot.answers)
    assert list(bot.answers[0].status) == [Status.MALFORMED] * 3 and len(bot.answers[0].depth) == 3
    assert np.isnan(bot.answers[0].depth).all()


def test_untrained_weights_give_no_depth_unless_allowed(robot):
    packets = streams.make_packets(10)
    bot = robot(fx_px=60.0)
    bot.play(packets)
    answer = bot.ask([[5, 5]], packets[-1].stamp_ns)
    assert list(answer.status) == [Status.UNTRAINED] and np.isnan(answer.depth[0])


def test_trained_weights_are_loaded_and_give_depth(robot, tmp_path):
    save_checkpoint(build_model("minimal"), tmp_path / "m.safetensors")
    packets = streams.make_packets(10)
    bot = robot(fx_px=60.0, weights=str(tmp_path / "m.safetensors"))
    bot.play(packets)
    assert list(bot.ask([[5, 5]], packets[-1].stamp_ns).status) == [Status.OK]


def test_diagnostics_count_what_happened(robot):
    bot = robot(fx_px=60.0, allow_untrained=True)
    bot.play(streams.make_packets(20))
    bot.diagnostics.clear()
    bot.wait(lambda: len(bot.diagnostics) > 1)
    node, stream = bot.diagnostics[-1].status
    assert (node.name, stream.name) == ("/eventspd: node", "/eventspd: stream")
    values = {pair.key: pair.value for status in (node, stream) for pair in status.values}
    assert values["packets"] == "20" and values["events"] == "8000" and values["trained"] == "False"
    assert int(values["windows_encoded"]) + int(values["windows_dropped"]) >= 8


def test_readme_lists_the_topics_and_statuses(robot):
    text = README.read_text()
    bot = robot()
    assert bot.camera.topics.topic_names == ["/events", "/camera_info", "/keypoints"]
    for topic in ("`events`", "`camera_info`", "`keypoints`", "`~/keypoint_depths`", "`/diagnostics`"):
        assert f"| {topic} |" in text
    message = (README.parent / "msg/KeypointDepthArray.msg").read_text()
    for name, value, meaning in re.findall(r"^uint8 (\w+) = (\d+) +# (.*)$", message, re.M):
        assert f"| {name} = {value} | {meaning} |" in text
