"""Times of repeated runs, taken and summed up the same way by every benchmark."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from eventspd_ros.benchmark.machine import cpu_name

REPETITIONS, WARM_UPS = 30, 5
CPU = torch.device("cpu")
Mark = float | torch.cuda.Event


def times_ms(
    run: Callable[[], object], repetitions: int = REPETITIONS, place: torch.device = CPU, warm_ups: int = WARM_UPS
) -> dict[str, float]:
    """spread() of the wall-clock of finished runs, ms, after warm-up."""
    if repetitions < 1:
        raise ValueError(f"repetitions = {repetitions}: must be at least 1")
    times = []
    for _ in range(warm_ups + repetitions):
        start_s = now_s(place)
        run()
        times.append(1e3 * (now_s(place) - start_s))
    return spread(times[warm_ups:])


def spread(times: Sequence[float]) -> dict[str, float]:
    """median, p95, p99 and best, in the unit of what is given. Of 30 runs p99 lies between the two slowest."""
    median, p95, p99 = np.percentile(times, (50, 95, 99)).tolist()
    return {"median": median, "p95": p95, "p99": p99, "best": float(np.min(times))}


def now_s(place: torch.device = CPU) -> float:
    """The clock, once the device has done what it was given."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    return time.perf_counter()


def mark(place: torch.device = CPU) -> Mark:
    """A moment of the device's work, which is not waited for: on CUDA a mark in its queue."""
    if place.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(place))
    return event


def seconds_between(first: Mark, last: Mark) -> float:
    """From one mark() to a later one of the same device, once it has got there."""
    if isinstance(first, float) or isinstance(last, float):
        return last - first  # type: ignore[operator]  # both are
    last.synchronize()
    return first.elapsed_time(last) / 1e3


def device_conditions(place: torch.device) -> dict:
    """device, torch_threads and peak_memory_bytes: of the device's allocator on CUDA, the process's high-water mark on
    a CPU."""
    cuda = place.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(place) if cuda else cpu_name(),
        "torch_threads": torch.get_num_threads(),
        # Linux counts ru_maxrss in KiB.
        "peak_memory_bytes": torch.cuda.max_memory_allocated(place)
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
