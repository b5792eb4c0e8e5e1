"""How many windows a second the training feed delivers, beside how many a training step consumes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from eventspd_ros.benchmark.inputs import packed_sha256, training_set
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import device_conditions, spread
from eventspd_ros.benchmark.train import WARM_UPS, StepLoad, time_training
from eventspd_ros.datasets.augment import Augmentation
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.feed import Batch, Feed, collate
from eventspd_ros.datasets.sample import Windowing

SCENE_S = 0.5  # of each domain, where no set is given
SENSOR_HW = (260, 346)


@dataclass(frozen=True)
class FeedLoad(StepLoad):
    """What training asks of the feed. workers: processes that read."""

    workers: int = 2


class Shuffled(Sampler):
    """(epoch, sample) for ever: every sample once an epoch, in an order that follows from the epoch."""

    def __init__(self, count: int):
        self.count = count

    def __iter__(self):
        epoch = 0
        while True:
            for index in np.random.default_rng(epoch).permutation(self.count).tolist():
                yield epoch, index
            epoch += 1


def bench_data(
    folder: Path | str | None = None,
    preset: str = "eventspd_lite",
    seconds: float = 10.0,
    repetitions: int = 10,
    load: FeedLoad | None = None,
) -> dict:
    """Measure the feed alone, for about `seconds`, then training alone, `repetitions` steps, on this machine.

    The feed reads a simulated set in random order (files in the page cache), augments, computes query categories and
    collates in load.workers processes. Training is a step of bench_train() on the same set.
    folder: a simulated set; None simulates half a second of each domain first, at 346×260.

    windows_per_second of both are of the median batch; ratio says how many times faster the feed is. Other work on the
    machine (load_average, of the last minute) slows training, whose threads wait for one another, more than the feed.
    cpu_ratio does not depend on it: processor time a window, of one thread each.
    """
    load = load or FeedLoad()
    if not seconds > 0 or min(repetitions, load.workers) < 1:
        raise ValueError(f"seconds {seconds}, repetitions {repetitions}, {load}: each must be positive")
    with training_set(folder, SENSOR_HW, SCENE_S) as set_folder:
        feed = Feed(open_dataset("simulated", set_folder, Windowing(load.windows)), Augmentation())
        if len(feed) < load.batch:
            raise ValueError(
                f"{set_folder}: {len(feed)} samples with {load.windows} windows; a batch takes {load.batch}"
            )
        feed_s, batches = _time_feed(feed, load, seconds)
        feed_cpu_s = _feed_cpu_s(feed, load)
        clock = time_training(load.config(set_folder, preset, WARM_UPS + repetitions))
        with _one_thread():
            step_cpu_s = float(np.median(time_training(load.config(set_folder, preset, WARM_UPS + 1)).cpu_s[WARM_UPS:]))
    windows = load.batch * load.windows
    step_s = clock.parts_s()["step"][WARM_UPS:]
    feed_rate, step_rate = windows / float(np.median(feed_s)), windows / float(np.median(step_s))
    height, width = batches[0].depth_m.shape[1:]
    return {
        "bench": "data",
        "preset": preset,
        "sensor": f"{width}x{height}",
        "batch": load.batch,
        "windows_per_sample": load.windows,
        "queries_per_sample": load.queries,
        "workers": load.workers,
        "feed_windows_per_second": round(feed_rate, 1),
        "training_windows_per_second": round(step_rate, 1),
        "ratio": round(feed_rate / step_rate, 2),
        "feed_cpu_ms_per_window": round(feed_cpu_s / windows * 1e3, 3),
        "training_cpu_ms_per_window": round(step_cpu_s / windows * 1e3, 3),
        "cpu_ratio": round(step_cpu_s / feed_cpu_s, 2),
        "feed_batch_ms": spread([1e3 * s for s in feed_s]),
        "training_step_ms": spread([1e3 * s for s in step_s]),
        "samples": len(feed),
        "events_per_window": round(float(np.mean([count for b in batches for count in b.events.counts]))),
        "repetitions": repetitions,
        "feed_repetitions": len(feed_s),
        "warm_ups": WARM_UPS,
        "input_sha256": packed_sha256(batch.events for batch in batches),
        **device_conditions(clock.place),
        **conditions(torch, np, h5py),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _time_feed(feed: Feed, load: FeedLoad, seconds: float) -> tuple[list[float], list[Batch]]:
    """Seconds a batch, as means over runs of `workers` batches (they arrive in turn); and a few batches to train on."""
    loader = DataLoader(
        feed, load.batch, sampler=Shuffled(len(feed)), num_workers=load.workers, collate_fn=collate, drop_last=True
    )
    batches = iter(loader)
    kept = list(islice(batches, 4 * load.workers))  # warm up: what was fetched ahead while the workers started
    times, stop = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < stop:
        start = time.perf_counter()
        for _ in range(load.workers):
            next(batches)
        times.append((time.perf_counter() - start) / load.workers)
    return times, kept[: 2 * load.workers]


def _feed_cpu_s(feed: Feed, load: FeedLoad, repetitions: int = 20) -> float:
    """Processor time of one batch, median, made in this process."""
    times, keys = [], iter(Shuffled(len(feed)))
    for _ in range(repetitions):
        start = time.process_time()
        collate([feed[key] for key in islice(keys, load.batch)])
        times.append(time.process_time() - start)
    return float(np.median(times))
