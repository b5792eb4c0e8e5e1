"""From a camera's packets to events, whatever the encoding: what carries over between packets and what is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs import state as S
from eventspd_ros.events.order import order_packet
from eventspd_ros.events.types import EventArray, EventPacket

MAX_SENSOR_SIDE_PX = 0x8000  # addresses have at most 15 bits
MAX_TIME_BASE_NS = 2**62


@dataclass(frozen=True)
class Codec:
    """One row of the table of encodings. kernel: see evt3.decode_evt3 for its contract."""

    kernel: Callable
    word_bytes: int
    per_packet_time: bool = False  # times count from the packet's time base; words do not lean on earlier packets
    whole_messages: bool = False  # a packet never ends inside a word that the next one completes


@dataclass(frozen=True)
class TriggerArray:
    """External trigger edges, arrays of shape (N,): t_ns int64 (sensor clock), id uint8, edge uint8 (1 = rising)."""

    t_ns: np.ndarray
    id: np.ndarray
    edge: np.ndarray

    def __len__(self) -> int:
        return len(self.t_ns)


@dataclass(frozen=True)
class DecoderStats:
    """What a decoder has met since it was made; reset() does not clear it.

    events, packets: decoded. trigger_events: external trigger edges.
    unknown_words: words whose code the encoding does not have, or a message's rest that is no event; skipped.
    startup_words: dropped because no complete time had been seen yet, at the start or after lost packets.
    rollovers: of the sensor's upper time bits (evt3: every 16.777 s).
    seq_gaps: times that packets were missing; lost_packets: how many. restarts: sequence numbers began anew.
    out_of_sensor: events dropped because their pixel lies outside, or their row was not known yet.
    time_reversals: times that lay before the newest of their stream, or packet. stray_events: taken out by decode(),
    as their time was far from that of those on both sides (order.py).
    truncated_bytes: bytes of a cut word whose rest never came.
    """

    events: int
    packets: int
    unknown_words: int
    startup_words: int
    rollovers: int
    out_of_sensor: int
    time_reversals: int
    trigger_events: int
    seq_gaps: int
    lost_packets: int
    restarts: int
    truncated_bytes: int
    stray_events: int


KERNEL_COUNTERS = ("unknown_words", "startup_words", "rollovers", "out_of_sensor", "time_reversals", "trigger_events")
_FIRST_COUNTER = S.UNKNOWN_WORDS


class Decoder:
    """Decodes one camera's stream of packets of one encoding; make one with codecs.make_decoder().

    first_times_ns: sensor times of the last packet's first two events, or of as many as it had.

    Packets are numbered by `seq`; after a gap the decoder waits for a complete time again, and the header stamps tell
    how often the sensor's clock rolled over meanwhile. Packets that are all numbered 0 are taken as unnumbered.
    """

    def __init__(self, encoding: str, codec: Codec, width: int, height: int):
        for name, side in (("width", width), ("height", height)):
            if not 0 < side <= MAX_SENSOR_SIDE_PX:
                raise ValueError(f"sensor {name} {side}: must be 1 to {MAX_SENSOR_SIDE_PX} px")
        self.encoding, self.width, self.height = encoding, int(width), int(height)
        self._codec = codec
        self._state = np.zeros(S.SLOTS, np.int64)
        self._state[S.WIDTH], self._state[S.HEIGHT] = width, height
        self._trigger_rows = np.empty((64, 3), np.int64)
        self._events = self._packets = self._seq_gaps = self._lost_packets = self._restarts = self._truncated = 0
        self._strays = 0
        self._cut_word: np.ndarray | None = None
        self.reset()
        self._compile()

    def reset(self) -> None:
        """Start anew, as before the first packet: time, addresses, sequence number and cut words are forgotten."""
        self._seq: int | None = None
        self._stamp_ns = 0
        self._drop_cut_word()
        self._state[[S.HIGH_NS, S.TIME_HIGH, S.NOW_NS, S.TRIGGER_COUNT]] = 0
        self._search_time(S.NO_TIME)

    def decode(self, packet: EventPacket) -> EventArray:
        """The packet's events in arrays of their own, in order of time unless that falls for good."""
        guess = len(packet.payload) // self._codec.word_bytes + 2 * S.MAX_EVENTS_PER_WORD
        buffer = EventBuffer(self.width, self.height, guess)
        self.decode_into(packet, buffer)
        self._strays += order_packet(buffer, buffer.begin)
        return buffer.view(buffer.begin, buffer.end)

    def decode_into(self, packet: EventPacket, buffer: EventBuffer) -> int:
        """Append the packet's events to the buffer, at the times they were sent with: its owner orders them (order.py).
        Returns how many. ValueError: not a packet of this camera."""
        if packet.width != self.width or packet.height != self.height or packet.encoding != self.encoding:
            self._refuse(packet)
        payload = packet.payload
        if payload.dtype != np.uint8:
            raise ValueError(f"packet {packet.seq}: payload is {payload.dtype}, must be uint8; pass the raw bytes")
        seq = packet.seq
        if self._seq is not None and seq != self._seq + 1:
            self._follow_sequence(seq, packet.stamp_ns)
        if self._codec.per_packet_time:
            if not 0 <= packet.time_base_ns < MAX_TIME_BASE_NS:
                raise ValueError(f"packet {seq}: time base {packet.time_base_ns} ns is no time; drop the packet")
            self._state[S.TIME_BASE_NS] = packet.time_base_ns
        self._seq, self._stamp_ns = seq, packet.stamp_ns
        if self._cut_word is not None:
            payload = np.concatenate((self._cut_word, payload))
            self._cut_word = None
        self._packets += 1
        return self._run(payload, buffer)

    def _run(self, payload: np.ndarray, buffer: EventBuffer) -> int:
        """Let the kernel take the payload, in as many rounds as it needs room."""
        state, kernel = self._state, self._codec.kernel
        state[S.TRIGGER_COUNT] = 0
        consumed, count = 0, 0
        self.first_times_ns = ()
        cut = 0 if self._codec.whole_messages else len(payload) % self._codec.word_bytes
        whole = len(payload) - cut
        while True:
            if len(buffer.t_ns) - buffer.end < S.MAX_EVENTS_PER_WORD:
                buffer.reserve(S.MAX_EVENTS_PER_WORD)
            before = buffer.end
            consumed, buffer.end = kernel(
                payload, consumed, before, state, buffer.x, buffer.y, buffer.p, buffer.t_ns, self._trigger_rows
            )
            count += buffer.end - before
            if not self.first_times_ns:
                self.first_times_ns = tuple(buffer.t_ns[before : min(before + 2, buffer.end)].tolist())
            if consumed >= whole:
                break
            if state[S.TRIGGER_COUNT] == len(self._trigger_rows):
                self._trigger_rows = np.concatenate((self._trigger_rows, np.empty_like(self._trigger_rows)))
        if cut:
            self._cut_word = payload[whole:].copy()
        self._events += count
        return count

    def _refuse(self, packet: EventPacket) -> None:
        if packet.encoding != self.encoding:
            raise ValueError(
                f"packet {packet.seq}: encoding {packet.encoding!r}, this stream is {self.encoding!r}; "
                "make a decoder for each"
            )
        raise ValueError(
            f"packet {packet.seq}: sensor {packet.width}x{packet.height} px, this stream's sensor is "
            f"{self.width}x{self.height} px; make a decoder for each camera"
        )

    def restarts_with(self, seq: int) -> bool:
        """Whether a packet of that number begins a recording or a camera's run anew: all before it is of the past."""
        return self._seq is not None and seq <= self._seq and not seq == self._seq == 0

    def _follow_sequence(self, seq: int, stamp_ns: int) -> None:
        """Take a sequence number that is not the next one: packets were lost, or the numbers began anew."""
        last_seq, last_stamp_ns = self._seq, self._stamp_ns
        if last_seq is None or seq == last_seq == 0:
            return
        if self.restarts_with(seq):
            self._restarts += 1
            self.reset()
            return
        self._seq_gaps += 1
        self._lost_packets += seq - last_seq - 1
        self._drop_cut_word()
        expected_ns = S.NO_TIME
        if stamp_ns > 0 and last_stamp_ns > 0 and self._state[S.PHASE] == S.RUNNING:
            expected_ns = int(self._state[S.NOW_NS]) + max(0, stamp_ns - last_stamp_ns)
        self._search_time(expected_ns)

    def _search_time(self, expected_ns: int) -> None:
        state = self._state
        state[S.PHASE], state[S.EXPECTED_NS] = S.SEARCHING, expected_ns
        state[S.ROW] = state[S.VECTOR_START] = state[S.COLUMN] = S.NO_ADDRESS
        state[S.VECTOR_P] = 0

    def _drop_cut_word(self) -> None:
        self._truncated += 0 if self._cut_word is None else len(self._cut_word)
        self._cut_word = None

    def _compile(self) -> None:
        """Compile (or load) the kernel now, for payloads that may and may not be written, not on the first packet."""
        buffer = EventBuffer(self.width, self.height, S.MAX_EVENTS_PER_WORD)
        for writeable in (True, False):
            empty = np.empty(0, np.uint8)
            empty.flags.writeable = writeable
            self._run(empty, buffer)

    @property
    def triggers(self) -> TriggerArray:
        """The external triggers of the last packet."""
        rows = self._trigger_rows[: self._state[S.TRIGGER_COUNT]]
        return TriggerArray(rows[:, 0].copy(), rows[:, 1].astype(np.uint8), rows[:, 2].astype(np.uint8))

    @property
    def stats(self) -> DecoderStats:
        """The counters up to now."""
        counted = zip(KERNEL_COUNTERS, self._state[_FIRST_COUNTER:].tolist(), strict=False)
        return DecoderStats(
            events=self._events,
            packets=self._packets,
            seq_gaps=self._seq_gaps,
            lost_packets=self._lost_packets,
            restarts=self._restarts,
            truncated_bytes=self._truncated,
            stray_events=self._strays,
            **dict(counted),
        )
