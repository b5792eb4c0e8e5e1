"""How many events a second one core cuts into windows."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np

from eventspd_ros.benchmark.inputs import file_sha256
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import REPETITIONS, WARM_UPS, times_ms
from eventspd_ros.events.files import open_events
from eventspd_ros.events.types import EventArray
from eventspd_ros.events.windows import WindowSlicer, window_slicer
from eventspd_ros.model.presets import preset_config


def bench_windows(
    path: Path | str,
    repetitions: int = REPETITIONS,
    topic: str | None = None,
    sensor_hw: tuple[int, int] | None = None,
    support_filter_ms: float = 0.0,
) -> dict:
    """Push a recording's events, decoded and held in memory in packets as recorded, through one WindowSlicer of the
    default preset's window and stride, `repetitions` times, on this thread.

    pass_ms is of whole passes; events_per_second and windows_per_second are those of the fastest. Each event is copied
    once, into the slicer's buffer, as for events that come decoded; a decoder writes there itself.
    topic, sensor_hw: as of open_events(). support_filter_ms: as of window_slicer().
    """
    source, config = open_events(path, topic, sensor_hw), preset_config("eventspd_lite")
    chunks = [events for events in source.chunks() if len(events)]
    if not chunks:
        raise ValueError(f"{path}: no events to cut; give a recording with events")
    slicer = window_slicer(config, source.height, source.width, 2_000_000, support_filter_ms)
    lengths = _cut_all(slicer, chunks)
    pass_ms = times_ms(lambda: _cut_all(slicer, chunks), repetitions)
    best_s = pass_ms["best"] / 1e3
    events = sum(map(len, chunks))
    return {
        "bench": "windows",
        "sensor": f"{source.width}x{source.height}",
        "window_ms": config.window_ms,
        "stride_ms": config.stride_ms,
        "events": events,
        "packets": len(chunks),
        "windows": len(lengths),
        "events_per_window": round(float(np.mean(lengths))) if lengths else 0,
        "events_per_second": round(events / best_s),
        "windows_per_second": round(len(lengths) / best_s),
        "pass_ms": pass_ms,
        "repetitions": repetitions,
        "warm_ups": WARM_UPS,
        "input_sha256": file_sha256(Path(path)),
        **({"topic": topic} if topic else {}),
        **({"support_filter_ms": support_filter_ms} if support_filter_ms else {}),
        **conditions(numba, np),
    }


def _cut_all(slicer: WindowSlicer, chunks: list[EventArray]) -> list[int]:
    """Events of each window of a stream that starts and ends with these."""
    slicer.reset()
    return [len(window) for events in chunks for window in slicer.push(events)]
