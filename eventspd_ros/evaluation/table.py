"""An evaluation as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from eventspd_ros.evaluation.model_tables import Table, diagnostic_tables, number, routing_sentence, sweep_tables
from eventspd_ros.evaluation.motion_tables import cost_sentence, motion_text
from eventspd_ros.evaluation.uncertainty import LEVELS

ACCURACY = {
    **{"AbsRel": "abs_rel", "|log|": "abs_log", "δ1": "delta1", "RMSE m": "rmse", "SILog ½": "silog_half"},
}


def show_evaluation(result: dict) -> str:
    """What `eventspd evaluate` prints: accuracy, comparisons, uncertainty."""
    scenes = ", ".join(f"{group} {count}" for group, count in result["scenes"].items())
    parts = [f"{result.get('set', '')}: scenes {scenes}; judged: {result['judged']}"]
    for kind in result["accuracy"]:
        parts.append(_accuracy(result, kind))
        if result["comparison"][kind]:
            parts.append(_comparison(result, kind))
    parts += [_protocol(name, scores) for name, scores in result.get("protocol", {}).items()]
    parts += [_uncertainty(result, kind) for kind in result["uncertainty"]]
    if result.get("diagnostics"):
        parts.append(routing_sentence(result["diagnostics"]["routing"]))
        parts += map(_titled, diagnostic_tables(result["diagnostics"]))
    parts += map(_titled, sweep_tables(result.get("sweeps", {})))
    parts += map(_titled, motion_text(result))
    if "motion" in result:
        parts.append(cost_sentence(result["motion"]["cost"]))
    return "\n\n".join(parts)


def _accuracy(result: dict, kind: str) -> str:
    head = [f"accuracy, {kind}", "", *ACCURACY, *(f"{name} *" for name in ACCURACY)]
    rows = []
    for group, methods in result["accuracy"][kind].items():
        for method, values in methods.items():
            numbers = [values[how][key] for how in ("plain", "median_aligned") for key in ACCURACY.values()]
            rows.append([group, method, *map(number, numbers)])
    return format_table(head, rows) + "\n* each image scaled so that medians agree"


def _comparison(result: dict, kind: str) -> str:
    groups = list(result["scenes"])
    rows = []
    for method, metrics in result["comparison"][kind].items():
        for metric, values in metrics.items():
            if groups[0] not in values:
                continue  # it answered nothing
            pooled = values[groups[0]]
            low, high = pooled["interval"] or (None, None)
            won = [f"{values[group]['won']:.0%}" if group in values else "–" for group in groups]
            rows.append([method, metric, number(pooled["ratio"]), f"{number(low)} … {number(high)}", *won])
    head = [f"{result['judged']} against", f"ratio of, {kind}", "", "95 % interval", *(f"won, {g}" for g in groups)]
    return format_table(head, rows)


def _protocol(name: str, scores: dict) -> str:
    columns = list(dict.fromkeys(column for values in scores.values() for column in values))
    rows = [[method, "", *(number(values.get(column)) for column in columns)] for method, values in scores.items()]
    return format_table([f"protocol {name}, mean over images", "", *columns], rows)


def _uncertainty(result: dict, kind: str) -> str:
    levels = [f"{level:.0%}" for level in LEVELS]
    head = [f"uncertainty, {kind}", "", *(f"in {level}" for level in levels), "width 68%", "ECE", "NLL", "joint NLL"]
    rows = []
    for method, groups in result["uncertainty"][kind].items():
        for group, values in groups.items():
            if values["points"]:
                covered = [f"{values['coverage'][k]:.1%}{_plus_minus(values['coverage_error'][k])}" for k in levels]
                numbers = (values["width"]["68%"], values["ece"], values["nll"], values["joint_nll"])
                ratios = (values["abs_rel"]["ause_ratio"], values["rmse"]["ause_ratio"])
                rows.append([method, group, *covered, *map(number, (*numbers, *ratios))])
    return format_table([*head, "AUSE AbsRel/random", "AUSE RMSE/random"], rows)


def _plus_minus(error: float | None) -> str:
    """Of one scene nothing is known about others."""
    return "" if error is None else f" ± {100 * error:.1f}"


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
