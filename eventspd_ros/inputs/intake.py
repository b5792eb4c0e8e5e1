"""An intake turns one camera's messages into windows and decides when a stream begins anew. No threads, no ROS.

There are two: event_intake.py and image_intake.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np

from eventspd_ros.events.codecs import Decoder
from eventspd_ros.events.hot_pixels import HotPixelFilter
from eventspd_ros.events.support import SupportFilter
from eventspd_ros.events.types import EventWindow, ImageWindow

# After the ROS clock jumped back, stamps that are at most this far ahead of it belong to the new time.
CLOCK_SLACK_NS = 200_000_000
# So many messages of another sensor in a row mean that the sensor has changed; fewer are rejected.
SENSOR_CHANGE_MESSAGES = 3


class Reports(Protocol):
    """Where faults are told."""

    def error(self, cause: str, text: str) -> None:
        """cause: a word for faults of one kind; text: one line."""

    def once(self, cause: str, text: str) -> None:
        """The same, said a single time."""


class EventListener(Protocol):
    """Gets every event, not only windows of them. MotionDepth of motion/depth_from_motion.py is one."""

    def add(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, t_ns: np.ndarray) -> None:
        """Events (n,) in order of time, sensor clock."""

    def advance_to(self, t_ns: int) -> None:
        """No event before t_ns will come any more."""


class Intake(ABC):
    """Turns one camera's messages into windows: what the intakes of events and of images share.

    epoch: number of the current stream, which every window carries; it grows whenever the stream begins anew.
    resets: how often the stream began anew, by cause.
    height, width: size of the sensor, 0 before it is known.
    offset_ns: ROS time minus sensor time, None before the first message. Other threads may read it.
    packets_rejected: messages that could not be used. packets_out_of_turn: messages left out because they, or later
        ones, had come already.
    history_ns: how long events are held for cut(). May be changed.
    listener: gets each event once, before any window of it and after on_begin() of its epoch, as views of the buffer
        that it must not keep. May be changed.
    """

    unit: str
    decoder: Decoder | None = None
    filter: HotPixelFilter | None = None
    listener: EventListener | None = None
    history_ns = packets_out_of_turn = 0

    def __init__(self, on_begin: Callable[[int, int, int], object], reporter: Reports):
        """on_begin(height, width, epoch) is called whenever a stream begins, before anything of it is handed on. It may
        raise ValueError to refuse a sensor of that size."""
        self._on_begin, self._reporter = on_begin, reporter
        self.epoch = self.height = self.width = 0
        self.offset_ns: int | None = None
        self.resets: Counter[str] = Counter()
        self.packets_rejected = 0
        self.last_error = ""
        self._newest_stamp_ns: int | None = None
        self._odd: Hashable = None
        self._odd_messages = 0

    @abstractmethod
    def take(self, message: Any, received_ns: int | None = None) -> list[EventWindow] | list[ImageWindow]:
        """Take one message and return the windows that it closes.

        A message that cannot be used is counted, reported and left out.
        received_ns: when the message came, by the clock of close_silent(); None: at its stamp.
        """

    @abstractmethod
    def close_silent(self, now_ns: int) -> list[EventWindow] | list[ImageWindow]:
        """The windows that ended before now (ROS time), if no message has come for a while and the clocks agree."""

    @abstractmethod
    def has_reached(self, t_ns: int) -> bool:
        """Whether all events before t_ns (sensor clock) have come."""

    @abstractmethod
    def cut(self, end_ns: int) -> EventWindow | None:
        """An extra window that ends at end_ns (sensor clock); None where there is none. First wait until
        has_reached(end_ns)."""

    @property
    @abstractmethod
    def packets(self) -> int:
        """How many messages were taken."""

    @property
    def windows_dropped(self) -> int:
        """How many windows were given up before they closed."""
        return 0

    @property
    def support(self) -> SupportFilter | None:
        """The filter of lone events, None where there is none."""
        return None

    @property
    def newest_stamp_ns(self) -> int | None:
        """The stamp of the newest message, None before the first."""
        return self._newest_stamp_ns

    def begin(self, height: int, width: int) -> None:
        """Begin a stream of a sensor of that size. It may be called before the first message, to prepare for it.
        ValueError: the sensor is refused, and all stays as it was."""
        self._on_begin(height, width, self.epoch + 1)
        self.epoch += 1
        self.height, self.width = height, width
        self.offset_ns = None

    def forget(self, cause: str) -> None:
        """Begin the stream anew, as if no message had come yet."""
        self._newest_stamp_ns = None
        self._begin_again(cause)

    def ros_clock_fell(self, now_ns: int) -> None:
        """Say that the ROS clock jumped back to now_ns. The stream begins anew, unless its stamps jumped already."""
        if self._newest_stamp_ns is not None and self._newest_stamp_ns > now_ns + CLOCK_SLACK_NS:
            self.forget("ros_clock_fell")

    def reject(self, text: str) -> None:
        """Count a message that is left out."""
        self.packets_rejected += 1
        self.last_error = text
        self._reporter.error("packet", text)

    def _begin_again(self, cause: str) -> None:
        self.resets[cause] += 1
        self.offset_ns = None  # before begin(): no request may meet the old offset with the new stream
        if self.height:
            self.begin(self.height, self.width)

    def _is_other_sensor(self, kind: Hashable, text: str) -> bool:
        """Count a message whose kind is not the stream's. True: enough of that kind came in a row to be another sensor.
        False: the message is rejected, for the reason in text."""
        self._odd_messages = self._odd_messages + 1 if kind == self._odd else 1
        self._odd = kind
        if self._odd_messages >= SENSOR_CHANGE_MESSAGES:
            return True
        self.reject(text)
        return False

    def _sensor_changed(self, text: str) -> None:
        self.resets["sensor"] += 1
        self._reporter.error("sensor", f"{text}: stream reset")
