"""Crossings on hand-made curves, and where the time of a real model goes."""

import json

import pytest
from reference.models import small_model
from reference.windows import random_window

from eventspd_ros.benchmark import latency
from eventspd_ros.benchmark.latency import Crossover, crossover, measure_latency
from eventspd_ros.evaluation.results import to_json
from eventspd_ros.model.presets import build_model


def line(start: float, slope: float, ks=(1, 10, 100, 1000)) -> dict[str, float]:
    return {str(k): start + slope * k for k in ks}


@pytest.mark.parametrize(
    ("sparse", "dense", "expected"),
    [
        (line(5, 0.1), line(25, 0.0), Crossover(200, True)),
        (line(5, 0.01), line(25, 0.0), Crossover(2000, False)),
        (line(5, 0.01), line(25, 0.01), Crossover(None, False)),
        (line(30, 0.1), line(25, 0.0), Crossover(0, True)),
        ({"1": 1.0, "100": 3.0, "200": 9.0}, line(5, 0.0, (1, 100, 200)), Crossover(133, True)),
    ],
)
def test_where_two_curves_cross(sparse, dense, expected):
    assert crossover(sparse, dense) == expected


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "REPETITIONS", 2)
        patch.setattr(latency, "WARM_UPS", 1)
        patch.setattr(latency, "KS", (1, 32))
        model = small_model()
        result = measure_latency(model, random_window(64, 48, 500), build_model("minimal"))
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return result


def test_every_stage_is_timed(measured):
    stages = measured.model.stages_ms
    assert list(stages) == ["encode", "decode 256"]
    assert list(stages["encode"]) == ["A1 scatter", "A1 F³", "A2 pyramid", "A2 memory", "rest"]
    decode = ["B1 tokens", "B2 local", "B3 global", "B4 deformable", "B5 fused", "rest"]
    assert list(stages["decode 256"]) == decode
    assert all(value > 0 for name, value in stages["decode 256"].items())
    assert json.loads(json.dumps(to_json(measured)))["model"]["stages_ms"] == stages


def test_totals_are_encode_and_decode(measured):
    for values in (measured.model, measured.dense):
        for k in ("1", "32"):
            assert values.total_ms[k] == pytest.approx(values.encode_ms + values.decode_ms[k])
    assert measured.crossover == crossover(measured.model.total_ms, measured.dense.total_ms)
    assert measured.dense.trained is False and measured.model.trained is None
