"""What models and baselines answer to the questions of a set of scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.baselines import Baseline
from eventspd_ros.evaluation.questions import Questions, Scene, Settings
from eventspd_ros.model.feature_cache import StreamState


@dataclass
class SceneAnswers:
    """One scene, K questions. depth_m: of each method, (K,) m. log_stddev: of each model, (K,), σ of log depth."""

    name: str
    domain: str
    questions: Questions
    depth_m: dict[str, np.ndarray] = field(default_factory=dict)
    log_stddev: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A model as it is asked. reset: it forgets before every window, so that memory cannot help it."""

    name: str
    model: object
    reset: bool = False


def collect_answers(
    sequences: list[Sequence],
    methods: list[Method],
    baselines: Mapping[str, Baseline],
    settings: Settings,
    progress: Callable[[int], object] | None = None,
) -> list[SceneAnswers]:
    """Every scene's windows in order through every method, settings.parallel scenes at a time.

    progress: called with the number of scenes done since the last call, each counted once a method. ValueError: models
    of different windows, which cannot be asked the same, or a set without a question.
    """
    progress = progress or (lambda scenes: None)
    windowings = {(m.model.config.window_ms, m.model.config.stride_ms) for m in methods}
    if len(windowings) != 1:
        raise ValueError(f"models of several (window_ms, stride_ms) {sorted(windowings)}; evaluate them apart")
    scenes = [Scene(sequence, *windowings.copy().pop(), settings) for sequence in sequences]
    answers = [SceneAnswers(scene.name, scene.domain, scene.questions()) for scene in scenes]
    if not any(len(answer.questions.true_m) for answer in answers):
        raise ValueError(
            f"{len(scenes)} scenes, but no label after the first {settings.warm_up} windows; lower warm_up"
        )
    for scene, answer in zip(scenes, answers, strict=True):
        for name, baseline in baselines.items():
            answer.depth_m[name] = baseline.depth_m(answer.questions.uv_px, scene.sequence.intrinsics, scene.domain)
    for method in methods:
        for group in _groups(scenes, settings.parallel):
            _stream(method, [scenes[i] for i in group], [answers[i] for i in group])
            progress(len(group))
    return answers


def _groups(scenes: list[Scene], parallel: int) -> list[list[int]]:
    """Indices of scenes to be encoded together: of one sensor size."""
    groups = []
    for size in sorted({scene.size for scene in scenes}):
        alike = [index for index, scene in enumerate(scenes) if scene.size == size]
        groups += [alike[first : first + parallel] for first in range(0, len(alike), parallel)]
    return groups


@torch.inference_mode()
def _stream(method: Method, scenes: list[Scene], answers: list[SceneAnswers]) -> None:
    """Several scenes as parallel streams of one model; fills in their answers."""
    for scene, answer in zip(scenes, answers, strict=True):
        count = len(answer.questions.true_m)
        answer.depth_m[method.name] = np.full(count, np.nan)
        answer.log_stddev[method.name] = np.full(count, np.nan)
    states = [StreamState() for _ in scenes]
    asked = [set(scene.asked().tolist()) for scene in scenes]
    for number in range(max(map(len, scenes))):
        # A model without memory between windows needs only those windows that are asked.
        active = [i for i, s in enumerate(scenes) if (number in asked[i] if method.reset else number < len(s))]
        if not active:
            continue
        windows = [scenes[i].window(number) for i in active]
        before = [StreamState() if method.reset else states[i] for i in active]
        caches, after = method.model.encode(windows, before)
        for i, cache, state in zip(active, caches, after, strict=True):
            states[i] = state
            if number in asked[i]:
                _decode(method, scenes[i], number, cache, answers[i])


def _decode(method: Method, scene: Scene, number: int, cache, answer: SceneAnswers) -> None:
    points = answer.questions.window == number
    uv = torch.from_numpy(answer.questions.uv_px[points])
    depth, stddev = (out.double().cpu().numpy() for out in method.model.decode(cache, uv))
    answer.depth_m[method.name][points] = depth * scene.sequence.intrinsics.metric_per_canonical
    answer.log_stddev[method.name][points] = stddev / depth
