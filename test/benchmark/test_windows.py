"""The windows benchmark reports what it measured; how fast is not asserted."""

import json

import numpy as np
import pytest

from eventspd_ros.benchmark.windows import bench_windows
from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.files.export import decode_to
from eventspd_ros.events.types import EventArray


@pytest.fixture
def recording(tmp_path):
    """10,000 events 0.1 ms apart, as HDF5."""
    t_ns = np.arange(10_000) * 100_000 + 1_000_000_000
    x, y = np.arange(10_000) % 64, np.arange(10_000) // 64 % 48
    events = EventArray(x.astype(np.uint16), y.astype(np.uint16), (x % 2).astype(np.uint8), t_ns, 64, 48)
    raw = tmp_path / "even.raw"
    header = b"% evt 3.0\n% format EVT3;height=48;width=64\n% end\n"
    raw.write_bytes(header + np.asarray(encode_evt3(events)).tobytes())
    decode_to(raw, tmp_path / "even.h5")
    return tmp_path / "even.h5"


def test_the_report_is_complete_and_consistent(recording):
    report = bench_windows(recording, repetitions=3)
    assert (report["bench"], report["sensor"], report["events"]) == ("windows", "64x48", 10_000)
    # The last event lies 999.9 ms after the first; windows end 8.333 ms apart, the first two with fewer than 200.
    count = int(999.9 / 8.333)
    assert report["windows"] == count == 119
    events = [min(k * 8.333, 20.0) * 10 for k in range(1, count + 1)]
    assert report["events_per_window"] == pytest.approx(np.mean(events), abs=1)
    times = report["pass_ms"]
    assert 0 < times["best"] <= times["median"] <= times["p95"] <= times["p99"]
    assert report["events_per_second"] == round(10_000e3 / times["best"])
    assert report["windows_per_second"] == round(119e3 / times["best"])
    assert (report["repetitions"], report["warm_ups"]) == (3, 5) and len(report["input_sha256"]) == 64
    json.dumps(report)


def test_the_support_filter_leaves_events_out(recording):
    """Neighbours in a row of pixels fire 0.1 ms apart."""
    plain, most_pass, none_pass = (bench_windows(recording, 1, support_filter_ms=ms) for ms in (0.0, 1.0, 0.05))
    assert "support_filter_ms" not in plain and most_pass["support_filter_ms"] == 1.0
    assert most_pass["windows"] == plain["windows"] and none_pass["windows"] == 0


def test_bad_arguments_are_named(tmp_path, recording):
    with pytest.raises(ValueError, match="no such file or folder"):
        bench_windows(tmp_path / "missing")
    with pytest.raises(ValueError, match="repetitions = 0"):
        bench_windows(recording, repetitions=0)
