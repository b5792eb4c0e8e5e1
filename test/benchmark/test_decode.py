"""The decode benchmark reports what it measured; how fast is not asserted."""

import json

import pytest

from eventspd_ros.benchmark.decode import bench_decode


def test_the_report_is_complete_and_consistent(data_dir):
    report = bench_decode(data_dir / "event_camera_codecs/evt3_trigger", repetitions=3)
    assert (report["events"], report["packets"], report["repetitions"]) == (82469, 105, 3)
    assert (report["encoding"], report["sensor"]) == ("evt3", "1280x720")
    assert 0 < report["best_s"] <= report["median_s"] <= report["p95_s"]
    assert report["events_per_second"] == round(82469 / report["best_s"])
    assert report["bytes_per_second"] == round(758296 / report["best_s"])
    assert report["machine"] and set(report["versions"]) == {"eventspd_ros", "python", "numba", "numpy"}
    assert len(report["input_sha256"]) == 64
    assert report["input_sha256"] != bench_decode(data_dir / "event_camera_py/test_events_1", 1)["input_sha256"]
    json.dumps(report)


def test_bad_arguments_are_named(data_dir, tmp_path):
    with pytest.raises(ValueError, match="repetitions = 0"):
        bench_decode(data_dir / "event_camera_codecs/evt3_trigger", repetitions=0)
    with pytest.raises(ValueError, match="no such file or folder"):
        bench_decode(tmp_path / "missing")
