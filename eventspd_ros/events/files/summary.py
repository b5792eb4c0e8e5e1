"""What a recording, or a set of them, holds: count, duration, rate, size, encoding, gaps, what its events are like."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eventspd_ros.events.files import EventSource, open_events
from eventspd_ros.events.files.source import is_bag_file
from eventspd_ros.events.statistics import EventStatistics
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.readable import entries

_STATS = ("seq_gaps", "lost_packets", "restarts", "rollovers", "unknown_words", "startup_words", "out_of_sensor")
_STATS += ("time_reversals", "stray_events", "truncated_bytes", "trigger_events")
_PSEUDO_ENDING = "_pseudo.h5"  # a teacher's labels, which lie beside their scene and hold no events


def summarise_events(path: Path | str, topic: str | None = None, sensor_hw: tuple[int, int] | None = None) -> dict:
    """Read a recording (topic, sensor_hw: as of open_events()), or each of a folder of HDF5 files, once.

    Keys of a recording: path, kind, encoding, sensor, topics, bytes, events, on_share, first_ns, last_ns, duration_s,
    events_per_second, longest_gap_ms (between two events), damage (None, or what is wrong with the file), statistics
    (EventStatistics.summary(), four digits), and the counters of DecoderStats where the recording holds packets.
    Of a folder: path, kind ("set"), sensor (all there are), damage, files; sums: bytes, events, duration_s; their
    quotient events_per_second; means in which every file counts alike: on_share, statistics; domains: the same by
    DOMAIN of files DOMAIN_NUMBER.h5. ValueError, one line: missing, unreadable, no recording.
    """
    path = Path(path)
    files = _files_of_set(path)
    if files and topic is not None:
        raise ValueError(f"{path}: topic {topic!r}, but these are HDF5 files, which have no topics; leave it out")
    summary = _summarise_set(path, files, sensor_hw) if files else _summarise_recording(path, topic, sensor_hw)
    for part in (summary, *summary.get("domains", {}).values()):
        values = part["statistics"].items()
        part["statistics"] = {name: None if value is None else float(f"{value:.4g}") for name, value in values}
    return summary


def _summarise_recording(path: Path, topic: str | None = None, sensor_hw: tuple[int, int] | None = None) -> dict:
    source = open_events(path, topic, sensor_hw)
    statistics = EventStatistics(source.height, source.width)
    events, on, first_ns, last_ns, longest_ns, damage = 0, 0, None, None, 0, None
    with tqdm(total=source.chunk_count, unit="chunk", desc=source.path.name, file=sys.stderr, leave=False) as bar:
        try:
            for chunk in source.chunks():
                bar.update()
                if not len(chunk):
                    continue
                statistics.add(chunk)
                first_ns = int(chunk.t_ns[0]) if first_ns is None else first_ns
                times = chunk.t_ns if last_ns is None else np.concatenate(([last_ns], chunk.t_ns))
                longest_ns = max(longest_ns, int(np.diff(times).max(initial=0)))
                events, on, last_ns = events + len(chunk), on + int(chunk.p.sum()), int(chunk.t_ns[-1])
        except ValueError as error:
            damage = str(error)
    duration_s = 0.0 if first_ns is None or last_ns is None else (last_ns - first_ns) / NS_PER_S
    summary = {
        "path": str(source.path),
        "kind": source.kind,
        "encoding": source.encoding,
        "sensor": f"{source.width}x{source.height}",
        "topics": list(source.topics),
        "bytes": _size_bytes(source),
        "events": events,
        "on_share": round(on / events, 4) if events else None,
        "first_ns": first_ns,
        "last_ns": last_ns,
        "duration_s": duration_s,
        "events_per_second": round(events / duration_s) if duration_s else None,
        "longest_gap_ms": longest_ns / NS_PER_MS,
        "damage": damage,
        "statistics": statistics.summary(),
    }
    if source.stats is not None:
        stats = asdict(source.stats)
        summary |= {"packets": stats["packets"]} | {name: stats[name] for name in _STATS}
    return summary


def _summarise_set(path: Path, files: list[Path], sensor_hw: tuple[int, int] | None) -> dict:
    domains = defaultdict(list)
    summaries = []
    for file in tqdm(files, unit="file", desc=path.name, file=sys.stderr, leave=False):
        summaries.append(_summarise_recording(file, sensor_hw=sensor_hw))
        domain, _, number = file.stem.rpartition("_")
        if domain and number.isdecimal():
            domains[domain].append(summaries[-1])
    damage = [s["damage"].removeprefix(f"{path}/") for s in summaries if s["damage"]]
    return {
        "path": str(path),
        "kind": "set",
        "sensor": ", ".join(sorted({summary["sensor"] for summary in summaries})),
        "damage": "; ".join(damage) or None,
        **_together(summaries),
        "domains": {domain: _together(of_domain) for domain, of_domain in sorted(domains.items())},
    }


def _together(summaries: list[dict]) -> dict:
    """Sums, and means of what is known, of several recordings."""
    sums = {key: sum(summary[key] for summary in summaries) for key in ("bytes", "events", "duration_s")}
    statistics = [summary["statistics"] for summary in summaries]
    on_share = _mean([summary["on_share"] for summary in summaries])
    return {
        "files": len(summaries),
        **sums,
        "duration_s": round(sums["duration_s"], 9),
        "events_per_second": round(sums["events"] / sums["duration_s"]) if sums["duration_s"] else None,
        "on_share": None if on_share is None else round(on_share, 4),
        "statistics": {name: _mean([one[name] for one in statistics]) for name in statistics[0]},
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _files_of_set(path: Path) -> list[Path]:
    """The recordings in a folder of HDF5 files; none for what else there is. Hidden ones are not finished yet."""
    if not path.is_dir():
        return []
    files = [file for file in entries(path) if not file.name.startswith(".")]
    if any(file.name == "metadata.yaml" or is_bag_file(file) for file in files):
        return []  # a rosbag2
    return [file for file in files if file.suffix == ".h5" and not file.name.endswith(_PSEUDO_ENDING)]


def _size_bytes(source: EventSource) -> int:
    files = source.path.iterdir() if source.path.is_dir() else [source.path]
    return sum(file.stat().st_size for file in files if file.is_file())
