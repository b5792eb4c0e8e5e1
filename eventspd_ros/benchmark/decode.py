"""How many events a second one core decodes."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np

from eventspd_ros.benchmark.inputs import file_sha256
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import REPETITIONS, WARM_UPS, times_ms
from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs import Decoder, make_decoder
from eventspd_ros.events.files import open_events
from eventspd_ros.events.types import EventPacket


def bench_decode(
    path: Path | str,
    repetitions: int = REPETITIONS,
    topic: str | None = None,
    sensor_hw: tuple[int, int] | None = None,
) -> dict:
    """Decode all packets of a recording, held in memory, `repetitions` times into one reused buffer, on this thread.

    The decoder keeps its state from packet to packet. pass_ms is of whole passes; events_per_second and
    bytes_per_second (of packets) are those of the fastest. topic, sensor_hw: as of open_events().
    """
    source = open_events(path, topic, sensor_hw)
    packets = list(source.packets())
    if not packets:
        raise ValueError(f"{path}: no packets to decode; give a recording with events")
    decoder = make_decoder(source.encoding, source.width, source.height)
    buffer = EventBuffer(source.width, source.height, 1 << 16)
    events = _decode_all(decoder, packets, buffer)  # grows the buffer to what the largest packet needs
    pass_ms = times_ms(lambda: _decode_all(decoder, packets, buffer), repetitions)
    best_s = pass_ms["best"] / 1e3
    return {
        "bench": "decode",
        "encoding": source.encoding,
        "sensor": f"{source.width}x{source.height}",
        "events": events,
        "packets": len(packets),
        "events_per_second": round(events / best_s),
        "bytes_per_second": round(sum(len(packet.payload) for packet in packets) / best_s),
        "pass_ms": pass_ms,
        "repetitions": repetitions,
        "warm_ups": WARM_UPS,
        "input_sha256": file_sha256(Path(path)),
        **({"topic": topic} if topic else {}),
        **conditions(numba, np),
    }


def _decode_all(decoder: Decoder, packets: list[EventPacket], buffer: EventBuffer) -> int:
    decoder.reset()
    count = 0
    for packet in packets:
        buffer.begin = buffer.end = 0
        count += decoder.decode_into(packet, buffer)
    return count
