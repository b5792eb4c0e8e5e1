"""What learned depths and motion are worth, by parallax, at depth edges, on what moves, at rest: from flat arrays to
results, and from those to tables of text. docs/evaluation.md defines the classes and the numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.results import Classes, MotionCost, MotionResult, MotionRow, PoseErrors
from eventspd_ros.evaluation.scoring.metrics import depth_metrics
from eventspd_ros.evaluation.scoring.uncertainty import coverage
from eventspd_ros.evaluation.showing.model_tables import Table, number, percent

LEARNED, SCALED, MOTION, FUSED = METHODS = ("learned", "learned × scale", "motion", "fused")
PARALLAX_PX = {"0-0.3": (0.0, 0.3), "0.3-1": (0.3, 1.0), "1-3": (1.0, 3.0), "3-6": (3.0, 6.0)}
PARALLAX_PX |= {"6+": (6.0, np.inf), "1+": (1.0, np.inf)}
EDGE_RATIO = 1.1  # of the farthest depth around a point to the nearest
TITLES = {name: f"parallax {name} px" for name in PARALLAX_PX} | {
    **{"edges": "depth edges, nearer surface", "edges_either": "depth edges, better of both"},
    **{"moving": "moving things", "at_rest": "at rest", "pooled": "all points"},
}
NUMBERS = {"|log|": "abs_log", "/ learned": "ratio_to_learned", "AbsRel": "abs_rel"}
SHARES = {"δ1": "delta1", "within 10 %": "within_10", "off by > ¼": "off_by_quarter", "in 68 %": "in_68"}
SHARES |= {"in 95 %": "in_95", "answered": "answered"}


@dataclass(frozen=True)
class Columns:
    """K points, (K,) each.

    kind: of questions.KINDS. domain: str. true_m; nearest_m, farthest_m: the surfaces around. moving: the pixel shows a
    thing that moves by itself; beside_moving: one around it does; False where that is not known. parallax_px: NaN where
    not known. at_rest: the camera. depth_m, log_stddev: of each method, NaN where it does not answer; log_stddev is σ
    of log depth.
    """

    kind: np.ndarray
    domain: np.ndarray
    true_m: np.ndarray
    nearest_m: np.ndarray
    farthest_m: np.ndarray
    moving: np.ndarray
    beside_moving: np.ndarray
    parallax_px: np.ndarray
    at_rest: np.ndarray
    depth_m: dict[str, np.ndarray]
    log_stddev: dict[str, np.ndarray]

    @classmethod
    def joined(cls, parts: list[Columns]) -> Columns:
        out = []
        for name in (field.name for field in fields(cls)):
            columns = [getattr(part, name) for part in parts]
            if isinstance(columns[0], dict):
                out.append({method: np.concatenate([c[method] for c in columns]) for method in columns[0]})
            else:
                out.append(np.concatenate(columns))
        return cls(*out)

    def classes(self) -> dict[str, np.ndarray]:
        """Which points (K,) each line of a table is about. Those by parallax and at rest: of the static scene, away
        from its edges."""
        edge = self.farthest_m > EDGE_RATIO * self.nearest_m
        plain = ~(edge | self.moving | self.beside_moving)
        parallax = self.parallax_px
        return {name: plain & (parallax >= low) & (parallax < high) for name, (low, high) in PARALLAX_PX.items()} | {
            "edges": edge & ~self.moving,
            "edges_either": edge & ~self.moving,
            "moving": self.moving,
            "at_rest": plain & self.at_rest,
            "pooled": np.ones(len(self.true_m), bool),
        }

    def truth_m(self, name: str, method: str) -> np.ndarray:
        """What a class is scored against. At an edge events come from the nearer surface; a truth that grants either is
        that which the method's own answer is nearer to."""
        if name == "edges":
            return self.nearest_m
        if name == "edges_either":
            middle_m = np.sqrt(self.nearest_m * self.farthest_m)
            return np.where(self.depth_m[method] > middle_m, self.farthest_m, self.nearest_m)
        return self.true_m


def motion_tables(columns: Columns) -> dict[str, dict[str, Classes]]:
    """As MotionResult holds them."""
    classes, everything = columns.classes(), np.ones(len(columns.true_m), bool)
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
    truth_m = columns.truth_m(name, method)[which]
    values = depth_metrics(columns.depth_m[method][which], truth_m)
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
        return np.log(columns.depth_m[method][which] / columns.truth_m(name, method)[which])


def motion_text(motion: MotionResult | None, pose_errors: list[PoseErrors] | None) -> list[Table]:
    """Of what was asked for. Every method stands in the table of all points; by kind and by domain what is learned and
    what is answered."""
    tables = []
    for group, kinds in (motion.tables if motion else {}).items():
        for kind, classes in kinds.items():
            if group == "pooled" or kind == "all":
                methods = METHODS if (group, kind) == ("pooled", "all") else (LEARNED, FUSED)
                lines = {TITLES[name]: rows for name, rows in classes.items()}
                tables.append(_table(f"with motion: {group}, {kind}", lines, methods))
    for name in pose_errors[0].classes if pose_errors else ():
        lines = {row.poses: row.classes[name] for row in pose_errors}
        tables.append(_table(f"poses with errors: {TITLES[name]}", lines, (MOTION, FUSED)))
    return tables


def cost_sentence(cost: MotionCost) -> str:
    return (
        f"Motion, on one core: {cost.us_per_keypoint:.1f} µs a keypoint where {cost.keypoints} are asked, "
        f"{cost.ns_per_event:.1f} ns an event; medians."
    )


def _table(title: str, lines: Classes, methods: tuple[str, ...]) -> Table:
    rows = []
    for line, scores in lines.items():
        for method in methods:
            if (row := scores[method]).points:
                cells = [number(getattr(row, key)) for key in NUMBERS.values()]
                cells += [percent(getattr(row, key)) for key in SHARES.values()]
                rows.append([line, method, f"{row.points:,}", *cells])
    return Table(title, ["", "", "points", *NUMBERS, *SHARES], rows, texts=2)
