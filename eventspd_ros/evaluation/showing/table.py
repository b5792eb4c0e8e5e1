"""An evaluation as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from eventspd_ros.evaluation.results import Diagnostics, EvaluationResult, Protocols, Summary, Uncertainty
from eventspd_ros.evaluation.scoring.uncertainty import LEVELS
from eventspd_ros.evaluation.showing.model_tables import (
    Table,
    diagnostic_tables,
    number,
    routing_sentence,
    sweep_tables,
)
from eventspd_ros.evaluation.showing.motion_text import cost_sentence, motion_text

ACCURACY = {
    **{"AbsRel": "abs_rel", "|log|": "abs_log", "δ1": "delta1", "RMSE m": "rmse", "SILog ½": "silog_half"},
}


def show_evaluation(result: EvaluationResult) -> str:
    """What `eventspd evaluate` prints."""
    parts = [show_summary(result.set, result.summary, result.protocol)]
    if isinstance(result.diagnostics, Diagnostics):
        parts.append(routing_sentence(result.diagnostics.routing))
        parts += map(_titled, diagnostic_tables(result.diagnostics))
    if result.sweeps:
        parts += map(_titled, sweep_tables(result.sweeps))
    parts += map(_titled, motion_text(result.motion, result.pose_errors))
    if result.motion:
        parts.append(cost_sentence(result.motion.cost))
    return "\n\n".join(parts)


def show_summary(asked: str, summary: Summary, protocol: Protocols | None) -> str:
    """Accuracy, comparisons, uncertainty. asked: name of the set or bag."""
    scenes = ", ".join(f"{group} {count}" for group, count in summary.scenes.items())
    parts = [f"{asked}: scenes {scenes}; judged: {summary.judged}"]
    for kind in summary.accuracy:
        parts.append(_accuracy(summary, kind))
        if summary.comparison[kind]:
            parts.append(_comparison(summary, kind))
    parts += [_protocol(name, scores) for name, scores in (protocol or {}).items()]
    return "\n\n".join(parts + [_uncertainty(summary, kind) for kind in summary.uncertainty])


def _accuracy(summary: Summary, kind: str) -> str:
    head = [f"accuracy, {kind}", "", *ACCURACY, *(f"{name} *" for name in ACCURACY), "bias", "correlation"]
    rows = []
    for group, methods in summary.accuracy[kind].items():
        for method, own in methods.items():
            numbers = [getattr(values, key) for values in (own.plain, own.median_aligned) for key in ACCURACY.values()]
            rows.append([group, method, *map(number, (*numbers, own.bias, own.correlation))])
    return format_table(head, rows) + "\n* each image scaled so that medians agree"


def _comparison(summary: Summary, kind: str) -> str:
    groups = list(summary.scenes)
    rows = []
    for method, metrics in summary.comparison[kind].items():
        for metric, values in metrics.items():
            if groups[0] not in values:
                continue  # it answered nothing
            pooled = values[groups[0]]
            low, high = pooled.interval or (None, None)
            won = [f"{values[group].won:.0%}" if group in values else "–" for group in groups]
            rows.append([method, metric, number(pooled.ratio), f"{number(low)} … {number(high)}", *won])
    head = [f"{summary.judged} against", f"ratio of, {kind}", "", "95 % interval", *(f"won, {g}" for g in groups)]
    return format_table(head, rows)


def _protocol(name: str, scores: dict[str, dict[str, float]]) -> str:
    columns = list(dict.fromkeys(column for values in scores.values() for column in values))
    rows = [[method, "", *(number(values.get(column)) for column in columns)] for method, values in scores.items()]
    return format_table([f"protocol {name}, mean over images", "", *columns], rows)


def _uncertainty(summary: Summary, kind: str) -> str:
    levels = [f"{level:.0%}" for level in LEVELS]
    head = [f"uncertainty, {kind}", "", *(f"in {level}" for level in levels), "width 68%", "ECE", "NLL", "joint NLL"]
    rows = []
    for method, groups in summary.uncertainty[kind].items():
        for group, values in groups.items():
            if values.points:
                numbers = (values.width["68%"], values.ece, values.nll, values.joint_nll)
                ratios = (values.abs_rel.ause_ratio, values.rmse.ause_ratio)
                rows.append([method, group, *covered(values), *map(number, (*numbers, *ratios))])
    return format_table([*head, "AUSE AbsRel/random", "AUSE RMSE/random"], rows)


def covered(values: Uncertainty) -> list[str]:
    """Coverage by level; of one scene nothing is known about others."""
    errors = ("" if error is None else f" ± {100 * error:.1f}" for error in values.coverage_error.values())
    return [f"{share:.1%}{error}" for share, error in zip(values.coverage.values(), errors, strict=True)]


def _titled(table: Table) -> str:
    return f"{table.title}\n{format_table(table.head, table.rows)}"


def format_table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Columns as wide as their widest entry; the first two to the left, numbers to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            entry.ljust(width) if column < 2 else entry.rjust(width)
            for column, (entry, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
