"""Streaming depth at keypoints: encode a camera's windows one after the other, query any number of points.

The node, the evaluation and a notebook all hold this one object:

    predictor = Predictor(model, height=480, width=640, fx_px=540.0)
    slicer = window_slicer(model.config, height=480, width=640)
    for events in source.chunks():
        for window in slicer.push(events):
            predictor.encode(window)
        answer = predictor.query(uv_px)          # metres, standard deviations, a status for every point

Words used here and everywhere:

    window  the events of 20 ms, one every 8.333 ms; with a model on images it is a picture, ImageWindow(image, t_ns)
    cache   what encode() (Phase A of the model) makes of a window; query() (Phase B) reads depths from it
    memory  what encode() carries from one window to the next
    epoch   number of the stream that a window belongs to; it grows when what comes may be another scene (a bag loop, a
            restarted driver), and memory and caches are then forgotten
    canonical depth  depth for a camera whose focal length is one image width; the predictor makes it metric

Where the camera's poses are known, a MotionDepth (motion/depth_from_motion.py) holds the poses and the events. query()
then fuses the learned depth with the depth from motion:

    predictor = Predictor(model, height, width, fx_px, motion=MotionDepth(height, width, trajectory))
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

import numpy as np
import torch

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.feature_cache import FeatureCache, StreamState
from eventspd_ros.model.geometry import inside_image
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.motion.depth_from_motion import Basis, MotionDepth, Points
from eventspd_ros.motion.learned_scale import START_STDDEV
from eventspd_ros.nanoseconds import NS_PER_MS

# How many are kept for requests whose stamp lies some windows back: caches; for `exact` memories too (100 kB each).
RECENT_CACHES = 16
RECENT_MEMORIES = 64
# Fewer than memories: the oldest of these may be dropped while an exact window waits to be encoded.
EXACT_WINDOWS_BACK = 48


class QueryMode(str, Enum):
    """Which window answers a request for points that were observed at a time t.

    latest: of the windows encoded so far, the one that ends nearest to t; the request does not wait. covering: the
    first window that ends after t. exact: a window that ends at t, which is encoded for this request alone.
    """

    LATEST = "latest"
    COVERING = "covering"
    EXACT = "exact"


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


# Where the learned depth is missing for one of these reasons, motion may still give a depth.
MOTION_MAY_ANSWER = (Status.NO_CACHE, Status.STALE_CACHE, Status.UNTRAINED)


@dataclass(frozen=True, slots=True)
class Answer:
    """Depths at K points, in the order asked.

    depth_m, depth_stddev_m: float32 (K,), metres along the optical axis; NaN where status is not OK.
    status: uint8 (K,), Status. window_start_ns, window_end_ns: the events the learned depths rest on, sensor clock;
    both 0 where no window has been encoded. basis: uint8 (K,), Basis, what each depth rests on. log_scale_stddev:
    standard deviation of the log scale that the learned depths share; NaN where there is none.
    """

    depth_m: np.ndarray
    depth_stddev_m: np.ndarray
    status: np.ndarray
    window_start_ns: int
    window_end_ns: int
    basis: np.ndarray
    log_scale_stddev: float = float("nan")

    @classmethod
    def refused(cls, count: int, status: Status, window_ns: tuple[int, int] = (0, 0)) -> Answer:
        """An answer for `count` points without any depth."""
        nan = np.full(count, np.nan, np.float32)
        return cls(nan, nan.copy(), np.full(count, status, np.uint8), *window_ns, np.zeros(count, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class EncodeJob:
    """A window that waits for encode_together(). resets: the predictor's count of resets when the job was made."""

    predictor: Predictor
    window: EventWindow | ImageWindow
    exact: bool
    resets: int

    @property
    def void(self) -> bool:
        """Whether the predictor forgot its stream since the job was made; the result is then thrown away."""
        return self.resets != self.predictor.resets


def exact_history_ns(config, max_cache_age_ms: float) -> int:
    """How long events are held for exact windows. config: the model's; max_cache_age_ms: as of the Predictor."""
    # An exact window that ends before the oldest memory would have no memory to start from.
    remembered_ns = round(EXACT_WINDOWS_BACK * (config.stride_ms * NS_PER_MS))
    return min(round(max_cache_age_ms * NS_PER_MS), remembered_ns)


class Predictor:
    """Runs one camera's windows through one model. job(), encode() and query() may run in three different threads.

    resets: how often the stream was forgotten. The predictor forgets it by itself when a window's epoch is newer than
    the epoch of the windows before.
    """

    def __init__(
        self,
        model: KeypointModel,
        height: int,
        width: int,
        fx_px: float | None = None,
        max_cache_age_ms: float = 200.0,
        allow_untrained: bool = False,
        mode: QueryMode | str = QueryMode.LATEST,
        motion: MotionDepth | None = None,
    ):
        """model: what build_model, load_checkpoint or load_package (model/export.py) returns. fx_px: focal length in
        pixels; without it no depth is metric and every point is UNCALIBRATED. max_cache_age_ms: how far the end of the
        answering window may lie from the time of the points; further away they are STALE_CACHE. Both may be changed
        later. motion: depth from motion, to which the caller adds this stream's events and poses; None: learned depth
        alone."""
        if height <= 0 or width <= 0:
            raise ValueError(f"sensor size {width}x{height}: give its width and height in pixels")
        self.model = model
        self.height, self.width = height, width
        self.fx_px = fx_px
        self.allow_untrained = allow_untrained
        self.mode = QueryMode(mode)
        self.max_cache_age_ms = max_cache_age_ms
        self.motion = motion
        self.resets = self._epoch = 0
        self._lock = threading.RLock()
        self.forget()

    @property
    def history_ns(self) -> int:
        """How long the slicer has to hold events so that exact windows can still be cut; 0 in the other modes."""
        return exact_history_ns(self.model.config, self.max_cache_age_ms) if self.mode == QueryMode.EXACT else 0

    def begin(self, epoch: int) -> None:
        """Say that windows of this epoch come next. If it is newer than the epoch so far, the stream is forgotten."""
        with self._lock:
            if epoch > self._epoch:
                self._epoch = epoch
                self.forget()

    def forget(self) -> None:
        """Forget the recurrent memory, the caches and the events held for motion. Jobs under way become void.

        Any thread may call this.
        """
        if self.motion is not None:
            self.motion.restart()
        with self._lock:
            self.resets += 1
            self.state = StreamState()
            self.cache: FeatureCache | None = None
            self._caches: deque[FeatureCache] = deque(maxlen=1 if self.mode == QueryMode.EXACT else RECENT_CACHES)
            self._memories: deque[tuple[int, StreamState]] = deque(maxlen=RECENT_MEMORIES)
            self._exact: FeatureCache | None = None

    def job(self, window: EventWindow | ImageWindow, exact: bool = False) -> EncodeJob:
        """Make a window a job for encode_together(). exact: the window was cut for one request; it reads the memory but
        does not advance it. ValueError: the window has another sensor's size."""
        if window.sensor_hw != (self.height, self.width):
            found = "{1}x{0}".format(*window.sensor_hw)
            raise ValueError(f"window of {found} px: this stream is {self.width}x{self.height}")
        self.begin(window.epoch)
        return EncodeJob(self, window, exact, self.resets)

    def encode(self, window: EventWindow | ImageWindow, exact: bool = False) -> FeatureCache:
        """Phase A: encode one window and advance the memory. Its cache then answers queries. exact: see job()."""
        return encode_together([self.job(window, exact)])[0]

    def cache_for(self, t_ns: int) -> FeatureCache | None:
        """The cache that `mode` asks for, for points observed at t_ns (sensor clock). None: it is not there yet."""
        with self._lock:
            if self.mode == QueryMode.EXACT:
                return self._exact if self._exact is not None and self._exact.end_ns == t_ns else None
            if self.mode == QueryMode.COVERING:
                return next((cache for cache in self._caches if cache.end_ns > t_ns), None)
            return min(self._caches, key=lambda cache: abs(cache.end_ns - t_ns), default=None)

    def poses_wanted_ns(self, t_ns: int, cache: FeatureCache | None) -> int:
        """The time (sensor clock) that poses must have reached before this cache answers points observed at t_ns.

        Poses that come later then do not change the answer. In `latest` it is t_ns, even if the window ends later: the
        rest is extrapolated, not waited for.
        """
        return t_ns if cache is None or self.mode == QueryMode.LATEST else max(t_ns, cache.end_ns)

    def state_for(self, job: EncodeJob) -> StreamState:
        """The memory that a window starts from: the newest; for an exact window, the last one at or before its end."""
        with self._lock:
            if not job.exact:
                return self.state
            earlier = (state for end_ns, state in reversed(self._memories) if end_ns <= job.window.end_ns)
            return next(earlier, StreamState())

    def keep(self, job: EncodeJob, cache: FeatureCache, state: StreamState) -> None:
        """Take the result of a job, unless it is void."""
        with self._lock:
            if job.void:
                return
            if job.exact:
                self._exact = cache
                return
            self.cache, self.state = cache, state
            self._caches.append(cache)
            if self.mode == QueryMode.EXACT:
                self._memories.append((cache.end_ns, state))

    def query(
        self,
        uv_px: np.ndarray,
        now_ns: int | None = None,
        cache: FeatureCache | None = None,
        ids: np.ndarray | None = None,
        offset_ns: int = 0,
        teaches: bool = True,
    ) -> Answer:
        """Phase B: depth at the points uv_px, (K, 2) pixels, from the newest cache or the one given, and from motion.

        now_ns: sensor time the points belong to; None: the cache's end. A cache further from it than max_cache_age_ms
        is STALE_CACHE. ids: (K,), the front-end's track ids, if they persist from request to request. offset_ns: ROS
        time, which poses are stamped in, minus sensor time. teaches: whether motion may learn from this request (the
        network's scale, the poses' drift); later answers depend on it.
        """
        return self.with_motion(self.learned(uv_px, now_ns, cache), uv_px, now_ns, ids, offset_ns, teaches)

    @torch.inference_mode()
    def learned(self, uv_px: np.ndarray, now_ns: int | None = None, cache: FeatureCache | None = None) -> Answer:
        """The network's depth alone: query() without motion."""
        uv = np.asarray(uv_px, np.float32).reshape(-1, 2)
        cache = cache or self.cache
        window_ns = (0, 0) if cache is None else (cache.start_ns, cache.end_ns)
        fx_px = self.fx_px  # once, as another thread may change it
        answer = Answer.refused(len(uv), self._status_of(cache, now_ns, fx_px), window_ns)
        self._check_points(answer, uv)
        wanted = answer.status == Status.OK
        if cache is not None and fx_px is not None and wanted.any():
            self._decode(cache, uv, wanted, answer, fx_px / self.width)
            shared = START_STDDEV if cache.scale_stddev is None else cache.scale_stddev
            answer = replace(answer, log_scale_stddev=shared)
        return answer

    def with_motion(
        self,
        answer: Answer,
        uv_px: np.ndarray,
        now_ns: int | None = None,
        ids: np.ndarray | None = None,
        offset_ns: int = 0,
        teaches: bool = True,
    ) -> Answer:
        """Fuse an answer of learned() with the depth from motion. Where the learned depth is missing or the model is
        untrained, motion may answer alone."""
        if self.motion is None or (now_ns is None and not answer.window_end_ns):
            return answer
        uv = np.asarray(uv_px, np.float32).reshape(-1, 2)
        now_ns = answer.window_end_ns if now_ns is None else now_ns
        learned = answer.status == Status.OK
        asked = learned | np.isin(answer.status, MOTION_MAY_ANSWER)
        if not asked.any():
            return answer  # and the stream learns nothing from a request that asks nothing
        usable = learned & self.model.trained
        with np.errstate(invalid="ignore"):
            log_depth = np.where(usable, np.log(answer.depth_m), np.nan).astype(np.float64)
            log_stddev = np.where(usable, answer.depth_stddev_m / answer.depth_m, np.nan).astype(np.float64)
        places = np.where(asked[:, None], uv, np.nan).astype(np.float64)
        # Motion uses events up to the end of the learned depth's window, so that the answer does not depend on which
        # events have arrived since. Not in `latest`: where encoding is slow that window is old.
        until_ns = answer.window_end_ns if usable.any() and self.mode != QueryMode.LATEST else None
        shared = answer.log_scale_stddev if self.model.config.head.shared_scale else None
        points = Points(places, log_depth if self.model.trained else None, log_stddev, ids, shared)
        motion = self.motion if teaches else self.motion.bystander()
        seen = motion.answer(points, now_ns, until_ns, offset_ns)
        known = asked & np.isfinite(seen.depth_m)
        basis = np.where(known, seen.basis, answer.basis).astype(np.uint8)
        return replace(
            answer,
            depth_m=np.where(known, seen.depth_m, answer.depth_m).astype(np.float32),
            depth_stddev_m=np.where(known, seen.depth_stddev_m, answer.depth_stddev_m).astype(np.float32),
            status=np.where(known, Status.OK, answer.status).astype(np.uint8),
            basis=basis,
            log_scale_stddev=seen.log_scale_stddev if usable.any() else answer.log_scale_stddev,
        )

    def _status_of(self, cache: FeatureCache | None, now_ns: int | None, fx_px: float | None) -> Status:
        if cache is None:
            return Status.NO_CACHE
        if not (self.model.trained or self.allow_untrained):
            return Status.UNTRAINED
        if fx_px is None:
            return Status.UNCALIBRATED
        if now_ns is not None and abs(now_ns - cache.end_ns) > round(self.max_cache_age_ms * NS_PER_MS):
            return Status.STALE_CACHE
        return Status.OK

    def _check_points(self, answer: Answer, uv: np.ndarray) -> None:
        """Set the status of points that are not finite or not in the image; it goes before the status of the stream."""
        finite = np.isfinite(uv).all(axis=1)
        answer.status[finite & ~inside_image(uv, self.height, self.width)] = Status.OUT_OF_IMAGE
        answer.status[~finite] = Status.NOT_FINITE

    def _decode(
        self, cache: FeatureCache, uv: np.ndarray, wanted: np.ndarray, answer: Answer, metric_per_canonical: float
    ) -> None:
        """Fill in the wanted points. Canonical depth, for a focal length of one width, times fx / width is metric."""
        points = torch.from_numpy(np.ascontiguousarray(uv[wanted]))
        depth, stddev = (out.float().cpu().numpy() * metric_per_canonical for out in self.model.decode(cache, points))
        good = np.isfinite(depth) & np.isfinite(stddev) & (depth > 0)
        answer.depth_m[wanted] = np.where(good, depth, np.nan)
        answer.depth_stddev_m[wanted] = np.where(good, stddev, np.nan)
        answer.status[wanted] = np.where(good, Status.OK, Status.NOT_FINITE)
        answer.basis[wanted] = np.where(good, Basis.LEARNED, Basis.NOTHING)


@torch.inference_mode()
def encode_together(jobs: Sequence[EncodeJob]) -> list[FeatureCache]:
    """Phase A for windows of several streams that share a model, as one batch. ValueError: sensors differ in size.

    Each stream gets the same result as alone. The function returns only when the device has finished, so that the
    caller notices when encoding is slower than the windows come.
    """
    model = jobs[0].predictor.model
    states = [job.predictor.state_for(job) for job in jobs]
    caches, states = model.encode([job.window for job in jobs], states)
    if model.device.type == "cuda":
        torch.cuda.current_stream(model.device).synchronize()
    for job, cache, state in zip(jobs, caches, states, strict=True):
        job.predictor.keep(job, cache, state)
    return caches
