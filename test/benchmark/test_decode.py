"""The decode benchmark reports what it measured; how fast is not asserted."""

import json

import pytest

from eventspd_ros.benchmark.decode import bench_decode


def test_the_report_is_complete_and_consistent(data_dir):
    report = bench_decode(data_dir / "event_camera_codecs/evt3_trigger", repetitions=3)
    assert (report["events"], report["packets"], report["repetitions"]) == (82469, 105, 3)
    assert (report["bench"], report["encoding"], report["sensor"]) == ("decode", "evt3", "1280x720")
    times = report["pass_ms"]
    assert 0 < times["best"] <= times["median"] <= times["p95"] <= times["p99"]
    assert report["events_per_second"] == round(82469e3 / times["best"])
    assert report["bytes_per_second"] == round(758296e3 / times["best"])
    assert report["machine"] and set(report["versions"]) == {"eventspd_ros", "python", "numba", "numpy"}
    assert len(report["input_sha256"]) == 64
    assert report["input_sha256"] != bench_decode(data_dir / "event_camera_py/test_events_1", 1)["input_sha256"]
    json.dumps(report)


def test_bad_arguments_are_named(data_dir, tmp_path):
    with pytest.raises(ValueError, match="repetitions = 0"):
        bench_decode(data_dir / "event_camera_codecs/evt3_trigger", repetitions=0)
    with pytest.raises(ValueError, match="no such file or folder"):
        bench_decode(tmp_path / "missing")
