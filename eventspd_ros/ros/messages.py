"""rclpy's side of the messages: their classes, their bytes, how they are made, their quality of service.

What they hold is events/messages.py's and inputs/'s to say.
"""

from __future__ import annotations

import array
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from eventspd_ros.events.messages import EVENT_TYPES, new_time, packet_parser

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


# array.array's codes of what arrays in messages are of.
TYPECODES = {"uint8": "B", "uint64": "Q", "float32": "f"}


def message_class(name: str) -> Any:
    """The Python class of "package/msg/Name", or None where it is not installed."""
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError):
        return None


def new_message(name: str, /, **fields) -> Any:
    """A message of that type, which is installed; NumPy arrays become those of rclpy, which take no other fast."""
    arrays = {
        field: array.array(TYPECODES[value.dtype.name], value.tobytes())
        for field, value in fields.items()
        if isinstance(value, np.ndarray)
    }
    return message_class(name)(**fields | arrays)


def ns_to_time(time_ns: int) -> Time:
    """ns → builtin_interfaces/Time, clamped to what its 32-bit seconds hold."""
    return new_time(new_message, time_ns)


def read_message(raw: bytes, message_type: type) -> Any:
    """A serialized message. ValueError, one line: the bytes are none."""
    try:
        return deserialize_message(raw, message_type)
    except Exception as error:  # rclpy has a type of its own for each middleware
        kind = message_type.__name__
        raise ValueError(f"{len(raw)} bytes are no {kind} ({type(error).__name__}); drop the message") from None


@dataclass(frozen=True, slots=True)
class WindowInput:
    """One kind of message that windows are made of, and its topic. Subscribe raw; parse(bytes) → what the intake takes,
    an EventPacket or an image, ValueError where they are none."""

    message_type: type
    parse: Callable[[bytes], Any]
    topic: str = "events"
    qos: QoSProfile = field(default_factory=lambda: EVENTS_QOS)


def event_input(name: str) -> WindowInput:
    """By the message's name, as EVENT_TYPES lists them. ValueError, one line: not known, or not installed."""
    if name not in EVENT_TYPES:
        raise ValueError(f"events of type {name!r} are not known; known are {', '.join(EVENT_TYPES)}")
    kind = message_class(name)
    if kind is None:
        package = name.partition("/")[0]
        raise ValueError(f"events of type {name}: build {package} into this workspace and source it again")
    return WindowInput(kind, packet_parser(name, lambda raw, _: read_message(raw, kind)))
