"""The device's own time for a piece of work, and the two ceilings no code passes: memory bandwidth and matrix rate."""

from __future__ import annotations

from collections.abc import Callable

import torch

from eventspd_ros.benchmark.timing import WARM_UPS, spread, times_ms
from eventspd_ros.model.stepped import capture


def wall_ms(run: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """Median wall-clock of a call and all work it queued."""
    return times_ms(run, repetitions, device)["median"]


def device_ms(run: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """Median time between the start and the end of a call's work on the device; on a CPU, of the call."""
    if device.type != "cuda":
        return wall_ms(run, device, repetitions)
    return spread([_between_events(run) for _ in range(WARM_UPS + repetitions)][WARM_UPS:])["median"]


def captured(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The call as a CUDA graph's replay; on a CPU the call itself."""
    return capture(run)[0].replay if device.type == "cuda" else run


def _between_events(run: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def ceilings(device: torch.device, copy_bytes: int = 1 << 32, side: int = 8192) -> dict[str, float]:
    """bytes_per_s of a copy, read and written, and flops_per_s of a bfloat16 matrix product, both on random data."""
    return {
        "bytes_per_s": 2 * copy_bytes / (1e-3 * _copy_ms(device, copy_bytes)),
        "flops_per_s": 2 * side**3 / (1e-3 * _product_ms(device, side)),
    }


def _copy_ms(device: torch.device, count: int) -> float:
    source = torch.randint(256, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return device_ms(lambda: target.copy_(source), device, 10)


def _product_ms(device: torch.device, side: int) -> float:
    left, right = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    return device_ms(lambda: left @ right, device, 10)


def floor_ms(moved_bytes: float, flops: float, ceiling: dict[str, float]) -> float:
    """The least time that moving so much and multiplying so much takes, one behind the other's back."""
    return 1e3 * max(moved_bytes / ceiling["bytes_per_s"], flops / ceiling["flops_per_s"])
