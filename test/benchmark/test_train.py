"""The training benchmark times the steps that the real loop takes; how fast is not asserted."""

import json

import pytest
import torch
from reference import dataset_layouts as layouts

from eventspd_ros.benchmark import train
from eventspd_ros.benchmark.train import StepClock, StepLoad, bench_train, time_training
from eventspd_ros.training.depth_task import DepthTask

LOAD = StepLoad(batch=2, windows=2, queries=16)


def test_the_report_is_complete_and_consistent(tmp_path):
    layouts.write_simulated(tmp_path)
    report = bench_train("minimal", load=LOAD, repetitions=3, folder=tmp_path)
    assert (report["bench"], report["preset"], report["sensor"]) == ("train", "minimal", "40x32"), "the set's sensor"
    assert (report["batch"], report["windows_per_sample"], report["queries_per_sample"]) == (2, 2, 16)
    for part in ("forward", "backward", "optimizer", "step"):
        times = report[f"{part}_ms"]
        assert 0 < times["best"] <= times["median"] <= times["p95"] <= times["p99"]
    assert report["windows_per_second"] == pytest.approx(4e3 / report["step_ms"]["median"], abs=0.1)
    assert report["loop_windows_per_second"] == pytest.approx(4e3 / report["loop_ms"]["median"], abs=0.1)
    assert report["loop_ms"]["best"] > 0
    assert "goal_windows_per_second" not in report, "of a GPU"
    parts = [report[f"{part}_ms"]["best"] for part in ("forward", "backward", "optimizer")]
    assert sum(parts) <= report["step_ms"]["best"] * (1 + 1e-9)
    assert (report["repetitions"], report["warm_ups"], report["precision"]) == (3, 2, "bf16-mixed")
    assert len(report["input_sha256"]) == 64 and report["device"] and report["torch_threads"] >= 1
    json.dumps(report)


def test_the_clock_is_read_between_the_parts(tmp_path, monkeypatch):
    """At each reading: whether there are gradients, and whether the weights have moved since the one before."""
    tasks, readings, before = [], [], []

    def build(config):
        tasks.append(DepthTask(config))
        return tasks[0]

    def read_clock(place):
        weight = tasks[0].model.log_depth.weight
        moved = bool(before) and not torch.equal(before[-1], weight)
        before.append(weight.detach().clone())
        readings.append((weight.grad is not None, moved))
        return float(len(readings))

    monkeypatch.setattr(train, "DepthTask", build)
    monkeypatch.setattr(train, "mark", read_clock)
    layouts.write_simulated(tmp_path)
    clock = time_training(LOAD.config(str(tmp_path), "minimal", 2))
    assert readings == 2 * [(False, False), (False, False), (True, False), (True, True)]
    assert clock.ticks == [(1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)] and len(clock.cpu_s) == 2


def test_parts_by_hand():
    clock = StepClock(ticks=[(1.0, 3.0, 7.0, 8.0), (9.0, 9.5, 10.0, 10.0)])
    assert clock.parts_s() == {
        "forward": [2.0, 0.5],
        "backward": [4.0, 0.5],
        "optimizer": [1.0, 0.0],
        "step": [7.0, 1.0],
        "loop": [8.0],
    }


def test_a_load_of_nothing_is_named():
    with pytest.raises(ValueError, match="batch=0"):
        StepLoad(batch=0)
