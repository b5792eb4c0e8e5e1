"""What an evaluation finds: every table, as it is scored. docs/evaluation.md defines the numbers; None: of no point.

to_json() alone makes of it what `eventspd evaluate --out` writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.simulation.odometry import OdometryConfig
from eventspd_ros.whole import write_whole

OPTIONAL = {"optional": True}  # a field that is not in JSON where it is None
INLINE = {"inline": True}  # a field whose own fields stand among those of what holds it


def to_json(value):
    """A result, or any part of one, in plain dictionaries and lists."""
    if is_dataclass(value):
        out = {}
        for item in fields(value):
            own = getattr(value, item.name)
            if item.metadata == INLINE:
                out |= to_json(own) or {}
            elif own is not None or item.metadata != OPTIONAL:
                out[item.name] = to_json(own)
        return out
    if isinstance(value, dict):
        return {key: to_json(own) for key, own in value.items()}
    return [to_json(own) for own in value] if isinstance(value, list | tuple) else value


def write_json(result: object, path: Path | str) -> None:
    write_whole(path, json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMetrics:
    """points, images    how many count; images: the values are a mean over them
    abs_rel              mean |p − t| / t
    sq_rel               mean (p − t)² / t, m: the standard one
    sq_rel_squared       mean (p − t)² / t², as E2Depth and F³ publish under that name
    rmse, mae            √mean (p − t)², mean |p − t|, m
    rmse_log             √mean δ²
    abs_log              mean |δ|
    log10                mean |log10 p − log10 t|
    silog_variance       mean δ² − (mean δ)²: Eigen's scale-invariant error with λ = 1, without a root (E2Depth)
    silog_percent        100 · its root (KITTI, HMNet)
    silog_half           √(mean δ² − ½ (mean δ)²) (F³, and the training loss of this package)
    delta1, 2, 3         share with max(p/t, t/p) < 1.25, 1.25², 1.25³
    """

    points: int | None = field(default=None, metadata=OPTIONAL)
    images: int | None = field(default=None, metadata=OPTIONAL)
    abs_rel: float | None
    sq_rel: float | None
    sq_rel_squared: float | None
    rmse: float | None
    mae: float | None
    rmse_log: float | None
    abs_log: float | None
    log10: float | None
    silog_variance: float | None
    silog_percent: float | None
    silog_half: float | None
    delta1: float | None
    delta2: float | None
    delta3: float | None


METRICS = tuple(item.name for item in fields(DepthMetrics))[2:]


@dataclass(frozen=True, slots=True)
class DepthClass:
    """Of true depths in from_m … to_m: 10, 50 and 90 % of δ, in which over-estimates are positive."""

    from_m: float
    to_m: float
    points: int
    abs_rel: float
    log_error_10: float
    log_error_50: float
    log_error_90: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Pooled, but for per_image. bias: median of p/t. correlation: of ln p and ln t about their means of the image, 1
    where near and far are told as they are; None where either does not vary. near_edges: at the pixels within 3 px of a
    depth edge. answered: share of the questions that got a depth."""

    plain: DepthMetrics
    median_aligned: DepthMetrics
    per_image: DepthMetrics
    by_range_m: dict[str, DepthMetrics]
    mean_error_below_m: dict[str, float | None]
    by_true_depth: list[DepthClass]
    bias: float | None
    correlation: float | None
    event_pixels: DepthMetrics
    near_edges: DepthMetrics
    answered: float | None


@dataclass(frozen=True, slots=True)
class SceneScores:
    """One scene, plain and aligned."""

    abs_rel: float | None
    abs_log: float | None
    rmse: float | None
    silog_half: float | None
    delta1: float | None
    aligned_abs_rel: float | None
    aligned_abs_log: float | None
    aligned_rmse: float | None
    aligned_silog_half: float | None
    aligned_delta1: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """ratio: mean own / mean other error. interval: 95 % of it under resampling of scenes. Both are None where the
    other makes no error at all. won: share of scenes with own < other."""

    scenes: int
    ratio: float | None
    interval: list[float] | None
    won: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """difference: mean of own − other. standard_error: sample deviation of that over scenes / √S; None of fewer than
    two."""

    scenes: int
    difference: float | None
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    expected: list[float]
    observed: list[float]


@dataclass(frozen=True, slots=True)
class Sparsification:
    """ause: area between the curve and the oracle's, over the share dropped. aurg: area between random order (a level
    line) and the curve. ause_ratio: ause / (ause + aurg), 0 for an oracle, 1 for knowing nothing; None where no point
    is better than another."""

    ause: float
    aurg: float
    ause_ratio: float | None
    curve: list[float]
    oracle: list[float]


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """coverage, width: by level; width is the mean of the whole interval in log depth. abs_rel is sorted by σ, rmse by
    depth·σ, what the node publishes. joint_nll: beside nll, which takes all errors for independent; None where the
    model does not tell what of σ is shared. coverage_error: by level, the standard error of coverage if other scenes
    had been drawn, as errors of one scene share their scale; None where there is one scene."""

    points: int
    nll: float
    ece: float
    calibration: CalibrationCurve
    coverage: dict[str, float]
    width: dict[str, float]
    abs_rel: Sparsification
    rmse: Sparsification
    joint_nll: float | None
    coverage_error: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class NoPoints:
    """In place of what takes a point."""

    points: int = 0


@dataclass(frozen=True, slots=True)
class Nothing:
    """In place of what a model does not have."""


@dataclass(frozen=True, slots=True)
class Routing:
    """entropy: of B3's attention over the cells of L4, mean over queries, heads averaged; entropy_share: of ln T, 1
    where attention is even. unique_top_cells: how many cells are some query's first choice in a window, and
    unique_anchors, how many are any query's anchor, both mean over windows."""

    windows: int
    queries: int
    cells: int
    entropy_nats: float
    entropy_share: float | None
    unique_top_cells: float
    anchors: int
    unique_anchors: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    mean: float
    p5: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class TokenShare:
    share: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """cosine: by stage, between h before and after it; near 1 the stage does nothing. attention: of B2 and B5, what
    goes to each type of token, layers and heads averaged. offsets_px: by level, how far learned reads lie from where
    they start."""

    routing: Routing | Nothing
    cosine: dict[str, Spread]
    attention: dict[str, dict[str, TokenShare]]
    offsets_px: dict[str, Spread]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """What was made harder, and the error then. log_stddev: mean σ of log depth; in_68: the share of truths inside that
    interval. largest_difference: of answers to k keypoints, relative, from those to all at once."""

    share: float | None = field(default=None, metadata=OPTIONAL)
    added_hz_per_pixel: float | None = field(default=None, metadata=OPTIONAL)
    since_gap_ms: list[float] | None = field(default=None, metadata=OPTIONAL)
    preset: str | None = field(default=None, metadata=OPTIONAL)
    k: int | None = field(default=None, metadata=OPTIONAL)
    noise_hz_per_pixel: float | None = field(default=None, metadata=OPTIONAL)
    after_ms: int | None = field(default=None, metadata=OPTIONAL)
    points: int
    abs_log: float | None
    abs_rel: float | None
    delta1: float | None
    log_stddev: float | None
    in_68: float | None
    abs_log_without_gap: float | None = field(default=None, metadata=OPTIONAL)
    largest_difference: float | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeps:
    """scenes: names of those that were asked."""

    scenes: list[str]
    event_rate: list[SweepRow]
    sensor_noise: list[SweepRow]
    gap: list[SweepRow]
    sensor_preset: list[SweepRow] | None = field(default=None, metadata=OPTIONAL)
    queries: list[SweepRow]
    camera_stopped: list[SweepRow]


@dataclass(frozen=True, slots=True)
class MotionRow:
    """Of the points that a method answers. answered: their share. ratio_to_learned: of mean |log| where both answer."""

    points: int
    abs_log: float | None
    abs_rel: float | None
    delta1: float | None
    answered: float | None
    ratio_to_learned: float | None
    within_10: float | None
    off_by_quarter: float | None
    in_68: float | None
    in_95: float | None


Classes = dict[str, dict[str, MotionRow]]  # class → method → row


@dataclass(frozen=True, slots=True)
class MotionCost:
    """Processor time: medians over requests of so many keypoints, and over the strides of the windows."""

    keypoints: int
    us_per_keypoint: float
    ns_per_event: float


@dataclass(frozen=True, slots=True)
class MotionResult:
    """tables: group (pooled, and each domain) → kind (all, uniform, keypoints) → class → method → row."""

    scenes: int
    scenes_left_out: int
    scenes_that_do_not_say_what_moves: int
    cost: MotionCost
    tables: dict[str, dict[str, Classes]]


@dataclass(frozen=True, slots=True)
class PoseErrorScores:
    """The same with poses that have errors. poses: their name; odometry: their errors, None: there were no poses.
    declared: they tell how fast their rotation drifts."""

    poses: str
    odometry: OdometryConfig | None
    declared: bool
    classes: Classes


@dataclass(frozen=True, slots=True)
class Summary:
    """judged: the method that is compared with all others. scenes: how many of each group: pooled, and each domain.
    accuracy: kind of question → group → method; comparison: kind → other → metric → group; uncertainty: kind → model →
    group; per_scene: kind → method → scene."""

    judged: str
    scenes: dict[str, int]
    accuracy: dict[str, dict[str, dict[str, Accuracy]]]
    comparison: dict[str, dict[str, dict[str, dict[str, Comparison]]]]
    uncertainty: dict[str, dict[str, dict[str, Uncertainty | NoPoints]]]
    per_scene: dict[str, dict[str, dict[str, SceneScores]]]


Protocols = dict[str, dict[str, dict[str, float]]]  # protocol → method → the protocol's columns


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """What `eventspd evaluate` writes; the last five: where they were asked for. latency: of benchmark/latency.py."""

    set: str
    dataset: str
    train_set: str | None
    weights: list[str]
    dense: list[str] | None
    version: str
    settings: Settings
    protocol: Protocols | None = field(default=None, metadata=OPTIONAL)
    summary: Summary = field(metadata=INLINE)
    diagnostics: Diagnostics | Nothing | None = field(default=None, metadata=OPTIONAL)
    sweeps: Sweeps | None = field(default=None, metadata=OPTIONAL)
    motion: MotionResult | None = field(default=None, metadata=OPTIONAL)
    pose_errors: list[PoseErrorScores] | None = field(default=None, metadata=OPTIONAL)
    latency: object | None = field(default=None, metadata=OPTIONAL)
