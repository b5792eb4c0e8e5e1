"""What models and baselines answer to the questions of a set of scenes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.baselines import Baseline
from eventspd_ros.evaluation.asking.disturbances import Disturbance
from eventspd_ros.evaluation.asking.partial import Partial
from eventspd_ros.evaluation.asking.questions import Questions, Settings, WindowedScene
from eventspd_ros.evaluation.asking.view import View
from eventspd_ros.events.types import EventWindow
from eventspd_ros.model.feature_cache import StreamState

PRIOR = " (prior alone)"
PIXELS_AT_ONCE = 800_000  # of all windows that are encoded as one batch


@dataclass
class SceneAnswers:
    """One scene, K questions. depth_m: of each method, (K,) m, and of the dense map alone that a model's answers start
    from, under its name and PRIOR. log_stddev: of each model, (K,), σ of log depth.
    scale_stddev: of each model, (K,), what of that σ a window's points share; NaN where the model does not tell."""

    name: str
    domain: str
    questions: Questions
    depth_m: dict[str, np.ndarray] = field(default_factory=dict)
    log_stddev: dict[str, np.ndarray] = field(default_factory=dict)
    scale_stddev: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A model as it is asked. reset: it forgets before every window, so that memory cannot help it. disturbance: what
    happens to its events before it sees them; the questions stay those of the undisturbed scene."""

    name: str
    model: object
    reset: bool = False
    disturbance: Disturbance | None = None


def collect_answers(
    sequences: list[Sequence],
    methods: list[Method],
    baselines: Mapping[str, Baseline],
    settings: Settings,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
    partial: Partial | None = None,
) -> list[SceneAnswers]:
    """Every scene's windows in order through every method; several scenes of one size are encoded as one batch.

    workers: processes of one thread each, at most one a batch; 1: this process, as it is. progress: called with the
    number of scenes done since the last call, each counted once a method. partial: where finished batches are kept, and
    taken from. ValueError: models of different windows,
    which cannot be asked the same, or a set without a question.
    """
    windowings = {(method.model.config.window_ms, method.model.config.stride_ms) for method in methods}
    if len(windowings) != 1:
        raise ValueError(f"models of several (window_ms, stride_ms) {sorted(windowings)}; evaluate them apart")
    scenes = [WindowedScene(sequence, *next(iter(windowings)), settings) for sequence in sequences]
    groups = _groups(scenes)
    with worker_pool(min(workers, len(groups))) as each:
        asked = list(each(WindowedScene.questions, scenes))
        if not any(len(questions.true_m) for questions in asked):
            raise ValueError(
                f"{len(scenes)} scenes, but none has a depth label after {settings.warm_up} windows; lower the warm-up"
            )
        answers = [SceneAnswers(scene.name, scene.domain, own) for scene, own in zip(scenes, asked, strict=True)]
        for scene, answer in zip(scenes, answers, strict=True):
            for name, baseline in baselines.items():
                answer.depth_m[name] = baseline.depth_m(answer.questions.uv_px, scene.sequence.intrinsics, scene.domain)
        batches = [
            _Batch(method, group, f"{number:02d}-{first:05d}")
            for number, method in enumerate(methods)
            for first, group in enumerate(groups)
        ]
        left = [batch for batch in batches if not batch.load(answers, partial, progress)]
        given = each(
            _stream,
            [batch.method for batch in left],
            [[scenes[index] for index in batch.group] for batch in left],
            [[asked[index] for index in batch.group] for batch in left],
        )
        for batch, results in zip(left, given, strict=True):
            batch.take(answers, results, progress)
            batch.save(results, partial)
    return answers


@dataclass(frozen=True)
class _Batch:
    """Scenes, by index, that are encoded together. name: of what is kept of it."""

    method: Method
    group: list[int]
    name: str

    def load(self, answers: list[SceneAnswers], partial: Partial | None, progress: Callable | None) -> bool:
        """Whether the answers were there already."""
        arrays = None if partial is None else partial.load(self.name)
        if arrays is not None:
            self.take(answers, [arrays[f"answers_{i}"] for i in self.group], progress)
        return arrays is not None

    def save(self, results: list[np.ndarray], partial: Partial | None) -> None:
        if partial is not None:
            partial.save(self.name, {f"answers_{i}": own for i, own in zip(self.group, results, strict=True)})

    def take(self, answers: list[SceneAnswers], results: list[np.ndarray], progress: Callable | None) -> None:
        for index, own in zip(self.group, results, strict=True):
            columns = answers[index].depth_m, answers[index].log_stddev, answers[index].scale_stddev
            for column, values in zip(columns, own[:3], strict=True):
                column[self.method.name] = values
            if np.isfinite(own[3]).any() and not self.method.reset:
                answers[index].depth_m[self.method.name + PRIOR] = own[3]
        if progress:
            progress(len(self.group))


@contextmanager
def worker_pool(workers: int):
    """map() over processes, or the ordinary one."""
    if workers <= 1:
        yield map
        return
    # Started afresh, not forked: a fork would copy whatever threads the caller has.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    """Several processes of several threads each wait for one another; and Ctrl-C ends a worker without a word."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _groups(scenes: list[WindowedScene]) -> list[list[int]]:
    """Indices of scenes to be encoded together: of one sensor size."""
    groups = []
    for height, width in sorted({scene.size for scene in scenes}):
        alike = [index for index, scene in enumerate(scenes) if scene.size == (height, width)]
        parallel = max(1, min(8, PIXELS_AT_ONCE // (height * width)))
        groups += [alike[first : first + parallel] for first in range(0, len(alike), parallel)]
    return groups


@torch.inference_mode()
def _stream(method: Method, scenes: list[WindowedScene], questions: list[Questions]) -> list[np.ndarray]:
    """Several scenes as parallel streams of one model: of each what ask() says, (4, K)."""
    method.model.prepare(*scenes[0].size)
    out = [np.full((4, len(own.true_m)), np.nan) for own in questions]
    states = [StreamState() for _ in scenes]
    newest = [None for _ in scenes]
    views = [View(scene, method.model.config, method.disturbance) for scene in scenes]
    asked = [set(own.window.tolist()) for own in questions]
    for number in range(max(map(len, scenes))):
        # Without memory between windows only those are needed that are asked.
        active = [i for i, s in enumerate(scenes) if (number in asked[i] if method.reset else number < len(s))]
        windows = [views[i].window(number) for i in active]
        before = [StreamState() if method.reset else states[i] for i in active]
        after = advance(method.model, windows, [newest[i] for i in active], before)
        for i, cache, state in zip(active, *after, strict=True):
            newest[i], states[i] = cache, state
            if number in asked[i]:
                points = questions[i].window == number
                out[i][:, points] = ask(method.model, scenes[i], newest[i], questions[i].uv_px[points])
    return out


def advance(model, windows: list[EventWindow], caches: list, states: list[StreamState]) -> tuple[list, list]:
    """Caches (None at first) and memories of several streams after one more window each.

    As in the predictor, a window without events leaves both as they are; only a stream's first one is encoded all the
    same, so that every question has an answer.
    """
    caches, states = list(caches), list(states)
    new = [i for i, window in enumerate(windows) if len(window) or caches[i] is None]
    encoded = model.encode([windows[i] for i in new], [states[i] for i in new]) if new else ((), ())
    for i, cache, state in zip(new, *encoded, strict=True):
        caches[i], states[i] = cache, state
    return caches, states


def ask(model, scene: WindowedScene, cache, uv_px: np.ndarray) -> np.ndarray:
    """What a model answers at uv_px (K, 2) px from a cache, (4, K): metric depth, m, σ of log depth, what of that all
    points share, and the depth of its dense map alone, m; NaN where the model does not tell."""
    points = torch.from_numpy(uv_px)
    canonical, stddev = (out.double().cpu().numpy() for out in model.decode(cache, points))
    nothing = np.full(len(canonical), np.nan)
    shared, prior = cache.scale_stddev, model.prior_depth(cache, points)
    scale = scene.sequence.intrinsics.metric_per_canonical
    shared = nothing if shared is None else np.full(len(canonical), shared)
    prior = nothing if prior is None else prior.double().cpu().numpy()
    return np.stack((canonical * scale, stddev / canonical, shared, prior * scale))
