"""How a model's error changes when something is made harder: fewer events, noise, another sensor preset, gaps, a camera
that stops, and how many keypoints are asked at once.

Every sweep asks the same pixels as the evaluation without it, of a few scenes of each domain.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from eventspd_ros.cores import cores
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.answers import Method, SceneAnswers, advance, ask, collect_answers
from eventspd_ros.evaluation.asking.disturbances import EventRate, Gap, ShotNoise, Stop
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.evaluation.asking.view import View
from eventspd_ros.evaluation.evaluate import Evaluation
from eventspd_ros.evaluation.results import SweepRow, Sweeps
from eventspd_ros.evaluation.scoring.metrics import depth_metrics
from eventspd_ros.evaluation.scoring.uncertainty import coverage
from eventspd_ros.model.feature_cache import FeatureCache, StreamState
from eventspd_ros.nanoseconds import NS_PER_MS
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SET_FILE, SetConfig, simulate_set
from eventspd_ros.simulation.event_sensor import PRESETS
from eventspd_ros.simulation.variety import Variety

SCENES = 4  # of each domain
RATES = (0.75, 0.5, 0.25)
NOISE_HZ = (0.1, 1.0, 5.0)  # a pixel; 5 is what v2e calls noisy
GAP = Gap(first_ms=100.0, length_ms=100.0, period_ms=1000.0)
SINCE_GAP_MS = (-100.0, 0.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0)
KS = (1, 4, 16, 64, 256, 1024, 4096)
STOPPED_MS = (0, 10, 20, 50, 100, 200, 500)
STOP_NOISE_HZ = (0.0, 0.1, 5.0)

Progress = Callable[[int, int], object]


def sweep_evaluation(evaluation: Evaluation, progress: Progress | None = None) -> Sweeps:
    """run_sweeps() of the judged model of an evaluation."""
    model, result = evaluation.methods[0].model, evaluation.result
    settings = replace(evaluation.settings, uniform=min(evaluation.settings.uniform, Settings.uniform))
    folder = result.set if result.dataset == "simulated" else None
    workers = cores() if model.device.type == "cpu" else 1
    return run_sweeps(model, evaluation.sequences, settings, folder, workers, progress)


def run_sweeps(
    model,
    sequences: list[Sequence],
    settings: Settings,
    folder: Path | str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Sweeps:
    """Every sweep of a model on some scenes of a set (docs/evaluation.md).

    folder: of a simulated set, whose scenes are simulated anew with the other sensor presets, into a temporary folder;
    None: without those. workers: processes, as in collect_answers(). progress: (scenes done since the last call, all).
    """
    settings = replace(settings, keypoints=0)
    some = few_of_each(sequences)
    set_config = None if folder is None else read_set_config(folder, some)
    presets = [] if set_config is None else [name for name in PRESETS if name != set_config.preset]
    disturbed = _disturbed(model)
    total = len(some) * (len(disturbed) + len(presets) + 1 + len(STOP_NOISE_HZ))
    report = (lambda done: None) if progress is None else (lambda done: progress(done, total))
    answers = collect_answers(some, disturbed, {}, settings, workers, report)
    undisturbed = _row(answers, disturbed[0].name)
    rates = [replace(_row(answers, f"rate {share}"), share=share) for share in RATES]
    noises = [replace(_row(answers, f"noise {rate}"), added_hz_per_pixel=rate) for rate in NOISE_HZ]
    sensors = None if set_config is None else [replace(undisturbed, preset=set_config.preset)]
    for preset in presets:
        anew = _simulated_anew(model, set_config, preset, settings, workers)
        sensors.append(replace(_row(anew, "model"), preset=preset))
        report(len(some))
    queries = _query_rows(model, _scenes(model, some, replace(settings, uniform=max(KS))))
    report(len(some))
    stopped = []
    for noise_hz in STOP_NOISE_HZ:
        stopped += _stopped_rows(model, _scenes(model, some, settings), noise_hz)
        report(len(some))
    return Sweeps(
        scenes=[sequence.name for sequence in some],
        event_rate=[replace(undisturbed, share=1.0), *rates],
        sensor_noise=[replace(undisturbed, added_hz_per_pixel=0.0), *noises],
        gap=_gap_rows(model, some, settings, answers),
        sensor_preset=sensors,
        queries=queries,
        camera_stopped=stopped,
    )


def _scenes(model, sequences: list[Sequence], settings: Settings) -> list[WindowedScene]:
    """Those that are asked something."""
    scenes = [WindowedScene(s, model.config.window_ms, model.config.stride_ms, settings) for s in sequences]
    return [scene for scene in scenes if len(scene.asked())]


def few_of_each(sequences: list[Sequence]) -> list[Sequence]:
    """The first SCENES of each domain (of a dataset: of all), in order."""
    kept, counts = [], {}
    for sequence in sequences:
        domain = getattr(sequence, "domain", sequence.dataset)
        counts[domain] = counts.get(domain, 0) + 1
        if counts[domain] <= SCENES:
            kept.append(sequence)
    return kept


def _disturbed(model) -> list[Method]:
    """The model as it is, then with everything that happens to its events."""
    return [
        Method("undisturbed", model),
        *(Method(f"rate {share}", model, disturbance=EventRate(share)) for share in RATES),
        *(Method(f"noise {rate}", model, disturbance=ShotNoise(rate)) for rate in NOISE_HZ),
        Method("gap", model, disturbance=GAP),
    ]


def _row(answers: list[SceneAnswers], method: str, which: list[np.ndarray] | None = None) -> SweepRow:
    """One line of a table: error and σ over all answers of a method. which: of each scene the questions that count."""
    which = which or [np.ones(len(answer.questions.true_m), bool) for answer in answers]
    columns = zip(
        *(
            (answer.depth_m[method][own], answer.questions.true_m[own], answer.log_stddev[method][own])
            for answer, own in zip(answers, which, strict=True)
        ),
        strict=True,
    )
    return error_and_stddev(*map(np.concatenate, columns))


def error_and_stddev(predicted_m: np.ndarray, true_m: np.ndarray, log_stddev: np.ndarray) -> SweepRow:
    """Over points (K,)."""
    values = depth_metrics(predicted_m, true_m)
    error = {name: getattr(values, name) for name in ("points", "abs_log", "abs_rel", "delta1")}
    known = np.isfinite(predicted_m) & np.isfinite(true_m) & np.isfinite(log_stddev)
    if not known.any():
        return SweepRow(**error, log_stddev=None, in_68=None)
    in_68 = coverage(np.log(predicted_m[known] / true_m[known]), log_stddev[known], 0.68)
    return SweepRow(**error, log_stddev=float(log_stddev[known].mean()), in_68=in_68)


def _gap_rows(model, sequences: list[Sequence], settings: Settings, answers: list[SceneAnswers]) -> list[SweepRow]:
    """Error by time since the end of a gap, beside that of the stream without one at the same questions."""
    since_ms = []
    for sequence, answer in zip(sequences, answers, strict=True):
        ends_ns = WindowedScene(sequence, model.config.window_ms, model.config.stride_ms, settings).ends_ns
        since_ms.append(GAP.since_ms(ends_ns[answer.questions.window], sequence.recorded_ns[0]))
    rows = []
    for low, high in pairwise(SINCE_GAP_MS):
        which = [(since >= low) & (since < high) for since in since_ms]
        if any(own.any() for own in which):
            without = _row(answers, "undisturbed", which).abs_log
            row = _row(answers, "gap", which)
            rows.append(replace(row, since_gap_ms=[low, high], abs_log_without_gap=without))
    return rows


def read_set_config(folder: Path | str, sequences: list[Sequence]) -> SetConfig | None:
    """How the scenes were simulated, cut to the first of them; None where set.json does not say."""
    path = Path(folder) / SET_FILE
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    stored.pop("format_version", None)
    camera = stored.pop("camera")
    camera = PinholeCamera(**{**camera, "distortion": tuple(camera["distortion"])})
    domains = tuple(stored.pop("domains"))
    scenes = max(sum(s.domain == domain for s in sequences) for domain in domains)
    variety = {k: v if v is None or isinstance(v, str) else tuple(v) for k, v in stored.pop("variety", {}).items()}
    return SetConfig(domains, scenes, camera=camera, variety=Variety(**variety), **stored)


def _simulated_anew(model, config: SetConfig, preset: str, settings: Settings, workers: int) -> list[SceneAnswers]:
    """The same scenes through another sensor."""
    with tempfile.TemporaryDirectory(prefix="eventspd_sweep_") as folder:
        simulate_set(folder, replace(config, preset=preset, images=False), workers)
        return collect_answers(open_dataset("simulated", folder), [Method("model", model)], {}, settings, workers)


@torch.inference_mode()
def _query_rows(model, scenes: list[WindowedScene]) -> list[SweepRow]:
    """The first K of 4,096 pixels of each scene's last asked window asked in one call: their error, and how far their
    answers lie from those of one call with all (keypoints do not see one another: rounding)."""
    parts = {k: [] for k in KS}
    for scene in scenes:
        number = int(scene.asked()[-1])
        cache, _ = _stream_to(model, View(scene, model.config), number)
        questions = scene.questions([number])
        everything, *_ = ask(model, scene, cache, questions.uv_px)
        for k in KS:
            depth_m, log_stddev, *_ = ask(model, scene, cache, questions.uv_px[:k])
            away = float(np.abs(depth_m / everything[:k] - 1).max())
            parts[k].append((depth_m, questions.true_m[:k], log_stddev, away))
    rows = []
    for k, own in parts.items():
        *columns, away = zip(*own, strict=True)
        rows.append(replace(error_and_stddev(*map(np.concatenate, columns)), k=k, largest_difference=max(away)))
    return rows


@torch.inference_mode()
def _stopped_rows(model, scenes: list[WindowedScene], noise_hz: float) -> list[SweepRow]:
    """Error of what the model answers some time after the camera stopped at a scene's last asked window.

    Windows without an event leave the answer as it was (in the predictor until it is too old, max_cache_age_ms).
    """
    columns = {after: [] for after in STOPPED_MS}
    for scene in scenes:
        number = int(scene.asked()[-1])
        stop_ns = int(scene.ends_ns[number])
        view = View(scene, model.config)
        questions = scene.questions([number])
        cache, state = _stream_to(model, view, number)
        view.disturbance = Stop(stop_ns, ShotNoise(noise_hz))
        stride_ns = model.config.stride_ms * NS_PER_MS
        step = 0
        for after in STOPPED_MS:
            while round((step + 1) * stride_ns) <= after * NS_PER_MS:
                step += 1
                window = view.window_ending(stop_ns + round(step * stride_ns))
                (cache,), (state,) = advance(model, [window], [cache], [state])
            depth_m, log_stddev, *_ = ask(model, scene, cache, questions.uv_px)
            columns[after].append((depth_m, questions.true_m, log_stddev))
    rows = []
    for after, own in columns.items():
        if own:
            row = error_and_stddev(*map(np.concatenate, zip(*own, strict=True)))
            rows.append(replace(row, noise_hz_per_pixel=noise_hz, after_ms=after))
    return rows


def _stream_to(model, view: View, number: int) -> tuple[FeatureCache, StreamState]:
    """Cache and memory after a scene's windows 0 … number."""
    model.prepare(*view.scene.size)
    cache, state = None, StreamState()
    for index in range(number + 1):
        (cache,), (state,) = advance(model, [view.window(index)], [cache], [state])
    return cache, state
