"""Repeated runs and what is said of them."""

import numpy as np
import pytest
import torch

from eventspd_ros.benchmark import timing
from eventspd_ros.benchmark.inputs import events_sha256, file_sha256
from eventspd_ros.benchmark.timing import spread, times_ms
from eventspd_ros.events.uniform import uniform_window


def test_percentiles_by_hand():
    """0 … 100: percentiles are their own number."""
    shuffled = np.random.default_rng(0).permutation(101)
    assert spread(shuffled.tolist()) == {"median": 50, "p95": 95, "p99": 99, "best": 0}


def test_warm_up_is_not_counted(monkeypatch):
    """A clock that only runs while the work does: 1 s in each warm-up, then 1, 2 and 3 ms."""
    clock, runs = [0.0], []
    monkeypatch.setattr(timing, "now_s", lambda place: clock[0])

    def run():
        runs.append(1.0 if len(runs) < 4 else (len(runs) - 3) / 1e3)
        clock[0] += runs[-1]

    times = times_ms(run, 3, torch.device("cpu"), 4)
    assert len(runs) == 7
    assert (times["best"], times["median"]) == (pytest.approx(1), pytest.approx(2)) and times["p99"] < 3.01
    with pytest.raises(ValueError, match="repetitions = 0"):
        times_ms(run, 0)


def test_the_hash_is_of_the_input(tmp_path):
    window = uniform_window(30, 40)
    assert events_sha256([window]) == events_sha256([uniform_window(30, 40)]) != events_sha256([uniform_window(40, 30)])
    assert len(window) == round(0.22 * 30 * 40) and window.x.max() < 40 and window.y.max() < 30
    (tmp_path / "bag").mkdir()
    for name in "ab":
        (tmp_path / "bag" / name).write_bytes(name.encode())
    (tmp_path / "joined").write_bytes(b"ab")
    assert file_sha256(tmp_path / "bag") == file_sha256(tmp_path / "joined")
