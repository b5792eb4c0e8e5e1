"""How long a training step takes: forward, backward, optimizer, in the loop that `eventspd train` runs; and how many
windows a second that makes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from eventspd_ros.benchmark.inputs import packed_sha256, training_set
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import CPU, Mark, device_conditions, mark, seconds_between, spread
from eventspd_ros.cores import cores
from eventspd_ros.training.config import DataConfig, RunConfig, Source, TrainConfig, to_yaml
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.loop import Trainer

WARM_UPS = 2
SCENE_S = 0.2  # of each domain, where no set is given
MOST_WORKERS = 8
# Windows a second that are wanted of one H100-class GPU, at GOAL_SENSOR with GOAL_QUERIES queries a sample.
GOALS, GOAL_SENSOR, GOAL_QUERIES = {"eventspd_lite": 1500, "eventspd": 600}, "346x260", 256


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
        data = DataConfig((Source(folder),), windows=self.windows, workers=readers())
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
    and their clipping; optimizer_ms: AdamW; step_ms: the three together, and windows_per_second what they make. Reading
    samples, drawing queries and averaging weights are not counted there, but in loop_ms, from the start of a step to
    that of the next. On CUDA samples are read ahead by `workers` processes. goal_windows_per_second: what is wanted,
    where that is said. folder: a simulated set; None simulates a fifth of a second of each domain first.
    """
    load = load or StepLoad()
    with training_set(folder, sensor_hw, SCENE_S) as set_folder:
        clock = time_training(load.config(set_folder, preset, WARM_UPS + repetitions))
    windows, parts = load.batch * load.windows, {part: s[-repetitions:] for part, s in clock.parts_s().items()}
    as_in_the_goal = (clock.place.type, clock.sensor, load.queries) == ("cuda", GOAL_SENSOR, GOAL_QUERIES)
    return {
        "bench": "train",
        "preset": preset,
        "sensor": clock.sensor,
        "batch": load.batch,
        "windows_per_sample": load.windows,
        "queries_per_sample": load.queries,
        "precision": RunConfig.precision,
        "workers": readers(),
        "windows_per_second": round(windows / float(np.median(parts["step"])), 1),
        "loop_windows_per_second": round(windows / float(np.median(parts["loop"])), 1),
        **({"goal_windows_per_second": GOALS[preset]} if as_in_the_goal and preset in GOALS else {}),
        **{f"{part}_ms": spread([1e3 * s for s in seconds]) for part, seconds in parts.items()},
        "repetitions": repetitions,
        "warm_ups": WARM_UPS,
        "input_sha256": clock.input_sha256,
        **device_conditions(clock.place),
        **conditions(torch),
    }


def readers() -> int:
    """Processes that read ahead: none beside a training on a CPU, whose cores they would take."""
    return min(MOST_WORKERS, cores()) if torch.cuda.is_available() else 0


@dataclass
class StepClock:
    """Looks at the clock between the parts of every step that the optimizer takes, and never makes a GPU wait for it.

    ticks: a step each, before forward, after it, before the optimizer's step, after it. cpu_s: processor time from
    the first to the last of these.
    """

    place: torch.device = CPU
    ticks: list[tuple[Mark, ...]] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    sensor: str = ""
    input_sha256: str = ""
    _open: list[Mark] = field(default_factory=list)
    _cpu_start_s: float = 0.0

    def watch(self, trainer: Trainer) -> None:
        self.place = trainer.fabric.device
        trainer.task.register_forward_pre_hook(self._start)
        trainer.task.register_forward_hook(lambda *_: self._tick())
        optimizer = trainer.optimizer.optimizer
        optimizer.register_step_pre_hook(lambda *_: self._tick())
        optimizer.register_step_post_hook(lambda *_: self._stop())

    def parts_s(self) -> dict[str, list[float]]:
        """Seconds of every step's parts, of all three, and from the start of a step to that of the next."""
        pairs = {"forward": (0, 1), "backward": (1, 2), "optimizer": (2, 3), "step": (0, 3)}
        found = {
            part: [seconds_between(ticks[first], ticks[last]) for ticks in self.ticks]
            for part, (first, last) in pairs.items()
        }
        return found | {"loop": [seconds_between(one[0], other[0]) for one, other in pairwise(self.ticks)]}

    def _start(self, _, arguments: tuple) -> None:
        if not self.ticks:
            batch = arguments[0].batch
            self.sensor = f"{batch.depth_m.shape[2]}x{batch.depth_m.shape[1]}"
            self.input_sha256 = packed_sha256([batch.events])
        self._open, self._cpu_start_s = [], time.process_time()
        self._tick()

    def _tick(self) -> None:
        self._open.append(mark(self.place))

    def _stop(self) -> None:
        self._tick()
        self.ticks.append(tuple(self._open))
        self.cpu_s.append(time.process_time() - self._cpu_start_s)


def time_training(config: TrainConfig) -> StepClock:
    """Run a training whose folder nobody keeps, under the clock."""
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        trainer = Trainer(DepthTask(config), config.run, config.optimizer, to_yaml(config), out)
        clock.watch(trainer)
        trainer.run()
    if len(clock.ticks) < config.run.steps:
        raise ValueError(f"{config.run.steps - len(clock.ticks)} of {config.run.steps} steps had no finite loss")
    return clock
