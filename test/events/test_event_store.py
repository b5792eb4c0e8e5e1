"""Events by time: with an index, without one, in any unit, against plain selection."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventspd_ros.datasets.sample import Intrinsics, Windowing
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.events.files import event_store, h5_file
from eventspd_ros.events.files.checks import seconds_in_ns
from eventspd_ros.events.files.event_store import EventStore, MatrixStore


def write(path, t, index=True, offset=0):
    count = len(t)
    with h5py.File(path, "w") as file:
        file["e/t"] = np.asarray(t, np.int64)
        file["e/x"], file["e/y"] = np.arange(count) % 8, np.arange(count) % 6
        file["e/p"] = np.arange(count) % 2
        if index:
            last_ms = int(max(t)) // 1000 + 1
            file["ms"] = np.searchsorted(np.maximum.accumulate(t), np.arange(last_ms + 1) * 1000).astype("u8")
    return path


@settings(max_examples=60, deadline=None)
@given(
    gaps_us=st.lists(st.one_of(st.integers(0, 30), st.integers(0, 9000)), min_size=1, max_size=200),
    start_us=st.integers(-3000, 200_000),
    length_us=st.integers(1, 50_000),
    offset_us=st.sampled_from([0, -1, 57_000_000_123]),
    index=st.booleans(),
    block=st.sampled_from([1, 7, 1000]),
)
def test_reading_a_span_is_selecting_it(tmp_path_factory, gaps_us, start_us, length_us, offset_us, index, block):
    t = np.cumsum(gaps_us)
    path = write(tmp_path_factory.mktemp("store") / "events.h5", t, index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_store, "BLOCK_EVENTS", block)
        store = EventStore(path, "e", 8, 6, 1000, offset_us * 1000, "ms" if index else None)
        for begin_us in (start_us, start_us + length_us // 2):  # the second lookup finds a search tree half built
            begin_ns, end_ns = (begin_us + offset_us) * 1000, (begin_us + length_us + offset_us) * 1000
            events = store.read(begin_ns, end_ns)
            inside = (t >= begin_us) & (t < begin_us + length_us)
            np.testing.assert_array_equal(events.t_ns, (t[inside] + offset_us) * 1000)
            np.testing.assert_array_equal(events.x, (np.arange(len(t)) % 8)[inside])
            np.testing.assert_array_equal(events.y, (np.arange(len(t)) % 6)[inside])
            np.testing.assert_array_equal(events.p, (np.arange(len(t)) % 2)[inside])
    h5_file.close_files()


@pytest.mark.parametrize("index", [True, False])
def test_only_what_is_needed_is_read(tmp_path, index, monkeypatch):
    """Of a million events, a window of 100 costs the blocks around it, not the file."""
    t = np.arange(1_000_000)
    path = write(tmp_path / "events.h5", t, index)
    store = EventStore(path, "e", 8, 6, ms_index="ms" if index else None)
    sizes = []
    read = h5_file.read
    monkeypatch.setattr(h5_file, "read", lambda *a, **k: [values := read(*a, **k), sizes.append(values.size)][0])
    assert len(store.read(700_000_000, 700_100_000)) == 100
    assert 0 < sum(sizes) < (5_000 if index else 60_000)


@pytest.mark.parametrize("index", [True, False])
def test_late_packets_are_held_and_jumps_are_damage(tmp_path, index):
    t = np.arange(0, 300_000, 10)
    t[5000:5003] -= 7_000  # a packet that came 7 ms late
    store = EventStore(write(tmp_path / "late.h5", t, index), "e", 8, 6, ms_index="ms" if index else None)
    events = store.read(40_000_000, 60_000_000)
    assert (np.diff(events.t_ns) >= 0).all() and len(events) == 2000
    t[5000:] -= 150_000  # the sensor restarted
    t[-1] = 400_000
    path = write(tmp_path / "jump.h5", t, index)
    store = EventStore(path, "e", 8, 6, ms_index="ms" if index else None)
    with pytest.raises(ValueError, match=f"{path}: e/t: time falls by 0.1.* after event 4999"):
        store.read(0, 290_000_000)


def test_seconds_are_read_to_the_microsecond(tmp_path):
    t_us = np.array([0, 1, 2, 999_999, 1_000_000])
    rows = np.stack((np.arange(5), np.arange(5), 1_506_117_894 + t_us / 1e6, [1.0, -1, 1, -1, 1]), axis=1)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["davis"] = rows
    store = MatrixStore(tmp_path / "m.h5", "davis", 8, 6)
    start_ns = int(seconds_in_ns("t", rows[1:2, 2])[0])
    assert start_ns == 1_506_117_894 * 10**9 + 1000
    np.testing.assert_array_equal(store.read(start_ns, start_ns + 10**9).t_ns, 1_506_117_894 * 10**9 + t_us[1:] * 1000)
    assert store.read(start_ns, start_ns + 10**9).p.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("index", [True, False])
def test_a_recording_without_events_has_empty_windows(tmp_path, index):
    with h5py.File(tmp_path / "none.h5", "w") as file:
        for name in "xytp":
            file[f"e/{name}"] = np.zeros(0, np.int64)
        file["ms"] = np.zeros(5, np.uint64)
    store = EventStore(tmp_path / "none.h5", "e", 8, 6, ms_index="ms" if index else None)
    assert store.count == len(store.read(0, 10**9)) == 0
    labels = np.array([100_000_000])
    camera = Intrinsics(8, 6, 5.0, 5.0, 3.5, 2.5)
    assert len(Sequence("dark", store, camera, labels, Windowing(), recorded_ns=(0, 10**9))) == 1
    with pytest.raises(ValueError, match=r"none\.h5: e: holds no events"):
        Sequence("dark", store, camera, labels, Windowing())
