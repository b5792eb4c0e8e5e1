"""A camera that moves past a wall at a known depth, as its driver and an odometry publish it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from reference.moving_camera import Path, Wall
from sensor_msgs.msg import CameraInfo
from streams import PACKET_NS, ROS_BASE_NS

from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.types import EventArray, EventPacket
from eventspd_ros.model.presets import preset_config
from eventspd_ros.ros.messages import ns_to_time

MS = 1_000_000
WALL = Wall(Path((0.6, 0.0, 0.0)))
START_NS = 1_000_000_000  # of the wall's time 0 on the sensor's clock
END_NS = ROS_BASE_NS + START_NS + WALL.duration_ns  # ROS time
POINTS_PX, LOG_DEPTH = WALL.keypoints()


class UntrainedModel:
    """Where only motion gives depths, nothing need be computed."""

    config, device, trained = preset_config("minimal"), torch.device("cpu"), False

    def encode(self, windows, states):
        return [SimpleNamespace(start_ns=w.start_ns, end_ns=w.end_ns) for w in windows], states


def wall_packets(wall: Wall = WALL) -> list[EventPacket]:
    x, y, p, t_ns = wall.events
    packets = []
    for begin_ns in range(0, wall.duration_ns, PACKET_NS):
        part = slice(*np.searchsorted(t_ns, (begin_ns, begin_ns + PACKET_NS)))
        events = EventArray(x[part], y[part], p[part], t_ns[part] + START_NS, wall.width, wall.height)
        if len(events):
            stamp_ns = ROS_BASE_NS + int(events.t_ns[0])
            payload = np.asarray(encode_evt3(events))
            packets.append(EventPacket("evt3", wall.width, wall.height, payload, len(packets), 0, stamp_ns))
    return packets


def wall_info(wall: Wall = WALL) -> CameraInfo:
    c = wall.camera
    k = [c.fx, 0.0, c.cx, 0.0, c.fy, c.cy, 0.0, 0.0, 1.0]
    info = CameraInfo(width=wall.width, height=wall.height, k=k, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.frame_id = "optical"
    return info


def odometry(stamp_ns: int, path: Path = WALL.path, shift_m=(0.0, 0.0, 0.0)) -> Odometry:
    """At a ROS time."""
    quaternion, position_m = path.pose(stamp_ns - ROS_BASE_NS - START_NS)
    msg = Odometry(child_frame_id="optical")
    msg.header.stamp, msg.header.frame_id = ns_to_time(stamp_ns), "odom"
    p, q = msg.pose.pose.position, msg.pose.pose.orientation
    p.x, p.y, p.z = (position_m + shift_m).tolist()
    q.x, q.y, q.z, q.w = quaternion.tolist()
    return msg


def bare(msg: Odometry) -> PoseStamped:
    return PoseStamped(header=msg.header, pose=msg.pose.pose)


def with_covariance(msg: Odometry) -> PoseWithCovarianceStamped:
    return PoseWithCovarianceStamped(header=msg.header, pose=msg.pose)


def stamps(rate_hz: float = 200.0, until_ns: int = END_NS + 10 * MS) -> list[int]:
    """Of poses at that rate, up to a time."""
    first_ns = ROS_BASE_NS + START_NS - 1000 * MS
    return list(range(first_ns, until_ns + 1, round(1e9 / rate_hz)))


def serialized(messages) -> list[bytes]:
    return [serialize_message(msg) for msg in messages]


def later(packets: list[EventPacket], by_ns: int) -> list[EventPacket]:
    """The packets with other stamps, and the same sensor times."""
    return [replace(packet, stamp_ns=packet.stamp_ns + by_ns) for packet in packets]
