"""How long a model takes to encode a window and to decode K queries, and how much memory that needs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from eventspd_ros.benchmark.inputs import window_sha256
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import REPETITIONS, WARM_UPS, device_conditions, times_ms
from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.acceleration import accelerate
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.presets import build_model


def bench_model(
    preset: str,
    sensor_hw: tuple[int, int],
    ks: Sequence[int] = (1, 64, 256, 1024),
    repetitions: int = REPETITIONS,
    device: str = "cpu",
    acceleration: str = "auto",
) -> dict:
    """Time encode() and decode() of a preset with fresh weights on a sensor of (height, width) pixels.

    encode_ms covers everything from events in numpy arrays to the cache; decode_ms[K] from K keypoints to depths;
    encode_processor_ms is what all threads together spend on the first, as other processes see it. The voxel table is
    prepared.
    """
    if not ks or min(ks) < 0:
        raise ValueError(f"k = {list(ks)}: expected one or more numbers of queries")
    place = torch.device(device)
    model = build_model(preset).to(place)
    if not isinstance(model, KeypointModel):
        raise ValueError(f"preset {preset!r} is an encoder: it answers no queries")
    height, width = sensor_hw
    encoder, model = model.encoder, accelerate(model.eval(), acceleration)
    window = model_window(model.config, height, width)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    with torch.inference_mode():
        model.prepare(height, width)
        (cache,), states = model.encode([window], [StreamState()])
        encode_ms = times_ms(lambda: model.encode([window], states), repetitions, place)
        started_s = time.process_time()
        for _ in range(repetitions):
            model.encode([window], states)
        processor_ms = 1e3 * (time.process_time() - started_s) / repetitions
        decode_ms = {}
        for k in ks:
            uv_px = torch.rand(k, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([width, height]) - 0.5
            uv_px = uv_px.to(place)
            decode_ms[str(k)] = times_ms(lambda uv_px=uv_px: model.decode(cache, uv_px), repetitions, place)
    return {
        "bench": "model",
        "preset": preset,
        "sensor": f"{width}x{height}",
        "acceleration": acceleration,
        "events": len(window) if model.config.input == "events" else 0,
        "encode_ms": encode_ms,
        "encode_processor_ms": processor_ms,
        "decode_ms": decode_ms,
        "voxel_table_bytes": encoder.table_bytes,
        "repetitions": repetitions,
        "warm_ups": WARM_UPS,
        "input_sha256": window_sha256(window),
        **device_conditions(place),
        **conditions(torch),
    }
