"""What the whole package means by events, a window of events (or a picture in its place) and a camera's packet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# More pixels than any event camera has; what claims more is corrupt, not a sensor to allocate for.
MAX_SENSOR_PIXELS = 2048 * 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPitch:
    """Cells of n×n pixels in the place of a sensor's pixels (pitch.py).

    height, width: of the picture in cells, with the empty rows of it; top: how many of them are above.
    """

    n: int
    sensor_height: int
    sensor_width: int
    height: int
    width: int
    top: int = 0

    @property
    def sensor_hw(self) -> tuple[int, int]:
        return self.sensor_height, self.sensor_width

    def to_cells(self, uv_px):
        """Pixels of the sensor (..., 2), an array or a tensor, to those of the picture in cells; a pixel's centre is
        whole in both."""
        cells = (uv_px + 0.5) / self.n - 0.5
        cells[..., 1] += self.top
        return cells

    def to_pixels(self, uv_cells):
        """The inverse of to_cells()."""
        uv_px = (uv_cells + 0.5) * self.n - 0.5
        uv_px[..., 1] -= self.n * self.top
        return uv_px

    def to_sensor(self, image: np.ndarray) -> np.ndarray:
        """A picture in cells (height, width, …) at the sensor's size: each cell n×n pixels."""
        full = image[self.top :].repeat(self.n, axis=0).repeat(self.n, axis=1)
        return full[: self.sensor_height, : self.sensor_width]


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

    pitch: of a model that sees cells in the place of pixels; x, y, width and height are then of cells. epoch:
    grows whenever the stream begins anew (a bag loop, a restart, a reset); a memory that was carried over from a window
    of another epoch is void.
    """

    start_ns: int
    end_ns: int
    epoch: int = 0
    pitch: PixelPitch | None = None

    def __len__(self) -> int:
        return len(self.t_ns)

    @property
    def sensor_hw(self) -> tuple[int, int]:
        """Of the sensor, px."""
        return (self.height, self.width) if self.pitch is None else self.pitch.sensor_hw


@dataclass(frozen=True, slots=True)
class ImageWindow:
    """A picture, what one encode() of a model on images consumes: a window of the nanosecond in which it was taken.

    image: uint8 (H, W, 3), RGB, of the raw (distorted) sensor; pixel (0, 0) is the centre of the top-left pixel.
    epoch: as of an EventWindow.
    """

    image: np.ndarray
    start_ns: int
    epoch: int = 0
    pitch = None

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

    @property
    def sensor_hw(self) -> tuple[int, int]:
        return self.height, self.width


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
