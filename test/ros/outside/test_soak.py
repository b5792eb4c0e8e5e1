import json
import time

import pytest

from eventspd_ros.ros.outside.soak import Watched, complaints, run_soak


def test_a_short_soak_loses_no_answer_and_leaves_nothing_behind(simulated_bag):
    summary = run_soak(simulated_bag, minutes=0.1)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["requests"] > 50 and summary["lost_answers"] == summary["out_of_order"] == 0
    assert summary["played"]["loop"] >= 2 and summary["node_exit_status"] is None
    assert summary["threads"]["last"] <= summary["threads"]["max"] and summary["rss_mb"]["first"] > 50
    assert int(summary["diagnostics"]["resets_restart"]) >= 1
    assert int(summary["diagnostics"]["keypoints_by_motion"]) > 1000
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"] <= summary["latency_ms"]["max"]


def test_growth_is_from_the_first_to_the_last_tenth_after_the_warm_up():
    watched = Watched(0, time.monotonic())
    rss_mb = [100.0 if s < 60 else 200.0 + (s >= 140) * 10.0 for s in range(160)]
    watched.samples = [(float(s), mb, mb - 90.0, 80.0, 10.0, 5, 9) for s, mb in enumerate(rss_mb)]
    summary = watched.summary(60.0)
    assert summary["rss_mb"] == {"first": 200.0, "last": 210.0, "max": 210.0}
    assert summary["anonymous_mb"] == {"first": 110.0, "last": 120.0, "max": 120.0}
    assert summary["shared_mb"] == {"first": 10.0, "last": 10.0, "max": 10.0}
    assert summary["by_minute"]["rss_mb"] == [100.0, 200.0, 205.0] and summary["threads"]["max"] == 5
    assert summary["rss_growth"] == pytest.approx(0.05)
    well = {"lost_answers": 0, "out_of_order": 0, "requests": 9, "diagnostics": {}, "node_exit_status": None}
    well |= watched.summary(140.0)
    assert complaints(well) == []
    for wrong in (
        {"lost_answers": 1},
        {"out_of_order": 2},
        {"rss_growth": 0.02},
        {"node_exit_status": -9},
        {"threads": {"first": 5, "last": 6}},
    ):
        assert len(complaints(well | wrong)) == 1
