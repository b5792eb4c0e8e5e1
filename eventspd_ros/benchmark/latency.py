"""Where a model's time goes, and from how many keypoints on a dense map would be as fast.

T(K) = time to encode a window + time to decode K keypoints. A dense model spends nearly all of it on the map, whatever
K; EventSPD starts lower and grows with K. Where the two meet, K*, a dense map costs no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import device_conditions, now_s, times_ms
from eventspd_ros.evaluation.asking.questions import WindowedScene
from eventspd_ros.evaluation.asking.view import View
from eventspd_ros.evaluation.evaluate import Evaluation
from eventspd_ros.evaluation.results import OPTIONAL
from eventspd_ros.events.types import EventWindow
from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.stages import Phase

KS = (1, 4, 16, 64, 256, 1024, 4096)
STAGES_K = 256
REPETITIONS, WARM_UPS = 20, 3
DENSE_REPETITIONS, DENSE_WARM_UPS = 3, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesByK:
    """Medians over repetitions, ms; T(K) = encode + decode of K keypoints. stages_ms: of encode and of decode, by
    stage. trained: whether the weights are trained ones, on which times do not depend."""

    name: str
    trained: bool | None = field(default=None, metadata=OPTIONAL)
    encode_ms: float
    decode_ms: dict[str, float]
    total_ms: dict[str, float]
    repetitions: int
    stages_ms: dict[str, dict[str, float]] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class Crossover:
    """From how many keypoints on a dense map costs no more; None: from none. measured: between numbers that were timed,
    not beyond the last."""

    k: int | None
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one window with so many events. no_dense: why there is no dense baseline beside the model."""

    sensor: str
    events: int
    device: str
    torch_threads: int
    peak_memory_bytes: int
    machine: str
    load_average: float
    versions: dict[str, str]
    model: TimesByK
    dense: TimesByK | None = field(default=None, metadata=OPTIONAL)
    crossover: Crossover | None = field(default=None, metadata=OPTIONAL)
    no_dense: str | None = field(default=None, metadata=OPTIONAL)


def latency_of(evaluation: Evaluation) -> Latency:
    """measure_latency() of the judged model, and of the dense baseline: the one evaluated, or one with random weights;
    without the transformers library "no_dense" says so. On the first window that was asked."""
    judged = evaluation.methods[0].model
    asked = [answer.questions.window for answer in evaluation.answers]
    index = next(index for index, windows in enumerate(asked) if len(windows))
    config = judged.config
    scene = WindowedScene(evaluation.sequences[index], config.window_ms, config.stride_ms, evaluation.settings)
    number = int(asked[index][0])
    window = View(scene, config).window(number)
    evaluated = (method.model for method in evaluation.methods if isinstance(method.model, DenseModel))
    try:
        dense = next(evaluated, None) or DenseModel().to(judged.device)
    except ValueError as error:
        return replace(measure_latency(judged, window), no_dense=f"No dense baseline: {error}")
    return measure_latency(judged, window, dense, scene.window(number))


def measure_latency(
    model: PointDepthModel, window: EventWindow, dense: KeypointModel | None = None, full: EventWindow | None = None
) -> Latency:
    """Times of a model on one window, and of a dense one beside it. Both are on the device they are to be timed on.
    full: the window as the dense one sees it, where that is another.

    stages_ms: of one encode and of one decode of 256 keypoints. Weights make no difference to any of it.
    """
    own = time_by_k(model, window, model.config.preset, REPETITIONS, WARM_UPS)
    found = Latency(
        sensor="{1}x{0}".format(*window.sensor_hw),
        events=len(window),
        **device_conditions(model.device),
        **conditions(torch),
        model=replace(own, stages_ms=stage_times_ms(model, window)),
    )
    if dense is None:
        return found
    times = time_by_k(dense, full or window, "F³ ds1 + Depth Anything V2", DENSE_REPETITIONS, DENSE_WARM_UPS)
    meet = crossover(own.total_ms, times.total_ms)
    return replace(found, dense=replace(times, trained=dense.trained), crossover=meet)


@torch.inference_mode()
def time_by_k(model: KeypointModel, window: EventWindow, name: str, repetitions: int, warm_ups: int) -> TimesByK:
    model.prepare(*window.sensor_hw)
    (cache,), states = model.encode([window], [StreamState()])
    encode_ms = times_ms(lambda: model.encode([window], states), repetitions, model.device, warm_ups)["median"]
    decode_ms = {}
    for k in KS:
        uv_px = random_points(window, k).to(model.device)
        run = partial(model.decode, cache, uv_px)
        decode_ms[str(k)] = times_ms(run, repetitions, model.device, warm_ups)["median"]
    total_ms = {k: encode_ms + decode for k, decode in decode_ms.items()}
    return TimesByK(name=name, encode_ms=encode_ms, decode_ms=decode_ms, total_ms=total_ms, repetitions=repetitions)


def random_points(window: EventWindow, count: int) -> torch.Tensor:
    """(K, 2) pixels, evenly over the sensor, always the same."""
    unit = torch.rand(count, 2, generator=torch.Generator().manual_seed(0))
    height, width = window.sensor_hw
    return unit * torch.tensor([width, height]) - 0.5


def crossover(sparse_ms: dict[str, float], dense_ms: dict[str, float]) -> Crossover:
    """K*, from where on the sparse model is no faster; 0 where it is slower from the start. Between measured K, T is
    taken as a straight line; beyond the largest the last two go on."""
    both = sorted(set(sparse_ms) & set(dense_ms), key=int)
    ks, gap = np.array(both, np.float64), np.array([sparse_ms[k] - dense_ms[k] for k in both])
    if gap[0] >= 0:
        return Crossover(0, measured=True)
    reached = np.flatnonzero(gap >= 0)
    last = int(reached[0]) if len(reached) else len(ks) - 1
    slope = (gap[last] - gap[last - 1]) / (ks[last] - ks[last - 1])
    if slope <= 0:
        return Crossover(None, measured=False)
    return Crossover(round(float(ks[last] - gap[last] / slope)), measured=bool(len(reached)))


@torch.inference_mode()
def stage_times_ms(model: PointDepthModel, window: EventWindow, k: int = STAGES_K) -> dict[str, dict[str, float]]:
    """Medians of the stages of one encode and one decode, ms, by forward hooks; what no stage accounts for is "rest"
    (A3 and A4 in encode; routing, heads and depth in decode)."""
    uv_px = random_points(window, k).to(model.device)
    model.prepare(*window.sensor_hw)
    (cache,), states = model.encode([window], [StreamState()])
    encode = _hooked_ms(lambda: model.encode([window], states), _timed(model, Phase.A), model.device)
    scatter = times_ms(lambda: model.encoder.scatter([window]), REPETITIONS, model.device, WARM_UPS)["median"]
    encode = {"A1 scatter": scatter, **encode, "rest": max(encode["rest"] - scatter, 0.0)}
    decode = _hooked_ms(lambda: model.decode(cache, uv_px), _timed(model, Phase.B), model.device)
    return {"encode": encode, f"decode {k}": decode}


def _timed(model: PointDepthModel, phase: Phase) -> dict[str, list[nn.Module]]:
    """What to time of a phase: the modules by the name that their time is added up under."""
    found = {}
    for stage in model.stages().values():
        if stage.phase == phase and stage.timed_as:
            found.setdefault(stage.timed_as, []).extend(stage.called())
    return {name: modules for name, modules in found.items() if modules}


def _hooked_ms(run: Callable[[], object], timed: dict[str, list[nn.Module]], device: torch.device) -> dict[str, float]:
    """Medians by stage of REPETITIONS runs, and the rest of the whole."""
    clocks = {name: _Clock(modules, device) for name, modules in timed.items()}
    runs = {name: [] for name in [*clocks, "rest"]}
    try:
        for repetition in range(WARM_UPS + REPETITIONS):
            for clock in clocks.values():
                clock.total_ms = 0.0
            start_s = now_s(device)
            run()
            whole_ms = 1e3 * (now_s(device) - start_s)
            if repetition >= WARM_UPS:
                for name, clock in clocks.items():
                    runs[name].append(clock.total_ms)
                runs["rest"].append(whole_ms - sum(clock.total_ms for clock in clocks.values()))
    finally:
        for clock in clocks.values():
            clock.remove()
    return {name: float(np.median(times)) for name, times in runs.items()}


class _Clock:
    """Adds up the time spent inside modules that run one after another."""

    def __init__(self, modules: list[nn.Module], device: torch.device):
        self.device, self.total_ms, self.start_s = device, 0.0, 0.0
        self.handles = [module.register_forward_pre_hook(self._start) for module in modules]
        self.handles += [module.register_forward_hook(self._stop) for module in modules]

    def _start(self, *_) -> None:
        self.start_s = now_s(self.device)

    def _stop(self, *_) -> None:
        self.total_ms += 1e3 * (now_s(self.device) - self.start_s)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
