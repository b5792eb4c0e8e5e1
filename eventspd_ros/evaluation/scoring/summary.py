"""Every table of an evaluation, from what models and baselines answered. docs/evaluation.md defines every number."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.answers import SceneAnswers
from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.results import Accuracy, Comparison, NoPoints, SceneScores, Summary, Uncertainty
from eventspd_ros.evaluation.scoring.comparison import compare
from eventspd_ros.evaluation.scoring.joint_likelihood import joint_negative_log_likelihood
from eventspd_ros.evaluation.scoring.metrics import (
    align_images,
    bias,
    by_range,
    correlation,
    depth_metrics,
    error_by_depth,
    mean_error_below,
    per_image,
)
from eventspd_ros.evaluation.scoring.protocols import DisparityProtocol, Protocol
from eventspd_ros.evaluation.scoring.uncertainty import uncertainty_report

POOLED = "pooled"
COMPARED = ("abs_log", "abs_rel")
OF_A_SCENE = [item.name for item in fields(SceneScores) if not item.name.startswith("aligned_")]


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
    at_edge: np.ndarray
    log_stddev: np.ndarray
    scale_stddev: np.ndarray

    @classmethod
    def of(cls, answers: list[SceneAnswers], method: str, kind: str) -> AnsweredPoints:
        columns, image = [], 0
        for answer in answers:
            asked, which = answer.questions, answer.questions.kind == KINDS[kind]
            nothing = np.full(len(which), np.nan)
            stddevs = [column.get(method, nothing) for column in (answer.log_stddev, answer.scale_stddev)]
            asked_for = asked.true_m, asked.window + image, asked.on_event, asked.at_edge
            own = (asked.uv_px, answer.depth_m[method], *asked_for, *stddevs)
            columns.append([column[which] for column in own])
            image += int(asked.window.max(initial=0)) + 1
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def aligned(self) -> np.ndarray:
        return align_images(self.predicted_m, self.true_m, self.image, "median")


def accuracy(points: AnsweredPoints) -> Accuracy:
    predicted, true = points.predicted_m, points.true_m
    seen, edge = points.on_event, points.at_edge
    return Accuracy(
        plain=depth_metrics(predicted, true),
        median_aligned=depth_metrics(points.aligned(), true),
        per_image=per_image(predicted, true, points.image),
        by_range_m=by_range(predicted, true),
        mean_error_below_m=mean_error_below(predicted, true),
        by_true_depth=error_by_depth(predicted, true),
        bias=bias(predicted, true),
        correlation=correlation(predicted, true, points.image),
        event_pixels=depth_metrics(predicted[seen], true[seen]),
        near_edges=depth_metrics(predicted[edge], true[edge]),
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
