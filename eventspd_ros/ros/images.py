"""Image messages → pictures, for inputs/image_intake.py."""

from __future__ import annotations

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.inputs.image_intake import ImageFrame
from eventspd_ros.ros.messages import WindowInput, read_message

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


def image_from_msg(msg: Image) -> np.ndarray:
    """The picture, uint8 (H, W, 3), RGB; of 16 bits the upper 8. ValueError, one line: not to be converted."""
    if msg.encoding not in ENCODINGS:
        return _through_cv_bridge(msg)
    value_bytes, channels, order = ENCODINGS[msg.encoding]
    row_bytes = msg.width * channels * value_bytes
    if not row_bytes or not msg.height or msg.step < row_bytes or len(msg.data) < msg.step * msg.height:
        raise ValueError(
            f"{msg.encoding} image of {msg.width}x{msg.height} px, step {msg.step}: its {len(msg.data)} bytes do not "
            "hold it"
        )
    rows = np.frombuffer(msg.data, np.uint8)[: msg.step * msg.height].reshape(msg.height, msg.step)[:, :row_bytes]
    values = rows.reshape(msg.height, msg.width, channels, value_bytes)
    upper = 0 if msg.is_bigendian else value_bytes - 1
    return values[..., upper][..., list(order)]


def _through_cv_bridge(msg: Image) -> np.ndarray:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise ValueError(
            f"image encoding {msg.encoding!r} needs cv_bridge, which is not installed: apt install "
            f"ros-$ROS_DISTRO-cv-bridge, or publish one of {', '.join(ENCODINGS)}"
        ) from None
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(msg, "rgb8"))
    except Exception as error:  # cv_bridge and OpenCV have types of their own
        raise ValueError(f"image encoding {msg.encoding!r}: cv_bridge cannot make rgb8 of it: {error}") from None


def frame_from_bytes(raw: bytes) -> ImageFrame:
    """A serialized sensor_msgs/Image. ValueError, one line: the bytes are none, or its encoding is not known."""
    msg = read_message(raw, Image)
    return ImageFrame(image_from_msg(msg), time_to_ns(msg.header.stamp))


IMAGE_INPUT = WindowInput(Image, frame_from_bytes, "image", IMAGES_QOS)
