"""A bag's requests answered by a predictor without threads: what the node computes if it is never late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from eventspd_ros.evaluation.asking.partial import Partial
from eventspd_ros.evaluation.replay.motion import BagMotion, Parts
from eventspd_ros.evaluation.replay.packets import PacketReader, readable
from eventspd_ros.evaluation.replay.requests import ReplayRequest, ReplaySettings, among_messages
from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.events.types import EventWindow
from eventspd_ros.inputs.clock_watch import ClockWatch
from eventspd_ros.model.feature_cache import FeatureCache, StreamState
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.predictor import RECENT_MEMORIES, Answer, Predictor, QueryMode, Status

SAVE_EVERY_S = 10.0
# Of an Answer, as saved.
COLUMNS = {"depth_m": np.float32, "depth_stddev_m": np.float32, "status": np.uint8, "basis": np.uint8}


@dataclass(frozen=True)
class ReplayAnswer:
    """answer: as the predictor gives it. window_ns: [start, end) of the events it rests on, ROS time; 0, 0: none.
    learned: the answer without motion, and parts: what it is made of; where it was computed here."""

    answer: Answer
    window_ns: tuple[int, int]
    learned: Answer | None = None
    parts: Parts = field(default_factory=dict)


@dataclass(eq=False)
class _Waiting:
    request: ReplayRequest
    offset_ns: int | None  # ROS time minus sensor time when it was asked
    t_ns: int | None  # sensor time of its stamp
    deadline_ns: int
    resets: int
    has_cache: bool = False  # or waits for it no longer
    cache: FeatureCache | None = None  # None: the newest


class OfflineReplay:
    """One pass through a bag. motion: of the predictor, where the bag has poses. answers: of the requests so far, in
    order. encoded: windows; expired: requests whose window did not come within max_wait_ms, or could not be cut, and
    that the newest answered.

    Going on after a stop, all is done again but what takes long: windows of before are not encoded, and learned depths
    are those that were saved.
    """

    def __init__(
        self,
        requests: list[ReplayRequest],
        reader: PacketReader,
        predictor: Predictor,
        settings: ReplaySettings,
        motion: BagMotion | None = None,
    ):
        self.requests, self.reader, self.predictor, self.settings = requests, reader, predictor, settings
        self.motion = motion
        self.clocks = ClockWatch("events", reader.complaints)
        self.answers: list[ReplayAnswer] = []
        self.encoded = self.expired = 0
        self._waiting: deque[_Waiting] = deque()
        # Memories after the newest windows, by number: going on repeats these windows for their caches and memories.
        self._memories: deque[tuple[int, torch.Tensor | None]] = deque(maxlen=RECENT_MEMORIES + 1)
        self._restored: list[Answer] = []
        self._skipped, self._resumed = 0, None

    def run(self, bag: Bag, topic: str, partial: Partial | None, name: str, progress: Callable[[int], object]) -> None:
        """Through the whole bag; goes on where `partial` says. progress(time since the bag's start, ns)."""
        if partial is not None and (saved := partial.load(name)) is not None:
            self._restore(saved)
        saved_s, time_ns = time.monotonic(), bag.start_ns
        topics = [topic] if self.motion is None or self.motion.topic is None else [topic, self.motion.topic]
        try:
            for item in among_messages(readable(bag, topics), topic, self.requests):
                if isinstance(item, ReplayRequest):
                    self._ask(item)
                    continue
                where, time_ns, data = item
                self._expire(time_ns)
                if where == topic:
                    self._encode(self.reader.take(data))
                    if (stamp_ns := self.reader.intake.newest_stamp_ns) is not None:
                        self.clocks.heard(stamp_ns, time_ns / NS_PER_S)
                else:
                    self.motion.take(data)
                self._serve()
                progress(time_ns - bag.start_ns)
                if partial is not None and time.monotonic() - saved_s > SAVE_EVERY_S:
                    self._save(partial, name)
                    saved_s = time.monotonic()
        except (KeyboardInterrupt, SystemExit):
            if partial is not None:
                self._save(partial, name)
            raise
        self._expire(None, time_ns)
        if partial is not None:
            self._save(partial, name)

    def _ask(self, request: ReplayRequest) -> None:
        offset_ns = self.reader.intake.offset_ns
        t_ns = None if offset_ns is None else request.stamp_ns - offset_ns
        deadline_ns = request.arrival_ns + round(self.settings.max_wait_ms * NS_PER_MS)
        self._waiting.append(_Waiting(request, offset_ns, t_ns, deadline_ns, self.predictor.resets))
        self._serve()

    def _encode(self, windows: list[EventWindow]) -> None:
        for window in windows:
            self.encoded += 1
            if self.encoded > self._skipped:
                self.predictor.encode(window)
            else:
                memory = self._resumed if self.encoded == self._skipped else None
                self.predictor.keep(self.predictor.job(window), _unread(window), StreamState(memory))
            if self.encoded >= self._skipped:
                self._memories.append((self.encoded, self.predictor.state.memory))

    def _serve(self) -> None:
        """Answer in order of arrival, until one has to wait."""
        while self._waiting:
            head = self._waiting[0]
            if not head.has_cache:
                head.has_cache, head.cache = self._cache_for(head)
            if not head.has_cache or self._awaits_pose(head):
                return
            self._answer()

    def _awaits_pose(self, head: _Waiting) -> bool:
        if self.motion is None or head.request.refusal is not None or head.t_ns is None:
            return False
        wanted_ns = self.predictor.poses_wanted_ns(head.t_ns, head.cache) + head.offset_ns
        return self.predictor.resets == head.resets and self.motion.is_due(wanted_ns)

    def _cache_for(self, head: _Waiting) -> tuple[bool, FeatureCache | None]:
        """Whether the request's window is waited for no longer, and the cache its mode wants; None: the newest."""
        predictor = self.predictor
        if head.request.refusal is not None or head.t_ns is None:
            return True, None
        if predictor.mode == QueryMode.LATEST:
            return True, predictor.cache_for(head.t_ns)
        if predictor.resets != head.resets:
            self.expired += 1
            return True, None
        cache = predictor.cache_for(head.t_ns)
        if cache is None and predictor.mode == QueryMode.EXACT and self.reader.intake.has_reached(head.t_ns):
            window = self.reader.intake.cut(head.t_ns)
            if window is not None:
                known = len(self.answers) < len(self._restored)
                cache = _unread(window) if known else predictor.encode(window, exact=True)
            self.expired += cache is None
            return True, cache
        return cache is not None, cache

    def _expire(self, now_ns: int | None, end_ns: int = 0) -> None:
        """Requests whose time is up by now (bag time; None: at the bag's end) are answered from what there is."""
        while self._waiting and (now_ns is None or self._waiting[0].deadline_ns <= now_ns):
            self._encode(self.reader.intake.close_silent(end_ns if now_ns is None else self._waiting[0].deadline_ns))
            self._serve()
            if self._waiting and (now_ns is None or self._waiting[0].deadline_ns <= now_ns):
                self.expired += not self._waiting[0].has_cache
                self._answer()

    def _answer(self) -> None:
        head, number = self._waiting.popleft(), len(self.answers)
        request, t_ns, offset_ns = head.request, head.t_ns, head.offset_ns
        answerable = request.refusal is None and t_ns is not None
        if number < len(self._restored):
            learned = self._restored[number]
        elif answerable:
            learned = self.predictor.learned(request.uv_px, t_ns, head.cache)
        else:
            learned = Answer.refused(len(request.uv_px), request.refusal or Status.NO_CACHE)
        answer, parts = learned, {}
        if answerable and self.motion is not None:
            asked = (request.uv_px, t_ns, request.id, offset_ns)
            answer = self.predictor.with_motion(learned, *asked)
            parts = self.motion.parts(learned, *asked)
        window_ns = (0, 0)
        if answer.window_end_ns and offset_ns is not None:
            window_ns = (answer.window_start_ns + offset_ns, answer.window_end_ns + offset_ns)
            self.clocks.answered(request.stamp_ns, request.arrival_ns / NS_PER_S, Status.STALE_CACHE in answer.status)
        self.answers.append(ReplayAnswer(answer, window_ns, learned, parts))

    def _save(self, partial: Partial, name: str) -> None:
        if not self._memories:
            return
        number, memory = self._memories[0]
        learned = [given.learned for given in self.answers]
        learned += self._restored[len(learned) :]
        arrays = {column: _joined([getattr(a, column) for a in learned], kind) for column, kind in COLUMNS.items()}
        arrays["window_ns"] = np.array([(a.window_start_ns, a.window_end_ns) for a in learned], np.int64).reshape(-1, 2)
        arrays["log_scale_stddev"] = np.array([a.log_scale_stddev for a in learned])
        arrays["encoded"] = np.int64(number)
        if memory is not None:
            arrays["memory"] = memory.cpu().numpy()
        partial.save(name, arrays)

    def _restore(self, saved: dict[str, np.ndarray]) -> None:
        windows = saved["window_ns"].tolist()
        ends = np.cumsum([len(request.uv_px) for request in self.requests])[: len(windows)]
        columns = [np.split(saved[name], ends[:-1]) for name in COLUMNS]
        for number, window_ns in enumerate(windows):
            depth, stddev, status, basis = (column[number] for column in columns)
            shared = float(saved["log_scale_stddev"][number])
            self._restored.append(Answer(depth, stddev, status, *window_ns, basis, shared))
        self._skipped = int(saved["encoded"])
        if "memory" in saved:
            self._resumed = torch.from_numpy(saved["memory"]).to(self.predictor.model.device)


def _unread(window: EventWindow) -> FeatureCache:
    """In place of a cache that nobody will ask again."""
    return FeatureCache(window.start_ns, window.end_ns, window.height, window.width, None)


def _joined(columns: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(columns) if columns else np.empty(0, dtype)
