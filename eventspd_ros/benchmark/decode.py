"""How many events a second one core decodes."""

from __future__ import annotations

import hashlib
import platform
import time
from pathlib import Path

import numba
import numpy as np

from eventspd_ros import __version__
from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs import Decoder, make_decoder
from eventspd_ros.events.files import open_events
from eventspd_ros.events.types import EventPacket


def bench_decode(path: Path | str, repetitions: int = 30) -> dict:
    """Decode all packets of a recording, held in memory, `repetitions` times into one reused buffer, on this thread.

    The decoder keeps its state from packet to packet. events_per_second and bytes_per_second (of packets) are those
    of the fastest pass; best_s, median_s, p95_s are of whole passes.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions = {repetitions}: must be at least 1")
    source = open_events(path)
    packets = list(source.packets())
    if not packets:
        raise ValueError(f"{path}: no packets to decode; give a recording with events")
    decoder = make_decoder(source.encoding, source.width, source.height)
    buffer = EventBuffer(source.width, source.height, 1 << 16)
    events = _decode_all(decoder, packets, buffer)  # grows the buffer to what the largest packet needs
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        _decode_all(decoder, packets, buffer)
        seconds.append(time.perf_counter() - start)
    byte_count = sum(len(packet.payload) for packet in packets)
    best_s = min(seconds)
    return {
        "events_per_second": round(events / best_s),
        "bytes_per_second": round(byte_count / best_s),
        "events": events,
        "packets": len(packets),
        "encoding": source.encoding,
        "sensor": f"{source.width}x{source.height}",
        "best_s": best_s,
        "median_s": float(np.median(seconds)),
        "p95_s": float(np.percentile(seconds, 95)),
        "repetitions": repetitions,
        "machine": cpu_name(),
        "versions": {
            "eventspd_ros": __version__,
            "python": platform.python_version(),
            "numba": numba.__version__,
            "numpy": np.__version__,
        },
        "input_sha256": _sha256(Path(path)),
    }


def _decode_all(decoder: Decoder, packets: list[EventPacket], buffer: EventBuffer) -> int:
    decoder.reset()
    count = 0
    for packet in packets:
        buffer.begin = buffer.end = 0
        count += decoder.decode_into(packet, buffer)
    return count


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _sha256(path: Path) -> str:
    """Of the file, or of all files of a folder in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
