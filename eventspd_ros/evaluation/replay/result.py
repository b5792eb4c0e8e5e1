"""What a replay found: the tables of `eventspd evaluate` over one bag, and the files they and the answers go to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eventspd_ros import __version__
from eventspd_ros.evaluation.asking.answers import SceneAnswers
from eventspd_ros.evaluation.asking.partial import Partial
from eventspd_ros.evaluation.asking.questions import Questions
from eventspd_ros.evaluation.replay.requests import ReplaySettings
from eventspd_ros.evaluation.replay.session import MethodAnswers, ReplaySession
from eventspd_ros.evaluation.replay.writers import check_free, write_answer_bag, write_csv
from eventspd_ros.evaluation.results import INLINE, OPTIONAL, Protocols, Summary, write_json
from eventspd_ros.evaluation.scoring.protocols import DisparityProtocol, Protocol
from eventspd_ros.evaluation.scoring.summary import score_by_protocol, summarise
from eventspd_ros.evaluation.showing.table import format_table, show_summary
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.predictor import Status


@dataclass(frozen=True, slots=True)
class MethodStatus:
    """What became of one checkpoint's points. counters: of what it went through; its JSON has them beside the rest."""

    trained: bool
    answers: int
    points_by_status: dict[str, int]
    counters: dict[str, object] = field(metadata=INLINE)


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """How a bag was asked and answered."""

    topics: dict[str, object]
    sensor: str
    duration_s: float
    fx_px: float | None
    event_packets: int
    packets_rejected: int
    damage: object
    depth_labels: int
    requests: int
    points: int
    points_with_known_depth: int
    methods: dict[str, MethodStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What `eventspd evaluate` writes, of one scene named after the bag. summary: None where its depth is not known."""

    set: str
    train_set: None
    weights: list[str]
    version: str
    settings: ReplaySettings
    replay: ReplayReport
    protocol: Protocols | None = field(default=None, metadata=OPTIONAL)
    summary: Summary | None = field(metadata=INLINE)


def scene_answers(session: ReplaySession, methods: Sequence[MethodAnswers]) -> SceneAnswers:
    """The points whose depth the bag knows, as `eventspd evaluate` holds the answers of a scene; a request is an
    image."""
    requests = session.found.requests
    true = _column([request.true_m for request in requests], np.float32)
    scored = np.isfinite(true) & (true > 0)
    sizes = [len(request.true_m) for request in requests]
    questions = Questions(
        _column([request.uv_px for request in requests], np.float32).reshape(-1, 2)[scored],
        true[scored],
        _column([request.kind for request in requests], np.uint8)[scored],
        _column([request.on_event for request in requests], bool)[scored],
        _column([request.at_edge for request in requests], bool)[scored],
        np.repeat(np.arange(len(requests)), sizes)[scored],
    )
    scene = SceneAnswers(session.path.name, "bag", questions)
    for method in methods:
        for name, answers in _rows(method).items():
            depth, stddev = (
                _column(list(c), np.float32)[scored].astype(np.float64) for c in zip(*answers, strict=True)
            )
            scene.depth_m[name], scene.log_stddev[name] = depth, stddev / depth
    return scene


def _rows(method: MethodAnswers) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """What is scored of a method: its answers, under its name, and what they are made of."""
    rows = {method.name: [(given.answer.depth_m, given.answer.depth_stddev_m) for given in method.answers]}
    for part in next((given.parts for given in method.answers if given.parts), ()):
        nothing = [np.full(len(given.answer.depth_m), np.nan, np.float32) for given in method.answers]
        rows[f"{method.name}: {part}"] = [
            given.parts.get(part, (nan, nan)) for given, nan in zip(method.answers, nothing, strict=True)
        ]
    return rows


def _column(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def replay_result(
    session: ReplaySession, methods: Sequence[MethodAnswers], protocol: Protocol | DisparityProtocol | None = None
) -> ReplayResult:
    """ValueError: a protocol that cannot be followed."""
    scene = scene_answers(session, methods)
    known = len(scene.questions.true_m) > 0
    if protocol is not None and (isinstance(protocol, DisparityProtocol) or protocol.centred):
        raise ValueError(f"protocol {protocol.name!r}: a replay gives depth, from no event of the future")
    if protocol is not None and not known:
        raise ValueError(f"protocol {protocol.name!r}: {session.path} has no depth to score by")
    return ReplayResult(
        set=str(session.path),
        train_set=None,
        weights=[str(method.weights) for method in methods],
        version=__version__,
        settings=session.settings,
        replay=_described(session, methods, len(scene.questions.true_m)),
        protocol=protocol and {protocol.name: score_by_protocol(protocol, [], [scene])},
        summary=summarise([scene], methods[0].name) if known else None,
    )


def _described(session: ReplaySession, methods: Sequence[MethodAnswers], scored: int) -> ReplayReport:
    found = session.found
    return ReplayReport(
        topics=session.topics.described(),
        sensor=f"{session.width}x{session.height}",
        duration_s=session.duration_ns / NS_PER_S,
        fx_px=session.calibration.fx_px,
        event_packets=found.packets,
        packets_rejected=found.packets_rejected,
        damage=found.damage,
        depth_labels=found.labels,
        requests=len(found.requests),
        points=sum(len(request.uv_px) for request in found.requests),
        points_with_known_depth=scored,
        methods={method.name: _answered(method) for method in methods},
    )


def _answered(method: MethodAnswers) -> MethodStatus:
    status = _column([given.answer.status for given in method.answers], np.uint8)
    counts = {s.name: int((status == s).sum()) for s in Status if (status == s).any()}
    return MethodStatus(method.trained, len(method.answers), counts, method.counters)


class ReplayOutputs:
    """Where results go, by the ending: .json, .csv, anything else a bag. ValueError: a bag's folder is there."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = [Path(path) for path in paths]
        for path in self.paths:
            check_free(path)

    def partial(self, configuration: dict) -> AbstractContextManager[Partial | None]:
        """Where unfinished work is kept, beside the first path; None without one."""
        return Partial(f"{self.paths[0]}.partial", configuration) if self.paths else nullcontext()

    def write(self, session: ReplaySession, methods: Sequence[MethodAnswers], result: ReplayResult) -> None:
        """CSV and bag hold the answers of the first checkpoint."""
        requests, answers = session.found.requests, methods[0].answers
        for path in self.paths:
            if path.suffix == ".json":
                write_json(result, path)
            elif path.suffix == ".csv":
                write_csv(path, requests, answers)
            else:
                write_answer_bag(path, requests, answers, session.calibration.lens)


def show_replay(result: ReplayResult) -> str:
    """What `eventspd replay` prints: what was asked and answered, then the tables of `eventspd evaluate`."""
    replay = result.replay
    topics = ", ".join(f"{role} {name}" for role, name in replay.topics.items() if isinstance(name, str))
    head = f"{result.set}: {replay.sensor}, {replay.duration_s:.1f} s; {topics}"
    asked = f"{replay.points} points in {replay.requests} requests, {replay.points_with_known_depth} of known depth"
    rows = []
    for name, status in replay.methods.items():
        counts = ", ".join(f"{count} {word}" for word, count in status.points_by_status.items())
        rows.append([name if status.trained else f"{name} (UNTRAINED)", counts or "none"])
        rows += [["", f"{key} {value}"] for key, value in status.counters.items() if value is not None]
    parts = [f"{head}\n{asked}", format_table(["answers", ""], rows)]
    if result.summary:
        parts.append(show_summary(result.set, result.summary, result.protocol))
    return "\n\n".join(parts)
