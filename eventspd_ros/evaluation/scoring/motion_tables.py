"""What learned depths and motion are worth, by parallax, at depth edges, on what moves, at rest: from flat arrays to
results. docs/evaluation.md defines the classes and the numbers."""

from __future__ import annotations

import numpy as np

from eventspd_ros.evaluation.asking.motion_stream import LEARNED, Columns
from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.results import Classes, MotionRow
from eventspd_ros.evaluation.scoring.metrics import depth_metrics
from eventspd_ros.evaluation.scoring.uncertainty import coverage

PARALLAX_PX = {"0-0.3": (0.0, 0.3), "0.3-1": (0.3, 1.0), "1-3": (1.0, 3.0), "3-6": (3.0, 6.0)}
PARALLAX_PX |= {"6+": (6.0, np.inf), "1+": (1.0, np.inf)}
EDGE_RATIO = 1.1  # of the farthest depth around a point to the nearest


def classes_of(columns: Columns) -> dict[str, np.ndarray]:
    """Which points (K,) each line of a table is about. Those by parallax and at rest: of the static scene, away
    from its edges."""
    edge = columns.farthest_m > EDGE_RATIO * columns.nearest_m
    plain = ~(edge | columns.moving | columns.beside_moving)
    parallax = columns.parallax_px
    return {name: plain & (parallax >= low) & (parallax < high) for name, (low, high) in PARALLAX_PX.items()} | {
        "edges": edge & ~columns.moving,
        "edges_either": edge & ~columns.moving,
        "moving": columns.moving,
        "at_rest": plain & columns.at_rest,
        "pooled": np.ones(len(columns.true_m), bool),
    }


def truth_m(columns: Columns, name: str, method: str) -> np.ndarray:
    """What a class is scored against. At an edge events come from the nearer surface; a truth that grants either is
    that which the method's own answer is nearer to."""
    if name == "edges":
        return columns.nearest_m
    if name == "edges_either":
        middle_m = np.sqrt(columns.nearest_m * columns.farthest_m)
        return np.where(columns.depth_m[method] > middle_m, columns.farthest_m, columns.nearest_m)
    return columns.true_m


def motion_tables(columns: Columns) -> dict[str, dict[str, Classes]]:
    """As MotionResult holds them."""
    classes, everything = classes_of(columns), np.ones(len(columns.true_m), bool)
    groups = {"pooled": everything} | {str(name): columns.domain == name for name in np.unique(columns.domain)}
    kinds = {"all": everything} | {kind: columns.kind == code for kind, code in KINDS.items()}
    return {
        group: {
            kind: {name: score_class(columns, name, which & inside & asked) for name, which in classes.items()}
            for kind, asked in kinds.items()
        }
        for group, inside in groups.items()
    }


def score_class(columns: Columns, name: str, which: np.ndarray) -> dict[str, MotionRow]:
    """method → row over the points `which` (K,) of a class."""
    learned = _log_error(columns, name, LEARNED, which)
    return {method: _row(columns, name, method, which, learned) for method in columns.depth_m}


def _row(columns: Columns, name: str, method: str, which: np.ndarray, learned: np.ndarray) -> MotionRow:
    log_error, log_stddev = _log_error(columns, name, method, which), columns.log_stddev[method][which]
    true_m = truth_m(columns, name, method)[which]
    values = depth_metrics(columns.depth_m[method][which], true_m)
    answered = float(np.isfinite(log_error).mean()) if len(log_error) else None
    both = np.isfinite(log_error) & np.isfinite(learned)
    below = np.abs(learned[both]).mean() if both.any() else 0.0
    ratio = float(np.abs(log_error[both]).mean() / below) if below else None
    known = np.isfinite(log_error) & np.isfinite(log_stddev)
    log_error, log_stddev = log_error[known], log_stddev[known]
    off = np.abs(np.expm1(log_error))
    shares = [None] * 4
    if known.any():
        shares = [float(np.mean(off < 0.1)), float(np.mean(off > 0.25))]
        shares += [coverage(log_error, log_stddev, level) for level in (0.68, 0.95)]
    return MotionRow(values.points, values.abs_log, values.abs_rel, values.delta1, answered, ratio, *shares)


def _log_error(columns: Columns, name: str, method: str, which: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.log(columns.depth_m[method][which] / truth_m(columns, name, method)[which])
