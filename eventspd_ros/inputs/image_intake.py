"""Turns a camera's images into windows. No threads, no ROS.

An image is a window by itself, stamped in ROS time: there is no sensor clock to follow and nothing to wait for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventspd_ros.events.types import ImageWindow
from eventspd_ros.inputs.intake import Intake


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """image: uint8 (H, W, 3), RGB. stamp_ns: of its header, ROS time."""

    image: np.ndarray
    stamp_ns: int


class ImageIntake(Intake):
    """Makes each image a window. Images may come at any rate."""

    unit = "image"
    packets = 0

    def take(self, frame: ImageFrame, received_ns: int | None = None) -> list[ImageWindow]:
        try:
            if self._is_odd(*frame.image.shape[:2]) or not self._is_next(frame.stamp_ns):
                return []
            window = ImageWindow(frame.image, frame.stamp_ns, self.epoch)
        except ValueError as error:
            self.reject(f"image left out: {error}")
            return []
        self.packets += 1
        self.offset_ns = 0  # its stamps are ROS time
        return [window]

    def close_silent(self, now_ns: int) -> list[ImageWindow]:
        """None: no image waits to be closed."""
        return []

    def has_reached(self, t_ns: int) -> bool:
        """False: an image cannot be cut at a stamp."""
        return False

    def cut(self, end_ns: int) -> None:
        """None: an image cannot be cut at a stamp."""

    def _is_odd(self, height: int, width: int) -> bool:
        """Whether the image is left out because of its size. The third of another size in a row is taken, and the
        stream becomes that camera's."""
        if not self.height:
            self.begin(height, width)
        if (self.height, self.width) == (height, width):
            self._odd = None
            return False
        found, was = f"{width}x{height}", f"{self.width}x{self.height}"
        if not self._is_other_sensor((height, width), f"image left out: it is {found}, this stream is {was}"):
            return True
        self.begin(height, width)
        self._newest_stamp_ns = None
        self._sensor_changed(f"images changed from {was} to {found}")
        return False

    def _is_next(self, stamp_ns: int) -> bool:
        """False: the image has the stamp of the one before, and is rejected. An older one begins the stream anew (a bag
        loop)."""
        if stamp_ns == self._newest_stamp_ns:
            self.reject(f"image left out: its stamp, {stamp_ns} ns, is that of the one before; stamp every image")
            return False
        if self._newest_stamp_ns is not None and stamp_ns < self._newest_stamp_ns:
            self.forget("time_fell")
        self._newest_stamp_ns = stamp_ns
        return True
