"""A bag's requests answered by a predictor without threads: what the node computes if it is never late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from eventspd_ros.evaluation.partial import Partial
from eventspd_ros.evaluation.replay.packets import PacketReader, readable
from eventspd_ros.evaluation.replay.requests import ReplaySettings, Request
from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.events.types import EventWindow
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.predictor import RECENT_MEMORIES, Answer, Predictor, QueryMode, Status

SAVE_EVERY_S = 10.0


@dataclass(frozen=True)
class ReplayAnswer:
    """answer: as the predictor gives it. window_ns: [start, end) of the events it rests on, ROS time; 0, 0: none."""

    answer: Answer
    window_ns: tuple[int, int]


@dataclass(eq=False)
class _Waiting:
    request: Request
    t_ns: int | None  # sensor time of its stamp
    deadline_ns: int
    resets: int


class OfflineReplay:
    """One pass through a bag. answers: of the requests so far, in order. encoded: windows; expired: requests whose
    window did not come within max_wait_ms, or could not be cut, and that the newest answered."""

    def __init__(self, requests: list[Request], reader: PacketReader, predictor: Predictor, settings: ReplaySettings):
        self.requests, self.reader, self.predictor, self.settings = requests, reader, predictor, settings
        self.answers: list[ReplayAnswer] = []
        self.encoded = self.expired = 0
        self._asked = 0
        self._waiting: deque[_Waiting] = deque()
        # Memories after the newest windows, by number: going on repeats these windows for their caches and memories.
        self._memories: deque[tuple[int, torch.Tensor | None]] = deque(maxlen=RECENT_MEMORIES + 1)
        self._skipped, self._resumed = 0, None

    def run(self, bag: Bag, topic: str, partial: Partial | None, name: str, progress: Callable[[int], object]) -> None:
        """Through the whole bag; goes on where `partial` says. progress(time since the bag's start, ns)."""
        if partial is not None and (saved := partial.load(name)) is not None:
            self._restore(saved)
        saved_s, packets, time_ns = time.monotonic(), 0, bag.start_ns
        try:
            self._take_requests(packets)
            for _, time_ns, data in readable(bag, [topic]):
                self._expire(time_ns)
                self._encode(self.reader.take(data))
                packets += 1
                self._serve()
                self._take_requests(packets)
                progress(time_ns - bag.start_ns)
                if partial is not None and time.monotonic() - saved_s > SAVE_EVERY_S:
                    self._save(partial, name)
                    saved_s = time.monotonic()
        except (KeyboardInterrupt, SystemExit):
            if partial is not None:
                self._save(partial, name)
            raise
        self._take_requests(None)
        self._expire(None, time_ns)
        if partial is not None:
            self._save(partial, name)

    def _take_requests(self, packets: int | None) -> None:
        """Those that come after so many packets; None: all that are left."""
        while self._asked < len(self.requests) and (packets is None or self.requests[self._asked].after <= packets):
            request = self.requests[self._asked]
            self._asked += 1
            if self._asked <= len(self.answers):
                continue  # answered before the replay was stopped
            offset_ns = self.reader.intake.offset_ns
            t_ns = None if offset_ns is None else request.stamp_ns - offset_ns
            deadline_ns = request.arrival_ns + round(self.settings.max_wait_ms * 1e6)
            self._waiting.append(_Waiting(request, t_ns, deadline_ns, self.predictor.resets))
        self._serve()

    def _encode(self, windows: list[EventWindow]) -> None:
        for window in windows:
            self.encoded += 1
            if self.encoded > self._skipped:
                self.predictor.encode(window)
                self._memories.append((self.encoded, self.predictor.state.memory))
            elif self.encoded == self._skipped:
                memory = None if self._resumed is None else torch.from_numpy(self._resumed)
                self.predictor.state = StreamState(None if memory is None else memory.to(self.predictor.model.device))
                self._memories.append((self.encoded, self.predictor.state.memory))

    def _serve(self) -> None:
        """Answer in order of arrival, until one has to wait."""
        while self._waiting:
            head = self._waiting[0]
            ready, cache = self._cache_for(head)
            if not ready:
                return
            self._answer(cache)

    def _cache_for(self, head: _Waiting) -> tuple[bool, object]:
        """Whether the request is waiting no longer, and the cache its mode wants; None: the newest."""
        predictor = self.predictor
        if head.request.refusal is not None or head.t_ns is None or predictor.mode == QueryMode.LATEST:
            return True, None
        if predictor.resets != head.resets:
            self.expired += 1
            return True, None
        cache = predictor.cache_for(head.t_ns)
        if cache is None and predictor.mode == QueryMode.EXACT and self.reader.intake.has_reached(head.t_ns):
            window = self.reader.intake.cut(head.t_ns)
            cache = None if window is None else predictor.encode(window, exact=True)
            self.expired += cache is None
            return True, cache
        return cache is not None, cache

    def _expire(self, now_ns: int | None, end_ns: int = 0) -> None:
        """Requests whose time is up by now (bag time; None: at the bag's end) get the newest window."""
        while self._waiting and (now_ns is None or self._waiting[0].deadline_ns <= now_ns):
            self._encode(self.reader.intake.close_silent(end_ns if now_ns is None else self._waiting[0].deadline_ns))
            self._serve()
            if self._waiting and (now_ns is None or self._waiting[0].deadline_ns <= now_ns):
                self.expired += 1
                self._answer(None)

    def _answer(self, cache) -> None:
        head, predictor = self._waiting.popleft(), self.predictor
        request, offset_ns = head.request, self.reader.intake.offset_ns
        if request.refusal is not None:
            answer = Answer.refused(len(request.uv_px), request.refusal)
        elif head.t_ns is None:
            answer = Answer.refused(len(request.uv_px), Status.NO_CACHE)
        else:
            answer = predictor.query(request.uv_px, head.t_ns, cache)
        window_ns = (0, 0)
        if answer.window_end_ns and offset_ns is not None:
            window_ns = (answer.window_start_ns + offset_ns, answer.window_end_ns + offset_ns)
        self.answers.append(ReplayAnswer(answer, window_ns))

    def _save(self, partial: Partial, name: str) -> None:
        if not self._memories:
            return
        number, memory = self._memories[0]
        arrays = {
            "depth_m": _joined([a.answer.depth_m for a in self.answers], np.float32),
            "depth_stddev_m": _joined([a.answer.depth_stddev_m for a in self.answers], np.float32),
            "status": _joined([a.answer.status for a in self.answers], np.uint8),
            "window_ns": np.array([a.window_ns for a in self.answers], np.int64).reshape(-1, 2),
            "encoded": np.int64(number),
            "expired": np.int64(self.expired),
        }
        if memory is not None:
            arrays["memory"] = memory.cpu().numpy()
        partial.save(name, arrays)

    def _restore(self, saved: dict[str, np.ndarray]) -> None:
        ends = np.cumsum([len(request.uv_px) for request in self.requests])[: len(saved["window_ns"])]
        columns = [np.split(saved[key], ends[:-1]) for key in ("depth_m", "depth_stddev_m", "status")]
        if len(ends):
            for depth, stddev, status, window in zip(*columns, saved["window_ns"].tolist(), strict=True):
                self.answers.append(ReplayAnswer(Answer(depth, stddev, status, 0, 0), tuple(window)))
        self.expired = int(saved["expired"])
        self._skipped, self._resumed = int(saved["encoded"]), saved.get("memory")


def _joined(columns: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(columns) if columns else np.empty(0, dtype)
