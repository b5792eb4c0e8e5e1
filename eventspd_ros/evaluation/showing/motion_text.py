"""What motion is worth, as tables of text and a sentence."""

from __future__ import annotations

from eventspd_ros.evaluation.asking.motion_stream import FUSED, LEARNED, METHODS, MOTION
from eventspd_ros.evaluation.results import Classes, MotionCost, MotionResult, PoseErrorScores
from eventspd_ros.evaluation.scoring.motion_tables import PARALLAX_PX
from eventspd_ros.evaluation.showing.model_tables import Table, number, percent

TITLES = {name: f"parallax {name} px" for name in PARALLAX_PX} | {
    **{"edges": "depth edges, nearer surface", "edges_either": "depth edges, better of both"},
    **{"moving": "moving things", "at_rest": "at rest", "pooled": "all points"},
}
NUMBERS = {"|log|": "abs_log", "/ learned": "ratio_to_learned", "AbsRel": "abs_rel"}
SHARES = {"δ1": "delta1", "within 10 %": "within_10", "off by > ¼": "off_by_quarter", "in 68 %": "in_68"}
SHARES |= {"in 95 %": "in_95", "answered": "answered"}


def motion_text(motion: MotionResult | None, pose_errors: list[PoseErrorScores] | None) -> list[Table]:
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
