"""What the whole package means by events, a window of events (or a picture in its place) and a camera's packet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class EventArray:
    """Events of one sensor as a structure of arrays, each of shape (N,), in order of arrival.

    x, y: uint16, pixels; (0, 0) is the centre of the top-left pixel. p: uint8, 1 = brighter, 0 = darker.
    t_ns: int64, sensor clock. width, height: the sensor's size in pixels; every event lies inside it.
    """

    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    t_ns: np.ndarray
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.t_ns)


@dataclass(frozen=True, slots=True)
class EventWindow(EventArray):
    """The events with start_ns <= t_ns < end_ns, what one encode() consumes.

    epoch: grows whenever the stream begins anew (a bag loop, a restart, a reset); a memory that was carried over from a
    window of another epoch is void.
    """

    start_ns: int
    end_ns: int
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.t_ns)


@dataclass(frozen=True, slots=True)
class ImageWindow:
    """A picture, what one encode() of a model on images consumes: a window of the nanosecond in which it was taken.

    image: uint8 (H, W, 3), RGB, of the raw (distorted) sensor; pixel (0, 0) is the centre of the top-left pixel.
    epoch: as of an EventWindow.
    """

    image: np.ndarray
    start_ns: int
    epoch: int = 0

    def __post_init__(self):
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3 or not self.image.size:
            raise ValueError(f"image of {self.image.dtype} {self.image.shape}: expected uint8 (H, W, 3), RGB")

    @property
    def end_ns(self) -> int:
        return self.start_ns + 1

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]


@dataclass(frozen=True, slots=True)
class EventPacket:
    """A camera's packet as it travels: undecoded bytes and what is needed to decode them.

    The fields are those of event_camera_msgs/EventPacket. stamp_ns: header stamp, host arrival, ROS time.
    payload: uint8, (bytes,). time_base_ns: used by libcaer, libcaer_cmp and mono, 0 elsewhere.
    """

    encoding: str
    width: int
    height: int
    payload: np.ndarray
    seq: int = 0
    time_base_ns: int = 0
    stamp_ns: int = 0
