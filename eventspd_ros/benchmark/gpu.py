"""The latency promise on one GPU, in one run: dense baseline, EventSPD eager, captured, compiled and with kernels.

Everything runs in bfloat16 with uniformly random events, the worst case for memory. What is slow is compilation, so
that measurements come in the order of their worth, the JSON is written after each, and none starts past the budget.

device_ms is the device's own time for a step whose inputs lie there; wall_ms goes from numpy events (or keypoints) to
the finished cache (or depths). "compiled" is torch.compile inside a CUDA graph; "kernels" that with all Triton kernels,
"kernel …" with one. ship: the kernels that beat "compiled" by a tenth in the phase they belong to.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from eventspd_ros.benchmark.device_time import ceilings, device_ms, floor_ms, wall_ms
from eventspd_ros.benchmark.gpu_goals import GOALS, KERNEL_PHASE, summary
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.model_info import model_info
from eventspd_ros.benchmark.timing import device_conditions
from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.feature_cache import StreamState, list_tensors
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stages import Phase
from eventspd_ros.model.stepped import CapturedStep, SteppedModel, capture, stepped
from eventspd_ros.text import one_line
from eventspd_ros.whole import write_whole


def _dense() -> PointDepthModel:
    """F³ ds1 and Depth Anything V2 ViT-S with random weights."""
    return DenseModel()


@dataclass(frozen=True)
class Plan:
    """What to measure. sensors: (H, W), the first one in more detail; presets: the first one in all variants.

    ks: queries; 256 and the largest serve the goals.
    """

    sensors: tuple[tuple[int, int], ...] = ((720, 1280), (480, 640))
    presets: tuple[str | ModelConfig, ...] = (
        "eventspd",
        "eventspd_lite",
    )
    ks: tuple[int, ...] = (256, 1, 64, 1024)
    events: int = 200_000
    repetitions: int = 50
    device: str = "cuda"
    budget_s: float = 480.0
    backend: str | None = "inductor"  # of torch.compile; None: what would be compiled is only captured
    dense: Callable[[], PointDepthModel] = _dense
    kernels: tuple[str, ...] = tuple(KERNEL_PHASE)
    ceiling: dict = field(default_factory=dict)  # of ceilings(): sizes


def bench_gpu(plan: Plan, out: Path | None = None, say: Callable[[str], None] = lambda _: None) -> dict:
    """Measure; write the JSON to `out` after every step; say() gets a line for each. The result is that JSON."""
    device = torch.device(plan.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {plan.device!r}: torch {torch.__version__} sees no CUDA device here")
    run = _Run(plan, device, out, say)
    run.result["ceilings"] = ceilings(device, **plan.ceiling)
    for number, sensor_hw in enumerate(plan.sensors):
        run.sensor(sensor_hw, in_detail=number == 0)
    run.result["seconds"] = round(time.monotonic() - run.start_s, 1)
    run.write()
    return run.result


class _Run:
    """One measurement as it grows."""

    def __init__(self, plan: Plan, device: torch.device, out: Path | None, say: Callable[[str], None]):
        self.plan, self.device, self.out, self.say = plan, device, out, say
        self.start_s = time.monotonic()
        self.result = {
            "bench": "gpu",
            **device_conditions(device),
            **conditions(torch),
            "repetitions": plan.repetitions,
            "goals": GOALS,
            "left_out": {},
            "sensors": {},
        }

    def sensor(self, sensor_hw: tuple[int, int], in_detail: bool) -> None:
        """All of one sensor: the variants of the first preset and the dense baseline, then floors, then presets."""
        name = "{1}x{0}".format(*sensor_hw)
        here = self.result["sensors"].setdefault(name, {"events": self.plan.events, "variants": {}})
        model, *others = self.plan.presets
        first = _name(model)
        variants = {
            "dense compiled": lambda: self.times(self.plan.dense(), sensor_hw, compiled=True),
            f"{first} eager": lambda: self.times(build_model(model), sensor_hw, captured=False),
            f"{first} captured": lambda: self.times(build_model(model), sensor_hw),
            f"{first} compiled": lambda: self.times(build_model(model), sensor_hw, compiled=True),
        }
        kernels = self.plan.kernels
        if kernels:
            variants[f"{first} kernels"] = lambda: self.times(
                build_model(model), sensor_hw, compiled=True, kernels=kernels
            )
        if in_detail:
            variants |= {
                f"{first} kernel {kernel}": lambda kernel=kernel: self.times(
                    build_model(model), sensor_hw, compiled=True, kernels=[kernel], phase=KERNEL_PHASE[kernel]
                )
                for kernel in kernels
            }
        for preset in others:
            variants[f"{_name(preset)} compiled"] = lambda preset=preset: self.times(
                build_model(preset), sensor_hw, compiled=True
            )
        for variant, measure in variants.items():
            self.attempt(f"{name} {variant}", measure, here["variants"], variant)
            here["summary"] = summary(here["variants"], first)
        self.attempt(f"{name} floors", lambda: self.floors(model, sensor_hw), here, "floors")

    def attempt(self, what: str, measure: Callable[[], dict], into: dict, key: str) -> None:
        """One measurement within the budget. What fails is said and left out: it must not cost the others."""
        if time.monotonic() - self.start_s > self.plan.budget_s:
            self.result["left_out"][what] = f"the budget of {self.plan.budget_s:g} s was spent"
            return
        started_s = time.monotonic()
        try:
            with torch.inference_mode():
                into[key] = measure()
        except Exception as error:
            self.result["left_out"][what] = f"{type(error).__name__}: {one_line(error, 500)}"
        torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        outcome = self.result["left_out"].get(what) or "done"
        self.say(f"{time.monotonic() - self.start_s:6.0f} s  {what}: {outcome} ({time.monotonic() - started_s:.0f} s)")
        self.write()

    def times(
        self,
        model: PointDepthModel,
        sensor_hw: tuple[int, int],
        captured: bool = True,
        compiled: bool = False,
        kernels: Sequence[str] = (),
        phase: str | None = None,
    ) -> dict:
        """Times and peak memory of one variant; phase: only that one, and only one K."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        model = model.to(self.device)
        model.in_bfloat16 = True
        made = stepped(model, *sensor_hw)
        with _kernels_on(made, kernels):
            if compiled and self.plan.backend:
                made.encode_step = torch.compile(made.encode_step, backend=self.plan.backend)
                made.decode_step = torch.compile(made.decode_step, backend=self.plan.backend)
            if captured:
                made.encode_step, made.decode_step = CapturedStep(made.encode_step), CapturedStep(made.decode_step)
            window = model_window(model.config, *sensor_hw, self.plan.events)
            (cache,), states = made.encode([window], [StreamState()])
            found = {}
            if phase != "decode":
                found |= self._phase("encode", made, "encode_step", lambda: made.encode([window], states))
            for k in self.plan.ks if phase is None else self.plan.ks[:1]:
                if phase != "encode":
                    points = _points(k, sensor_hw)
                    decode = self._phase("decode", made, "decode_step", partial(made.decode, cache, points))
                    for key, value in decode.items():
                        found.setdefault(key, {})[str(k)] = value
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        state = sum(tensor.nbytes for tensor in list_tensors(cache.tensors))
        return found | {"peak_memory_bytes": peak, "cache_bytes": state}

    def _phase(self, name: str, made: SteppedModel, attribute: str, run: Callable[[], object]) -> dict:
        """wall_ms of the phase as callers have it, device_ms of its step on the inputs that such a call gave it."""
        step, seen = getattr(made, attribute), []

        def note(*inputs):
            seen[:] = inputs
            return step(*inputs)

        setattr(made, attribute, note)
        run()
        setattr(made, attribute, step)
        return {
            f"{name}_wall_ms": wall_ms(run, self.device, self.plan.repetitions),
            f"{name}_device_ms": device_ms(lambda: step(*seen), self.device, self.plan.repetitions),
        }

    def floors(self, preset: str | ModelConfig, sensor_hw: tuple[int, int]) -> dict:
        """By stage: bytes that must move (inputs, outputs, weights), flops, the least time, the time captured alone.

        Phase B's stages are of 256 queries. Stages that do not run as one module (a3, a4) are not among them.
        """
        model = build_model(preset).to(self.device)
        model.in_bfloat16 = True
        k = self.plan.ks[0]
        macs = model_info(preset, sensor_hw)["macs"]["by_stage"]
        stages = {name: stage for name, stage in model.stages().items() if list(stage.module.parameters())}
        calls, handles = {}, []
        for name, stage in stages.items():
            hook = _note_call(calls, name)
            handles.append(stage.module.register_forward_hook(hook, with_kwargs=True))
        made = stepped(model, *sensor_hw)
        (cache,), _ = made.encode([model_window(model.config, *sensor_hw, self.plan.events)], [StreamState()])
        made.decode(cache, _points(k, sensor_hw))
        for handle in handles:
            handle.remove()
        found = {}
        for name, (arguments, keywords, moved) in calls.items():
            module, phase = stages[name].module, stages[name].phase
            weights = sum(parameter.numel() for parameter in module.parameters()) * 2
            flops = 2 * macs[name] * (1 if phase == Phase.A else k)
            least = floor_ms(moved + weights, flops, self.result["ceilings"])
            alone = captured(lambda m=module, a=arguments, kw=keywords: _run(model, m, a, kw), self.device)
            took = device_ms(alone, self.device, self.plan.repetitions)
            found[name] = {"bytes": moved + weights, "flops": flops, "floor_ms": least, "captured_ms": took}
            found[name]["times_floor"] = took / least
        return found

    def write(self) -> None:
        if self.out:
            write_whole(self.out, json.dumps(self.result, indent=1))


def captured(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The call as a CUDA graph's replay; on a CPU the call itself."""
    return capture(run)[0].replay if device.type == "cuda" else run


def _run(model: PointDepthModel, module: nn.Module, arguments: tuple, keywords: dict) -> None:
    with model.precision():
        module(*arguments, **keywords)


def _note_call(calls: dict, name: str):
    """A forward hook that keeps a stage's first call: arguments, and bytes that come in and go out.

    Of the context only what a stage takes whole is counted, not the rows that B1 and B4 gather: a floor stays one.
    """

    def hook(_, arguments, keywords, output) -> None:
        given = (*arguments, *keywords.values())
        tensors = list_tensors(tuple(value for value in given if not isinstance(value, DecoderContext)))
        tensors += list_tensors(output if isinstance(output, tuple) else (output,))
        calls.setdefault(name, (arguments, keywords, sum(tensor.nbytes for tensor in tensors)))

    return hook


def _name(preset: str | ModelConfig) -> str:
    return preset if isinstance(preset, str) else preset.preset


def _kernels_on(made: SteppedModel, names: Sequence[str]):
    if not names:
        return nullcontext()
    if find_spec("triton") is None:
        raise ValueError("the kernels need Triton, which CUDA builds of torch bring: pip install triton")
    from eventspd_ros.model.kernels.fuse import fused

    return fused(made.encode_step, made.decode_step, list(names))


def _points(k: int, sensor_hw: tuple[int, int]) -> torch.Tensor:
    unit = torch.rand(k, 2, generator=torch.Generator().manual_seed(0))
    return unit * torch.tensor([sensor_hw[1], sensor_hw[0]]) - 0.5
