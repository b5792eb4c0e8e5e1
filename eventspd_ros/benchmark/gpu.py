"""The latency promise on one GPU, in one run: the dense baseline, EventSPD as it ships, its kernels, and slower forms.

Everything runs in bfloat16 with uniformly random events, the worst case for memory. What is slow is compilation, so
that processes side by side compile ahead, nothing is timed meanwhile, measurements come in the order of their worth,
the JSON is written after each, and none starts past the budget.

device_ms is the device's own time for a step whose inputs lie there; wall_ms goes from numpy events (or keypoints) to
the finished cache (or depths). ship: the kernels that beat "compiled" by a tenth in the phase they belong to.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from eventspd_ros.benchmark.device_time import ceilings
from eventspd_ros.benchmark.gpu_ahead import compile_ahead, picks_of_this_process
from eventspd_ros.benchmark.gpu_floors import floors
from eventspd_ros.benchmark.gpu_goals import GOALS, summary
from eventspd_ros.benchmark.gpu_variants import COMPILED, Plan, kernels_beside_twins, times
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import device_conditions
from eventspd_ros.text import one_line
from eventspd_ros.whole import write_whole


def bench_gpu(plan: Plan, out: Path | None = None, say: Callable[[str], None] = lambda _: None) -> dict:
    """Measure; write the JSON to `out` after every step; say() gets a line for each. The result is that JSON."""
    device = torch.device(plan.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {plan.device!r}: torch {torch.__version__} sees no CUDA device here")
    plan.check()
    run = _Run(plan, device, out, say)
    run.result["ceilings"] = ceilings(device, **plan.ceiling)
    with picks_of_this_process():
        for steps in plan.rounds():
            run.round(steps)
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
            "preset": plan.name,
            **device_conditions(device),
            **conditions(torch),
            "repetitions": plan.repetitions,
            "goals": GOALS,
            "left_out": {},
            "sensors": {},
        }

    def round(self, steps: list[tuple[str, tuple[int, int]]]) -> None:
        """Steps whose compiling is done ahead together: variants and sensors."""
        ahead = [step for step in steps if step[0] in COMPILED]
        if (left_s := self.left_s()) > 0:
            compile_ahead(self.plan, ahead, left_s, lambda line: self.say(f"{self.seconds():6.0f} s  {line}"))
        for variant, sensor_hw in steps:
            self.step(variant, sensor_hw)

    def step(self, variant: str, sensor_hw: tuple[int, int]) -> None:
        """One variant on one sensor, into its place in the result."""
        sensor = "{1}x{0}".format(*sensor_hw)
        here = self.result["sensors"].setdefault(sensor, {"events": self.plan.events, "variants": {}})
        if variant == "floors":
            self.attempt(f"{sensor} floors", lambda: floors(self.plan, sensor_hw, self.result["ceilings"]), here)
        elif variant == "kernels":
            self.attempt(f"{sensor} kernels", lambda: kernels_beside_twins(self.plan, sensor_hw), here)
        else:
            names = [f"kernel {name}" for name in self.plan.kernels] if variant == "alone" else [variant]
            for name in names:
                self.attempt(f"{sensor} {name}", lambda name=name: times(self.plan, name, sensor_hw), here["variants"])
        here["summary"] = summary(here["variants"])
        self.write()

    def attempt(self, what: str, measure: Callable[[], dict], into: dict) -> None:
        """One measurement within the budget. What fails is said and left out: it must not cost the others."""
        if self.left_s() <= 0:
            self.result["left_out"][what] = f"the budget of {self.plan.budget_s:g} s was spent"
            return
        started_s, tuned = time.monotonic(), torch.backends.cudnn.benchmark
        try:
            with torch.inference_mode():
                into[what.split(" ", 1)[1]] = measure()
        except Exception as error:
            self.result["left_out"][what] = f"{type(error).__name__}: {one_line(error, 500)}"
        torch.backends.cudnn.benchmark = tuned
        torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        outcome = self.result["left_out"].get(what) or "done"
        self.say(f"{self.seconds():6.0f} s  {what}: {outcome} ({time.monotonic() - started_s:.0f} s)")
        self.write()

    def seconds(self) -> float:
        return time.monotonic() - self.start_s

    def left_s(self) -> float:
        return self.plan.budget_s - self.seconds()

    def write(self) -> None:
        if self.out:
            write_whole(self.out, json.dumps(self.result, indent=1))
