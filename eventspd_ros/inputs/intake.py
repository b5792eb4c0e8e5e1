"""What an intake is: a camera's messages in, windows out, and when all before is of the past. No threads, no ROS.

event_intake.py and image_intake.py are the two there are.
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

# Stamps may be this far ahead of a ROS clock that fell, and still belong to its new time.
CLOCK_SLACK_NS = 200_000_000
# One odd message is not another sensor.
SENSOR_CHANGE_MESSAGES = 3


class Reports(Protocol):
    """Where faults are told."""

    def error(self, cause: str, text: str) -> None:
        """cause: a word for faults of one kind; text: one line."""

    def once(self, cause: str, text: str) -> None:
        """The same, said a single time."""


class EventListener(Protocol):
    """Who is told every event, not only windows of them; motion/depth_from_motion.py has one."""

    def add(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, t_ns: np.ndarray) -> None:
        """Events (n,) in order of time, sensor clock."""

    def advance_to(self, t_ns: int) -> None:
        """No event before t_ns will come any more."""


class Intake(ABC):
    """One camera's messages → windows; what those of events and of images share.

    epoch: of the windows handed on from now on; it grows whenever the stream begins anew. resets: how often that was,
    by cause. height, width: of the sensor, 0 before it is known. offset_ns: ROS time minus sensor time, None before the
    first message; for other threads to read. packets: messages taken. packets_rejected: that could not be.
    packets_out_of_turn: left out as those of later had come already.
    windows_dropped: given up before they closed. history_ns: how long events are held for cut(). listener: is told each
    event once, ahead of its windows and after on_begin() of its epoch; views that it must not keep. Both may change.
    """

    unit: str
    decoder: Decoder | None = None
    filter: HotPixelFilter | None = None
    support: SupportFilter | None = None
    listener: EventListener | None = None
    packets = windows_dropped = history_ns = packets_out_of_turn = 0

    def __init__(self, on_begin: Callable[[int, int, int], object], reporter: Reports):
        """on_begin(height, width, epoch): called whenever the stream begins anew, ahead of all that is new. Its
        ValueError refuses a sensor of that size."""
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
        """The windows a message closes. One that is no good is counted, reported and left out.

        received_ns: when it came, by the clock of close_silent(); None: at its stamp.
        """

    @abstractmethod
    def close_silent(self, now_ns: int) -> list[EventWindow] | list[ImageWindow]:
        """The windows that ended before now (ROS time), where nothing came for a while but the clocks agree."""

    @abstractmethod
    def has_reached(self, t_ns: int) -> bool:
        """Whether all before t_ns (sensor clock) has come."""

    @abstractmethod
    def cut(self, end_ns: int) -> EventWindow | None:
        """The window that ends at end_ns (sensor clock), whatever windows close when; None where there is none. Wait
        until has_reached(end_ns)."""

    @property
    def newest_stamp_ns(self) -> int | None:
        """Of the newest message, None before the first."""
        return self._newest_stamp_ns

    def begin(self, height: int, width: int) -> None:
        """Begin a stream of a sensor of that size; also before the first message, which need not wait for it then.
        ValueError: it is refused, and all stays as it was."""
        self._on_begin(height, width, self.epoch + 1)
        self.epoch += 1
        self.height, self.width = height, width
        self.offset_ns = None

    def forget(self, cause: str) -> None:
        """Begin the stream anew, as before the first message."""
        self._newest_stamp_ns = None
        self._begin_again(cause)

    def ros_clock_fell(self, now_ns: int) -> None:
        """The ROS clock jumped back to now_ns; nothing is lost where the messages have followed already."""
        if self._newest_stamp_ns is not None and self._newest_stamp_ns > now_ns + CLOCK_SLACK_NS:
            self.forget("ros_clock_fell")

    def reject(self, text: str) -> None:
        """Count a message that is left out."""
        self.packets_rejected += 1
        self.last_error = text
        self._reporter.error("packet", text)

    def _begin_again(self, cause: str) -> None:
        self.resets[cause] += 1
        self.offset_ns = None  # first: no request may meet the old offset and a stream that has begun
        if self.height:
            self.begin(self.height, self.width)

    def _is_other_sensor(self, kind: Hashable, text: str) -> bool:
        """Whether messages of that kind, which is not the stream's, came often enough in a row; if not, it is rejected
        with that text."""
        self._odd_messages = self._odd_messages + 1 if kind == self._odd else 1
        self._odd = kind
        if self._odd_messages >= SENSOR_CHANGE_MESSAGES:
            return True
        self.reject(text)
        return False

    def _sensor_changed(self, text: str) -> None:
        self.resets["sensor"] += 1
        self._reporter.error("sensor", f"{text}: stream reset")
