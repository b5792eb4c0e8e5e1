"""Messages ↔ arrays. Times are int64 ns."""

from __future__ import annotations

import array
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from event_camera_msgs.msg import EventPacket as EventPacketMsg
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header

from eventspd_ros.events.codecs.event_array import packet_from_event_array
from eventspd_ros.events.types import EventPacket
from eventspd_ros.inputs.keypoints import Keypoints
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from eventspd_ros.predictor import Answer

# Camera drivers publish best effort; a reliable subscriber would receive nothing (libcaer_driver#3).
EVENTS_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1000,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# A best-effort subscriber also hears reliable publishers.
CAMERA_INFO_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
# Deep, for a player's bursts: all of an odometry's poses are to come.
POSES_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
# Requests and answers must not be lost.
KEYPOINTS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


def time_to_ns(stamp: Time) -> int:
    """builtin_interfaces/Time → ns."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def ns_to_time(time_ns: int) -> Time:
    """ns → builtin_interfaces/Time, clamped to what its 32-bit seconds hold."""
    time_ns = min(max(int(time_ns), 0), 2**31 * 1_000_000_000 - 1)
    return Time(sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)


def packet_from_msg(msg: EventPacketMsg) -> EventPacket:
    """The packet, its bytes not copied."""
    return EventPacket(
        encoding=msg.encoding,
        width=msg.width,
        height=msg.height,
        payload=np.frombuffer(msg.events, np.uint8),
        seq=msg.seq,
        time_base_ns=msg.time_base,
        stamp_ns=time_to_ns(msg.header.stamp),
    )


def packet_from_bytes(raw: bytes) -> EventPacket:
    """A serialized EventPacket. ValueError, one line: the bytes are none."""
    try:
        return packet_from_msg(deserialize_message(raw, EventPacketMsg))
    except Exception as error:  # rclpy has a type of its own for each middleware
        raise ValueError(f"{len(raw)} bytes are no EventPacket ({type(error).__name__}); drop the message") from None


def message_class(name: str):
    """The Python class of "package/msg/Name", or None where it is not installed."""
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class WindowInput:
    """One kind of message that windows are made of, and its topic. Subscribe raw; parse(bytes) → what the intake takes,
    an EventPacket or an image, ValueError where they are none."""

    message_type: type
    parse: Callable[[bytes], Any]
    topic: str = "events"
    qos: QoSProfile = field(default_factory=lambda: EVENTS_QOS)


EVENT_TYPES = (
    "event_camera_msgs/msg/EventPacket",
    "dvs_msgs/msg/EventArray",
    "prophesee_event_msgs/msg/EventArray",
)


def event_input(name: str) -> WindowInput:
    """By the message's name, as EVENT_TYPES lists them. ValueError, one line: not known, or not installed."""
    if name not in EVENT_TYPES:
        raise ValueError(f"events of type {name!r} are not known; known are {', '.join(EVENT_TYPES)}")
    if name == EVENT_TYPES[0]:
        return WindowInput(EventPacketMsg, packet_from_bytes)
    package, _, message = name.split("/")
    try:
        return WindowInput(getattr(importlib.import_module(f"{package}.msg"), message), packet_from_event_array)
    except ImportError:
        raise ValueError(f"events of type {name}: build {package} into this workspace and source it again") from None


def keypoints_to_msg(keypoints: Keypoints, header: Header) -> KeypointArray:
    """The request as the message that answer_to_msg() takes."""
    u, v = np.ascontiguousarray(keypoints.uv_px.T)
    columns = {"id": array.array("Q", keypoints.id.tobytes())}
    columns |= {name: array.array("f", column.tobytes()) for name, column in (("u", u), ("v", v))}
    return KeypointArray(header=header, **columns)


def answer_to_msg(request: KeypointArray, answer: Answer, window_ns: tuple[int, int]) -> KeypointDepthArray:
    """The answer to a request, under its header; window_ns is in ROS time. A malformed request has len(id) points."""
    nan = array.array("f", [np.nan]) * len(request.id)
    whole = len(request.id) == len(request.u) == len(request.v)
    return KeypointDepthArray(
        header=request.header,
        window_start=ns_to_time(window_ns[0]),
        window_end=ns_to_time(window_ns[1]),
        id=request.id,
        u=request.u if whole else nan,
        v=request.v if whole else nan,
        depth=array.array("f", answer.depth_m.tobytes()),
        depth_stddev=array.array("f", answer.depth_stddev_m.tobytes()),
        status=array.array("B", answer.status.tobytes()),
        basis=array.array("B", answer.basis.tobytes()),
        log_scale_stddev=answer.log_scale_stddev,
    )
