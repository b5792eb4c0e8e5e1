"""The one thread that encodes: the windows of all streams that wait when it falls free are one batch."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.predictor import RECENT_CACHES, EncodeJob, encode_together
from eventspd_ros.ros.latency import Latencies
from eventspd_ros.ros.workers import FaultCounter, Reporter, Worker

# A model that fails this often in a row will not recover by itself.
MAX_FAILURES = 10
# How long after a window had to go for want of room the newest comes first: a burst is over by then.
BEHIND_S = 1.0


class Lane:
    """One stream's windows that wait. encoded, dropped (the encoder was busy), void (the stream was reset), failed.

    keeps_windows(): whether the newest ones that were encoded are to be had from window_ending().
    """

    def __init__(
        self,
        encoder: EncoderThread,
        latencies: Latencies,
        on_encoded: Callable[[], None],
        keeps_windows: Callable[[], bool],
    ):
        self.encoded = self.dropped = self.void = self.failed = 0
        self.encoded_s = 0.0  # time.monotonic() of the last one
        self.latencies, self.on_encoded = latencies, on_encoded
        self.waiting: deque[tuple[EncodeJob, float]] = deque()
        self.full_s = -math.inf  # time.monotonic() of when an ordinary window last had to go for want of room
        self._encoder, self._keeps_windows = encoder, keeps_windows
        self._newest: tuple[EventWindow | ImageWindow, ...] = ()

    def put(self, job: EncodeJob) -> None:
        """Hand over a window; where too many wait, the oldest of its kind, ordinary or exact, is dropped."""
        self._encoder.put(self, job)

    def leave(self) -> None:
        """The stream ends: its windows are dropped."""
        self._encoder.remove(self)
        self._newest = ()

    def keep(self, window: EventWindow | ImageWindow) -> None:
        """Called ahead of encoding, so that whoever has the cache finds its events."""
        self._newest = (window, *self._newest[: RECENT_CACHES - 1]) if self._keeps_windows() else ()

    def window_ending(self, end_ns: int) -> EventWindow | ImageWindow | None:
        """One of the newest windows that were encoded."""
        return next((window for window in self._newest if window.end_ns == end_ns), None)


class EncoderThread:
    """Windows in, through lanes; caches out, into their predictors. on_fault(reason): the model is of no use."""

    def __init__(self, max_windows: int, reporter: Reporter, on_fault: Callable[[str], None]):
        """max_windows: that may wait in each lane."""
        self._max_windows, self._reporter = max_windows, reporter
        self._lanes: list[Lane] = []
        self._changed = threading.Condition()
        self._closed = False
        self.idle = False
        self.batches = 0
        self.faults = FaultCounter("encoding", MAX_FAILURES, on_fault)
        self._worker = Worker("encoder", self._step, reporter, on_fault)

    def start(self) -> None:
        self._worker.start()

    def close(self) -> bool:
        """Drop what waits and join the thread; whether it ended."""
        with self._changed:
            self._closed = True
            for lane in self._lanes:
                lane.waiting.clear()
            self._changed.notify_all()
        return self._worker.join()

    def lane(
        self, latencies: Latencies, on_encoded: Callable[[], None], keeps_windows: Callable[[], bool] = lambda: False
    ) -> Lane:
        """A new stream's lane. on_encoded(): called after each of its windows."""
        lane = Lane(self, latencies, on_encoded, keeps_windows)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def remove(self, lane: Lane) -> None:
        with self._changed:
            lane.waiting.clear()
            if lane in self._lanes:
                self._lanes.remove(lane)

    def put(self, lane: Lane, job: EncodeJob) -> None:
        with self._changed:
            if self._closed:
                return
            alike = [entry for entry in lane.waiting if entry[0].exact == job.exact]
            # A request waits for one exact window at a time: an earlier one's has expired.
            if len(alike) >= (1 if job.exact else self._max_windows):
                lane.waiting.remove(alike[0])
                lane.dropped += 1
                lane.full_s = lane.full_s if job.exact else time.monotonic()
            lane.waiting.append((job, time.monotonic()))
            self.idle = False
            self._changed.notify()

    def _step(self) -> bool:
        batch = self._next_batch()
        if batch is None:
            return False
        for lane, job, _ in batch:
            lane.keep(job.window)
        if batch and not self._encode(batch) and len(batch) > 1:
            for entry in batch:  # one stream's fault is not the others'
                self._encode([entry])
        return True

    def _next_batch(self) -> list[tuple[Lane, EncodeJob, float]] | None:
        """One window of every lane whose sensor has the size of the first one's; None when closed.

        The oldest, so that bursts lose none; the newest in lanes that are falling behind.
        """
        with self._changed:
            self.idle = not any(lane.waiting for lane in self._lanes)
            self._changed.wait_for(lambda: self._closed or any(lane.waiting for lane in self._lanes))
            self.idle = False
            if self._closed:
                return None
            batch, size = [], None
            for lane in self._lanes:
                self._drop_void(lane)
                self._drop_late(lane)
                if not lane.waiting:
                    continue
                job = lane.waiting[0][0]
                if size in (None, (job.window.height, job.window.width)):
                    size = (job.window.height, job.window.width)
                    batch.append((lane, *lane.waiting.popleft()))
            self._lanes.append(self._lanes.pop(0))  # another size's turn comes
            return batch

    @staticmethod
    def _drop_void(lane: Lane) -> None:
        """Windows that closed before their stream was reset belong to the past."""
        while lane.waiting and lane.waiting[0][0].void:
            lane.waiting.popleft()
            lane.void += 1

    @staticmethod
    def _drop_late(lane: Lane) -> None:
        """Where windows come faster than they are encoded, those that wait behind others only make answers older."""
        ordinary = [entry for entry in lane.waiting if not entry[0].exact]
        if len(ordinary) < 2 or time.monotonic() - lane.full_s > BEHIND_S:
            return
        for entry in ordinary[:-1]:
            lane.waiting.remove(entry)
            lane.dropped += 1

    def _encode(self, batch: list[tuple[Lane, EncodeJob, float]]) -> bool:
        start_s = time.monotonic()
        try:
            encode_together([job for _, job, _ in batch])
        except Exception as error:
            self._reporter.error("encode", f"encoding {len(batch)} windows: {type(error).__name__}: {error}")
            if len(batch) == 1:
                batch[0][0].failed += 1
                self.faults.failed(error)
            return False
        self.faults.succeeded()
        self.batches += 1
        done_s = time.monotonic()
        for lane, _, handed_s in batch:
            lane.encoded += 1
            lane.encoded_s = done_s
            lane.latencies.add("encode", done_s - handed_s)
            lane.latencies.add("encode_model", done_s - start_s)
            lane.on_encoded()
        return True
