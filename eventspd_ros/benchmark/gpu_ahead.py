"""Compiling ahead of the measurements, several variants at once, each in a process of its own.

Most of a compilation is one thread of Python. What the processes compile stays in Inductor's and Triton's folders on
disk, where the measuring process finds it; it then traces its model anew and compiles next to nothing. Which of several
forms of a kernel is fastest is timed on the device, where the others disturb: these picks are not kept.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
import torch._inductor.config as inductor

from eventspd_ros.benchmark.gpu_variants import Plan, ask, make
from eventspd_ros.text import one_line

KILLED = "not compiled ahead, out of time or memory"
ENDS = {0: "compiled ahead", 1: "not compiled ahead", -signal.SIGKILL: KILLED}


def picks_of_this_process() -> AbstractContextManager:
    """Within, the fastest form of each of Inductor's kernels is what this process times, not what lies on disk."""
    return inductor.patch(autotune_local_cache=False)


def compile_ahead(
    plan: Plan, steps: Sequence[tuple[str, tuple[int, int]]], limit_s: float, say: Callable[[str], None]
) -> None:
    """Compile these variants for these sensors, for at most so long. What fails is said, and costs nothing but time:
    the measurement compiles it again."""
    if len(steps) < 2 or plan.processes < 2:
        return
    start_s, context = time.monotonic(), multiprocessing.get_context("spawn")
    say(f"compiling ahead: {len(steps)} variants in {plan.processes} processes")
    waiting, running = list(steps), []
    while waiting or running:
        while waiting and len(running) < plan.processes:
            variant, sensor_hw = waiting.pop(0)
            process = context.Process(target=_compile, args=(plan, variant, sensor_hw), daemon=True)
            process.start()
            running.append(("{2}x{1} {0}".format(variant, *sensor_hw), process))
        time.sleep(0.1)
        for what, process in [each for each in running if not each[1].is_alive()]:
            running.remove((what, process))
            say(f"{what}: {ENDS.get(process.exitcode, ENDS[1])} ({time.monotonic() - start_s:.0f} s)")
        if time.monotonic() - start_s > limit_s:
            waiting.clear()
            for _, process in running:
                process.kill()


def _compile(plan: Plan, variant: str, sensor_hw: tuple[int, int]) -> None:
    """The work of one process."""
    inductor.compile_threads = max(1, inductor.compile_threads // plan.processes)
    try:
        with picks_of_this_process(), torch.inference_mode(), ExitStack() as switched_on:
            ask(make(plan, variant, sensor_hw, switched_on), plan.events, *plan.ks)
    except Exception as error:
        sys.exit(f"{variant}: {type(error).__name__}: {one_line(error, 300)}")
