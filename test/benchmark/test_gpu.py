"""The GPU measurement runs from end to end at a tiny size on a CPU, so that its first real run meets no slip."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from reference.models import small_config
from reference.teachers import tiny_dense
from torch._subclasses.fake_tensor import FakeTensor

from eventspd_ros.benchmark import device_time, gpu_floors
from eventspd_ros.benchmark.gpu import bench_gpu
from eventspd_ros.benchmark.gpu_ahead import compile_ahead
from eventspd_ros.benchmark.gpu_goals import KERNEL_PHASE, summary
from eventspd_ros.benchmark.gpu_variants import VARIANTS, Plan
from eventspd_ros.model.feature_cache import list_tensors

TINY = Plan(
    sensors=((32, 64),),
    preset=small_config(),
    lite="minimal",
    ks=(2, 40),
    events=500,
    repetitions=1,
    device="cpu",
    backend="eager",
    kernels=(),
    budget_s=1e9,
    processes=1,
    ceiling={"copy_bytes": 1 << 16, "side": 32},
)
FORMS = ("dense", "best", "compiled", "lite", "captured", "eager")


@pytest.fixture(autouse=True)
def timed_once(monkeypatch):
    monkeypatch.setattr(device_time, "times_ms", partial(device_time.times_ms, warm_ups=0))


@pytest.fixture
def only_called(monkeypatch):
    """What would be compiled runs as it is, in a fraction of the time."""
    monkeypatch.setattr(torch, "compile", lambda step, **_: step)


def test_every_measurement_is_made(tmp_path, only_called, monkeypatch):
    arguments = []

    def noting(run, model, module, given, keywords):
        arguments.extend(list_tensors(given))
        return run(model, module, given, keywords)

    monkeypatch.setattr(gpu_floors, "_run", partial(noting, gpu_floors._run))
    lines = []
    result = bench_gpu(replace(TINY, dense=tiny_dense), tmp_path / "gpu.json", lines.append)
    assert json.loads((tmp_path / "gpu.json").read_text()) == result
    here = result["sensors"]["64x32"]
    assert result["left_out"] == {} and set(here["variants"]) == set(FORMS) and len(lines) == len(FORMS) + 2
    for times in here["variants"].values():
        assert times["encode_wall_ms"] > 0 and times["encode_device_ms"] > 0 and times["cache_bytes"] > 0
        assert set(times["decode_wall_ms"]) == set(times["decode_device_ms"]) == {"2", "40"}
    assert {"a1", "l4", "b2", "b5"} <= set(here["floors"])
    assert all(stage["floor_ms"] > 0 and stage["times_floor"] > 0 for stage in here["floors"].values())
    assert here["kernels"] == {} and here["summary"]["fastest"] in FORMS and here["summary"]["us_per_query"]
    assert here["summary"]["times_faster_than_dense"] > 0
    assert arguments and not any(isinstance(tensor, FakeTensor) for tensor in arguments), "what is timed has values"


@pytest.mark.slow
def test_through_the_compiler_with_every_kernel():
    pytest.importorskip("triton", reason="triton is not installed")
    lines, variants = [], ("dense", "best", "kernels", "alone")
    plan = replace(TINY, variants=variants, kernels=tuple(KERNEL_PHASE), ks=(2,), dense=tiny_dense, processes=2)
    result = bench_gpu(plan, say=lines.append)
    ahead = [line for line in lines if "ahead" in line]
    assert len(ahead) == 3 and not any("not compiled" in line for line in ahead), lines
    here = result["sensors"]["64x32"]
    assert result["left_out"] == {} and len(lines) - len(ahead) == 3 + len(KERNEL_PHASE)
    assert set(here["kernels"]) == set(KERNEL_PHASE) and here["variants"]["best"]["encode_device_ms"] > 0
    for name, phase in KERNEL_PHASE.items():
        found = here["kernels"][name]
        assert found["kernel_error"] < found["plain_error"] + 1e-3 and found["kernel_ms"] > 0 < found["plain_ms"], name
        assert set(here["variants"][f"kernel {name}"]) == {f"{phase}_wall_ms", f"{phase}_device_ms"}


def test_the_headline_of_every_sensor_comes_first():
    plan = replace(TINY, sensors=((32, 64), (40, 48)))
    headline, rest = plan.rounds()
    wanted = [("dense", 32), ("best", 32), ("kernels", 32), ("dense", 40), ("best", 40)]
    assert [(variant, height) for variant, (height, _) in headline] == wanted
    assert {variant for variant, _ in headline + rest} == set(VARIANTS)
    assert [variant for variant, (height, _) in rest if height == 40] == ["compiled", "lite", "captured", "eager"]


def test_variants_are_chosen_and_what_fails_costs_no_other(only_called):
    result = bench_gpu(replace(TINY, variants=("eager", "dense"), dense=partial(int, "no\nnetwork")))
    assert set(result["sensors"]["64x32"]["variants"]) == {"eager"}
    assert result["left_out"] == {"64x32 dense": "ValueError: invalid literal for int() with base 10: 'no\\nnetwork'"}
    with pytest.raises(ValueError, match="variants \\['fast'\\] are unknown; there are dense, best"):
        bench_gpu(replace(TINY, variants=("fast",)))


def test_nothing_starts_past_the_budget():
    result = bench_gpu(replace(TINY, budget_s=-1.0))
    assert result["sensors"]["64x32"]["variants"] == {}
    assert all("budget" in reason for reason in result["left_out"].values()) and len(result["left_out"]) == 8


def test_what_does_not_compile_ahead_is_said(capfd):
    lines, plan = [], replace(TINY, processes=2, dense=partial(int, "no network"))
    compile_ahead(plan, [("dense", (32, 64))] * 2, 600.0, lines.append)
    assert len(lines) == 3 and all("64x32 dense: not compiled ahead (" in line for line in lines[1:])
    assert capfd.readouterr().err.count("dense: ValueError: invalid literal for int() with base 10: 'no network'") == 2


def test_compiling_ahead_ends_in_time():
    lines = []
    compile_ahead(replace(TINY, processes=2), [("eager", (32, 64))] * 3, 0.0, lines.append)
    assert [line.split(" (")[0] for line in lines[1:]] == ["64x32 eager: not compiled ahead, out of time or memory"] * 2


def test_the_summary_picks_the_fastest_and_ships_what_is_a_tenth_faster():
    def times(encode, decode):
        return {"encode_device_ms": encode, "decode_device_ms": {"256": decode, "1024": 3 * decode}}

    variants = {
        "dense": times(10.0, 0.1),
        "compiled": times(1.0, 0.2),
        "best": times(1.1, 0.4),
        "lite": times(0.1, 0.1),
        "kernel convnext": {"encode_device_ms": 0.9},
        "kernel voxel_scatter": {"encode_device_ms": 0.95},
        "kernel attention": {"decode_device_ms": {"256": 0.18}},
    }
    found = summary(variants)
    assert (found["fastest"], found["encode_ms"], found["decode_256_ms"]) == ("compiled", 1.0, 0.2)
    assert found["us_per_query"] == pytest.approx(1e3 * 0.4 / 768)
    assert found["times_faster_than_dense"] == pytest.approx(10.1 / 1.2)
    assert found["ship"] == ["convnext", "attention"]
    assert summary({}) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_that_is_said():
    with pytest.raises(ValueError, match="sees no CUDA device"):
        bench_gpu(Plan())
