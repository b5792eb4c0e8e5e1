"""What `bench gpu` measures, in which order, and how each form of the model is made and timed.

Compiled forms are those of model/acceleration.py: one compilation serves every number of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch

from eventspd_ros.benchmark.device_time import device_ms, wall_ms
from eventspd_ros.benchmark.gpu_goals import KERNEL_PHASE
from eventspd_ros.benchmark.kernel_twins import times_beside_errors, twins
from eventspd_ros.cores import cores
from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.acceleration import KERNELS, compiled_steps
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.feature_cache import StreamState, list_tensors
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stepped import CapturedStep, SteppedModel, stepped

# In the order of their worth. The first three come first on every sensor; DETAILS on the first sensor only.
VARIANTS = {
    "dense": "the dense baseline (F³ ds1 and Depth Anything V2 ViT-S, random weights), compiled",
    "best": "the preset as `acceleration: compiled` runs it",
    "kernels": "each kernel beside its plain twin: time and difference",
    "compiled": "best without kernels",
    "lite": "eventspd_lite, as best",
    "alone": "compiled with one kernel, each, in the phase it belongs to",
    "captured": "plain steps as CUDA graphs",
    "eager": "plain steps",
    "floors": "by stage, the least time that its bytes and flops take",
}
HEADLINE, DETAILS = ("dense", "best", "kernels"), ("kernels", "alone", "floors")
COMPILED = ("dense", "best", "compiled", "lite")  # those that processes ahead compile


def _dense() -> PointDepthModel:
    return DenseModel()


@dataclass(frozen=True)
class Plan:
    """What to measure. sensors: (H, W), the first one in more detail. ks: queries; 256 and the largest serve the goals.

    processes: how many compile ahead at once; each has torch's own workers besides.
    """

    sensors: tuple[tuple[int, int], ...] = ((720, 1280), (480, 640))
    variants: tuple[str, ...] = tuple(VARIANTS)
    preset: str | ModelConfig = "eventspd"
    lite: str | ModelConfig = "eventspd_lite"
    ks: tuple[int, ...] = (256, 1, 64, 1024)
    events: int = 200_000
    repetitions: int = 50
    device: str = "cuda"
    budget_s: float = 240.0
    backend: str = "inductor"  # of torch.compile
    dense: Callable[[], PointDepthModel] = _dense
    kernels: tuple[str, ...] = tuple(KERNEL_PHASE)
    processes: int = cores() // 4
    ceiling: dict = field(default_factory=dict)  # of ceilings(): sizes

    @property
    def name(self) -> str:
        return self.preset if isinstance(self.preset, str) else self.preset.preset

    def check(self) -> None:
        """ValueError: a variant that is none."""
        if unknown := [variant for variant in self.variants if variant not in VARIANTS]:
            raise ValueError(f"variants {unknown} are unknown; there are {', '.join(VARIANTS)}")

    def rounds(self) -> list[list[tuple[str, tuple[int, int]]]]:
        """Variants and sensors, in two rounds: what the headline needs, on all sensors, and the rest."""
        wanted = [
            (variant, sensor)
            for sensor in self.sensors
            for variant in VARIANTS
            if variant in self.variants and (sensor == self.sensors[0] or variant not in DETAILS)
        ]
        return [[step for step in wanted if (step[0] in HEADLINE) == first] for first in (True, False)]


def make(plan: Plan, variant: str, sensor_hw: tuple[int, int], switched_on: ExitStack) -> SteppedModel:
    """The model of a variant, or of "kernel NAME", in bfloat16 on the plan's device; its kernels run until switched_on
    closes."""
    sources = {"dense": plan.dense, "lite": partial(build_model, plan.lite)}
    model = sources.get(variant, partial(build_model, plan.preset))().to(plan.device)
    model.in_bfloat16 = True
    if variant in ("eager", "captured"):
        return stepped(model, *sensor_hw, CapturedStep if variant == "captured" else lambda step: step)
    kernels = {"best": KERNELS, "lite": KERNELS}.get(variant, (variant.removeprefix("kernel "),))
    used = [name for name in kernels if name in plan.kernels]
    return compiled_steps(model, *sensor_hw, switched_on, used, plan.backend)


def times(plan: Plan, variant: str, sensor_hw: tuple[int, int]) -> dict:
    """Times and peak memory of a variant; of "kernel NAME" those of the kernel's phase, and of one K."""
    device, phase = torch.device(plan.device), KERNEL_PHASE.get(variant.removeprefix("kernel "))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with ExitStack() as switched_on:
        made = make(plan, variant, sensor_hw, switched_on)
        window, found = model_window(made.config, *sensor_hw, plan.events), {}
        # What is not measured is not compiled either.
        source = made if phase != "decode" else make(plan, "eager", sensor_hw, switched_on)
        (cache,), states = source.encode([window], [StreamState()])
        if phase != "decode":
            found |= _phase(plan, "encode", made, lambda: made.encode([window], states))
        for k in plan.ks if phase is None else plan.ks[:1]:
            if phase != "encode":
                decode = partial(made.decode, cache, points(k, sensor_hw))
                for key, value in _phase(plan, "decode", made, decode).items():
                    found.setdefault(key, {})[str(k)] = value
    if phase is not None:
        return found
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    cache_bytes = sum(tensor.nbytes for tensor in list_tensors(cache.tensors))
    return found | {"peak_memory_bytes": peak, "cache_bytes": cache_bytes}


def _phase(plan: Plan, name: str, made: SteppedModel, run: Callable[[], object]) -> dict:
    """wall_ms of the phase as callers have it, device_ms of its step on the inputs that such a call gave it."""
    attribute, device = f"{name}_step", torch.device(plan.device)
    step, seen = getattr(made, attribute), []

    def note(*inputs):
        seen[:] = inputs
        return step(*inputs)

    setattr(made, attribute, note)
    run()
    setattr(made, attribute, step)
    return {
        f"{name}_wall_ms": wall_ms(run, device, plan.repetitions),
        f"{name}_device_ms": device_ms(lambda: step(*seen), device, plan.repetitions),
    }


def kernels_beside_twins(plan: Plan, sensor_hw: tuple[int, int]) -> dict:
    """By kernel: times_beside_errors() of the calls that a window and the first number of queries make."""
    device = torch.device(plan.device)
    model = build_model(plan.preset).to(device)
    model.in_bfloat16 = True
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    made = stepped(model, *sensor_hw)
    run = partial(ask, made, plan.events, plan.ks[0])
    return {name: times_beside_errors(twins(model, made, name, run), device, plan.repetitions) for name in plan.kernels}


def ask(made: SteppedModel, events: int, *ks: int) -> None:
    """One window, and requests of so many queries."""
    (cache,), _ = made.encode([model_window(made.config, *made.sensor_hw, events)], [StreamState()])
    for k in ks:
        made.decode(cache, points(k, made.sensor_hw))


def points(k: int, sensor_hw: tuple[int, int]) -> torch.Tensor:
    """Random keypoints (K, 2), always the same."""
    unit = torch.rand(k, 2, generator=torch.Generator().manual_seed(0))
    return unit * torch.tensor([sensor_hw[1], sensor_hw[0]]) - 0.5
