"""A simulated recording as a rosbag2: event packets, keypoints, camera_info, exact depth and odometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

from eventspd_ros import rotations
from eventspd_ros.events.files.bag_writer import BagWriter, new_bag
from eventspd_ros.events.messages import (
    CAMERA_INFO,
    EVENT_PACKET,
    IMAGE,
    KEYPOINT_ARRAY,
    New,
    new_event_packet,
    new_header,
    new_image,
    new_keypoints,
)
from eventspd_ros.events.types import EventPacket
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.odometry import OdometryMessage
from eventspd_ros.simulation.stream import CHUNK_NS, Observation, SimulationConfig, World, simulate_recording

FRAME_ID = "event_camera_optical_frame"
ODOMETRY = "nav_msgs/msg/Odometry"
WORLD_FRAME_ID = "world"  # y points down, like the camera's


class Topic(NamedTuple):
    """name, type and offered QoS (reliability, depth of its queue) of one topic."""

    name: str
    msgtype: str
    reliability: QosReliability
    depth: int


EVENTS_TOPIC, CAMERA_INFO_TOPIC = "/event_camera/events", "/event_camera/camera_info"
KEYPOINTS_TOPIC, DEPTH_TOPIC, ODOMETRY_TOPIC = "/keypoints", "/depth", "/odometry"
# Event cameras publish best effort with a deep queue; the rest is reliable, as its publishers are.
TOPICS = (
    Topic(EVENTS_TOPIC, EVENT_PACKET, QosReliability.BEST_EFFORT, 1000),
    Topic(CAMERA_INFO_TOPIC, CAMERA_INFO, QosReliability.RELIABLE, 10),
    Topic(KEYPOINTS_TOPIC, KEYPOINT_ARRAY, QosReliability.RELIABLE, 10),
    Topic(DEPTH_TOPIC, IMAGE, QosReliability.RELIABLE, 10),
    Topic(ODOMETRY_TOPIC, ODOMETRY, QosReliability.RELIABLE, 100),
)


def write_bag(
    path: Path | str,
    config: SimulationConfig,
    storage: str = "mcap",
    progress: Callable[[int], object] | None = None,
    world: World | None = None,
) -> Path:
    """Simulates and writes a bag of TOPICS; it appears under its name only when it is whole.

    progress: called with the number of 4 ms chunks done since the last call; config.chunks in all. camera_info,
    keypoints and depth (32FC1, m) share their stamps. Returns the path. ValueError if it exists, or for another
    storage than mcap and sqlite3.
    """
    with new_bag(path, storage) as bag:
        _write_messages(bag, config, world or World.of(config), progress or (lambda chunks: None))
    return Path(path)


def _write_messages(bag: BagWriter, config: SimulationConfig, world: World, progress: Callable[[int], object]) -> None:
    for topic in TOPICS:
        bag.add_topic(topic.name, topic.msgtype, [_qos(topic)])
    make = MessageMaker(config.camera, bag.new)
    # Once ahead of everything, so that whoever plays the bag knows the focal length when the first keypoints come.
    bag.write(CAMERA_INFO_TOPIC, config.start_ns, make.camera_info(config.start_ns))
    done = 0
    for item in simulate_recording(config, world):
        for name, message in make.messages(item.message):
            bag.write(name, item.arrival_ns, message)
        chunks = (item.arrival_ns - config.start_ns) // CHUNK_NS
        progress(chunks - done)
        done = chunks
    progress(config.chunks - done)


class MessageMaker:
    """Turns what the simulation yields into ROS messages. new: see events/messages.py."""

    def __init__(self, camera: PinholeCamera, new: New) -> None:
        self.camera, self._new = camera, new

    def messages(self, item: EventPacket | Observation | OdometryMessage) -> list[tuple[str, Any]]:
        """(topic, message) pairs."""
        if isinstance(item, EventPacket):
            return [(EVENTS_TOPIC, new_event_packet(self._new, item, FRAME_ID))]
        if isinstance(item, OdometryMessage):
            return [(ODOMETRY_TOPIC, self._odometry(item))]
        header = new_header(self._new, item.stamp_ns, FRAME_ID)
        return [
            (CAMERA_INFO_TOPIC, self.camera_info(item.stamp_ns)),
            (DEPTH_TOPIC, new_image(self._new, header, item.depth_m, "32FC1")),
            (KEYPOINTS_TOPIC, new_keypoints(self._new, header, item.keypoints.ids, item.keypoints.uv_px)),
        ]

    def camera_info(self, stamp_ns: int) -> Any:
        """The intrinsics; p describes the image without distortion, at the same focal length."""
        camera = self.camera
        k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float64)
        offsets = {name: 0 for name in ("x_offset", "y_offset", "height", "width")}
        return self._new(
            CAMERA_INFO,
            header=new_header(self._new, stamp_ns, FRAME_ID),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.array([*camera.distortion, 0.0]),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([k, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._new("sensor_msgs/msg/RegionOfInterest", **offsets, do_rectify=False),
        )

    def _odometry(self, item: OdometryMessage) -> Any:
        """The pose of the camera itself, and its velocity in its own frame."""

        def new(name: str, **fields) -> Any:
            return self._new(f"geometry_msgs/msg/{name}", **fields)

        def axes(name: str, values: np.ndarray) -> Any:
            return new(name, **dict(zip("xyzw", values.tolist(), strict=False)))

        orientation = axes("Quaternion", rotations.from_matrix(item.T_WC[:3, :3]))
        pose = new("Pose", position=axes("Point", item.T_WC[:3, 3]), orientation=orientation)
        twist = new("Twist", linear=axes("Vector3", item.twist_C[:3]), angular=axes("Vector3", item.twist_C[3:]))
        return self._new(
            ODOMETRY,
            header=new_header(self._new, item.stamp_ns, WORLD_FRAME_ID),
            child_frame_id=FRAME_ID,
            pose=new("PoseWithCovariance", pose=pose, covariance=item.pose_covariance.ravel()),
            twist=new("TwistWithCovariance", twist=twist, covariance=item.twist_covariance.ravel()),
        )


def _qos(topic: Topic) -> Qos:
    never = QosTime(9223372036, 854775807)  # rmw's infinite duration
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=topic.depth,
        reliability=topic.reliability,
        durability=QosDurability.VOLATILE,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )
