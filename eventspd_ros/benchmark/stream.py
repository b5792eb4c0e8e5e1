"""One camera's stream at its true pace: windows come every stride, requests thirty times a second, from two threads.

What the node does without ROS: a window that comes while another is encoded waits; where one waits already, that one is
left out.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import torch

from eventspd_ros.benchmark.inputs import window_sha256
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import device_conditions, spread
from eventspd_ros.events.types import EventWindow
from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.acceleration import accelerate
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.threads import half_of_the_cores
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.predictor import Predictor, Status

REQUESTS_HZ, POINTS = 30.0, 256


@half_of_the_cores()  # as in the node
def bench_stream(
    preset: str,
    sensor_hw: tuple[int, int],
    device: str = "cpu",
    acceleration: str = "auto",
    seconds: float = 10.0,
    repetitions: int = 1,
) -> dict:
    """Feed a preset with fresh weights for so many seconds, several times: windows encoded of those that came (each
    time), ms of a window and of an answer (all times), seconds that getting ready took. ValueError: the preset sees no
    events."""
    model = build_model(preset).to(torch.device(device)).eval()
    if not isinstance(model, KeypointModel) or model.config.input != "events":
        raise ValueError(f"preset {preset!r}: this bench is for models that answer keypoints from events")
    started_s = time.perf_counter()
    model = accelerate(model, acceleration)
    model.prepare(*sensor_hw)
    run = _Run(Predictor(model, *sensor_hw, fx_px=float(sensor_hw[1]), allow_untrained=True))
    run.get_ready()
    ready_s = time.perf_counter() - started_s
    windows = [run.play(seconds) for _ in range(repetitions)]
    return {
        "bench": "stream",
        "preset": preset,
        "sensor": "{1}x{0}".format(*sensor_hw),
        "acceleration": acceleration,
        "events_per_window": len(run.window),
        "ready_s": ready_s,
        "windows_encoded": windows,
        "windows_due": run.due(seconds),
        "window_ms": spread(run.window_ms),
        "answer_ms": spread(run.answer_ms),
        "points": POINTS,
        "input_sha256": window_sha256(run.window),
        **device_conditions(model.device),
        **conditions(torch),
    }


class _Run:
    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        config = predictor.model.config
        self.window: EventWindow = model_window(config, predictor.height, predictor.width)
        self.stride_ns = round(config.stride_ms * NS_PER_MS)
        self.number = 0
        self.window_ms: list[float] = []
        self.answer_ms: list[float] = []
        unit = np.random.default_rng(0).random((POINTS, 2))
        self.uv_px = (unit * (predictor.width, predictor.height) - 0.5).astype(np.float32)

    def encode_next(self) -> None:
        """The window whose turn it is, a stride after the one before."""
        shift_ns, window = self.number * self.stride_ns, self.window
        ends = {"start_ns": window.start_ns + shift_ns, "end_ns": window.end_ns + shift_ns}
        start_s = time.perf_counter()
        self.predictor.encode(replace(window, t_ns=window.t_ns + shift_ns, **ends))
        self.window_ms.append(1e3 * (time.perf_counter() - start_s))
        self.number += 1

    def get_ready(self) -> None:
        """The first window and the first answer, which take longer."""
        self.encode_next()
        self.ask()
        self.window_ms.clear()
        self.answer_ms.clear()

    def ask(self) -> None:
        start_s = time.perf_counter()
        answer = self.predictor.query(self.uv_px)
        self.answer_ms.append(1e3 * (time.perf_counter() - start_s))
        assert (answer.status == Status.OK).all()

    def due(self, seconds: float) -> int:
        """How many windows close in that time."""
        return int(seconds * NS_PER_S / self.stride_ns)

    def play(self, seconds: float) -> int:
        """How many windows were encoded."""
        asking = threading.Thread(target=self._ask_for, args=(seconds,))
        start_s, stride_s = time.perf_counter(), self.stride_ns / NS_PER_S
        asking.start()
        next_window = encoded = 0
        while next_window < self.due(seconds):
            time.sleep(max(0.0, start_s + next_window * stride_s - time.perf_counter()))
            self.encode_next()
            encoded += 1
            newest = int((time.perf_counter() - start_s) / stride_s)  # that has closed
            next_window = max(next_window + 1, newest)  # one may wait
        asking.join()
        return encoded

    def _ask_for(self, seconds: float) -> None:
        start_s = time.perf_counter()
        for number in range(round(seconds * REQUESTS_HZ)):
            time.sleep(max(0.0, start_s + number / REQUESTS_HZ - time.perf_counter()))
            self.ask()
