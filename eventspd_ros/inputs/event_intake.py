"""Turns a camera's event packets into windows: decoder, sensor clock, hot pixels, support filter, slicer.

No threads, no ROS.
"""

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
from eventspd_ros.nanoseconds import NS_PER_S

# The camera is silent when no packet has come for this long, beyond the last one's delay from stamp to arrival. After
# MAX_SILENCE_NS no window is left to close.
SILENCE_NS = 50_000_000
MAX_SILENCE_NS = NS_PER_S
# Packets that come this long after their stamps were stamped by another clock, as of a bag played without sim time.
MAX_LAG_NS = NS_PER_S
# If packets are missing for longer, or sensor time leaps further ahead than the stamps do, the scene may be another.
LEAP_NS = NS_PER_S
# A packet numbered no higher than the last one is a copy, or one of a swapped pair, if its stamp is within TURN_NS of
# the newest, or if another such packet came less than MANY_PACKETS before. MANY_PACKETS in a row are a bag that loops.
TURN_NS = 100_000_000
MANY_PACKETS = 8


class EventIntake(Intake):
    """One camera's decoder, clock, filters and slicer.

    config: of the model that the windows are for. on_begin, reporter: see Intake. make_filter(height, width): makes the
    filter of hot pixels; it may raise ValueError to refuse the sensor. history_ns: may be changed later.
    support_filter_ms: an event is in a window only if a pixel next to it fired at most so long before
    (events/support.py); 0: off. The listener gets these events all the same.
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
        self._payload = np.empty(0, np.uint8)
        self._in_turn, self._out_of_turn = MANY_PACKETS, 0  # packets in a row
        self._closed_until_ns: int | None = None

    @property
    def support(self) -> SupportFilter | None:
        """The support filter; None where it is off or the sensor is not known."""
        return self._slicer.support if self._slicer else None

    @property
    def packets(self) -> int:
        """How many packets were decoded."""
        return self.decoder.stats.packets if self.decoder else 0

    @property
    def windows_dropped(self) -> int:
        """How many windows of this sensor were given up because their events were too many to hold."""
        return self._slicer.windows_dropped if self._slicer else 0

    @property
    def events_out_of_order(self) -> tuple[int, int]:
        """How many events came late and were set to the newest time, and how many were removed for a stray time."""
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
        """See Intake. Packets come later than their stamps say, by latency or because two computers' clocks differ. A
        window closes only after that lag, while its events may still be on the way."""
        if self._slicer is None or self._previous is None or self._lag_ns > MAX_LAG_NS:
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
        """See Intake. None: the window has no events, or some are no longer held."""
        return self._slicer.cut(end_ns) if self._slicer else None

    def begin(self, height: int, width: int) -> None:
        is_other = (height, width) != (self.height, self.width)
        hot_pixels = self._make_filter(height, width) if is_other else self.filter
        super().begin(height, width)
        if is_other or self._slicer is None:
            self.filter = hot_pixels
            self._slicer = window_slicer(
                self._config,
                height,
                width,
                support_filter_ms=self._support_filter_ms,
                on_new=self._screen,
                on_sorted=self._tell,
            )
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
        """Whether the packet is left out because it looks like another sensor's. The third in a row is taken, and the
        stream becomes that sensor's."""
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
        """Whether this packet or a later one has come already: two nodes publish one camera, or a pair was swapped.

        Packets without numbers (seq 0) are compared by their stamps, and at equal stamps by their bytes.
        """
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
        """Begin the stream anew where packet numbers and stamps say so. The decoder follows the numbers by itself."""
        if self.decoder is not None and self.decoder.restarts_with(packet.seq):
            self._begin_again("restart")
        elif self._seq is not None and self._newest_stamp_ns is not None:
            if packet.seq > self._seq + 1 and packet.stamp_ns - self._newest_stamp_ns > LEAP_NS:
                self._begin_again("gap")
        self._seq, self._payload = packet.seq, packet.payload
        self._newest_stamp_ns = packet.stamp_ns

    def _decode(self, packet: EventPacket) -> list[EventWindow]:
        """Decode a packet into the slicer's buffer, of which windows are views; return the windows that it closes."""
        assert self.decoder is not None and self._slicer is not None, "the first packet opens both"
        self._slicer.history_ns = self.history_ns
        self.decoder.decode_into(packet, self._slicer.buffer)
        first_ns = self._first_ns(packet.stamp_ns, self.decoder.first_times_ns)
        if first_ns is None:
            return []
        if self._leapt(packet.stamp_ns, first_ns):
            self._begin_again("sensor_leapt")  # which drops the events of this packet too
        self.clock.update(packet.stamp_ns, first_ns)
        self.offset_ns = self.clock.offset_ns
        self._previous = (packet.stamp_ns, first_ns)
        windows = self._hand_on(self._slicer.close())
        if self.newest_ns is not None:
            self._closed_until_ns = self.newest_ns
        return windows

    def _screen(self, buffer: EventBuffer, first: int) -> None:
        """Filter hot pixels. The slicer calls this once for the new events buffer[first:end], ahead of windows."""
        if self.filter is not None:
            self.filter.apply(buffer, first)

    def _tell(self, buffer: EventBuffer, first: int, last: int) -> None:
        """Give the listener the events buffer[first:last]. The slicer calls this once their times are in order. Where
        sensor time fell back, they begin a new epoch."""
        if self._slicer is not None and self._slicer.epoch != self.epoch:
            self.resets["time_fell"] += 1
            self.epoch = self._slicer.epoch
            self._on_begin(self.height, self.width, self.epoch)
        if self.listener is not None:
            events = buffer.view(first, last)
            self.listener.add(events.x, events.y, events.p, events.t_ns)

    def _hand_on(self, windows: list[EventWindow]) -> list[EventWindow]:
        """The windows of the current epoch: where sensor time fell back, those of before are left out."""
        return [window for window in windows if window.epoch == self.epoch]

    def _first_ns(self, stamp_ns: int, times_ns: tuple[int, ...]) -> int | None:
        """Sensor time of the packet's first event; of its second one, if that agrees with the clock and the first does
        not. None: the packet has no event, or a single one that does not agree; the next packet must confirm that."""
        agreeing = [t_ns for t_ns in times_ns if self.clock.agrees(stamp_ns, t_ns)]
        self._doubts = len(times_ns) == 1 and not agreeing and not self._doubts
        return None if not times_ns or self._doubts else (agreeing or times_ns)[0]

    def _leapt(self, stamp_ns: int, first_ns: int) -> bool:
        """Whether sensor time leapt ahead of the stamps. A host clock that was set back is not taken for that."""
        if self._previous is None:
            return False
        before_stamp_ns, before_ns = self._previous
        return (first_ns - before_ns) - max(stamp_ns - before_stamp_ns, 0) > LEAP_NS
