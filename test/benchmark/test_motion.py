"""The benchmark of motion reports what it measured; how fast is not asserted."""

import json

import pytest

from eventspd_ros.benchmark.motion import KEYPOINTS, bench_motion


@pytest.mark.slow
def test_the_report_is_complete_and_consistent():
    report = bench_motion((65, 87), repetitions=2)
    assert (report["bench"], report["sensor"], report["keypoints"]) == ("motion", "87x65", KEYPOINTS)
    assert set(report["domains"]) == {"drive", "fly", "indoor"} and len(report["input_sha256"]) == 3
    for row in report["domains"].values():
        assert row["us_per_keypoint"] == pytest.approx(row["answer_ms"]["median"] * 1e3 / KEYPOINTS, abs=0.01)
        assert row["ns_per_event"] == pytest.approx(row["add_ms"]["median"] * 1e6 / row["events"], abs=0.01)
        assert row["answer_by_events_ms"]["median"] > 0 and 0 <= row["share_by_shape"] <= 1
        assert row["events_per_second"] == 2 * row["events"] and 0 <= row["share_by_motion"] <= 1
    json.dumps(report)
