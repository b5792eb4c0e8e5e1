"""The results of ablations as one table: numbers for JSON, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.evaluate import RESET
from eventspd_ros.evaluation.scoring.comparison import paired_difference
from eventspd_ros.evaluation.scoring.summary import POOLED

METRICS = ("abs_log", "abs_rel", "delta1")
COUNTED = ("parameters", "macs_per_query", "macs_per_window", "steps", "seed", "machine")


def ablation_rows(results: Mapping[str, dict], against: Mapping[str, str]) -> list[dict]:
    """A row a variant. results: what run_variant() stored. against: the variant each is compared with.

    uniform, keypoints: abs_log, abs_rel, delta1 over all points; reset: abs_log where the memory is forgotten before
    every window, None without memory. difference: of each metric, paired_difference() to the other variant's scenes.
    """
    return [
        {
            "name": name,
            **{key: result[key] for key in COUNTED},
            "against": against[name],
            **{kind: _of_kind(result["evaluation"], kind) for kind in KINDS},
            "difference": {
                kind: {m: _difference(results, name, against[name], kind, m) for m in METRICS} for kind in KINDS
            },
        }
        for name, result in results.items()
    ]


def _of_kind(evaluation: dict, kind: str) -> dict:
    methods, judged = evaluation["accuracy"][kind][POOLED], evaluation["judged"]
    reset = methods.get(judged + RESET)
    return {
        **{metric: methods[judged]["plain"][metric] for metric in METRICS},
        "reset": None if reset is None else reset["plain"]["abs_log"],
    }


def _difference(results: Mapping[str, dict], name: str, other: str, kind: str, metric: str) -> dict | None:
    if name == other:
        return None
    own, their = (
        results[which]["evaluation"]["per_scene"][kind][results[which]["evaluation"]["judged"]]
        for which in (name, other)
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
    millions = [f"{row[key] / 1e6:.2f}" for key in ("macs_per_query", "macs_per_window")]
    accuracy = [*(uniform[metric] for metric in METRICS), uniform["reset"], row["keypoints"]["abs_log"]]
    counts = (f"{row['parameters']:,}", *millions, f"{row['steps']:,}")
    return (row["name"], *counts, *map(_number, accuracy), _signed(difference), row["against"] if difference else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(difference: dict | None) -> str:
    if difference is None or difference["difference"] is None:
        return ""
    error = difference["standard_error"]
    return f"{difference['difference']:+.3f} ± {'–' if error is None else f'{error:.3f}'}"
