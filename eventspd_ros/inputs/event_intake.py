"""From a camera's event packets to windows: decoder, sensor clock, hot pixels, support filter, slicer. No threads, no
ROS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.clock import SensorClock
from eventspd_ros.events.codecs import Decoder, make_decoder
from eventspd_ros.events.hot_pixels import HotPixelFilter
from eventspd_ros.events.support import SupportFilter
from eventspd_ros.events.types import EventPacket, EventWindow
from eventspd_ros.events.windows import WindowSlicer, window_slicer
from eventspd_ros.inputs.intake import Intake, Reports

# A packet may come this much later after its stamp than the one before; after MAX_SILENCE_NS nothing is left to close.
SILENCE_NS = 50_000_000
MAX_SILENCE_NS = 1_000_000_000
# Packets that come this long after their stamps are of another clock: a bag played without sim time.
MAX_LAG_NS = 1_000_000_000
# Packets missing for longer, or sensor time that leaps further ahead of the stamps: another scene may have begun.
LEAP_NS = 1_000_000_000
# A packet numbered no higher than the last, but stamped that close to it or within so many after another such one, is
# a copy or one of a swapped pair. So many in a row are a very short bag that loops.
TURN_NS = 100_000_000
MANY_PACKETS = 8


class EventIntake(Intake):
    """One camera's decoder, clock, filters and slicer.

    config: of the model the windows are for. on_begin, reporter: as of Intake. make_filter(height, width): of hot
    pixels; its ValueError refuses the sensor too. history_ns: may change later. support_filter_ms: how long before an
    event a pixel next to it must have fired, or it is in no window (events/support.py); 0: off. The listener is told
    all.
    """

    unit = "event packet"

    def __init__(
        self,
        config,
        on_begin: Callable[[int, int, int], object],
        reporter: Reports,
        make_filter: Callable[[int, int], HotPixelFilter | None] = lambda height, width: None,
        history_ns: int = 0,
        support_filter_ms: float = 0.0,
    ):
        super().__init__(on_begin, reporter)
        self._config, self._make_filter, self.history_ns = config, make_filter, history_ns
        self._support_filter_ms = support_filter_ms
        self.decoder: Decoder | None = None
        self.filter: HotPixelFilter | None = None
        self.clock = SensorClock()
        self._slicer: WindowSlicer | None = None
        self._lag_ns = 0  # from the newest packet's stamp to its arrival
        self._previous: tuple[int, int] | None = None  # stamp and first event of the last packet with events
        self._doubts = False  # whether the last packet's only event did not agree with the clock
        self._seq: int | None = None
        self._payload: np.ndarray | None = None
        self._in_turn, self._out_of_turn = MANY_PACKETS, 0  # packets in a row
        self._closed_until_ns: int | None = None

    @property
    def support(self) -> SupportFilter | None:
        """Of this sensor; None where it is off, or the sensor is not known."""
        return self._slicer.support if self._slicer else None

    @property
    def packets(self) -> int:
        """Packets that were decoded."""
        return self.decoder.stats.packets if self.decoder else 0

    @property
    def windows_dropped(self) -> int:
        """Windows of this sensor given up because their events were too many to hold."""
        return self._slicer.windows_dropped if self._slicer else 0

    @property
    def events_out_of_order(self) -> tuple[int, int]:
        """Events whose time was held at the newest, and that were taken out for theirs."""
        return (self._slicer.late_events, self._slicer.stray_events) if self._slicer else (0, 0)

    @property
    def newest_ns(self) -> int | None:
        """Sensor time of the newest event, None before the first."""
        return self._slicer.newest_ns if self._slicer else None

    def take(self, packet: EventPacket, received_ns: int | None = None) -> list[EventWindow]:
        try:
            if self._is_odd(packet) or self._is_out_of_turn(packet):
                return []
            self._follow(packet)
            self._lag_ns = 0 if received_ns is None else max(0, received_ns - packet.stamp_ns)
            return self._decode(packet)
        except ValueError as error:
            self.reject(f"event packet {packet.seq} left out: {error}")
            return []

    def close_silent(self, now_ns: int) -> list[EventWindow]:
        """Packets come later than they are stamped, by a latency or the difference of two computers' clocks: so long
        their events are still on the way."""
        if self._previous is None or self._lag_ns > MAX_LAG_NS:
            return []
        heard_ns = now_ns - self._lag_ns
        if not SILENCE_NS <= heard_ns - self._previous[0] <= MAX_SILENCE_NS:
            return []
        until_ns = self.clock.to_sensor(heard_ns - SILENCE_NS)
        self._closed_until_ns = max(until_ns, self._closed_until_ns or until_ns)
        windows = self._hand_on(self._slicer.advance_to(until_ns))
        if self.listener is not None:  # after the events that the clock let pass
            self.listener.advance_to(until_ns)
        return windows

    def has_reached(self, t_ns: int) -> bool:
        return self._closed_until_ns is not None and self._closed_until_ns >= t_ns

    def cut(self, end_ns: int) -> EventWindow | None:
        """None where the window has no events, or some were let go."""
        return self._slicer.cut(end_ns) if self._slicer else None

    def begin(self, height: int, width: int) -> None:
        is_other = (height, width) != (self.height, self.width)
        hot_pixels = self._make_filter(height, width) if is_other else self.filter
        super().begin(height, width)
        if is_other:
            self.filter = hot_pixels
            told = {"on_new": self._screen, "on_sorted": self._tell}
            self._slicer = window_slicer(self._config, height, width, support_filter_ms=self._support_filter_ms, **told)
        self._slicer.reset()
        self._slicer.epoch = self.epoch
        if self.filter is not None:
            self.filter.restart()
        self.clock.reset()
        self._previous = self._closed_until_ns = None

    def forget(self, cause: str) -> None:
        if self.decoder is not None:
            self.decoder.reset()
        self._seq = None
        super().forget(cause)

    def _is_odd(self, packet: EventPacket) -> bool:
        """Whether the packet is of another sensor, and not yet the third such one."""
        decoder, size = self.decoder, (packet.height, packet.width)
        kind = (packet.encoding, *size)
        if decoder is None:
            if not self.height or size == (self.height, self.width):
                self._open(packet)
                return False
            now = f"a sensor of {self.width}x{self.height}"
        elif kind == (decoder.encoding, decoder.height, decoder.width):
            self._odd = None
            return False
        else:
            now = f"{decoder.encoding} {decoder.width}x{decoder.height}"
        found = f"{packet.encoding!r} {packet.width}x{packet.height}"
        if not self._is_other_sensor(kind, f"event packet {packet.seq} left out: it is {found}, this stream is {now}"):
            return True
        self._open(packet)
        self._sensor_changed(f"sensor changed from {now} to {found}")
        return False

    def _open(self, packet: EventPacket) -> None:
        decoder = make_decoder(packet.encoding, packet.width, packet.height)
        self.begin(packet.height, packet.width)
        self.decoder, self._odd, self._seq = decoder, None, None

    def _is_out_of_turn(self, packet: EventPacket) -> bool:
        """Whether the packet, or one of later, has come already: two publishers of one camera, or a swapped pair.
        Of unnumbered ones only the stamps tell, and of equal stamps the bytes."""
        if self._seq is None or self._newest_stamp_ns is None:
            return False
        late_ns = self._newest_stamp_ns - packet.stamp_ns
        if packet.seq == self._seq == 0:
            same = late_ns == 0 and len(packet.payload) and np.array_equal(packet.payload, self._payload)
            again = late_ns > 0 or same
        else:
            again = packet.seq <= self._seq
        if not again:
            self._in_turn, self._out_of_turn = self._in_turn + 1, 0
            return False
        close = abs(late_ns) <= TURN_NS or self._in_turn < MANY_PACKETS
        self._in_turn, self._out_of_turn = 0, self._out_of_turn + 1
        if not close or self._out_of_turn == MANY_PACKETS:
            self._out_of_turn = 0
            return False
        self.packets_out_of_turn += 1
        self._reporter.once(
            "turn",
            f"event packet {packet.seq} left out, as {self._seq} had come already, and so are all that come twice or "
            "late: where several nodes publish on this topic, stop all but one",
        )
        return True

    def _follow(self, packet: EventPacket) -> None:
        """Begin anew where packet numbers and stamps say so; the decoder follows the numbers by itself."""
        if self.decoder.restarts_with(packet.seq):
            self._begin_again("restart")
        elif self._seq is not None and packet.seq > self._seq + 1:
            if packet.stamp_ns - self._newest_stamp_ns > LEAP_NS:
                self._begin_again("gap")
        self._seq, self._payload = packet.seq, packet.payload
        self._newest_stamp_ns = packet.stamp_ns

    def _decode(self, packet: EventPacket) -> list[EventWindow]:
        """Decode into the slicer's own buffer: an event is written once, windows are views of it."""
        self._slicer.history_ns = self.history_ns
        self.decoder.decode_into(packet, self._slicer.buffer)
        first_ns = self._first_ns(packet.stamp_ns)
        if first_ns is None:
            return []
        if self._previous is not None and self._leapt(packet.stamp_ns, first_ns):
            self._begin_again("sensor_leapt")  # what this packet brought goes too
        self.clock.update(packet.stamp_ns, first_ns)
        self.offset_ns = self.clock.offset_ns
        self._previous = (packet.stamp_ns, first_ns)
        windows = self._hand_on(self._slicer.close())
        if self.newest_ns is not None:
            self._closed_until_ns = self.newest_ns
        return windows

    def _screen(self, buffer: EventBuffer, first: int) -> None:
        """Every new event, buffer[first:end], passes here once, ahead of the windows."""
        if self.filter is not None:
            self.filter.apply(buffer, first)

    def _tell(self, buffer: EventBuffer, first: int, last: int) -> None:
        """And here, buffer[first:last], once their times are in order; where sensor time fell they begin an epoch."""
        if self._slicer.epoch != self.epoch:
            self.resets["time_fell"] += 1
            self.epoch = self._slicer.epoch
            self._on_begin(self.height, self.width, self.epoch)
        if self.listener is not None:
            events = buffer.view(first, last)
            self.listener.add(events.x, events.y, events.p, events.t_ns)

    def _hand_on(self, windows: list[EventWindow]) -> list[EventWindow]:
        """The windows, less those of before where sensor time fell."""
        return [window for window in windows if window.epoch == self.epoch]

    def _first_ns(self, stamp_ns: int) -> int | None:
        """Sensor time of the packet's first event, or of the second where that one agrees with the clock and the first
        does not. None: it has none, or a single one that does not agree, which the next packet must confirm."""
        times_ns = self.decoder.first_times_ns
        agreeing = [t_ns for t_ns in times_ns if self.clock.agrees(stamp_ns, t_ns)]
        self._doubts = len(times_ns) == 1 and not agreeing and not self._doubts
        return None if not times_ns or self._doubts else (agreeing or times_ns)[0]

    def _leapt(self, stamp_ns: int, first_ns: int) -> bool:
        """Whether the sensor's clock went ahead by itself; a host's clock that was set back does not count."""
        before_stamp_ns, before_ns = self._previous
        return (first_ns - before_ns) - max(stamp_ns - before_stamp_ns, 0) > LEAP_NS
