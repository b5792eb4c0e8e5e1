"""Odometry messages, of rclpy and of rosbags, to the camera's poses."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from eventspd_ros import rotations
from eventspd_ros.inputs.odometry import PoseIntake, PoseSource, declared_errors, is_pose_due, parse_camera_pose
from eventspd_ros.motion.trajectory import Trajectory

TYPES = get_typestore(Stores.ROS2_JAZZY).types
STAMP_NS = 1_700_000_000_123_456_789
NO_COVARIANCE = np.zeros(36)
LEVER_M, CAMERA_TURN = np.array([0.1, -0.2, 0.05]), np.array([-0.5, 0.5, -0.5, 0.5])
CAMERA_POSE = [*LEVER_M, *CAMERA_TURN]


def odometry(
    stamp_ns=STAMP_NS,
    position=(1.0, 2.0, 3.0),
    turn=(0.0, 0.0, 0.6, 0.8),
    frames=("odom", "base_link"),
    covariance=NO_COVARIANCE,
    pose_covariance=NO_COVARIANCE,
):
    """nav_msgs/Odometry, as rosbags reads it."""

    def of(name, *fields):
        return TYPES[name](*fields)

    header = of("std_msgs/msg/Header", of("builtin_interfaces/msg/Time", *divmod(stamp_ns, 10**9)), frames[0])
    point, orientation = of("geometry_msgs/msg/Point", *position), of("geometry_msgs/msg/Quaternion", *turn)
    still = of("geometry_msgs/msg/Vector3", 0.0, 0.0, 0.0)
    pose = of("geometry_msgs/msg/PoseWithCovariance", of("geometry_msgs/msg/Pose", point, orientation), pose_covariance)
    twist = of("geometry_msgs/msg/TwistWithCovariance", of("geometry_msgs/msg/Twist", still, still), covariance)
    return of("nav_msgs/msg/Odometry", header, frames[1], pose, twist)


def filled(msg, pose):
    """An rclpy message with the stamp and the pose of odometry()."""
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(STAMP_NS, 10**9)
    msg.header.frame_id = "map"
    pose.position.x, pose.position.y, pose.position.z = 1.0, 2.0, 3.0
    pose.orientation.z, pose.orientation.w = 0.6, 0.8
    return msg


def pose_stamped():
    msg = PoseStamped()
    return filled(msg, msg.pose)


def pose_with_covariance():
    msg = PoseWithCovarianceStamped()
    msg.pose.covariance[0] = 0.25
    return filled(msg, msg.pose.pose)


def nav_odometry():
    nav = pytest.importorskip("nav_msgs.msg", reason="nav_msgs is not installed")
    msg = nav.Odometry(child_frame_id="base_link")
    return filled(msg, msg.pose.pose)


def twist_covariance(linear=(0.0, 0.0, 0.0), angular=(0.0, 0.0, 0.0)):
    return np.diag([*linear, *angular]).ravel()


class Reporter:
    def __init__(self):
        self.told = []

    def error(self, cause, text):
        self.told.append((cause, text))


MESSAGES = {
    "rosbags Odometry": ("odometry", odometry, ("odom", "base_link")),
    "rclpy Odometry": ("odometry", nav_odometry, ("map", "base_link")),
    "PoseStamped": ("pose", pose_stamped, ("map", "")),
    "PoseWithCovarianceStamped": ("pose", pose_with_covariance, ("map", "")),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_the_pose_of_the_camera_in_it(name):
    motion, make, frames = MESSAGES[name]
    pose = PoseSource(motion, CAMERA_POSE).read(make())
    assert pose.stamp_ns == STAMP_NS
    # The child frame is turned by 2 atan(.6 / .8) about z: cos .28, sin .96. The camera looks along its x.
    turn = np.array([[0.28, -0.96, 0], [0.96, 0.28, 0], [0, 0, 1]])
    optical = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    np.testing.assert_allclose(pose.position_m, [1, 2, 3] + turn @ LEVER_M, atol=1e-15)
    np.testing.assert_allclose(rotations.to_matrix(pose.quaternion), turn @ optical, atol=1e-15)
    assert (pose.velocity_stddev_m_s, pose.rate_stddev_rad_s) == (0, 0)
    assert PoseSource.frames(make()) == frames


def test_without_a_camera_pose_the_child_frame_is_the_camera_s():
    pose = PoseSource("odometry").read(odometry())
    assert pose.position_m.tolist() == [1, 2, 3] and pose.quaternion.tolist() == [0, 0, 0.6, 0.8]


numbers = st.floats(-100, 100)


@given(st.tuples(*[numbers] * 3), st.tuples(*[numbers] * 3), st.tuples(*[st.floats(0.1, 1)] * 8))
def test_the_pose_is_the_product_of_the_matrices(position, lever, turns):
    turns = np.reshape(turns, (2, 4)) / np.linalg.norm(np.reshape(turns, (2, 4)), axis=1, keepdims=True)
    t_world_child, t_child_camera = np.eye(4), np.eye(4)
    for matrix, turn, place in zip((t_world_child, t_child_camera), turns, (position, lever), strict=True):
        matrix[:3, :3], matrix[:3, 3] = rotations.to_matrix(turn), place
    pose = PoseSource("odometry", [*lever, *turns[1]]).read(odometry(position=position, turn=turns[0]))
    product = t_world_child @ t_child_camera
    np.testing.assert_allclose(pose.position_m, product[:3, 3], atol=1e-11)
    np.testing.assert_allclose(rotations.to_matrix(pose.quaternion), product[:3, :3], atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"position": (np.nan, 0.0, 0.0)}, "position nan 0 0 is not finite"),
        ({"position": (0.0, -np.inf, 0.0)}, "position 0 -inf 0 is not finite"),
        ({"turn": (0.0, 0.0, np.nan, 1.0)}, "quaternion 0 0 nan 1 has length nan"),
        ({"turn": (np.inf, 0.0, 0.0, 1.0)}, "quaternion inf 0 0 1 has length inf"),
        ({"turn": (0.0, 0.0, 0.0, 0.0)}, "quaternion 0 0 0 0 has length 0"),
        ({"turn": (0.0, 0.0, 0.0, 1.02)}, "quaternion 0 0 0 1.02 has length 1.02"),
        ({"stamp_ns": 0}, "stamp is 0 ns"),
        ({"stamp_ns": -(10**9)}, "stamp is -1000000000 ns"),
    ],
)
def test_what_is_no_pose_is_named(fields, text):
    with pytest.raises(ValueError, match=text) as error:
        PoseSource("odometry").read(odometry(**fields))
    assert "\n" not in str(error.value)


def test_a_quaternion_of_few_digits_is_made_a_unit_one():
    pose = PoseSource("odometry").read(odometry(turn=(0.0, 0.0, 0.605, 0.80)))
    assert np.linalg.norm(pose.quaternion) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("covariance", "declared"),
    [
        (twist_covariance(), (0, 0)),
        (twist_covariance((0.01, 0.04, 0.0), (0.0, 0.0, 0.0009)), (0.2, 0.03)),
        (twist_covariance((-1.0, 0.04, 0.04), (0.01, 0.01, 0.01)), (0, 0)),  # ROS: unknown
        (twist_covariance((0.01, 1e6, 1e9), (1e6, 1e6, 0.0004)), (0.1, 0.02)),  # a planar robot's
        (twist_covariance((0.01, 0.01, 0.01), (np.inf, np.inf, np.inf)), (0.1, 0)),  # an older OpenVINS's
        (twist_covariance((np.nan, 0.01, 0.01), (-1.0, 0.0, 0.0)), (0.1, 0)),
        (twist_covariance((1e6, 1e6, 1e6), (1e6, 1e6, 1e6)), (0, 0)),
    ],
)
def test_a_twist_covariance_declares_the_errors_of_the_motion(covariance, declared):
    assert declared_errors(covariance) == pytest.approx(declared)
    pose = PoseSource("odometry").read(odometry(covariance=covariance))
    assert (pose.velocity_stddev_m_s, pose.rate_stddev_rad_s) == pytest.approx(declared)


def test_only_the_diagonal_of_the_covariance_counts():
    covariance = np.full((6, 6), 9.0)
    np.fill_diagonal(covariance, [0.01, 0.02, 0.04, 0.001, 0.0025, 0.002])
    assert declared_errors(covariance.ravel()) == pytest.approx((0.2, 0.05))


def test_a_lever_makes_of_an_error_of_the_rate_one_of_the_velocity():
    covariance = twist_covariance((0.04, 0.01, 0.01), (0.0, 0.01, 0.0))
    pose = PoseSource("odometry", [0, 3, 4, 0, 0, 0, 1]).read(odometry(covariance=covariance))
    assert pose.velocity_stddev_m_s == pytest.approx(0.2 + 0.1 * 5)
    undeclared = PoseSource("odometry", [0, 3, 4, 0, 0, 0, 1]).read(
        odometry(covariance=twist_covariance(angular=(0, 0.01, 0)))
    )
    assert (undeclared.velocity_stddev_m_s, undeclared.rate_stddev_rad_s) == (0, pytest.approx(0.1))


def test_the_covariance_of_the_place_in_the_world_declares_nothing():
    pose = PoseSource("odometry").read(odometry(pose_covariance=np.eye(6).ravel() * 4))
    assert (pose.velocity_stddev_m_s, pose.rate_stddev_rad_s) == (0, 0)


@pytest.mark.parametrize(
    "pose", ["1 2 3 0 0 .6 .8", "1, 2, 3, 0, 0, 0.6, 0.8", [1, 2, 3, 0, 0, 0.6, 0.8], (1.0, 2, 3, 0, 0, 0.604, 0.805)]
)
def test_a_camera_pose_is_seven_numbers_however_written(pose):
    parsed = parse_camera_pose(pose)
    np.testing.assert_allclose(parsed, [1, 2, 3, 0, 0, 0.6, 0.8], atol=1e-3)
    assert np.linalg.norm(parsed[3:]) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("pose", "text"),
    [
        ("", "seven"),
        ([], "seven"),
        ([1.0] * 6, "seven"),
        ("1 2 3 0 0 x 1", "could not convert string to float: 'x'"),
        ([0, 0, np.nan, 0, 0, 0, 1], "seven finite"),
        ([0, 0, 0, 0, 0, 0, 0], "length 0"),
        ([0, 0, 0, 1, 0, 0, 1], "length 1.41421"),
        ([[0, 0, 0, 0, 0, 0, 1]], "seven"),
        (7.0, "seven"),
    ],
)
def test_a_camera_pose_that_is_none_is_named(pose, text):
    with pytest.raises(ValueError, match=text) as error:
        parse_camera_pose(pose)
    assert str(error.value).startswith(f"camera_pose {pose!r}") and "\n" not in str(error.value)


def test_a_motion_without_messages_is_named():
    with pytest.raises(ValueError, match="motion 'imu' has no messages; known are odometry, pose"):
        PoseSource("imu")


def intake(motion="odometry"):
    reporter = Reporter()
    return PoseIntake(PoseSource(motion), Trajectory(), reporter), reporter


def test_a_bad_message_is_counted_told_and_left_out():
    poses, reporter = intake()
    poses.take(odometry())
    poses.take(odometry(STAMP_NS + 5_000_000, position=(np.nan, 0.0, 0.0), frames=("other", "frames")))
    poses.take(odometry(STAMP_NS + 10_000_000))
    assert (poses.accepted, poses.rejected) == (2, 1)
    assert reporter.told == [("pose", "pose left out: its position nan 0 0 is not finite")]
    assert poses.last_error == reporter.told[0][1]
    assert poses.trajectory.covers(STAMP_NS + 5_000_000) and not poses.trajectory.counts


@pytest.mark.parametrize("frames", [("map", "base_link"), ("odom", "imu")])
def test_frames_that_change_begin_the_motion_anew(frames):
    poses, reporter = intake()
    for i in range(4):
        poses.take(odometry(STAMP_NS + i * 5_000_000))
    for i in range(4, 7):
        poses.take(odometry(STAMP_NS + i * 5_000_000, frames=frames))
    assert poses.trajectory.counts == {"frames": 1}
    ((cause, text),) = reporter.told
    assert cause == "frames" and all(repr(name) in text for name in (*frames, "odom", "base_link"))
    assert not poses.trajectory.covers(STAMP_NS + 12_000_000)
    assert poses.trajectory.covers(STAMP_NS + 27_000_000)


def test_a_ros_clock_that_fell_forgets_poses_of_the_future():
    poses, _ = intake()
    poses.ros_clock_fell(STAMP_NS)
    poses.take(odometry())
    poses.ros_clock_fell(STAMP_NS - 100_000_000)  # the poses have followed already
    assert poses.trajectory.newest_ns == STAMP_NS
    poses.ros_clock_fell(STAMP_NS - 1_000_000_000)
    assert poses.trajectory.newest_ns is None and poses.trajectory.counts == {"ros_clock_fell": 1}


def test_a_request_waits_for_a_pose_only_where_one_may_come():
    poses, _ = intake()
    assert not is_pose_due(poses.trajectory, STAMP_NS, 10**9), "there are none"
    poses.take(odometry())
    for behind_ns, due in ((0, False), (-1, False), (1, True), (200, True), (201, False)):
        assert is_pose_due(poses.trajectory, STAMP_NS + behind_ns, 200) == due
