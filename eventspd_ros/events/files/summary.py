"""What a recording holds: count, duration, rate, size, encoding and gaps."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eventspd_ros.events.files import EventSource, open_events

_STATS = ("seq_gaps", "lost_packets", "restarts", "rollovers", "unknown_words", "startup_words", "out_of_sensor")
_STATS += ("time_reversals", "truncated_bytes", "trigger_events")


def summarise_events(path: Path | str) -> dict:
    """Read a recording once. Keys: path, kind, encoding, sensor, topics, bytes, events, on_share, first_ns, last_ns,
    duration_s, events_per_second, longest_gap_ms (between two events), damage (None, or what is wrong with the file),
    and the counters of DecoderStats where the recording holds packets."""
    source = open_events(path)
    events, on, first_ns, last_ns, longest_ns, damage = 0, 0, None, None, 0, None
    with tqdm(total=source.chunk_count, unit="chunk", desc=source.path.name, file=sys.stderr, leave=False) as bar:
        try:
            for chunk in source.chunks():
                bar.update()
                if not len(chunk):
                    continue
                first_ns = int(chunk.t_ns[0]) if first_ns is None else first_ns
                times = chunk.t_ns if last_ns is None else np.concatenate(([last_ns], chunk.t_ns))
                longest_ns = max(longest_ns, int(np.diff(times).max(initial=0)))
                events, on, last_ns = events + len(chunk), on + int(chunk.p.sum()), int(chunk.t_ns[-1])
        except ValueError as error:
            damage = str(error)
    duration_s = (last_ns - first_ns) / 1e9 if events else 0.0
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
        "longest_gap_ms": longest_ns / 1e6,
        "damage": damage,
    }
    if source.stats is not None:
        stats = asdict(source.stats)
        summary |= {"packets": stats["packets"]} | {name: stats[name] for name in _STATS}
    return summary


def _size_bytes(source: EventSource) -> int:
    files = source.path.iterdir() if source.path.is_dir() else [source.path]
    return sum(file.stat().st_size for file in files if file.is_file())
