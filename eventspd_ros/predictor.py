"""Streaming depth at keypoints: push events, encode the windows that close, query any number of points.

The node, the evaluation and a notebook all hold this one object:

    predictor = Predictor(load_checkpoint(path), height=480, width=640, fx_px=540.0)
    for events in source.chunks():
        for window in predictor.push(events):
            predictor.encode(window)
        answer = predictor.query(uv_px)          # metres, standard deviations, a status for every point
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch

from eventspd_ros.events.types import EventArray, EventWindow
from eventspd_ros.events.windows import WindowSlicer
from eventspd_ros.model.feature_cache import FeatureCache, StreamState
from eventspd_ros.model.geometry import inside_image

NS_PER_MS = 1_000_000
# Events that overlapping windows may hold at once: 8 M events are 104 MB, 20 ms of 400 M events a second.
MAX_HELD_EVENTS = 8_000_000


class Status(IntEnum):
    """Why a depth is, or is not, given; the constants of KeypointDepthArray.msg."""

    OK = 0
    NOT_FINITE = 1
    OUT_OF_IMAGE = 2
    NO_CACHE = 3
    STALE_CACHE = 4
    UNTRAINED = 5
    OVERLOADED = 6
    MALFORMED = 7
    UNCALIBRATED = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """Depths at K points, in the order asked.

    depth_m, depth_stddev_m: float32 (K,), metres along the optical axis; NaN where status is not OK.
    status: uint8 (K,), Status. window_start_ns, window_end_ns: the events the answer rests on, sensor clock;
    both 0 where no window has been encoded.
    """

    depth_m: np.ndarray
    depth_stddev_m: np.ndarray
    status: np.ndarray
    window_start_ns: int
    window_end_ns: int

    @classmethod
    def refused(cls, count: int, status: Status) -> Answer:
        """An answer of that length without any depth."""
        nan = np.full(count, np.nan, np.float32)
        return cls(nan, nan.copy(), np.full(count, status, np.uint8), 0, 0)


class Predictor:
    """One camera's stream through one model. push() and encode() may run in one thread and query() in another."""

    def __init__(
        self,
        model,
        height: int,
        width: int,
        fx_px: float | None = None,
        max_cache_age_ms: float = 200.0,
        allow_untrained: bool = False,
    ):
        """model: what build_model or load_checkpoint returns. fx_px: focal length in pixels; without it no depth
        is metric and every point is UNCALIBRATED."""
        if height <= 0 or width <= 0:
            raise ValueError(f"sensor size {width}x{height}: give its width and height in pixels")
        self.model = model
        self.height, self.width = height, width
        self.fx_px = fx_px
        self.max_cache_age_ns = round(max_cache_age_ms * NS_PER_MS)
        self.allow_untrained = allow_untrained
        config = model.config
        self.slicer = WindowSlicer(
            width, height, round(config.window_ms * NS_PER_MS), config.stride_ms * NS_PER_MS, MAX_HELD_EVENTS
        )
        self.last_encode_s = 0.0
        self.resets = 0
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget the stream: open windows, the recurrent memory, the cache."""
        self.slicer.reset()
        self._forget()

    def _forget(self) -> None:
        with self._lock:
            self.resets += 1
            self.state = StreamState()
            self.cache: FeatureCache | None = None

    def push(self, events: EventArray) -> list[EventWindow]:
        """Add decoded events; returns the windows they close, oldest first, to be given to encode()."""
        return self._closed(self.slicer.push, events)

    def close_windows(self) -> list[EventWindow]:
        """As push(), for events that a decoder has written into self.slicer.buffer itself."""
        return self._closed(self.slicer.close)

    def _closed(self, close, *arguments) -> list[EventWindow]:
        """What the slicer closes; where sensor time fell (a bag loop, a restart) all before it is forgotten."""
        jumps = self.slicer.time_jumps
        windows = close(*arguments)
        if self.slicer.time_jumps == jumps:
            return windows
        self._forget()
        return [window for window in windows if window.epoch == windows[-1].epoch]

    @torch.inference_mode()
    def encode(self, window: EventWindow) -> FeatureCache:
        """Phase A: carry the memory over one window; its cache answers queries from now on."""
        start, resets = time.perf_counter(), self.resets
        (cache,), (state,) = self.model.encode([window], [self.state])
        with self._lock:
            if resets == self.resets:  # else the stream was reset meanwhile: this window is of the past
                self.cache, self.state = cache, state
        self.last_encode_s = time.perf_counter() - start
        return cache

    @torch.inference_mode()
    def query(self, uv_px: np.ndarray, now_ns: int | None = None) -> Answer:
        """Phase B: depth at the points uv_px, (K, 2) pixels, from the newest cache.

        now_ns: sensor time the points belong to. A cache further from it than max_cache_age_ms is STALE_CACHE.
        """
        uv = np.asarray(uv_px, np.float32).reshape(-1, 2)
        cache = self.cache
        if cache is None:
            return self._check_points(Answer.refused(len(uv), Status.NO_CACHE), uv)
        answer = Answer.refused(len(uv), self._status_of(cache, now_ns))
        answer = Answer(answer.depth_m, answer.depth_stddev_m, answer.status, cache.start_ns, cache.end_ns)
        answer = self._check_points(answer, uv)
        wanted = answer.status == Status.OK
        if wanted.any():
            self._decode(cache, uv, wanted, answer)
        return answer

    def _status_of(self, cache: FeatureCache, now_ns: int | None) -> Status:
        if not (self.model.trained or self.allow_untrained):
            return Status.UNTRAINED
        if self.fx_px is None:
            return Status.UNCALIBRATED
        if now_ns is not None and abs(now_ns - cache.end_ns) > self.max_cache_age_ns:
            return Status.STALE_CACHE
        return Status.OK

    def _check_points(self, answer: Answer, uv: np.ndarray) -> Answer:
        """What is wrong with a point itself stands above what is wrong with the stream."""
        finite = np.isfinite(uv).all(axis=1)
        answer.status[finite & ~inside_image(uv, self.height, self.width)] = Status.OUT_OF_IMAGE
        answer.status[~finite] = Status.NOT_FINITE
        return answer

    def _decode(self, cache: FeatureCache, uv: np.ndarray, wanted: np.ndarray, answer: Answer) -> None:
        """Fill in the wanted points: canonical depth (focal length = sensor width) times fx / width is metric."""
        points = torch.from_numpy(np.ascontiguousarray(uv[wanted]))
        depth, stddev = (
            out.float().cpu().numpy() * (self.fx_px / self.width) for out in self.model.decode(cache, points)
        )
        good = np.isfinite(depth) & np.isfinite(stddev) & (depth > 0)
        answer.depth_m[wanted] = np.where(good, depth, np.nan)
        answer.depth_stddev_m[wanted] = np.where(good, stddev, np.nan)
        answer.status[wanted] = np.where(good, Status.OK, Status.NOT_FINITE)
