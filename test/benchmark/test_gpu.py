"""The GPU measurement runs from end to end at a tiny size on a CPU, so that its first real run meets no slip."""

import json
from dataclasses import replace

import pytest
import torch
from reference.models import small_config
from reference.teachers import write_teacher

from eventspd_ros.benchmark.gpu import Plan, bench_gpu
from eventspd_ros.benchmark.gpu_goals import KERNEL_PHASE, summary
from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.depth_anything import read_depth_anything

TINY = Plan(
    sensors=((32, 64),),
    presets=(small_config(), "minimal"),
    ks=(2, 40),
    events=500,
    repetitions=1,
    device="cpu",
    backend=None,
    kernels=(),
    budget_s=1e9,
    ceiling={"copy_bytes": 1 << 16, "side": 32},
)


@pytest.mark.parametrize(
    "backend, kernels", [(None, ()), pytest.param("eager", tuple(KERNEL_PHASE), marks=pytest.mark.slow)]
)
def test_every_measurement_is_made_or_said_to_be_left_out(tmp_path, backend, kernels):
    lines = []
    write_teacher(tmp_path / "network", blocks=4)

    def dense() -> DenseModel:
        return DenseModel(network=read_depth_anything(tmp_path / "network"))

    plan = replace(TINY, backend=backend, kernels=kernels, dense=dense)
    result = bench_gpu(plan, tmp_path / "gpu.json", lines.append)
    assert json.loads((tmp_path / "gpu.json").read_text()) == result
    here = result["sensors"]["64x32"]
    for name in ("eager", "captured", "compiled"):
        times = here["variants"][f"small {name}"]
        assert times["encode_wall_ms"] > 0 and times["encode_device_ms"] > 0 and times["cache_bytes"] > 0
        assert set(times["decode_wall_ms"]) == set(times["decode_device_ms"]) == {"2", "40"}
    for name in ("minimal compiled", "dense compiled"):
        assert "decode_device_ms" in here["variants"][name]
    assert here["summary"]["times_faster_than_dense"] > 0
    assert {"a1", "l4", "b2", "b5"} <= set(here["floors"])
    assert all(stage["floor_ms"] > 0 and stage["times_floor"] > 0 for stage in here["floors"].values())
    assert here["summary"]["best"].startswith("small") and here["summary"]["us_per_query"]
    done = {f"64x32 {name}" for name in here["variants"]} | ({"64x32 floors"} if "floors" in here else set())
    assert not done & set(result["left_out"])
    assert len(done) + len(result["left_out"]) == len(lines) == 6 + (1 + len(kernels) if kernels else 0)


def test_nothing_starts_past_the_budget():
    result = bench_gpu(replace(TINY, budget_s=-1.0))
    assert result["sensors"]["64x32"]["variants"] == {}
    assert all("budget" in reason for reason in result["left_out"].values()) and result["left_out"]


def test_the_summary_picks_the_fastest_and_ships_what_is_a_tenth_faster():
    def times(encode, decode):
        return {"encode_device_ms": encode, "decode_device_ms": {"256": decode, "1024": 3 * decode}}

    variants = {
        "dense compiled": times(10.0, 0.1),
        "e compiled": times(1.0, 0.2),
        "e kernels": times(1.1, 0.4),
        "e kernel convnext": {"encode_device_ms": 0.9},
        "e kernel voxel_scatter": {"encode_device_ms": 0.95},
        "e kernel attention": {"decode_device_ms": {"256": 0.18}},
    }
    found = summary(variants, "e")
    assert (found["best"], found["encode_ms"], found["decode_256_ms"]) == ("e compiled", 1.0, 0.2)
    assert found["us_per_query"] == pytest.approx(1e3 * 0.4 / 768)
    assert found["times_faster_than_dense"] == pytest.approx(10.1 / 1.2)
    assert found["ship"] == ["convnext", "attention"]
    assert summary({}, "e") == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_that_is_said():
    with pytest.raises(ValueError, match="sees no CUDA device"):
        bench_gpu(Plan())
