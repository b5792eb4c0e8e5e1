"""One camera's stream: packets in, answers out, on two threads of its own and the shared encoder's, off the executor.

    put_packet  → [packets]  → intake thread: decode, cut into windows → lane of the encoder → caches
    put_request → [requests] → answer thread: find the cache, wait for a pose, decode at the points → publish

A callback only queues. Where a stage cannot keep up, its oldest packets or windows are dropped and counted. Requests
are never dropped: each gets its answer, in order of arrival.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from eventspd_ros.events.types import EventPacket, EventWindow, ImageWindow
from eventspd_ros.inputs.clock_watch import ClockWatch
from eventspd_ros.inputs.image_intake import ImageFrame
from eventspd_ros.inputs.intake import Intake
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.predictor import Answer, Predictor, Status
from eventspd_ros.ros.desk import NO_WINDOW, Request, RequestDesk
from eventspd_ros.ros.encoder import EncoderThread
from eventspd_ros.ros.latency import Latencies
from eventspd_ros.ros.poses import Poses
from eventspd_ros.ros.query_modes import CacheWait
from eventspd_ros.ros.queues import WorkQueue
from eventspd_ros.ros.workers import FaultCounter, Reporter, Worker

MAX_FAILURES = 10
# A header stamp further than this from the node's clock was made by another clock: the difference is no latency.
SAME_CLOCK_S = 10.0


@dataclass
class StreamSettings:
    """max_packets, max_requests: how many packets (or images) and requests may wait. max_packet_age_ms: a packet that
    has waited longer is dropped with all that wait behind it, as one gap is better than lasting lag. max_wait_ms: how
    long a request waits at most for its window and its pose. event_time_offset_ms: is added when the times of events
    become ROS times."""

    max_packets: int = 1000
    max_packet_age_ms: float = float("inf")
    max_requests: int = 64
    max_wait_ms: float = 50.0
    event_time_offset_ms: float = 0.0


@dataclass(frozen=True)
class StreamParts:
    """What a stream is built from.

    make_intake(on_begin) and make_predictor(height, width) make its parts; the latter raises ValueError for a sensor
    size it refuses. publish(message, answer, window_ns) sends an answer; window_ns is the window's start and end in ROS
    time. parse(raw) turns a raw message into what the intake takes, on the intake's thread; ValueError: it cannot.
    on_fault(reason) is called when a thread must give up, on_window() after each encoded window. keeps_windows() says
    whether window_of() will be asked for the events of encoded windows. poses: feeds the motion of the predictors.
    """

    make_intake: Callable[[Callable[[int, int, int], None]], Intake]
    make_predictor: Callable[[int, int], Predictor]
    publish: Callable[[object, Answer, tuple[int, int]], None]
    parse: Callable[[Any], EventPacket | ImageFrame] = lambda raw: raw
    on_fault: Callable[[str], None] = lambda reason: None
    on_window: Callable[[], None] = lambda: None
    keeps_windows: Callable[[], bool] = lambda: False
    poses: Poses | None = None


@dataclass(frozen=True, slots=True)
class _Packet:
    raw: Any
    received_s: float
    received_ns: int | None


@dataclass(frozen=True, slots=True)
class _ClockFell:
    now_ns: int


_NUDGE = object()


class Stream:
    """Threads and queues between one Intake and one Predictor. Call start() once, and then close() once.

    predictor: None before the sensor is known. A sensor of another size gets a new one.
    """

    def __init__(
        self, name: str, settings: StreamSettings, parts: StreamParts, encoder: EncoderThread, reporter: Reporter
    ):
        self.name, self.settings = name, settings
        self._parts, self._reporter = parts, reporter
        self.latencies = Latencies()
        self.intake = parts.make_intake(self._on_begin)
        self.predictor: Predictor | None = None
        self.desk = RequestDesk(parts.publish, settings.max_requests)
        self.cache_wait = CacheWait()
        self.poses = parts.poses
        if self.poses is not None:
            self.poses.on_pose = self.cache_wait.notify
        self.lane = encoder.lane(self.latencies, self._on_encoded, parts.keeps_windows)
        self._packets = WorkQueue(settings.max_packets, lambda item: isinstance(item, _Packet))
        self.packets_late = 0
        self._clocks = ClockWatch("images" if self.intake.unit == "image" else "events", reporter)
        self._reset_cause: str | None = None
        self._answer_faults = FaultCounter("answering", MAX_FAILURES, parts.on_fault)
        suffix = f" {name}" if name else ""
        self._workers = [
            Worker(f"{step.__name__.strip('_').removesuffix('_step')}{suffix}", step, reporter, parts.on_fault)
            for step in (self._intake_step, self._answer_step)
        ]

    @property
    def packets_dropped(self) -> int:
        """Packets that were never decoded: too many waited for the decoder, or they waited too long."""
        return self._packets.dropped + self.packets_late

    @property
    def windows_dropped(self) -> int:
        """Windows that were never encoded: the encoder was busy, or events came faster than the slicer may hold."""
        return self.lane.dropped + self.intake.windows_dropped

    @property
    def offset_ns(self) -> int | None:
        """ROS time minus sensor time, None before the first packet."""
        offset_ns = self.intake.offset_ns
        return None if offset_ns is None else offset_ns + round(self.settings.event_time_offset_ms * NS_PER_MS)

    @property
    def cache_age_ms(self) -> float | None:
        """How long ago the newest cache was made; None without one."""
        if self.predictor is None or self.predictor.cache is None:
            return None
        return 1e3 * (time.monotonic() - self.lane.encoded_s)

    @property
    def idle(self) -> bool:
        """Whether every packet put so far has been taken in."""
        return self._packets.idle

    def window_of(self, answer: Answer) -> EventWindow | ImageWindow | None:
        """The window of events, or the image, that an answer rests on; None where it was not kept."""
        return self.lane.window_ending(answer.window_end_ns)

    def start(self) -> None:
        for worker in self._workers:
            worker.start()
        if self.poses is not None:
            self.poses.start()

    def put_packet(self, raw: Any, received_ns: int | None = None) -> None:
        """Queue a raw packet, which parse() will read. received_ns: ROS time of its arrival."""
        self._packets.put(_Packet(raw, time.monotonic(), received_ns))

    def put_time(self, now_ns: int) -> None:
        """Tell a silent stream what time it is, ROS time, so that its last window closes."""
        if not len(self._packets):
            self._packets.put(now_ns)

    def put_request(self, request: Request) -> None:
        self.desk.put(request)

    def ros_clock_fell(self, now_ns: int) -> None:
        """The ROS clock jumped back to now_ns."""
        self._packets.put(_ClockFell(now_ns))
        if self.poses is not None:
            self.poses.ros_clock_fell(now_ns)

    def reset(self, cause: str = "requested") -> None:
        """Forget events, memory and caches: requests from now on rest on nothing older."""
        self._reset_cause = cause
        if self.predictor is not None:
            self.predictor.forget()
        self.cache_wait.notify()
        self._nudge()

    def close(self) -> bool:
        """Answer the waiting requests, drop the waiting packets and join the threads. True: all threads ended."""
        self.desk.close()
        self.cache_wait.stop()
        self._packets.close()
        self.lane.leave()
        ended = all([worker.join() for worker in self._workers])
        ended &= self.poses is None or self.poses.close()
        self.desk.refuse_all(Status.NO_CACHE)  # also the request that a hanging thread still holds
        return ended

    def _on_begin(self, height: int, width: int, epoch: int) -> None:
        """The intake calls this ahead of all that is of a new epoch, so that no answer rests on what was before."""
        if self.predictor is None or (self.predictor.height, self.predictor.width) != (height, width):
            self.predictor = self._parts.make_predictor(height, width)
            self.intake.history_ns = self.predictor.history_ns
            self.intake.listener = self.predictor.motion
        self.predictor.begin(epoch)
        self.cache_wait.notify()

    def _on_encoded(self) -> None:
        self.cache_wait.notify()
        self._parts.on_window()

    def _nudge(self) -> None:
        if not len(self._packets):
            self._packets.put(_NUDGE)

    def _intake_step(self) -> bool:
        item = self._packets.get()
        if item is None:
            return False
        intake = self.intake
        if (cause := self._reset_cause) is not None:
            self._reset_cause = None
            intake.forget(cause)
        if isinstance(item, _Packet):
            self._take_packet(item)
        elif isinstance(item, _ClockFell):
            intake.ros_clock_fell(item.now_ns)
        elif isinstance(item, int):
            self._hand_over(intake.close_silent(item))
        window = self.cache_wait.serve(intake)
        if window is not None and self.predictor is not None:
            self.lane.put(self.predictor.job(window, exact=True))
        return True

    def _take_packet(self, item: _Packet) -> None:
        if time.monotonic() - item.received_s > 1e-3 * self.settings.max_packet_age_ms:
            self.packets_late += 1
            self._packets.drop(lambda other: isinstance(other, _Packet))
            return
        try:
            packet = self._parts.parse(item.raw)
        except Exception as error:  # whatever a peer's bytes lead a deserializer to
            self.intake.reject(f"{self.intake.unit} left out: {error}")
            return
        if item.received_ns is not None and abs(item.received_ns - packet.stamp_ns) < SAME_CLOCK_S * NS_PER_S:
            self.latencies.add("receive", (item.received_ns - packet.stamp_ns) / NS_PER_S)
        self._clocks.heard(packet.stamp_ns, item.received_s)
        windows = self.intake.take(packet, item.received_ns)
        decoded_s = time.monotonic()
        self.latencies.add("decode", decoded_s - item.received_s)
        if windows:
            self._hand_over(windows)
            self.latencies.add("window_close", time.monotonic() - decoded_s)

    def _hand_over(self, windows: Sequence[EventWindow | ImageWindow]) -> None:
        if (predictor := self.predictor) is None:
            return  # nor are there windows of a sensor that is not known
        for job in [predictor.job(window) for window in windows]:
            if self._reset_cause is None:  # otherwise reset() was called meanwhile, and these windows are void
                self.lane.put(job)

    def _answer_step(self) -> bool:
        request = self.desk.take()
        if request is None:
            return False
        offset_ns = self.offset_ns  # read once, as the stream may be reset meanwhile
        try:
            answer = self._answer_for(request, offset_ns)
            self._answer_faults.succeeded()
        except Exception as error:  # no request goes unanswered
            self._reporter.error(
                "answer", f"request of {request.count} points answered NO_CACHE: {type(error).__name__}: {error}"
            )
            answer = Answer.refused(request.count, Status.NO_CACHE)
            self._answer_faults.failed(error)
        computed_s = time.monotonic()
        self.latencies.add("query", computed_s - request.received_s)
        window_ns = NO_WINDOW
        if answer.window_end_ns and offset_ns is not None:
            window_ns = (answer.window_start_ns + offset_ns, answer.window_end_ns + offset_ns)
        self.desk.answer(request, answer, window_ns)
        self.latencies.add("publish", time.monotonic() - computed_s)
        return True

    def _answer_for(self, request: Request, offset_ns: int | None) -> Answer:
        if request.refusal is not None:
            if request.points is None:
                self._reporter.error("refused", f"{request.reason}; {request.count} answered {request.refusal.name}")
            return Answer.refused(request.count, request.refusal)
        predictor = self.predictor
        if predictor is None or offset_ns is None or request.points is None:
            return Answer.refused(request.count, Status.NO_CACHE)
        t_ns = request.stamp_ns - offset_ns
        deadline_s = request.received_s + 1e-3 * self.settings.max_wait_ms
        cache = self.cache_wait.wait(predictor, t_ns, deadline_s, self._nudge)
        if (poses := self.poses) is not None and request.count:
            max_silence_ns = round(predictor.max_cache_age_ms * NS_PER_MS)
            wanted_ns = predictor.poses_wanted_ns(t_ns, cache) + offset_ns
            is_due = partial(poses.is_due, wanted_ns, max_silence_ns)
            self.cache_wait.wait_for_pose(predictor, is_due, deadline_s)
        start_s = time.monotonic()
        answer = predictor.query(request.points, t_ns, cache, request.ids, offset_ns)
        self.latencies.add("query_model", time.monotonic() - start_s)
        if answer.window_end_ns:
            self._clocks.answered(request.stamp_ns, request.received_s, Status.STALE_CACHE in answer.status)
            self.latencies.add("window_age", (t_ns - answer.window_end_ns) / NS_PER_S)
        return answer
