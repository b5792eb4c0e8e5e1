"""How long a model takes to encode a window and to decode K queries, and how much memory that needs."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from eventspd_ros import __version__
from eventspd_ros.benchmark.machine import cpu_name
from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import build_model

EVENTS_PER_PIXEL = 0.22  # in 20 ms: 20 k events at 346×260, 200 k at 1280×720
WARM_UPS = 5


def bench_model(
    preset: str,
    sensor_hw: tuple[int, int],
    ks: Sequence[int] = (1, 64, 256, 1024),
    repetitions: int = 30,
    device: str = "cpu",
) -> dict:
    """Time encode() and decode() of a preset with fresh weights on a sensor of (height, width) pixels.

    encode_ms covers everything from events in numpy arrays to the cache; decode_ms[K] from K keypoints to depths.
    Both hold median, p95 and best of `repetitions` runs after warm-up, in milliseconds. peak_memory_bytes: of the
    device's allocator on CUDA, the process's high-water mark on a CPU. The voxel table is prepared.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions = {repetitions}: must be at least 1")
    if not ks or min(ks) < 0:
        raise ValueError(f"k = {list(ks)}: expected one or more numbers of queries")
    place = torch.device(device)
    model = build_model(preset).to(place)
    if not hasattr(model, "encode"):
        raise ValueError(f"preset {preset!r} is an encoder: it answers no queries")
    height, width = sensor_hw
    window = (_uniform_window if model.config.input == "events" else _uniform_image)(height, width)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    with torch.inference_mode():
        model.prepare(height, width)
        (cache,), states = model.encode([window], [StreamState()])
        encode_ms = _times_ms(lambda: model.encode([window], states), repetitions, place)
        decode_ms = {}
        for k in ks:
            uv_px = torch.rand(k, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([width, height]) - 0.5
            uv_px = uv_px.to(place)
            decode_ms[str(k)] = _times_ms(lambda uv_px=uv_px: model.decode(cache, uv_px), repetitions, place)
    return {
        "preset": preset,
        "sensor": f"{width}x{height}",
        "events": len(window) if model.config.input == "events" else 0,
        "encode_ms": encode_ms,
        "decode_ms": decode_ms,
        "peak_memory_bytes": _peak_memory_bytes(place),
        "voxel_table_bytes": model.encoder.table_bytes,
        "repetitions": repetitions,
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": {"eventspd_ros": __version__, "torch": torch.__version__},
    }


def _times_ms(run: Callable[[], object], repetitions: int, place: torch.device) -> dict[str, float]:
    """Wall-clock of finished runs, after warm-up."""
    times_ms = []
    for index in range(WARM_UPS + repetitions):
        start = time.perf_counter()
        run()
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        if index >= WARM_UPS:
            times_ms.append(1e3 * (time.perf_counter() - start))
    return {
        "median": float(np.median(times_ms)),
        "p95": float(np.percentile(times_ms, 95)),
        "best": float(np.min(times_ms)),
    }


def _uniform_window(height: int, width: int) -> EventWindow:
    """20 ms of uniformly random events: the worst case for memory locality."""
    rng = np.random.default_rng(0)
    count = round(EVENTS_PER_PIXEL * height * width)
    return EventWindow(
        x=rng.integers(0, width, count).astype(np.uint16),
        y=rng.integers(0, height, count).astype(np.uint16),
        p=rng.integers(0, 2, count).astype(np.uint8),
        t_ns=np.sort(rng.integers(0, 20_000_000, count)),
        width=width,
        height=height,
        start_ns=0,
        end_ns=20_000_000,
    )


def _uniform_image(height: int, width: int) -> ImageWindow:
    """A picture of random pixels."""
    return ImageWindow(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8), 0)


def _peak_memory_bytes(place: torch.device) -> int:
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts it in KiB
