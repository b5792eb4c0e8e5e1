"""The model benchmark reports what it measured; how fast is not asserted."""

import json

import pytest

from eventspd_ros.benchmark.model import bench_model


def test_the_report_is_complete():
    report = bench_model("minimal", (60, 80), ks=(0, 3), repetitions=3)
    assert (report["bench"], report["preset"], report["sensor"]) == ("model", "minimal", "80x60")
    assert (report["repetitions"], report["warm_ups"]) == (3, 5) and len(report["input_sha256"]) == 64
    assert report["events"] == round(0.22 * 80 * 60)
    assert list(report["decode_ms"]) == ["0", "3"]
    for times in (report["encode_ms"], *report["decode_ms"].values()):
        assert 0 < times["best"] <= times["median"] <= times["p95"] <= times["p99"]
    assert report["encode_processor_ms"] > 0 and report["acceleration"] == "auto"
    assert report["voxel_table_bytes"] == 80 * 60 * 19 * 8
    assert report["peak_memory_bytes"] > 1e6 and report["device"] and report["torch_threads"] >= 1
    assert report["machine"] and set(report["versions"]) == {"eventspd_ros", "python", "torch"}
    json.dumps(report)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="repetitions = 0"):
        bench_model("minimal", (60, 80), repetitions=0)
    with pytest.raises(ValueError, match=r"k = \[\]"):
        bench_model("minimal", (60, 80), ks=())
    with pytest.raises(ValueError, match="'hd_micro' is an encoder"):
        bench_model("hd_micro", (60, 80))
