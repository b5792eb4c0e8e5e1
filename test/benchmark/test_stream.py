"""A stream at its true pace: no window is counted twice, and all of a slow model's time is accounted for."""

import pytest

from eventspd_ros.benchmark import stream
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import Predictor


def test_what_is_said_of_a_stream():
    report = stream.bench_stream("minimal", (48, 64), seconds=0.4, repetitions=2)
    assert report["windows_due"] == 48 and len(report["windows_encoded"]) == 2
    assert all(0 < encoded <= 48 for encoded in report["windows_encoded"])
    assert report["window_ms"]["best"] <= report["window_ms"]["median"] and report["answer_ms"]["best"] > 0
    with pytest.raises(ValueError, match=r"rgb_spd.*events"):
        stream.bench_stream("rgb_spd", (48, 64))


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now_s = 0.0

    def perf_counter(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.mark.parametrize(("window_ms", "encoded"), [(0.0, 60), (8.0, 60), (12.0, 42), (50.0, 10)])
def test_a_slow_model_leaves_windows_out_and_keeps_to_the_clock(monkeypatch, window_ms, encoded):
    run = stream._Run(Predictor(build_model("minimal").eval(), 48, 64, 64.0, allow_untrained=True))
    clock = Clock()
    monkeypatch.setattr(stream, "time", clock)
    monkeypatch.setattr(run, "encode_next", lambda: clock.sleep(1e-3 * window_ms))
    monkeypatch.setattr(run, "_ask_for", lambda seconds: None)
    assert run.due(0.5) == 60
    assert run.play(0.5) == pytest.approx(encoded, abs=1)
    assert clock.now_s <= 0.5 + 1e-3 * window_ms
