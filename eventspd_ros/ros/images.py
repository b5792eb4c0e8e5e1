"""Image messages of rclpy, to pictures for inputs/image_intake.py and from what is drawn."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from eventspd_ros.events.messages import image_values, new_image, time_to_ns
from eventspd_ros.inputs.image_intake import ImageFrame
from eventspd_ros.ros.messages import WindowInput, new_message, read_message
from eventspd_ros.text import one_line

# Only the newest are of use: an image is large, and one that waits is late.
IMAGES_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
# Bytes a value, and which values of a pixel are R, G and B; cv_bridge knows the rest (Bayer, YUV, …).
ENCODINGS = {
    "mono8": (1, 1, (0, 0, 0)),
    "8UC1": (1, 1, (0, 0, 0)),
    "mono16": (2, 1, (0, 0, 0)),
    "rgb8": (1, 3, (0, 1, 2)),
    "bgr8": (1, 3, (2, 1, 0)),
    "8UC3": (1, 3, (2, 1, 0)),
    "rgba8": (1, 4, (0, 1, 2)),
    "bgra8": (1, 4, (2, 1, 0)),
    "rgb16": (2, 3, (0, 1, 2)),
    "bgr16": (2, 3, (2, 1, 0)),
}
# Of these, those that name no colours.
UNNAMED = ("8UC1", "8UC3")


@cache
def cv_bridge() -> Any | None:
    """A CvBridge; None where cv_bridge is not installed (a ROS 2 from wheels has none), or was built for another NumPy
    or OpenCV than the virtual environment has."""
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(np.zeros((1, 1, 3), np.uint8), "rgb8"), "rgb8")
    except Exception:  # compiled for others it fails in ways of its own, and not before it is used
        return None
    return bridge


def image_from_msg(msg: Image) -> np.ndarray:
    """The picture, uint8 (H, W, 3), RGB; 16 bits scaled to 8. ValueError, one line: not to be converted.

    Through cv_bridge where it is there, but for what it does not read rightly: it makes no colours of encodings that
    name none, mixes up rows that end within a pixel, wants the last one padded too, and knows no big-endian values
    with NumPy 2.
    """
    bridge = cv_bridge()
    if msg.encoding not in ENCODINGS:
        return _through(bridge, msg)
    value_bytes, channels, order = ENCODINGS[msg.encoding]
    values = image_values(msg, f"u{value_bytes}", channels)
    has_whole_rows = msg.step % (channels * value_bytes) == 0 and len(msg.data) >= msg.height * msg.step
    if bridge is not None and has_whole_rows and msg.encoding not in UNNAMED and not msg.is_bigendian:
        return _through(bridge, msg)
    if value_bytes == 2:
        values = (values.astype(np.uint32) + 128) // 257  # 65535 is 255
    return values[..., list(order)].astype(np.uint8)


def _through(bridge: Any | None, msg: Image) -> np.ndarray:
    if bridge is None:
        raise ValueError(
            f"image encoding {msg.encoding!r} needs cv_bridge, which is not installed, or not for this NumPy and "
            f"OpenCV: apt install ros-$ROS_DISTRO-cv-bridge, or publish one of {', '.join(ENCODINGS)}"
        )
    try:
        return np.asarray(bridge.imgmsg_to_cv2(msg, "rgb8"))
    except Exception as error:  # cv_bridge and OpenCV have types of their own
        said = f"image encoding {msg.encoding!r}: cv_bridge cannot make rgb8 of it: {one_line(error)}"
        raise ValueError(said) from None


def image_to_msg(header: Header, pixels: np.ndarray, encoding: str) -> Image:
    """An image message of an array (H, W) or (H, W, C), through cv_bridge where it is there."""
    bridge = cv_bridge()
    if bridge is None:
        return new_image(new_message, header, pixels, encoding)
    return bridge.cv2_to_imgmsg(pixels, encoding, header)


def frame_from_bytes(raw: bytes) -> ImageFrame:
    """A serialized sensor_msgs/Image. ValueError, one line: the bytes are none, or its encoding is not known."""
    msg = read_message(raw, Image)
    return ImageFrame(image_from_msg(msg), time_to_ns(msg.header.stamp))


IMAGE_INPUT = WindowInput(Image, frame_from_bytes, "image", IMAGES_QOS)
