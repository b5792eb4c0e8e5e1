"""The results of ablations as one table: numbers for JSON, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from eventspd_ros.evaluation.asking.answers import PRIOR
from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.evaluate import RESET
from eventspd_ros.evaluation.scoring.comparison import paired_difference
from eventspd_ros.evaluation.scoring.summary import POOLED

METRICS = ("abs_log", "abs_rel", "delta1")
COSTS = ("parameters", "macs_per_query", "macs_per_window")
COUNTED = (*COSTS, "steps", "seed", "machine")


def ablation_rows(results: Mapping[str, dict], against: Mapping[str, str]) -> list[dict]:
    """A row a variant, and after the first one's that of its dense map alone, where it has one. results: what
    run_variant() stored. against: the variant each is compared with.

    uniform, keypoints: abs_log, abs_rel, delta1 over all points; reset: abs_log where the memory is forgotten before
    every window, None without memory. difference: of each metric, paired_difference() to the other variant's scenes.
    Of a dense map alone nothing is counted: parameters and MACs are None.
    """
    rows = []
    for name, result in results.items():
        other = results[against[name]]
        rows.append(_row(name, result, "", against[name], None if other is result else other))
        evaluation = result["evaluation"]
        if len(rows) == 1 and evaluation["judged"] + PRIOR in evaluation["per_scene"]["uniform"]:
            rows.append(_row(name + PRIOR, result, PRIOR, name, result) | dict.fromkeys(COSTS))
    return rows


def _row(name: str, result: dict, part: str, against: str, other: dict | None) -> dict:
    """part: what follows the judged model's name in that of the method. other: what `against` names, or None."""
    own = result["evaluation"]
    return {
        "name": name,
        **{key: result[key] for key in COUNTED},
        "against": against,
        **{kind: _of_kind(own, kind, own["judged"] + part) for kind in KINDS},
        "difference": {
            kind: {metric: other and _difference(result, part, other, kind, metric) for metric in METRICS}
            for kind in KINDS
        },
    }


def _of_kind(evaluation: dict, kind: str, method: str) -> dict:
    methods = evaluation["accuracy"][kind][POOLED]
    reset = methods.get(method + RESET)
    return {
        **{metric: methods[method]["plain"][metric] for metric in METRICS},
        "reset": None if reset is None else reset["plain"]["abs_log"],
    }


def _difference(result: dict, part: str, other: dict, kind: str, metric: str) -> dict:
    own, their = (
        which["evaluation"]["per_scene"][kind][which["evaluation"]["judged"] + suffix]
        for which, suffix in ((result, part), (other, ""))
    )
    # A scene without a point of this kind has no value, in no variant.
    values = [[scenes[scene][metric] for scene in own] for scenes in (own, their)]
    return asdict(paired_difference(*np.array(values, np.float64)))


def ablation_table(rows: list[dict], result: dict) -> str:
    """Markdown. result: any variant's, for what all share."""
    head = ("", "parameters", "M MACs a query", "M MACs a window", "steps", r"\|log\|", "AbsRel", "δ1")
    head += (r"\|log\|, memory reset", r"\|log\| at keypoints", r"difference of \|log\| ± s.e.", "to")
    lines = [head, ("---",) * len(head), *map(_line, rows)]
    asked, scenes = result["asked"], result["evaluation"]["scenes"]
    counts = ", ".join(f"{count} {group}" for group, count in scenes.items() if group != POOLED)
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    about = (
        f"{asked['folder']}, {result['sensor']} px: {scenes[POOLED]} scenes ({counts}), uniformly drawn pixels, plain; "
        f"s.e. over scenes. Trained on {machines}."
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{about}\n"


def _line(row: dict) -> tuple[str, ...]:
    uniform, difference = row["uniform"], row["difference"]["uniform"]["abs_log"]
    counts = [_number(row["parameters"], ",.0f"), *(_number(row[key], ".2f", 1e6) for key in COSTS[1:])]
    accuracy = [*(uniform[metric] for metric in METRICS), uniform["reset"], row["keypoints"]["abs_log"]]
    numbers = (*counts, f"{row['steps']:,}", *map(_number, accuracy))
    return (row["name"], *numbers, _signed(difference), row["against"] if difference else "")


def _number(value: float | None, form: str = ".3f", unit: float = 1.0) -> str:
    return "–" if value is None else f"{value / unit:{form}}"


def _signed(difference: dict | None) -> str:
    if difference is None or difference["difference"] is None:
        return ""
    error = difference["standard_error"]
    return f"{difference['difference']:+.3f} ± {_number(error)}"
