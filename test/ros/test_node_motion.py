"""The node with poses over DDS: as odometries, SLAMs and tf publish them."""

import sys
import time
from types import ModuleType

import numpy as np
import pytest
import streams
from eventspd_ros.msg import KeypointArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from moving import END_NS, LOG_DEPTH, MS, POINTS_PX, WALL, bare, odometry, stamps, wall_info, wall_packets
from moving import with_covariance as covered
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from robots import Robot
from sensor_msgs.msg import Image, PointCloud2

from eventspd_ros import rotations
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.inputs.point_cloud import POINT_WITH_COVARIANCE
from eventspd_ros.ros.messages import ns_to_time
from eventspd_ros.ros.node import EventspdNode
from eventspd_ros.simulation.bag import (
    CAMERA_INFO_TOPIC,
    DEPTH_TOPIC,
    EVENTS_TOPIC,
    KEYPOINTS_TOPIC,
    ODOMETRY_TOPIC,
    write_bag,
)
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.stream import SimulationConfig

RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
SENSOR_DATA = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
PACKETS = wall_packets()
LOGGED = ("poses", "poses_rejected", "keypoints_by_motion", "learned_log_scale", "track_noise_px", "pose_age_ms")
LOGGED += ("pose_rotation_drift_seen_dps",)


@pytest.fixture
def robot(ros):
    """Makes robots with motion; they end with the test."""
    made = []

    def make(message_type=Odometry, qos=RELIABLE, motion="odometry", **parameters):
        made.append(Robot(motion=motion, max_wait_ms=5000.0, **parameters))
        bot = made[-1]
        bot.poses = bot.client.create_publisher(message_type, motion, qos)  # in the robot's namespace
        streams.until(lambda: motion in ("none", "tf") or bot.poses.get_subscription_count())
        return bot

    yield make
    while made:
        made.pop().close()


def see(bot, with_lens=True):
    """The wall's events, and the lens."""
    bot.events.publish(streams.to_msg(PACKETS[0]))
    streams.until(lambda: bot.stream.predictor is not None)
    if with_lens:
        bot.camera_info.publish(wall_info())
    streams.until(lambda: bot.stream.predictor.motion.has_lens)
    for packet in PACKETS[1:]:
        bot.events.publish(streams.to_msg(packet))
        time.sleep(0.002)
    streams.until(lambda: bot.stream.intake.decoder.stats.packets >= len(PACKETS))
    streams.until(lambda: bot.stream.idle and bot.node.encoder.idle)


def hear(bot, messages):
    poses = bot.stream.poses.intake
    goal = poses.accepted + poses.rejected + len(messages)
    for msg in messages:
        bot.poses.publish(msg)
        time.sleep(0.0005)
    streams.until(lambda: poses.accepted + poses.rejected >= goal)


def by_motion(answer) -> float:
    moved = (np.array(answer.basis) & answer.MOTION) > 0
    off = np.abs(np.log(np.array(answer.depth)[moved]) - LOG_DEPTH[moved])
    assert not moved.any() or (np.median(off) < 0.05 and (off < 0.25).mean() > 0.9), off
    assert (np.array(answer.status)[moved] == answer.OK).all()
    return float(moved.mean())


# x forward, y left, z up → x right, y down, z forward; ahead of the base and above it.
MOUNT = np.array([0.5, 0.0, 0.2, -0.5, 0.5, -0.5, 0.5])
RECENT = [s for s in stamps() if s > END_NS - 600 * MS]


def of_base(msg: Odometry) -> Odometry:
    """The pose of a base that carries the camera at MOUNT."""
    p, q = msg.pose.pose.position, msg.pose.pose.orientation
    turn = rotations.multiply(np.array([q.x, q.y, q.z, q.w]), rotations.conjugate(MOUNT[3:]))
    p.x, p.y, p.z = (np.array([p.x, p.y, p.z]) - rotations.to_matrix(turn) @ MOUNT[:3]).tolist()
    q.x, q.y, q.z, q.w = turn.tolist()
    msg.child_frame_id = "base_link"
    return msg


@pytest.mark.parametrize(
    ("message_type", "convert", "qos", "parameters"),
    [
        (Odometry, lambda msg: msg, RELIABLE, {}),
        (Odometry, lambda msg: msg, SENSOR_DATA, {}),
        (PoseStamped, bare, RELIABLE, {"motion": "pose"}),
        (
            PoseWithCovarianceStamped,
            covered,
            RELIABLE,
            {"motion": "pose", "pose_type": "geometry_msgs/msg/PoseWithCovarianceStamped"},
        ),
    ],
    ids=["odometry", "best-effort", "pose", "pose-with-covariance"],
)
def test_with_poses_an_untrained_model_answers_where_motion_suffices(robot, message_type, convert, qos, parameters):
    bot = robot(message_type, qos, **parameters)
    see(bot)
    hear(bot, [convert(odometry(s)) for s in RECENT])
    answer = bot.ask(POINTS_PX, END_NS)
    assert by_motion(answer) > 0.8 and np.isnan(answer.log_scale_stddev)
    told = bot.diagnosed()
    assert set(LOGGED) <= set(told)
    assert told["poses"] == str(len(RECENT)) and told["keypoints_by_motion"] == str(sum(answer.basis) // answer.MOTION)


def test_the_camera_is_where_camera_pose_says(robot):
    bot = robot(camera_pose=", ".join(map(str, MOUNT)))
    see(bot)
    hear(bot, [of_base(odometry(s)) for s in RECENT])
    assert by_motion(bot.ask(POINTS_PX, END_NS)) > 0.8


def test_with_a_focal_length_alone_the_lens_is_a_pinhole_about_the_centre(robot):
    bot = robot(fx_px=WALL.focal_px)
    see(bot, with_lens=False)
    hear(bot, [odometry(s) for s in RECENT])
    assert by_motion(bot.ask(POINTS_PX, END_NS)) > 0.8


def test_late_poses_are_waited_for_and_lost_ones_are_not(robot, capfd):
    bot = robot()
    see(bot)
    hear(bot, [odometry(s) for s in RECENT if s < END_NS - 40 * MS])
    before = len(bot.answers)
    bot.send(POINTS_PX, END_NS)
    time.sleep(0.3)
    assert len(bot.answers) == before
    hear(bot, [odometry(s) for s in RECENT if s >= END_NS - 40 * MS])
    streams.until(lambda: len(bot.answers) > before)
    assert by_motion(bot.answers[-1]) > 0.8
    start_s = time.monotonic()
    assert by_motion(bot.ask(POINTS_PX, END_NS + 1200 * MS)) == 0.0
    assert time.monotonic() - start_s < 4.0, "it waited for an odometry that is lost"
    said = [line for line in capfd.readouterr().err.splitlines() if "until they come, depth is the learned one" in line]
    assert len(said) == 1
    time.sleep(1.0)  # beyond max_cache_age_ms

    def is_told():
        bot.diagnosed()
        return any("no poses of odometry" in s.message for m in bot.diagnostics for s in m.status)

    streams.until(is_told)


def test_points_with_covariance(robot):
    bot = robot(points_covariance=True)
    clouds = []
    bot.client.create_subscription(PointCloud2, "/eventspd/points", clouds.append, 10)
    see(bot)
    hear(bot, [odometry(s) for s in RECENT])
    streams.until(lambda: bot.camera.outputs.points.get_subscription_count())
    answer = bot.ask(POINTS_PX, END_NS)
    streams.until(lambda: clouds)
    points = np.frombuffer(clouds[0].data, POINT_WITH_COVARIANCE)
    assert len(points) == np.isfinite(answer.depth).sum()
    np.testing.assert_allclose(points["cov_zz"], points["depth_stddev"] ** 2, rtol=1e-5)
    assert (points["cov_xx"] > 0).all()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"camera_pose": "0 0 0"}, "camera_pose '0 0 0': these are no seven finite numbers; give x y z qx qy qz qw"),
        ({"camera_pose": "0 0 0 0 0 0 2"}, "has length 2, not 1; give x y z qx qy qz qw"),
        ({"camera_pose": "tf"}, "poses from tf need tf2_ros: apt install ros-$ROS_DISTRO-tf2-ros-py"),
        ({"motion": "tf"}, "poses from tf need tf2_ros: apt install ros-$ROS_DISTRO-tf2-ros-py"),
        ({"motion": "pose", "camera_pose": "tf"}, "camera_pose tf: PoseStamped names no child frame"),
        ({"motion": "tf", "camera_pose": "0 0 0 0 0 0 1"}, "leave camera_pose empty"),
    ],
)
def test_what_does_not_fit_is_said_at_configure(ros, monkeypatch, parameters, reason):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    values = {"weights": "", "motion": "odometry"} | parameters
    node = EventspdNode(parameter_overrides=[RosParameter(name, value=value) for name, value in values.items()])
    node.start()
    assert node.state == "unconfigured" and reason in node.fault
    node.close()
    node.destroy_node()


class Tree:
    """Stands in for tf2_ros, which is not on PyPI: a camera on its way, and on a base at MOUNT."""

    class TransformException(Exception):
        pass

    def __init__(self):
        self.module = ModuleType("tf2_ros")
        self.module.TransformException, self.module.Buffer = self.TransformException, lambda: self
        self.module.TransformListener = lambda buffer, node: self
        self.now_ns = None

    def lookup_transform(self, target, source, time):
        if source != "optical" or self.now_ns is None:
            raise self.TransformException(f'"{source}" does not exist')
        found = TransformStamped()
        position = found.transform.translation
        if target == "odom":
            msg = odometry(self.now_ns)
            position.x, found.transform.rotation = msg.pose.pose.position.x, msg.pose.pose.orientation
            found.header = msg.header
        else:
            assert target == "base_link"
            position.x, position.y, position.z = MOUNT[:3].tolist()
            q = found.transform.rotation
            q.x, q.y, q.z, q.w = MOUNT[3:].tolist()
        return found

    def unregister(self):
        pass

    clear = unregister


@pytest.fixture
def tree(monkeypatch):
    tree = Tree()
    monkeypatch.setitem(sys.modules, "tf2_ros", tree.module)
    return tree


def test_poses_are_looked_up_in_tf(robot, tree):
    bot = robot(motion="tf")
    streams.until(lambda: bot.stream.poses.intake.rejected)
    assert "camera_info names no frame_id" in bot.stream.poses.intake.last_error
    see(bot)
    streams.until(lambda: "tf does not know optical in odom" in bot.stream.poses.intake.last_error)
    for stamp_ns in [s for s in stamps(100.0) if s > END_NS - 500 * MS]:
        tree.now_ns = stamp_ns
        streams.until(lambda: bot.stream.poses.trajectory.newest_ns == tree.now_ns)
    assert by_motion(bot.ask(POINTS_PX, END_NS)) > 0.8
    accepted = bot.stream.poses.intake.accepted
    time.sleep(0.1)
    assert bot.stream.poses.intake.accepted == accepted, "the same pose counts once"


def test_where_the_camera_sits_is_looked_up_in_tf(robot, tree):
    bot = robot(camera_pose="tf")
    see(bot)
    messages = [of_base(odometry(s)) for s in RECENT]
    hear(bot, messages[:2])
    assert bot.stream.poses.intake.rejected == 2
    tree.now_ns = END_NS
    hear(bot, messages)
    assert by_motion(bot.ask(POINTS_PX, END_NS)) > 0.8


def transform(frame: str, child: str, stamp, position_m, quaternion) -> TransformStamped:
    msg = TransformStamped(child_frame_id=child)
    msg.header.frame_id, msg.header.stamp = frame, stamp
    t, q = msg.transform.translation, msg.transform.rotation
    (t.x, t.y, t.z), (q.x, q.y, q.z, q.w) = position_m, quaternion
    return msg


@pytest.mark.parametrize("motion", ["tf", "odometry"])
def test_the_real_tf_says_where_the_camera_is(robot, motion):
    """A base on its way in /tf (or in an odometry), and the camera on it in /tf_static."""
    tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed (it comes with a ROS 2 from apt)")
    bot = robot(motion=motion, namespace="robot", camera_pose="tf" if motion == "odometry" else "")
    static, moving = tf2_ros.StaticTransformBroadcaster(bot.client), tf2_ros.TransformBroadcaster(bot.client)
    static.sendTransform(transform("base_link", "optical", ns_to_time(0), MOUNT[:3].tolist(), MOUNT[3:].tolist()))
    see(bot)
    messages = [of_base(odometry(s)) for s in RECENT]
    if motion == "odometry":
        streams.until(lambda: hear(bot, messages[:1]) or bot.stream.poses.intake.accepted)
        hear(bot, messages[1:])
    else:
        for msg in messages:
            p, q = msg.pose.pose.position, msg.pose.pose.orientation
            moving.sendTransform(
                transform("odom", "base_link", msg.header.stamp, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
            )
            newest_ns = time_to_ns(msg.header.stamp)
            streams.until(lambda newest_ns=newest_ns: bot.stream.poses.trajectory.newest_ns == newest_ns)
    assert by_motion(bot.ask(POINTS_PX, END_NS)) > 0.8


def play(bot, bag) -> dict[int, np.ndarray]:
    """A simulated bag through the robot, each request once its events are encoded; true depths at its keypoints, by
    stamp."""
    outlets = {EVENTS_TOPIC: bot.events, CAMERA_INFO_TOPIC: bot.camera_info, KEYPOINTS_TOPIC: bot.keypoints}
    outlets |= {ODOMETRY_TOPIC: bot.poses} if bot.stream.poses else {}
    depths_m, truth = {}, {}
    for topic, _, data in bag.messages():
        if topic == DEPTH_TOPIC:
            image = deserialize_message(data, Image)
            depths_m[time_to_ns(image.header.stamp)] = np.frombuffer(image.data, "<f4").reshape(image.height, -1)
        if topic == KEYPOINTS_TOPIC:
            streams.until(lambda: bot.stream.idle and bot.node.encoder.idle)
            msg = deserialize_message(data, KeypointArray)
            u, v = (np.rint(column).astype(int) for column in (msg.u, msg.v))
            stamp_ns = time_to_ns(msg.header.stamp)
            truth[stamp_ns] = depths_m[stamp_ns][v, u]
        if topic in outlets:
            outlets[topic].publish(data)
            time.sleep(0.002)
    streams.until(lambda: len(bot.answers) == len(truth))
    return truth


def test_a_simulated_room_is_nearer_the_truth_with_its_odometry(robot, tmp_path):
    """A bag of events, keypoints and odometry at 200 Hz; the model is untrained."""
    config = SimulationConfig(PinholeCamera.centred(160, 120), 0.7, seed=3, domain="indoor", max_keypoints=40)
    path = write_bag(tmp_path / "room", config)
    off, moved = {}, None
    for motion in ("none", "odometry"):
        bot = robot(motion=motion, allow_untrained=True, namespace=motion)
        with open_bag(path) as bag:
            truth = play(bot, bag)
        off[motion] = np.concatenate(
            [np.log(np.array(a.depth) / truth[time_to_ns(a.header.stamp)]) for a in bot.answers]
        )
        moved = np.concatenate([(np.array(a.basis) & a.MOTION) > 0 for a in bot.answers])
    with_motion, without = (np.nanmedian(np.abs(off[motion][moved])) for motion in ("odometry", "none"))
    assert moved.mean() > 0.3 and with_motion < 0.1 and without > 3 * with_motion, (moved.mean(), with_motion, without)


def test_the_coarse_map_has_what_motion_shows(robot, monkeypatch):
    """An untrained model: what the map knows, motion knows."""
    monkeypatch.setattr("eventspd_ros.ros.coarse.PERIOD_S", 0.0)
    bot, heard = robot(), []
    bot.client.create_subscription(Image, "eventspd/depth/coarse/image", heard.append, 10)
    coarse = bot.node.cameras[""].coarse
    streams.until(lambda: coarse.image.get_subscription_count())
    hear(bot, [odometry(s) for s in RECENT])
    see(bot)
    newest_ns = bot.stream.predictor.cache.end_ns + bot.stream.offset_ns
    streams.until(lambda: heard and abs(time_to_ns(heard[-1].header.stamp) - newest_ns) < 1 * MS)
    log_depth = np.log(np.frombuffer(heard[-1].data, np.float32))
    off = np.abs(log_depth - np.median(LOG_DEPTH))[np.isfinite(log_depth)]  # all marks are on one wall
    assert (heard[-1].width, heard[-1].height) == (20, 15) and len(off) > 60
    assert np.median(off) < 0.05 and (off < 0.25).mean() > 0.9
