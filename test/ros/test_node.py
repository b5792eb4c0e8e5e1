import array
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import streams
from eventspd_ros.msg import KeypointArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robots import Robot
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from eventspd_ros.events.messages import EVENT_TYPES, time_to_ns
from eventspd_ros.inputs.camera_model import COORDINATES
from eventspd_ros.inputs.keypoints import LAYOUTS
from eventspd_ros.inputs.odometry import MESSAGES
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import Status
from eventspd_ros.ros.diagnostics import NodeDiagnostics
from eventspd_ros.ros.messages import EVENTS_QOS, KEYPOINTS_QOS, ns_to_time
from eventspd_ros.ros.workers import Reporter

ROOT = Path(__file__).parents[2]


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
    streams.until(lambda: bot.camera.calibration.info is not None)
    answer = bot.ask([[5, 5], [np.nan, 1], [64, 1]], stamp_ns, ids=[2**40, 7, 8])
    assert list(answer.status) == [Status.OK, Status.NOT_FINITE, Status.OUT_OF_IMAGE]
    assert list(answer.id) == [2**40, 7, 8] and answer.header.frame_id == "optical"
    depth_at_60 = answer.depth[0]
    assert depth_at_60 > 0 and answer.depth_stddev[0] > 0
    info.k[0] = 120.0
    bot.camera_info.publish(info)
    streams.until(lambda: bot.camera.calibration.info.k[0] == 120.0)
    # Depth from one camera scales with the focal length: canonical depth times fx / width.
    assert bot.ask([[5, 5]], stamp_ns).depth[0] == pytest.approx(2 * depth_at_60, rel=1e-4)
    info.width = 2 * streams.WIDTH
    bot.camera_info.publish(info)
    streams.until(lambda: bot.camera.calibration.info.width == 2 * streams.WIDTH)
    assert list(bot.ask([[5, 5]], stamp_ns).status) == [Status.UNCALIBRATED]


def test_unequal_arrays_are_answered_malformed(robot):
    bot = robot(fx_px=60.0, allow_untrained=True)
    msg = KeypointArray(id=array.array("Q", [1, 2, 3]), u=array.array("f", [1.0]), v=array.array("f", []))
    bot.keypoints.publish(msg)
    streams.until(lambda: bot.answers)
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
    packets = streams.make_packets(20)
    bot.play(packets[:8] + packets[10:])
    bot.ask([[5, 5], [-5, 5]], packets[-1].stamp_ns)
    values = bot.diagnosed()
    assert values["packets"] == "18" and values["events"] == "7200" and values["trained"] == "False"
    assert (values["seq_gaps"], values["lost_packets"], values["packets_lost_before_node"]) == ("1", "2", "2")
    assert int(values["windows_encoded"]) + int(values["windows_dropped"]) >= 7
    assert float(values["windows_encoded_hz"]) > 0 and float(values["windows_dropped_hz"]) >= 0
    assert -60 < float(values["window_age_ms_p50"]) < 60, "the request is of the last packet"
    assert (values["requests"], values["requests_answered"]) == ("1", "1")
    assert (values["keypoints_ok"], values["keypoints_out_of_image"]) == ("1", "1")
    assert float(values["cache_age_ms"]) > 0 and values["state"] == "active" and int(values["event_rate_hz"]) >= 0
    assert float(values["clock_offset_ms"]) == pytest.approx(streams.ROS_BASE_NS / 1e6, abs=1)
    for stage in ("decode", "window_close", "encode", "encode_model", "query", "query_model", "publish"):
        assert 0 <= float(values[f"{stage}_ms_p50"]) <= float(values[f"{stage}_ms_p99"])


def test_what_the_support_filter_leaves_out_is_counted_by_camera(robot):
    bot = robot(names=("left", "right"), allow_untrained=True, **{"left.support_filter_ms": 1.0})
    for eye in bot.eyes.values():
        eye.play(streams.make_packets(10))
    removed = bot.eyes["left"].stream.intake.support.events_removed
    told = [values.get("unsupported_events") for _, _, values in NodeDiagnostics(bot.node).statuses()]
    assert told == [None, removed, None] and 1000 < removed < 4000


def test_a_machine_that_cannot_keep_up_is_said_once_with_what_would_help():
    log, tasks = streams.Log(), NodeDiagnostics(node=None)
    camera = SimpleNamespace(name="", reporter=Reporter(log))
    values = {"windows_encoded_hz": 40.0, "encode_model_ms_p50": "24.10", "query_ms_p50": "31.00"}
    for dropped_hz in (80.0, 80.0, 3.0, 80.0, 80.0):
        tasks._warn_of_pace(camera, values | {"windows_dropped_hz": dropped_hz})
    assert log.lines == [], "a moment is no rule"
    for _ in range(20):
        tasks._warn_of_pace(camera, values | {"windows_dropped_hz": 80.0})
    (line,) = log.lines
    assert "encodes 40 of 120 windows a second" in line and "24.10 ms, an answer 31.00 ms; an idler" in line


def test_two_cameras_are_two_streams_over_one_model(robot):
    bot = robot(names=("left", "right"), allow_untrained=True, **{"left.fx_px": 60.0, "right.fx_px": 120.0})
    left, right = bot.eyes["left"], bot.eyes["right"]
    packets = streams.make_packets(20)
    left.play(packets)
    right.play(packets)
    stamp_ns = packets[-1].stamp_ns
    near, far = left.ask([[5, 5]], stamp_ns), right.ask([[5, 5]], stamp_ns)
    assert list(near.status) == list(far.status) == [Status.OK]
    assert far.depth[0] == pytest.approx(2 * near.depth[0], rel=1e-4), "each has its own focal length"
    right.play(packets[:8])  # starts anew; the other does not notice
    assert right.stream.intake.resets["restart"] == 1 and not left.stream.intake.resets
    assert (len(left.answers), len(right.answers)) == (1, 1)
    assert [name for name, _, _ in NodeDiagnostics(bot.node).statuses()] == ["node", "left", "right"]
    assert left.camera.outputs.points.topic_name == "/eventspd/left/points"


def test_two_nodes_in_one_domain_do_not_hear_each_other(robot):
    one, other = (robot(namespace=name, fx_px=60.0, allow_untrained=True) for name in ("one", "other"))
    packets = streams.make_packets(10)
    one.play(packets)
    assert list(one.ask([[5, 5]], packets[-1].stamp_ns).status) == [Status.OK]
    assert list(other.ask([[5, 5]], packets[-1].stamp_ns).status) == [Status.NO_CACHE]
    assert one.diagnosed()["requests"] == other.diagnosed()["requests"] == "1"


def test_reset_forgets_the_scene(robot):
    bot = robot(fx_px=60.0, allow_untrained=True)
    packets = streams.make_packets(10)
    bot.play(packets)
    response = bot.call(Trigger, "/eventspd/reset", Trigger.Request())
    assert response.success
    assert list(bot.ask([[5, 5]], packets[-1].stamp_ns).status) == [Status.NO_CACHE]
    streams.until(lambda: bot.stream.intake.resets["requested"] == 1)
    bot.play(streams.make_packets(20)[10:])
    assert list(bot.ask([[5, 5]], packets[-1].stamp_ns + 40_000_000).status) == [Status.OK]


def test_live_parameters_take_effect_and_others_are_refused(robot):
    bot = robot(fx_px=60.0, allow_untrained=True, max_cache_age_ms=500.0)
    packets = streams.make_packets(20)
    bot.play(packets)
    stamp_ns = packets[-1].stamp_ns

    def set_to(name, value):
        request = SetParameters.Request(parameters=[RosParameter(name, value=value).to_parameter_msg()])
        return bot.call(SetParameters, "/eventspd/set_parameters", request).results[0]

    before = bot.ask([[5, 5]], stamp_ns)
    assert set_to("event_time_offset_ms", 30.0).successful
    stamp_ns += 30_000_000  # the same moment of the sensor
    after = bot.ask([[5, 5]], stamp_ns)
    assert time_to_ns(after.window_end) - time_to_ns(before.window_end) == 30_000_000
    assert set_to("fx_px", 120.0).successful
    assert bot.ask([[5, 5]], stamp_ns).depth[0] == pytest.approx(2 * before.depth[0], rel=1e-4)
    assert set_to("max_cache_age_ms", 1.0).successful
    assert list(bot.ask([[5, 5]], stamp_ns + 100_000_000).status) == [Status.STALE_CACHE]
    refused = set_to("device", "cpu")
    assert not refused.successful and "configured" in refused.reason


def test_simulated_time_that_falls_forgets_the_scene(robot):
    bot = robot(fx_px=60.0, allow_untrained=True, use_sim_time=True)
    clock = bot.client.create_publisher(Clock, "/clock", 10)
    streams.until(clock.get_subscription_count)
    packets = streams.make_packets(100)

    def tell(now_ns):
        def arrived():
            clock.publish(Clock(clock=ns_to_time(now_ns)))
            time.sleep(0.01)
            return bot.node.get_clock().now().nanoseconds == now_ns

        streams.until(arrived)

    tell(packets[0].stamp_ns)
    bot.play(packets)
    tell(packets[-1].stamp_ns)
    assert not bot.stream.intake.resets
    tell(packets[0].stamp_ns)
    streams.until(lambda: bot.stream.intake.resets["ros_clock_fell"] == 1)
    assert list(bot.ask([[5, 5]], packets[0].stamp_ns).status) == [Status.NO_CACHE]


def test_a_publisher_whose_qos_does_not_fit_is_named_with_the_cure(robot, capfd):
    bot = robot(fx_px=60.0)
    best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    bot.client.create_publisher(KeypointArray, "/keypoints", best_effort)
    said = []

    def is_told():
        said.extend(line for line in capfd.readouterr().err.splitlines() if "does not fit" in line)
        return said and bot.camera.topics.mismatches.get("keypoints")

    streams.until(is_told)
    assert len(said) == 1 and "RELIABILITY" in said[0] and "qos_overrides" in said[0]


def test_two_publishers_of_the_clock_or_of_the_events_are_said_once(robot, capfd):
    bot = robot(use_sim_time=True)
    clocks = [bot.client.create_publisher(Clock, "/clock", 10)]
    bot.diagnosed(), bot.diagnosed()
    assert "publishers" not in capfd.readouterr().err
    clocks.append(bot.client.create_publisher(Clock, "/clock", 10))
    other = bot.client.create_publisher(bot.events.msg_type, "events", EVENTS_QOS)
    streams.until(lambda: len(bot.node.get_publishers_info_by_topic("/clock")) == 2)
    for _ in range(3):
        bot.diagnosed()
    lines = [line for line in capfd.readouterr().err.splitlines() if "publishers" in line]
    assert len(lines) == 2
    assert "/clock has 2 publishers (client, client), so time jumps to and fro; stop all but one" in lines[0]
    assert "events has 2 publishers (client, client), so packets come twice or mixed" in lines[1]
    for publisher in (*clocks, other):
        bot.client.destroy_publisher(publisher)


def test_qos_can_be_overridden(robot):
    bot = robot(**{"qos_overrides./keypoints.subscription.reliability": "best_effort"})
    by_topic = {s.topic_name: s.qos_profile for s in bot.node.subscriptions}
    assert by_topic["/keypoints"].reliability == ReliabilityPolicy.BEST_EFFORT
    assert KEYPOINTS_QOS.reliability == ReliabilityPolicy.RELIABLE, "the default is not written to"


def test_lost_packets_are_explained_once(robot, capfd):
    bot = robot(fx_px=60.0)
    packets = streams.make_packets(30)
    bot.play(packets[:10] + packets[15:20] + packets[25:])
    for _ in range(2):
        assert bot.diagnosed()["packets_lost_before_node"] == "10"
    said = [line for line in capfd.readouterr().err.splitlines() if "lost before they reached" in line]
    assert len(said) == 1 and "FASTDDS_DEFAULT_PROFILES_FILE" in said[0] and "fastdds.xml" in said[0]


def test_readme_and_messages_list_the_topics_and_statuses(robot):
    text = (ROOT / "README.md").read_text()
    bot = robot()
    assert bot.camera.topics.topic_names == ["/events", "/camera_info", "/keypoints"]
    outputs = bot.camera.outputs
    drawn = (bot.camera.topics.answers, outputs.points, outputs.depth, outputs.depth_info, outputs.overlay)
    inputs = ("events", "camera_info", "keypoints", *MESSAGES)
    for topic in (*inputs, *(p.topic_name.replace("/eventspd", "~") for p in drawn)):
        assert f"`{topic}`" in text
    types = ("nav_msgs/Odometry", "geometry_msgs/PoseStamped", *EVENT_TYPES[0].split("/msg/"))
    for name in (*types, "/diagnostics"):
        assert name in text
    text = (ROOT / "docs/messages.md").read_text()
    for name in (*LAYOUTS, *COORDINATES):
        assert f"| {name} | " in text or f"`{name}`" in text
    message = (ROOT / "msg/KeypointDepthArray.msg").read_text()
    for name, value, meaning in re.findall(r"^uint8 (\w+) = (\d+) +# (.*)$", message, re.M):
        assert f"| {name} = {value} | {meaning} |" in text
