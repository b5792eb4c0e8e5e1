"""Diagnostics and sweeps as titles, heads and rows of text, for the terminal and for the report."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from eventspd_ros.evaluation.results import Diagnostics, Nothing, Routing, Spread, Sweeps


@dataclass(frozen=True)
class Table:
    """texts: so many columns from the left are text, the others numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]
    texts: int = 1


ERROR = {"|log|": "abs_log", "AbsRel": "abs_rel", "δ1": "delta1", "σ": "log_stddev", "in 68 %": "in_68"}
FURTHER = {"|log| without the gap": "abs_log_without_gap", "largest difference": "largest_difference"}
SWEEPS = {
    "event_rate": ("events kept", lambda row: percent(row.share)),
    "sensor_noise": ("shot noise added, Hz a pixel", lambda row: f"{row.added_hz_per_pixel:g}"),
    "sensor_preset": ("sensor preset of the simulator", lambda row: row.preset),
    "queries": ("keypoints asked at once", lambda row: f"{row.k:,}"),
    "gap": ("ms since the end of a gap of 100 ms", lambda row: "{:g} … {:g}".format(*row.since_gap_ms)),
    "camera_stopped": (
        "ms since the camera stopped, and noise in Hz a pixel",
        lambda row: f"{row.after_ms} ms, {row.noise_hz_per_pixel:g} Hz",
    ),
}


def sweep_tables(sweeps: Sweeps) -> list[Table]:
    tables = []
    for name, (title, label) in SWEEPS.items():
        if rows := getattr(sweeps, name):
            further = {text: key for text, key in FURTHER.items() if getattr(rows[0], key) is not None}
            lines = [
                [label(row), f"{row.points:,}"]
                + [number(getattr(row, key)) for key in ERROR.values()]
                + ["–" if (value := getattr(row, key)) is None else f"{value:.3g}" for key in further.values()]
                for row in rows
            ]
            tables.append(Table(title, ["", "points", *ERROR, *further], lines))
    return tables


def routing_sentence(routing: Routing | Nothing) -> str:
    """B3's attention in words; "" of a model without it."""
    if isinstance(routing, Nothing):
        return ""
    share = "" if routing.entropy_share is None else f", {routing.entropy_share:.0%} of what even attention has"
    said = (
        f"B3 attends to {routing.cells} cells of L4 with an entropy of {routing.entropy_nats:.2f} nats{share}; "
        f"in a window {routing.unique_top_cells:.1f} cells are some query's first choice"
    )
    if routing.unique_anchors is not None:
        said += f", and {routing.unique_anchors:.1f} some query's anchor, of {routing.anchors} a query"
    return f"{said} ({routing.windows} windows, {routing.queries:,} queries)."


def diagnostic_tables(found: Diagnostics) -> list[Table]:
    spread, attention = ["", *(item.name for item in fields(Spread))], []
    cosine = [[stage, *map(number, astuple(own))] for stage, own in found.cosine.items()]
    offsets = [[where, *map(number, astuple(own))] for where, own in found.offsets_px.items()]
    for stage, kinds in found.attention.items():
        total = sum(values.tokens for values in kinds.values())
        for kind, values in kinds.items():
            attention.append([stage, kind, str(values.tokens), percent(values.share), percent(values.tokens / total)])
    tables = [
        Table("cosine of the query vector before and after a stage", spread, cosine),
        Table("attention by type of token", ["", "", "tokens", "attention", "if even"], attention, texts=2),
        Table("length of learned offsets, px", spread, offsets),
    ]
    return [table for table in tables if table.rows]


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
