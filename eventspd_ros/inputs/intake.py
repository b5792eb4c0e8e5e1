"""From a camera's packets to windows, and when all before a packet is of the past. No threads, no ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from eventspd_ros.events.clock import SensorClock
from eventspd_ros.events.codecs import Decoder, make_decoder
from eventspd_ros.events.hot_pixels import HotPixelFilter
from eventspd_ros.events.types import EventPacket, EventWindow
from eventspd_ros.predictor import Predictor

# A packet may come this much later after its stamp than the one before; after MAX_SILENCE_NS nothing is left to close.
SILENCE_NS = 50_000_000
MAX_SILENCE_NS = 1_000_000_000
# Packets that come this long after their stamps are of another clock: a bag played without sim time.
MAX_LAG_NS = 1_000_000_000
# Packets missing for longer, or sensor time that leaps further ahead of the stamps: another scene may have begun.
LEAP_NS = 1_000_000_000
# Stamps may be this far ahead of a ROS clock that fell, and still belong to its new time.
CLOCK_SLACK_NS = 200_000_000
# One odd packet is not another sensor.
SENSOR_CHANGE_PACKETS = 3


class Reports(Protocol):
    """Where faults are told."""

    def error(self, cause: str, text: str) -> None:
        """cause: a word for faults of one kind; text: one line."""


class Intake:
    """One camera's decoder, clock, filter and predictor.

    make_predictor(height, width), make_filter(height, width): built when the first packet tells the sensor's size.
    resets: how often the stream began anew, by cause. packets_rejected: that could not be decoded.
    """

    unit = "event packet"

    def __init__(
        self,
        make_predictor: Callable[[int, int], Predictor],
        make_filter: Callable[[int, int], HotPixelFilter | None],
        reporter: Reports,
    ):
        self._make_predictor, self._make_filter, self._reporter = make_predictor, make_filter, reporter
        self.decoder: Decoder | None = None
        self.predictor: Predictor | None = None
        self.filter: HotPixelFilter | None = None
        self.clock = SensorClock()
        self.resets: Counter[str] = Counter()
        self.packets_rejected = 0
        self.last_error = ""
        self.offset_ns: int | None = None  # the clock's, for other threads to read
        self._odd: tuple | None = None
        self._odd_packets = 0
        self._newest_stamp_ns = 0
        self._lag_ns = 0  # from the newest packet's stamp to its arrival
        self._previous: tuple[int, int] | None = None  # stamp and first event of the last packet with events
        self._seq: int | None = None
        self._closed_until_ns: int | None = None

    def expect_sensor(self, height: int, width: int) -> None:
        """Build the predictor before the first packet, which need not wait for it then. ValueError: there is no such
        sensor, or the hot pixels are of another; all stays as it was."""
        hot_pixels = self._make_filter(height, width)
        self.predictor, self.filter = self._make_predictor(height, width), hot_pixels

    def take(self, packet: EventPacket, received_ns: int | None = None) -> list[EventWindow]:
        """The windows a packet closes. A packet that cannot be decoded is counted, reported and left out.

        received_ns: when it came, by the clock of close_silent(); None: at its stamp.
        """
        try:
            if self._is_odd(packet):
                return []
            self._follow(packet)
            self._lag_ns = 0 if received_ns is None else max(0, received_ns - packet.stamp_ns)
            return self._decode(packet)
        except ValueError as error:
            self.reject(f"event packet {packet.seq} left out: {error}")
            return []

    def reject(self, text: str) -> None:
        """Count a packet that is left out."""
        self.packets_rejected += 1
        self.last_error = text
        self._reporter.error("packet", text)

    def close_silent(self, now_ns: int) -> list[EventWindow]:
        """The windows that ended before now (ROS time), where no event came for a while but the clocks agree.

        Packets come later than they are stamped, by a latency or the difference of two computers' clocks: so long their
        events are still on the way.
        """
        if self._previous is None or self._lag_ns > MAX_LAG_NS:
            return []
        heard_ns = now_ns - self._lag_ns
        if not SILENCE_NS <= heard_ns - self._previous[0] <= MAX_SILENCE_NS:
            return []
        until_ns = self.clock.to_sensor(heard_ns - SILENCE_NS)
        self._closed_until_ns = max(until_ns, self._closed_until_ns or until_ns)
        return self.predictor.slicer.advance_to(until_ns)

    def ros_clock_fell(self, now_ns: int) -> None:
        """The ROS clock jumped back to now_ns; nothing is lost where the packets have followed already."""
        if self._newest_stamp_ns > now_ns + CLOCK_SLACK_NS:
            self.forget("ros_clock_fell")

    @property
    def packets(self) -> int:
        """Packets that were decoded."""
        return self.decoder.stats.packets if self.decoder else 0

    def has_reached(self, t_ns: int) -> bool:
        """Whether all events before t_ns (sensor clock) have come."""
        return self._closed_until_ns is not None and self._closed_until_ns >= t_ns

    def forget(self, cause: str) -> None:
        """Begin the stream anew, as before the first packet."""
        self.resets[cause] += 1
        if self.decoder is not None:
            self.decoder.reset()
        self._seq = None
        self._newest_stamp_ns = 0
        self._begin()

    def _begin(self) -> None:
        self.clock.reset()
        self.offset_ns = self._previous = self._closed_until_ns = None
        if self.predictor is not None:
            self.predictor.reset()
        if self.filter is not None:
            self.filter.restart()

    def _is_odd(self, packet: EventPacket) -> bool:
        """Whether the packet is of another sensor, and not yet the third such one."""
        size = (packet.height, packet.width)
        if self.decoder is None:
            expected = None if self.predictor is None else (self.predictor.height, self.predictor.width)
            if expected in (None, size):
                self._open(packet)
                return False
            now = f"a sensor of {expected[1]}x{expected[0]}"
        elif (packet.encoding, *size) == (self.decoder.encoding, self.decoder.height, self.decoder.width):
            self._odd = None
            return False
        else:
            now = f"{self.decoder.encoding} {self.decoder.width}x{self.decoder.height}"
        key = (packet.encoding, *size)
        self._odd_packets = self._odd_packets + 1 if key == self._odd else 1
        self._odd = key
        found = f"{packet.encoding!r} {packet.width}x{packet.height}"
        if self._odd_packets < SENSOR_CHANGE_PACKETS:
            self.reject(f"event packet {packet.seq} left out: it is {found}, this stream is {now}")
            return True
        self._open(packet)
        self.resets["sensor"] += 1
        self._reporter.error("sensor", f"sensor changed from {now} to {found}: stream reset")
        return False

    def _open(self, packet: EventPacket) -> None:
        decoder = make_decoder(packet.encoding, packet.width, packet.height)
        if self.predictor is None or (self.predictor.height, self.predictor.width) != (packet.height, packet.width):
            self.expect_sensor(packet.height, packet.width)
        self.decoder, self._odd, self._seq = decoder, None, None
        self._begin()

    def _follow(self, packet: EventPacket) -> None:
        """Begin anew where packet numbers and stamps say so; the decoder follows the numbers by itself."""
        if self.decoder.restarts_with(packet.seq):
            self.resets["restart"] += 1
            self._begin()
        elif self._seq is not None and packet.seq > self._seq + 1:
            if packet.stamp_ns - self._newest_stamp_ns > LEAP_NS:
                self.resets["gap"] += 1
                self._begin()
        self._seq = packet.seq
        self._newest_stamp_ns = packet.stamp_ns

    def _decode(self, packet: EventPacket) -> list[EventWindow]:
        """Decode into the slicer's own buffer: an event is written once, windows are views of it."""
        slicer = self.predictor.slicer
        self.decoder.decode_into(packet, slicer.buffer)
        first_ns = self.decoder.first_ns
        if first_ns is None:
            return []
        if self._previous is not None and self._leapt(packet.stamp_ns, first_ns):
            self.resets["sensor_leapt"] += 1
            self._begin()  # what this packet brought goes too
        if self.filter is not None:
            self.filter.apply(slicer.buffer, slicer.first_new)
        self.clock.update(packet.stamp_ns, first_ns)
        self.offset_ns = self.clock.offset_ns
        self._previous = (packet.stamp_ns, first_ns)
        falls = slicer.time_jumps
        windows = self.predictor.close_windows()
        if slicer.time_jumps > falls:
            self.resets["time_fell"] += 1
        if slicer.newest_ns is not None:
            self._closed_until_ns = slicer.newest_ns
        return windows

    def _leapt(self, stamp_ns: int, first_ns: int) -> bool:
        """Whether the sensor's clock went ahead by itself; a host's clock that was set back does not count."""
        before_stamp_ns, before_ns = self._previous
        return (first_ns - before_ns) - max(stamp_ns - before_stamp_ns, 0) > LEAP_NS
