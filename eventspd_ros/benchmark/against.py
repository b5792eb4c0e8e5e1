"""A report beside an earlier one of the same benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from eventspd_ros.readable import check_readable
from eventspd_ros.text import one_line

# What must be equal, or the numbers say nothing about one another; and what should be, or they say less.
QUESTION = (
    *("bench", "preset", "sensor", "encoding", "topic", "window_ms", "stride_ms"),
    *("support_filter_ms", "batch", "windows_per_sample", "queries_per_sample", "precision"),
)
CIRCUMSTANCES = ("machine", "device", "acceleration", "torch_threads", "workers", "versions", "input_sha256")
UNITS = ("_ms", "_s", "_per_second", "_bytes", "_hz")


def read_report(path: Path | str, bench: str) -> dict:
    """An earlier report, of that benchmark. ValueError, one line: unreadable, or another benchmark's."""
    check_readable(path)
    try:
        report = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a benchmark's JSON: {one_line(error)}") from None
    found = report.get("bench") if isinstance(report, dict) else None
    if found != bench:
        raise ValueError(f"{path}: a report of bench {found!r}; give one that `eventspd bench {bench} --json` wrote")
    return report


def compare_reports(new: dict, old: dict) -> dict:
    """differs: circumstances that are not the same, as text. ratios: new / old of every measured number of both, by
    dotted key. ValueError: reports of another preset, sensor or load."""
    for key in QUESTION:
        if new.get(key) != old.get(key):
            raise ValueError(f"{key} was {old.get(key)!r} and is {new.get(key)!r}: not the same measurement")
    before = dict(_measured(old))
    return {
        "differs": [
            f"{key}: was {old.get(key)}, is {new.get(key)}" for key in CIRCUMSTANCES if new.get(key) != old.get(key)
        ],
        "ratios": {key: round(value / before[key], 3) for key, value in _measured(new) if before.get(key)},
    }


def _measured(values: dict, prefix: str = "", with_unit: bool = False) -> Iterator[tuple[str, float]]:
    """Numbers whose key, or one it lies below, ends with a unit."""
    for key, value in values.items():
        has_unit = with_unit or key.endswith(UNITS)
        if isinstance(value, dict):
            yield from _measured(value, f"{prefix}{key}.", has_unit)
        elif has_unit and isinstance(value, int | float) and key not in QUESTION:
            yield prefix + key, value
