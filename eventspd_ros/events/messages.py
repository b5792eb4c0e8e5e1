"""ROS messages to and from events, images and keypoints, whichever library holds them; no ROS is needed.

The messages of rclpy and of rosbags have the same fields under the same names. What differs is how one is made: `new`,
a function of the type's name and its fields with NumPy arrays for arrays, is ros.messages.new_message for the one and
BagWriter.new for the other. Times are int64 ns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eventspd_ros.events.codecs.event_array import packet_from_event_array
from eventspd_ros.events.types import EventPacket
from eventspd_ros.nanoseconds import NS_PER_S

EVENT_PACKET = "event_camera_msgs/msg/EventPacket"
EVENT_ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
EVENT_TYPES = (EVENT_PACKET, *EVENT_ARRAYS)
KEYPOINT_ARRAY, KEYPOINT_DEPTH_ARRAY = "eventspd_ros/msg/KeypointArray", "eventspd_ros/msg/KeypointDepthArray"
CAMERA_INFO, IMAGE, POINT_CLOUD2 = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2"
POINT_FIELD = "sensor_msgs/msg/PointField"
HEADER, TIME = "std_msgs/msg/Header", "builtin_interfaces/msg/Time"
# Of a Time's 32-bit seconds.
END_OF_TIME_NS = 2**31 * NS_PER_S

New = Callable[..., Any]


def time_to_ns(stamp) -> int:
    """builtin_interfaces/Time → ns."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def new_time(new: New, time_ns: int) -> Any:
    """ns → builtin_interfaces/Time, clamped to what its seconds hold."""
    sec, nanosec = divmod(min(max(int(time_ns), 0), END_OF_TIME_NS - 1), NS_PER_S)
    return new(TIME, sec=sec, nanosec=nanosec)


def new_header(new: New, stamp_ns: int, frame_id: str = "") -> Any:
    return new(HEADER, stamp=new_time(new, stamp_ns), frame_id=frame_id)


def packet_from_message(message) -> EventPacket:
    """The packet of an event_camera_msgs/EventPacket, its bytes not copied."""
    return EventPacket(
        encoding=message.encoding,
        width=message.width,
        height=message.height,
        payload=np.frombuffer(message.events, np.uint8),
        seq=message.seq,
        time_base_ns=message.time_base,
        stamp_ns=time_to_ns(message.header.stamp),
    )


def new_event_packet(new: New, packet: EventPacket, frame_id: str = "") -> Any:
    """The packet as a driver publishes it."""
    return new(
        EVENT_PACKET,
        header=new_header(new, packet.stamp_ns, frame_id),
        height=packet.height,
        width=packet.width,
        seq=packet.seq,
        time_base=packet.time_base_ns,
        encoding=packet.encoding,
        is_bigendian=False,
        events=packet.payload,
    )


def packet_parser(msgtype: str, deserialize: Callable[[bytes, str], Any]) -> Callable[[bytes], EventPacket]:
    """From a serialized message of one of EVENT_TYPES to its packet; ValueError, one line, where the bytes are none.

    deserialize(bytes, type): an EventPacket as an object, with the same error. An EventArray is read as it is.
    """
    if msgtype == EVENT_PACKET:
        return lambda data: packet_from_message(deserialize(data, msgtype))
    return packet_from_event_array


def new_image(new: New, header, pixels: np.ndarray, encoding: str) -> Any:
    """A sensor_msgs/Image of an array (H, W) or (H, W, C)."""
    height, width = pixels.shape[:2]
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return new(
        IMAGE,
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.nbytes // height,
        data=little.reshape(-1).view(np.uint8),
    )


def image_values(message, kind: str, channels: int = 1) -> np.ndarray:
    """The values of a sensor_msgs/Image's pixels, (H, W, C), not copied. kind: u1, u2 or f4.

    ValueError, one line: its bytes do not hold it.
    """
    values, data = np.dtype(f"{'>' if message.is_bigendian else '<'}{kind}"), np.frombuffer(message.data, np.uint8)
    height, width, step, pixel_bytes = message.height, message.width, message.step, channels * values.itemsize
    if not height or not width or step < width * pixel_bytes or len(data) < (height - 1) * step + width * pixel_bytes:
        raise ValueError(
            f"{message.encoding} image of {width}x{height} px, step {step}: its {len(data)} bytes do not hold it"
        )
    return np.ndarray((height, width, channels), values, data, 0, (step, pixel_bytes, values.itemsize))


def new_keypoints(new: New, header, ids: np.ndarray, uv_px: np.ndarray) -> Any:
    """A KeypointArray of ids (K,) at pixels (K, 2)."""
    u, v = np.ascontiguousarray(uv_px.T, np.float32)
    return new(KEYPOINT_ARRAY, header=header, id=np.asarray(ids, np.uint64), u=u, v=v)
