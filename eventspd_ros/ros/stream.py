"""One camera's stream off the executor: packets in, answers out, over three threads and bounded queues.

    put_packet  → [packets]  → decode, cut into windows → [windows] → encode → newest cache
    put_request → [requests] → decode at the points from the newest cache → publish

A callback only queues. Where a stage cannot keep up its oldest work is dropped and counted (packets, windows);
requests are never dropped: each gets its answer, in order of arrival.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eventspd_ros.events.clock import SensorClock
from eventspd_ros.events.codecs import Decoder, make_decoder
from eventspd_ros.events.types import EventPacket, EventWindow
from eventspd_ros.predictor import Answer, Predictor, Status

# How often a cause that repeats is logged.
LOG_PERIOD_S = 10.0
LATENCIES_KEPT = 1000
# A packet may come this late; a silence beyond MAX_SILENCE_NS is another clock (a bag played without sim time).
SILENCE_NS = 50_000_000
MAX_SILENCE_NS = 1_000_000_000


class WorkQueue:
    """A bounded queue between two threads: a full one lets its oldest item go and counts it."""

    def __init__(self, max_items: int):
        self.max_items = max_items
        self.dropped = 0
        self._items: deque = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.idle = False  # empty, and its thread waits for more

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item) -> None:
        with self._changed:
            if len(self._items) >= self.max_items:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self.idle = False
            self._changed.notify()

    def get(self):
        """The oldest item; waits for one. None once the queue is closed and empty."""
        with self._changed:
            self.idle = not self._items
            self._changed.wait_for(lambda: self._items or self._closed)
            self.idle = False
            return self._items.popleft() if self._items else None

    def clear(self) -> None:
        with self._changed:
            self._items.clear()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass(slots=True)
class Request:
    """points: float32 (K, 2) px, or None for one of `count` points that cannot be answered. stamp_ns: when they were
    observed. refusal: the status of all its points then, MALFORMED where none is given, and reason, one line, why."""

    message: object
    points: np.ndarray | None
    count: int
    stamp_ns: int
    overloaded: bool = False
    refusal: Status | None = None
    reason: str = "keypoints: id, u and v are not of one length"


@dataclass(frozen=True)
class Limits:
    """What may wait."""

    windows: int
    packets: int
    requests: int


class Stream:
    """Threads and queues around one Predictor, which is built when the first packet tells the sensor's size."""

    def __init__(
        self,
        make_predictor: Callable[[int, int], Predictor],
        limits: Limits,
        publish: Callable[[object, Answer, tuple[int, int]], None],
        logger,
    ):
        """make_predictor(height, width); publish(message, answer, (window_start_ns, window_end_ns) in ROS time)."""
        self._make_predictor, self._publish, self._logger = make_predictor, publish, logger
        self._packets = WorkQueue(limits.packets)
        self._windows = WorkQueue(limits.windows)
        # The limit on requests is kept by answering OVERLOADED, not by dropping.
        self._max_requests = limits.requests
        self._requests = WorkQueue(max_items=1_000_000)
        self.decoder: Decoder | None = None
        self.predictor: Predictor | None = None
        self.clock = SensorClock()
        self.packets_rejected = 0
        self.windows_encoded = 0
        # What the last answers rest on, for pictures of it.
        self.encoded_windows: deque[EventWindow] = deque(maxlen=4)
        self.points_by_status = dict.fromkeys(Status, 0)
        self.encode_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._logged: dict[str, float] = {}
        self._newest_stamp_ns = 0
        self._reset_wanted = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(queue, handle), name=handle.__name__, daemon=True)
            for queue, handle in (
                (self._packets, self._intake),
                (self._windows, self._encode),
                (self._requests, self._answer),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def packets_dropped(self) -> int:
        return self._packets.dropped

    @property
    def windows_dropped(self) -> int:
        """Windows that were never encoded: the encoder was busy, or events came faster than the slicer may hold."""
        return self._windows.dropped + (self.predictor.slicer.windows_dropped if self.predictor else 0)

    def expect_sensor(self, height: int, width: int) -> None:
        """Build the predictor before the first packet, which need not wait for it then."""
        self.predictor = self._make_predictor(height, width)

    def put_packet(self, packet: EventPacket) -> None:
        self._packets.put(packet)

    def put_time(self, now_ns: int) -> None:
        """Tell a silent stream what time it is, ROS time, so that its last window closes."""
        if not len(self._packets):
            self._packets.put(now_ns)

    def put_request(self, request: Request) -> None:
        request.overloaded = len(self._requests) >= self._max_requests
        self._requests.put(request)

    def reset(self) -> None:
        """Forget events, memory and cache before the next packet (a bag loop, a time jump)."""
        self._reset_wanted.set()

    def close(self) -> None:
        """Answer what waits, drop the rest and join the threads."""
        self._packets.clear()
        self._windows.clear()
        for queue in (self._packets, self._windows, self._requests):
            queue.close()
        for thread in self._threads:
            thread.join()

    def _run(self, queue: WorkQueue, handle: Callable) -> None:
        while (item := queue.get()) is not None:
            try:
                handle(item)
            except Exception as error:  # a thread that dies would leave the node deaf
                self._log(handle.__name__, f"{handle.__name__.strip('_')}: {type(error).__name__}: {error}")

    def _log(self, cause: str, text: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(cause, -np.inf) >= LOG_PERIOD_S:
            self._logged[cause] = now
            self._logger.error(text)

    def _intake(self, item: EventPacket | int) -> None:
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._forget()
        resets = self.predictor.resets if self.predictor else 0
        windows = self._close_silent(item) if isinstance(item, int) else self._take_packet(item)
        if self.predictor and self.predictor.resets != resets:
            self._windows.clear()  # they belong to the time before
        for window in windows:
            self._windows.put(window)

    def _take_packet(self, packet: EventPacket) -> list[EventWindow]:
        try:
            if self._is_new_sensor(packet):
                self._open(packet)
            elif self.decoder.restarts_with(packet.seq):  # the decoder then starts anew by itself
                self.clock.reset()
                self.predictor.reset()
            self._newest_stamp_ns = packet.stamp_ns
            return self._decode(packet)
        except ValueError as error:
            self.packets_rejected += 1
            self._log("packet", f"event packet {packet.seq} left out: {error}")
            return []

    def _close_silent(self, now_ns: int) -> list[EventWindow]:
        """The windows that ended before now, where no packet came for a while but the clocks still agree."""
        silence_ns = now_ns - self._newest_stamp_ns
        if self.predictor is None or not SILENCE_NS <= silence_ns <= MAX_SILENCE_NS:
            return []
        return self.predictor.slicer.advance_to(self.clock.to_sensor(now_ns - SILENCE_NS))

    def _is_new_sensor(self, packet: EventPacket) -> bool:
        decoder = self.decoder
        return decoder is None or (packet.encoding, packet.width, packet.height) != (
            decoder.encoding,
            decoder.width,
            decoder.height,
        )

    def _open(self, packet: EventPacket) -> None:
        decoder = make_decoder(packet.encoding, packet.width, packet.height)
        if self.decoder is not None:
            self._log(
                "sensor",
                f"sensor changed from {self.decoder.width}x{self.decoder.height} {self.decoder.encoding} to "
                f"{packet.width}x{packet.height} {packet.encoding}: stream reset",
            )
        if self.predictor is None or (self.predictor.height, self.predictor.width) != (packet.height, packet.width):
            self.predictor = self._make_predictor(packet.height, packet.width)
        self.decoder = decoder
        self._forget()

    def _forget(self) -> None:
        self.clock.reset()
        if self.decoder is not None:
            self.decoder.reset()
            self.predictor.reset()

    def _decode(self, packet: EventPacket) -> list[EventWindow]:
        """Decode into the slicer's own buffer: an event is written once, windows are views of it."""
        self.decoder.decode_into(packet, self.predictor.slicer.buffer)
        if self.decoder.first_ns is not None:
            self.clock.update(packet.stamp_ns, self.decoder.first_ns)
        return self.predictor.close_windows()

    def _encode(self, window: EventWindow) -> None:
        predictor = self.predictor
        if (window.height, window.width) != (predictor.height, predictor.width):
            return  # waited while the sensor changed
        self.encoded_windows.append(window)
        predictor.encode(window)
        self.windows_encoded += 1
        self.encode_ms.append(1e3 * predictor.last_encode_s)

    def _answer(self, request: Request) -> None:
        offset_ns = self.clock.offset_ns  # once: the stream may be reset meanwhile
        try:
            answer = self._answer_for(request, offset_ns)
        except Exception as error:  # no request goes unanswered
            self._log("answer", f"request of {request.count} points answered NO_CACHE: {type(error).__name__}: {error}")
            answer = Answer.refused(request.count, Status.NO_CACHE)
        for status, count in zip(*np.unique(answer.status, return_counts=True), strict=True):
            self.points_by_status[Status(status)] += int(count)
        window_ns = (0, 0)
        if answer.window_end_ns and offset_ns is not None:
            window_ns = (answer.window_start_ns + offset_ns, answer.window_end_ns + offset_ns)
        self._publish(request.message, answer, window_ns)

    def _answer_for(self, request: Request, offset_ns: int | None) -> Answer:
        if request.points is None:
            refusal = request.refusal or Status.MALFORMED
            self._log("refused", f"{request.reason}; {request.count} answered {refusal.name}")
            return Answer.refused(request.count, refusal)
        if request.overloaded:
            return Answer.refused(request.count, Status.OVERLOADED)
        if self.predictor is None or offset_ns is None:
            return Answer.refused(request.count, Status.NO_CACHE)
        return self.predictor.query(request.points, request.stamp_ns - offset_ns)
