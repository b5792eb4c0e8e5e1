"""How many windows a second the training feed delivers, beside how many a training step consumes."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from eventspd_ros import __version__
from eventspd_ros.benchmark.machine import cpu_name
from eventspd_ros.datasets.augment import Augmentation
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.feed import Batch, Feed, collate
from eventspd_ros.datasets.sample import Windowing
from eventspd_ros.model.presets import build_model
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.scene_file import write_scene

SCENE_S = 0.5  # of each domain, where no set is given


@dataclass(frozen=True)
class FeedLoad:
    """What a training step asks for. batch: samples; windows: of each sample; queries: of each sample."""

    batch: int = 2
    windows: int = 4
    queries: int = 512
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
    folder: Path | str | None = None, preset: str = "eventspd_lite", seconds: float = 10.0, load: FeedLoad | None = None
) -> dict:
    """Measure the feed alone, then training alone, each for about `seconds`, on this machine.

    The feed reads a simulated set in random order (files in the page cache), augments, computes query categories and
    collates in load.workers processes. Training is forward and backward of `preset` over the same batches: encode of
    every window in turn, decode of load.queries a sample at the last one, SiLog loss; no optimizer.
    folder: a simulated set; None simulates half a second of each domain first, at 346×260.

    windows_per_s of both are of the median batch; ratio says how many times faster the feed is. Other work on the
    machine (load_average, of the last minute) slows training, whose threads wait for one another, more than the feed.
    cpu_ratio does not depend on it: processor time a window, of one thread each.
    """
    load = load or FeedLoad()
    if not seconds > 0 or min(load.batch, load.windows, load.queries, load.workers) < 1:
        raise ValueError(f"seconds {seconds}, {load}: each must be positive")
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch)
            config = SetConfig(scenes=1, duration_s=SCENE_S)
            for path, scene in config.files(folder).items():
                write_scene(path, scene, config.preset)
        feed = Feed(open_dataset("simulated", folder, Windowing(load.windows)), Augmentation())
        if len(feed) < load.batch:
            raise ValueError(f"{folder}: {len(feed)} samples with {load.windows} windows; a batch takes {load.batch}")
        feed_s, batches = _time_feed(feed, load, seconds)
        feed_cpu_s = _feed_cpu_s(feed, load)
    step_s, step_cpu_s = _time_training(preset, batches, load.queries, seconds)
    windows = load.batch * load.windows
    feed_rate, step_rate = windows / float(np.median(feed_s)), windows / float(np.median(step_s))
    return {
        "feed_windows_per_s": round(feed_rate, 1),
        "training_windows_per_s": round(step_rate, 1),
        "ratio": round(feed_rate / step_rate, 2),
        "feed_cpu_ms_per_window": round(feed_cpu_s / windows * 1e3, 3),
        "training_cpu_ms_per_window": round(step_cpu_s / windows * 1e3, 3),
        "cpu_ratio": round(step_cpu_s / feed_cpu_s, 2),
        "feed_batch_s": _spread(feed_s),
        "training_step_s": _spread(step_s),
        "preset": preset,
        **_conditions(load, batches),
        "samples": len(feed),
    }


def _conditions(load: FeedLoad, batches: list[Batch]) -> dict:
    height, width = batches[0].depth_m.shape[1:]
    return {
        "sensor": f"{width}x{height}",
        "workers": load.workers,
        "batch": load.batch,
        "windows_per_sample": load.windows,
        "queries_per_sample": load.queries,
        "events_per_window": round(float(np.mean([len(w) for b in batches for step in b.steps() for w in step]))),
        "machine": cpu_name(),
        "load_average": round(os.getloadavg()[0], 2),
        "torch_threads": torch.get_num_threads(),
        "versions": {
            "eventspd_ros": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }


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


def _time_training(preset: str, batches: list[Batch], queries: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of a forward and backward pass, after one to warm up; and processor time of one on a single thread."""
    torch.manual_seed(0)
    model, rng = build_model(preset).train(), np.random.default_rng(0)
    _step(model, batches[0], queries, rng)
    times, stop = [], time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < stop:
        start = time.perf_counter()
        _step(model, batches[len(times) % len(batches)], queries, rng)
        times.append(time.perf_counter() - start)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    _step(model, batches[0], queries, rng)
    cpu_s = time.process_time() - start
    torch.set_num_threads(threads)
    return times, cpu_s


def _step(model, batch: Batch, count: int, rng: np.random.Generator) -> None:
    """Gradients of one loss through all windows of a batch."""
    queries = batch.queries(rng.spawn(len(batch.names)), count)
    memory = None
    for windows in batch.steps():
        tensors, memory = model.phase_a(model.encoder.scatter(windows), memory)
    canonical, _ = model.phase_b(tensors, queries.uv_px)
    known = queries.depth_m.isfinite() & (queries.depth_m > 0)
    error = (torch.log(canonical * batch.metric_per_canonical[:, None]) - torch.log(queries.depth_m))[known]
    model.zero_grad(set_to_none=True)
    (error.square().mean() - 0.5 * error.mean().square()).sqrt().backward()


def _spread(seconds: list[float]) -> dict:
    return {
        "median": round(float(np.median(seconds)), 5),
        "p95": round(float(np.percentile(seconds, 95)), 5),
        "count": len(seconds),
    }
