"""How good is a model on a set: its answers beside those of baselines and of other models, on the same pixels.

What `eventspd evaluate` runs. docs/evaluation.md defines every number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from eventspd_ros import __version__
from eventspd_ros.cores import cores
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.answers import Method, SceneAnswers, collect_answers
from eventspd_ros.evaluation.asking.baselines import fit_baselines
from eventspd_ros.evaluation.asking.dense_baseline import load_dense
from eventspd_ros.evaluation.asking.partial import Partial, fingerprint
from eventspd_ros.evaluation.asking.questions import KINDS, Settings
from eventspd_ros.evaluation.results import (
    Accuracy,
    Comparison,
    EvaluationResult,
    NoPoints,
    SceneScores,
    Summary,
    Uncertainty,
    to_json,
)
from eventspd_ros.evaluation.scoring.comparison import compare
from eventspd_ros.evaluation.scoring.joint_likelihood import joint_negative_log_likelihood
from eventspd_ros.evaluation.scoring.metrics import (
    align_images,
    by_range,
    depth_metrics,
    error_by_depth,
    mean_error_below,
    per_image,
)
from eventspd_ros.evaluation.scoring.protocols import DisparityProtocol, Protocol
from eventspd_ros.evaluation.scoring.uncertainty import uncertainty_report
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.whole import check_output, write_whole

RESET = " (memory reset)"
POOLED = "pooled"
COMPARED = ("abs_log", "abs_rel")
OF_A_SCENE = [item.name for item in fields(SceneScores) if not item.name.startswith("aligned_")]


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated and what came out. methods: the first is the judged one."""

    sequences: list[Sequence]
    settings: Settings
    methods: list[Method]
    answers: list[SceneAnswers]
    result: EvaluationResult


def evaluate_checkpoints(
    folder: Path | str,
    weights: list[Path | str],
    train_folder: Path | str | None = None,
    settings: Settings | None = None,
    dataset: str = "simulated",
    device: str = "cpu",
    protocol: Protocol | DisparityProtocol | None = None,
    dense: tuple[Path | str, Path | str] | None = None,
    progress: Callable[[int, int], object] | None = None,
    out: Path | str | None = None,
) -> Evaluation:
    """Evaluates checkpoints on a dataset. weights: the first is the model in question, also with its memory reset; the
    others stand beside it. train_folder: the set it was trained on, for the baselines; None: without them. protocol: by
    which the uniformly drawn pixels are scored too, of choose_protocol(); a centred one moves the windows. dense: F³
    weights and a Depth Anything V2 folder of load_dense(), to stand beside it too.

    On the CPU one process a core streams scenes; a script that calls this needs `if __name__ == "__main__":`.
    progress: called with (scenes done since the last call, scenes in all), a scene counted once a method. out: where
    the result is written; until then finished scenes lie beside it in OUT.partial, and the same call goes on from them.
    """
    if out is not None:
        check_output(out)
    settings = replace(settings or Settings(), centred=protocol is not None and protocol.centred)
    sequences = open_dataset(dataset, folder)
    training = None if train_folder is None else open_dataset(dataset, train_folder)
    baselines = {} if training is None else fit_baselines(training, settings.seed)
    methods = _methods([load_checkpoint(path, device) for path in weights], [Path(path) for path in weights])
    if dense is not None:
        methods.append(_dense_method(dense, device, training, settings.seed))
    total = len(sequences) * len(methods)
    workers = cores() if device == "cpu" else 1
    report = None if progress is None else lambda done: progress(done, total)
    work = nullcontext()
    if out is not None:
        work = Partial(f"{out}.partial", _configuration(sequences, weights, dense, settings, device))
    with work as partial:
        answers = collect_answers(sequences, methods, baselines, settings, workers, report, partial)
        result = EvaluationResult(
            set=str(folder),
            dataset=dataset,
            train_set=None if train_folder is None else str(train_folder),
            weights=[str(path) for path in weights],
            dense=None if dense is None else [str(path) for path in dense],
            version=__version__,
            settings=settings,
            protocol=protocol and {protocol.name: score_by_protocol(protocol, sequences, answers)},
            summary=summarise(answers, methods[0].name),
        )
        if out is not None:
            write_json(result, out)
    return Evaluation(sequences, settings, methods, answers, result)


def _configuration(
    sequences: list[Sequence], weights: list, dense: tuple | None, settings: Settings, device: str
) -> dict:
    """What finished answers depend on."""
    return {
        "sequences": [[s.dataset, s.name, len(s.times_ns), list(map(int, s.recorded_ns))] for s in sequences],
        "weights": [fingerprint(path) for path in weights],
        "dense": [] if dense is None else [fingerprint(dense[0]), fingerprint(Path(dense[1]) / "model.safetensors")],
        "settings": asdict(settings),
        "device": device,
        "version": __version__,
    }


def _dense_method(
    dense: tuple[Path | str, Path | str], device: str, training: list[Sequence] | None, seed: int
) -> Method:
    """The dense baseline; it has no memory, so that only windows that are asked need be encoded."""
    model = load_dense(*dense, device)
    if training is not None:
        model.fit_scale(training, seed)
    return Method("dense", model, reset=True)


def _methods(models: list, paths: list[Path]) -> list[Method]:
    """The first model, the same with its memory reset if it has one, then the others. Two of one preset are named by
    file too."""
    presets = [model.config.preset for model in models]
    names = [
        preset if presets.count(preset) == 1 else f"{preset}:{path.stem}"
        for preset, path in zip(presets, paths, strict=True)
    ]
    methods = [Method(name, model) for name, model in zip(names, models, strict=True)]
    if models[0].memory_shape(480, 640) is not None:
        methods.insert(1, Method(names[0] + RESET, models[0], reset=True))
    return methods


def score_by_protocol(
    protocol: Protocol | DisparityProtocol, sequences: list[Sequence], answers: list[SceneAnswers]
) -> dict[str, dict]:
    """Scores of every method at the uniformly drawn pixels. ValueError: a dataset without what the protocol scores."""
    scores = {}
    for method in answers[0].depth_m:
        points = AnsweredPoints.of(answers, method, "uniform")
        if isinstance(protocol, Protocol):
            scores[method] = protocol.score(points.predicted_m, points.true_m, points.uv_px, points.image)
            continue
        if not all(hasattr(sequence, "disparity_px") for sequence in sequences):
            raise ValueError(f"protocol {protocol.name!r} scores disparity, which {sequences[0].dataset} does not have")
        disparities = []
        for sequence, answer in zip(sequences, answers, strict=True):
            own = AnsweredPoints.of([answer], method, "uniform")
            disparities.append([sequence.disparity_px(own.uv_px, depth) for depth in (own.predicted_m, own.true_m)])
        predicted, true = (np.concatenate(column) for column in zip(*disparities, strict=True))
        scores[method] = protocol.score(predicted, true, points.image)
    return scores


def summarise(answers: list[SceneAnswers], judged: str) -> Summary:
    """Every table. judged: the method that is compared with all others."""
    answers = [answer for answer in answers if len(answer.questions.true_m)]
    domains = sorted({answer.domain for answer in answers})
    groups = {POOLED: answers} | {domain: [a for a in answers if a.domain == domain] for domain in domains}
    methods = list(answers[0].depth_m)
    models = list(answers[0].log_stddev)
    scenes = {kind: {method: _scenes(answers, method, kind) for method in methods} for kind in KINDS}
    return Summary(
        judged=judged,
        scenes={group: len(members) for group, members in groups.items()},
        accuracy={
            kind: {
                g: {m: accuracy(AnsweredPoints.of(members, m, kind)) for m in methods} for g, members in groups.items()
            }
            for kind in KINDS
        },
        comparison={
            kind: {m: _compare_scenes(scenes[kind], answers, judged, m, domains) for m in methods if m != judged}
            for kind in KINDS
        },
        uncertainty={
            kind: {m: {g: _uncertainty(members, m, kind) for g, members in groups.items()} for m in models}
            for kind in KINDS
        },
        per_scene={
            kind: {m: {a.name: scores for a, scores in zip(answers, scenes[kind][m], strict=True)} for m in methods}
            for kind in KINDS
        },
    )


@dataclass(frozen=True)
class AnsweredPoints:
    """The answers of one method to one kind of question, of several scenes. image: (K,), equal within one label.
    log_stddev, scale_stddev: (K,), NaN where the method has none."""

    uv_px: np.ndarray
    predicted_m: np.ndarray
    true_m: np.ndarray
    image: np.ndarray
    on_event: np.ndarray
    log_stddev: np.ndarray
    scale_stddev: np.ndarray

    @classmethod
    def of(cls, answers: list[SceneAnswers], method: str, kind: str) -> AnsweredPoints:
        columns, image = [], 0
        for answer in answers:
            asked, which = answer.questions, answer.questions.kind == KINDS[kind]
            nothing = np.full(len(which), np.nan)
            stddevs = [column.get(method, nothing) for column in (answer.log_stddev, answer.scale_stddev)]
            own = (asked.uv_px, answer.depth_m[method], asked.true_m, asked.window + image, asked.on_event, *stddevs)
            columns.append([column[which] for column in own])
            image += int(asked.window.max(initial=0)) + 1
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def aligned(self) -> np.ndarray:
        return align_images(self.predicted_m, self.true_m, self.image, "median")


def accuracy(points: AnsweredPoints) -> Accuracy:
    predicted, true = points.predicted_m, points.true_m
    seen = points.on_event
    return Accuracy(
        plain=depth_metrics(predicted, true),
        median_aligned=depth_metrics(points.aligned(), true),
        per_image=per_image(predicted, true, points.image),
        by_range_m=by_range(predicted, true),
        mean_error_below_m=mean_error_below(predicted, true),
        by_true_depth=error_by_depth(predicted, true),
        event_pixels=depth_metrics(predicted[seen], true[seen]),
        answered=float(np.mean(np.isfinite(predicted))) if len(predicted) else None,
    )


def _scenes(answers: list[SceneAnswers], method: str, kind: str) -> list[SceneScores]:
    scores = []
    for answer in answers:
        points = AnsweredPoints.of([answer], method, kind)
        both = (depth_metrics(predicted, points.true_m) for predicted in (points.predicted_m, points.aligned()))
        scores.append(SceneScores(*(getattr(values, name) for values in both for name in OF_A_SCENE)))
    return scores


def _compare_scenes(
    scenes: dict[str, list[SceneScores]], answers: list[SceneAnswers], judged: str, other: str, domains: list[str]
) -> dict[str, dict[str, Comparison]]:
    """metric → domain or pooled → compare(); of the scenes where both have a value."""
    kinds = np.array([answer.domain for answer in answers])
    out = {}
    for metric in [*COMPARED, *(f"aligned_{name}" for name in COMPARED)]:
        own, their = (np.array([getattr(s, metric) for s in scenes[m]], np.float64) for m in (judged, other))
        both = np.isfinite(own) & np.isfinite(their)
        groups = {POOLED: both} | {domain: both & (kinds == domain) for domain in domains}
        out[metric] = {g: compare(own[w], their[w], kinds[w]) for g, w in groups.items() if w.any()}
    return out


def _uncertainty(answers: list[SceneAnswers], method: str, kind: str) -> Uncertainty | NoPoints:
    """uncertainty_report() of all points, and what takes their images and scenes."""
    points = AnsweredPoints.of(answers, method, kind)
    report = uncertainty_report(points.predicted_m, points.true_m, points.log_stddev)
    if not report.points:
        return report
    each = [AnsweredPoints.of([answer], method, kind) for answer in answers]
    scenes = [uncertainty_report(own.predicted_m, own.true_m, own.log_stddev) for own in each]
    scenes = [scene.coverage for scene in scenes if scene.points]
    error = dict.fromkeys(report.coverage)
    if len(scenes) > 1:
        error = {level: float(np.std([c[level] for c in scenes]) / np.sqrt(len(scenes))) for level in error}
    return replace(report, joint_nll=_joint_nll(points), coverage_error=error)


def _joint_nll(points: AnsweredPoints) -> float | None:
    log_error = np.log(points.predicted_m / points.true_m)
    told = np.isfinite(log_error) & np.isfinite(points.log_stddev) & (points.scale_stddev > 0)
    columns = log_error, points.log_stddev, points.scale_stddev, points.image
    return joint_negative_log_likelihood(*(column[told] for column in columns)) if told.any() else None


def write_json(result: object, path: Path | str) -> None:
    write_whole(path, json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")
