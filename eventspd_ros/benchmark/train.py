"""How long a training step takes: forward, backward, optimizer, in the loop that `eventspd train` runs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from eventspd_ros.benchmark.inputs import events_sha256, training_set
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import CPU, device_conditions, now_s, spread
from eventspd_ros.training.config import DataConfig, RunConfig, Source, TrainConfig, to_yaml
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.loop import Trainer

WARM_UPS = 2
SCENE_S = 0.2  # of each domain, where no set is given


@dataclass(frozen=True)
class StepLoad:
    """What a step asks for. batch: samples; windows: of each sample, all with gradients; queries: of each sample."""

    batch: int = 2
    windows: int = 4
    queries: int = 512

    def __post_init__(self):
        if min(self.batch, self.windows, self.queries) < 1:
            raise ValueError(f"{self}: each must be positive")

    def config(self, folder: str, preset: str, steps: int) -> TrainConfig:
        """A training of so many steps on a simulated set, and nothing besides."""
        data = DataConfig((Source(folder),), windows=self.windows, workers=0)
        run = RunConfig(steps=steps, batch=self.batch, validate_every=steps, checkpoint_every=steps)
        return TrainConfig(data, preset, queries=self.queries, bptt=self.windows, run=run)


def bench_train(
    preset: str = "eventspd_lite",
    sensor_hw: tuple[int, int] = (260, 346),
    load: StepLoad | None = None,
    repetitions: int = 10,
    folder: Path | str | None = None,
) -> dict:
    """Train a preset for `repetitions` steps, on CUDA where there is one, and time the parts of each.

    forward_ms: from a batch of events in memory to the losses, all of config/train's default; backward_ms: gradients
    and their clipping; optimizer_ms: AdamW; step_ms: the three together. Reading samples, drawing queries and averaging
    weights are not counted. folder: a simulated set; None simulates a fifth of a second of each domain first.
    """
    load = load or StepLoad()
    with training_set(folder, sensor_hw, SCENE_S) as set_folder:
        clock = time_training(load.config(set_folder, preset, WARM_UPS + repetitions))
    return {
        "bench": "train",
        "preset": preset,
        "sensor": clock.sensor,
        "batch": load.batch,
        "windows_per_sample": load.windows,
        "queries_per_sample": load.queries,
        "precision": RunConfig.precision,
        **{f"{part}_ms": spread([1e3 * s for s in seconds[WARM_UPS:]]) for part, seconds in clock.parts_s().items()},
        "repetitions": repetitions,
        "warm_ups": WARM_UPS,
        "input_sha256": clock.input_sha256,
        **device_conditions(clock.place),
        **conditions(torch),
    }


@dataclass
class StepClock:
    """Looks at the clock between the parts of every step that the optimizer takes.

    ticks_s: a step each, before forward, after it, before the optimizer's step, after it. cpu_s: processor time from
    the first to the last of these.
    """

    place: torch.device = CPU
    ticks_s: list[tuple[float, ...]] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    sensor: str = ""
    input_sha256: str = ""
    _open: list[float] = field(default_factory=list)
    _cpu_start_s: float = 0.0

    def watch(self, trainer: Trainer) -> None:
        self.place = trainer.fabric.device
        trainer.task.register_forward_pre_hook(self._start)
        trainer.task.register_forward_hook(lambda *_: self._tick())
        optimizer = trainer.optimizer.optimizer
        optimizer.register_step_pre_hook(lambda *_: self._tick())
        optimizer.register_step_post_hook(lambda *_: self._stop())

    def parts_s(self) -> dict[str, list[float]]:
        """Seconds of every step's parts, and of all three."""
        pairs = {"forward": (0, 1), "backward": (1, 2), "optimizer": (2, 3), "step": (0, 3)}
        return {part: [ticks[last] - ticks[first] for ticks in self.ticks_s] for part, (first, last) in pairs.items()}

    def _start(self, _, arguments: tuple) -> None:
        if not self.ticks_s:
            batch = arguments[0].batch
            self.sensor = f"{batch.depth_m.shape[2]}x{batch.depth_m.shape[1]}"
            self.input_sha256 = events_sha256(batch.events)
        self._open, self._cpu_start_s = [], time.process_time()
        self._tick()

    def _tick(self) -> None:
        self._open.append(now_s(self.place))

    def _stop(self) -> None:
        self._tick()
        self.ticks_s.append(tuple(self._open))
        self.cpu_s.append(time.process_time() - self._cpu_start_s)


def time_training(config: TrainConfig) -> StepClock:
    """Run a training whose folder nobody keeps, under the clock."""
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        trainer = Trainer(DepthTask(config), config.run, config.optimizer, to_yaml(config), out)
        clock.watch(trainer)
        trainer.run()
    if len(clock.ticks_s) < config.run.steps:
        raise ValueError(f"{config.run.steps - len(clock.ticks_s)} of {config.run.steps} steps had no finite loss")
    return clock
