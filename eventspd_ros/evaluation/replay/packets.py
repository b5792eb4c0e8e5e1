"""A bag's event packets as the node takes them in: the same intake, so the same clock, windows and new beginnings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.events.messages import packet_parser
from eventspd_ros.events.types import EventWindow
from eventspd_ros.inputs.event_intake import EventIntake


class StderrReporter:
    """Says a fault of each kind once."""

    def __init__(self):
        self._said: set[str] = set()

    def error(self, cause: str, text: str) -> None:
        self.once(cause, text)

    def once(self, cause: str, text: str) -> None:
        if cause not in self._said:
            self._said.add(cause)
            print(text, file=sys.stderr)


def readable(bag: Bag, topics: list[str]) -> Iterator[tuple[str, int, bytes]]:
    """The bag's messages as far as they can be read; bag.damage says what is wrong with the rest."""
    messages = bag.messages(topics)
    while True:
        try:
            item = next(messages, None)
        except ValueError:  # after the last one that is whole
            return
        if item is None:
            return
        yield item


class PacketReader:
    """An EventIntake of one sensor, (height, width), fed with serialized messages of the events topic.

    config: of the model whose windows are meant. history_ns: how far behind the newest event windows may be cut.
    on_begin(epoch): called whenever the stream begins anew. support_filter_ms: as of EventIntake.
    """

    def __init__(
        self,
        bag: Bag,
        msgtype: str,
        config,
        sensor_hw: tuple[int, int],
        history_ns: int,
        on_begin: Callable[[int], object] = lambda epoch: None,
        support_filter_ms: float = 0.0,
    ):
        self._parse, self._sensor_hw, self._tell = packet_parser(msgtype, bag.deserialize), sensor_hw, on_begin
        self.complaints = StderrReporter()
        held = {"history_ns": history_ns, "support_filter_ms": support_filter_ms}
        self.intake = EventIntake(config, self._on_begin, self.complaints, **held)
        self.intake.begin(*sensor_hw)

    def _on_begin(self, height: int, width: int, epoch: int) -> None:
        if (height, width) != self._sensor_hw:
            was = "{1}x{0}".format(*self._sensor_hw)
            raise ValueError(f"the sensor changes from {was} to {width}x{height} px; replay such a bag in two parts")
        self._tell(epoch)

    def take(self, data: bytes) -> list[EventWindow]:
        """The windows that a message closes; one that cannot be read is counted and left out."""
        try:
            packet = self._parse(data)
        except ValueError as error:
            self.intake.reject(f"event packet left out: {error}")
            return []
        return self.intake.take(packet)

    @property
    def reached_ns(self) -> int | None:
        """ROS time up to which all events have come."""
        newest_ns, offset_ns = self.intake.newest_ns, self.intake.offset_ns
        return None if newest_ns is None or offset_ns is None else newest_ns + offset_ns

    def has_reached(self, stamp_ns: int) -> bool:
        """Whether all events before that ROS time have come."""
        return self.intake.offset_ns is not None and self.intake.has_reached(stamp_ns - self.intake.offset_ns)

    def window_before(self, stamp_ns: int) -> EventWindow | None:
        """The window that ends at that ROS time; None where it has no events, or they were let go."""
        if not self.has_reached(stamp_ns):
            return None
        return self.intake.cut(stamp_ns - self.intake.offset_ns)
