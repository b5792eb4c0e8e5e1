"""A simulated recording as a rosbag2: event packets, keypoints, camera_info, exact depth and odometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros import rotations
from eventspd_ros.events.files.rosbag import EVENT_PACKET, KEYPOINT_ARRAY, bag_typestore
from eventspd_ros.events.types import EventPacket
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.odometry import OdometryMessage
from eventspd_ros.simulation.stream import CHUNK_NS, Observation, SimulationConfig, World, simulate_recording
from eventspd_ros.whole import whole_folder

FRAME_ID = "event_camera_optical_frame"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
IMAGE = "sensor_msgs/msg/Image"
ODOMETRY = "nav_msgs/msg/Odometry"
WORLD_FRAME_ID = "world"  # y points down, like the camera's
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


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
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path}: exists already; remove it or name another folder")
    if storage not in STORAGES:
        raise ValueError(f"storage {storage!r}: must be one of {', '.join(STORAGES)}")
    world = world or World.of(config)
    # The storage file is named after the folder, which has its final name from the start.
    with whole_folder(path) as unfinished, Writer(unfinished, version=9, storage_plugin=STORAGES[storage]) as writer:
        _write_messages(writer, config, world, progress or (lambda chunks: None))
    return path


def _write_messages(writer: Writer, config: SimulationConfig, world: World, progress: Callable[[int], object]) -> None:
    make = MessageMaker(config.camera)
    connections = {
        topic.name: writer.add_connection(
            topic.name, topic.msgtype, typestore=make.typestore, offered_qos_profiles=[_qos(topic)]
        )
        for topic in TOPICS
    }

    def write(name: str, arrival_ns: int, message: Any) -> None:
        connection = connections[name]
        writer.write(connection, arrival_ns, make.typestore.serialize_cdr(message, connection.msgtype))

    # Once ahead of everything, so that whoever plays the bag knows the focal length when the first keypoints come.
    write(CAMERA_INFO_TOPIC, config.start_ns, make.camera_info(config.start_ns))
    done = 0
    for item in simulate_recording(config, world):
        for name, message in make.messages(item.message):
            write(name, item.arrival_ns, message)
        chunks = (item.arrival_ns - config.start_ns) // CHUNK_NS
        progress(chunks - done)
        done = chunks
    progress(config.chunks - done)


class MessageMaker:
    """Turns what the simulation yields into ROS messages of a rosbags typestore."""

    def __init__(self, camera: PinholeCamera) -> None:
        self.camera = camera
        self.typestore = bag_typestore()

    def messages(self, item: EventPacket | Observation | OdometryMessage) -> list[tuple[str, Any]]:
        """(topic, message) pairs."""
        if isinstance(item, EventPacket):
            return [(EVENTS_TOPIC, self._event_packet(item))]
        if isinstance(item, OdometryMessage):
            return [(ODOMETRY_TOPIC, self._odometry(item))]
        return [
            (CAMERA_INFO_TOPIC, self.camera_info(item.stamp_ns)),
            (DEPTH_TOPIC, self._depth(item)),
            (KEYPOINTS_TOPIC, self._keypoints(item)),
        ]

    def _new(self, msgtype: str, stamp_ns: int, frame_id: str = FRAME_ID, **fields) -> Any:
        types = self.typestore.types
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return types[msgtype](header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id), **fields)

    def _event_packet(self, packet: EventPacket) -> Any:
        return self._new(
            EVENT_PACKET,
            packet.stamp_ns,
            height=packet.height,
            width=packet.width,
            seq=packet.seq,
            time_base=packet.time_base_ns,
            encoding=packet.encoding,
            is_bigendian=False,
            events=packet.payload,
        )

    def camera_info(self, stamp_ns: int) -> Any:
        """The intrinsics; p describes the image without distortion, at the same focal length."""
        camera = self.camera
        k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float64)
        region = self.typestore.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        return self._new(
            CAMERA_INFO,
            stamp_ns,
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.array([*camera.distortion, 0.0]),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([k, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def _odometry(self, item: OdometryMessage) -> Any:
        """The pose of the camera itself, and its velocity in its own frame."""

        def new(name: str, *values) -> Any:
            return self.typestore.types[f"geometry_msgs/msg/{name}"](*values)

        orientation = new("Quaternion", *rotations.from_matrix(item.T_WC[:3, :3]).tolist())
        pose = new("Pose", new("Point", *item.T_WC[:3, 3].tolist()), orientation)
        linear, angular = (new("Vector3", *part.tolist()) for part in (item.twist_C[:3], item.twist_C[3:]))
        return self._new(
            ODOMETRY,
            item.stamp_ns,
            WORLD_FRAME_ID,
            child_frame_id=FRAME_ID,
            pose=new("PoseWithCovariance", pose, item.pose_covariance.ravel()),
            twist=new("TwistWithCovariance", new("Twist", linear, angular), item.twist_covariance.ravel()),
        )

    def _keypoints(self, item: Observation) -> Any:
        u, v = np.ascontiguousarray(item.keypoints.uv_px.T)
        return self._new(KEYPOINT_ARRAY, item.stamp_ns, id=item.keypoints.ids, u=u, v=v)

    def _depth(self, item: Observation) -> Any:
        height, width = item.depth_m.shape
        data = np.ascontiguousarray(item.depth_m, "<f4").view(np.uint8).ravel()
        layout = {"height": height, "width": width, "encoding": "32FC1", "is_bigendian": 0, "step": 4 * width}
        return self._new(IMAGE, item.stamp_ns, **layout, data=data)


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
