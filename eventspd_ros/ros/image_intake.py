"""From a camera's images to windows: what intake.py is for events. No threads.

An image is a window of its own, stamped in ROS time: there is no sensor clock to follow and nothing to wait for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from eventspd_ros.events.types import ImageWindow
from eventspd_ros.inputs.intake import CLOCK_SLACK_NS, SENSOR_CHANGE_PACKETS
from eventspd_ros.predictor import Predictor
from eventspd_ros.ros.messages import WindowInput, time_to_ns
from eventspd_ros.ros.workers import Reporter

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


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """image: uint8 (H, W, 3), RGB. stamp_ns: of its header, ROS time."""

    image: np.ndarray
    stamp_ns: int


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
    try:
        msg = deserialize_message(raw, Image)
    except Exception as error:  # rclpy has a type of its own for each middleware
        raise ValueError(f"{len(raw)} bytes are no Image ({type(error).__name__}); drop the message") from None
    return ImageFrame(image_from_msg(msg), time_to_ns(msg.header.stamp))


IMAGE_INPUT = WindowInput(Image, frame_from_bytes, "image", IMAGES_QOS)


class ImageIntake:
    """One camera's predictor, and when all before an image is of the past; attributes and methods as of Intake."""

    unit = "image"
    decoder = filter = None  # of events

    def __init__(self, make_predictor: Callable[[int, int], Predictor], make_filter: object, reporter: Reporter):
        self._make_predictor, self._reporter = make_predictor, reporter
        self.predictor: Predictor | None = None
        self.resets: Counter[str] = Counter()
        self.packets_rejected = self.packets = 0
        self.last_error = ""
        self.offset_ns: int | None = None
        self._newest_ns: int | None = None
        self._odd: tuple[int, int] | None = None
        self._odd_images = 0

    def expect_sensor(self, height: int, width: int) -> None:
        """Build the predictor before the first image."""
        self.predictor = self._make_predictor(height, width)

    def take(self, frame: ImageFrame, received_ns: int | None = None) -> list[ImageWindow]:
        """The image as a window, whenever it came. One that cannot be is counted, reported and left out."""
        try:
            if self._is_odd(*frame.image.shape[:2]) or not self._is_next(frame.stamp_ns):
                return []
            window = self.predictor.image_window(frame.image, frame.stamp_ns)
        except ValueError as error:
            self.reject(f"image left out: {error}")
            return []
        self.packets += 1
        self.offset_ns = 0  # its stamps are ROS time
        return [window]

    def reject(self, text: str) -> None:
        """Count an image that is left out."""
        self.packets_rejected += 1
        self.last_error = text
        self._reporter.error("packet", text)

    def close_silent(self, now_ns: int) -> list[ImageWindow]:
        """No image waits to be closed."""
        return []

    def has_reached(self, t_ns: int) -> bool:
        """Images are not cut at a stamp."""
        return False

    def ros_clock_fell(self, now_ns: int) -> None:
        """The ROS clock jumped back to now_ns; nothing is lost where the images have followed already."""
        if self._newest_ns is not None and self._newest_ns > now_ns + CLOCK_SLACK_NS:
            self.forget("ros_clock_fell")

    def forget(self, cause: str) -> None:
        """Begin the stream anew, as before the first image."""
        self.resets[cause] += 1
        self.offset_ns = self._newest_ns = None
        if self.predictor is not None:
            self.predictor.reset()

    def _is_odd(self, height: int, width: int) -> bool:
        """Whether the image is of another size, and not yet the third such one."""
        if self.predictor is None:
            self.expect_sensor(height, width)
        if (self.predictor.height, self.predictor.width) == (height, width):
            self._odd = None
            return False
        self._odd_images = self._odd_images + 1 if self._odd == (height, width) else 1
        self._odd = (height, width)
        was = f"{self.predictor.width}x{self.predictor.height}"
        if self._odd_images < SENSOR_CHANGE_PACKETS:
            self.reject(f"image left out: it is {width}x{height}, this stream is {was}")
            return True
        self.expect_sensor(height, width)
        self.forget("sensor")
        self._reporter.error("sensor", f"images changed from {was} to {width}x{height}: stream reset")
        return False

    def _is_next(self, stamp_ns: int) -> bool:
        """Whether it is newer than the last one; one that is older begins the stream anew (a bag loop)."""
        if stamp_ns == self._newest_ns:
            self.reject(f"image left out: its stamp, {stamp_ns} ns, is that of the one before; stamp every image")
            return False
        if self._newest_ns is not None and stamp_ns < self._newest_ns:
            self.forget("time_fell")
        self._newest_ns = stamp_ns
        return True
