"""Statistics: equal to their definition whatever the chunks, right where they can be told by hand, and of sets."""

import itertools
import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import event_array, joined, rows
from reference.slow_statistics import slow_statistics
from reference.tiny_set import write_tiny_set

from eventspd_ros.cli import main
from eventspd_ros.events.files import layouts
from eventspd_ros.events.files.hdf5 import write_events_h5
from eventspd_ros.events.files.summary import summarise_events
from eventspd_ros.events.statistics import EventStatistics

H, W = 3, 5
MS, US = 1_000_000, 1000


def stream(*events, width=W, height=H):
    """Of (ms, x, y, p)."""
    t_ms, x, y, p = zip(*events, strict=True) if events else [()] * 4
    return event_array([round(t * MS) for t in t_ms], x, y, p, width, height)


def part(events, first, last):
    columns = (getattr(events, name)[first:last] for name in ("t_ns", "x", "y", "p"))
    return event_array(*columns, events.width, events.height)


def statistics(events, cuts=()):
    found = EventStatistics(events.height, events.width)
    edges = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for first, last in itertools.pairwise(edges):
        found.add(part(events, first, last))
        found.summary()  # changes nothing
    return found.summary()


def assert_as_defined(found, events):
    """Exactly equal to the slow twin, save for the bins of the percentile: from 1 µs to 100 s, to half a bin."""
    expected = slow_statistics(rows(events), events.height, events.width)
    if expected["gap_p01_ms"] is not None:
        expected["gap_p01_ms"] = pytest.approx(min(max(expected["gap_p01_ms"], 1e-3), 1e5), rel=0.004)
    assert found == expected and list(found) == list(expected)


# On, just below and just above every limit; backwards by too little and by enough to begin anew.
steps_ns = st.one_of(
    st.sampled_from([0, US, 10 * MS - 1, 10 * MS, 10 * MS + 1, 20 * MS - 1, 20 * MS, 20 * MS + 1, 70 * MS]),
    st.integers(0, 3 * MS),
    st.sampled_from([-MS, -100 * MS, -100 * MS - 1, -(10**12), 10**12]),
)
pixels = st.tuples(st.integers(0, W - 1), st.integers(0, H - 1), st.integers(0, 1))


@given(
    st.integers(-(10**15), 10**18),
    st.lists(st.tuples(steps_ns, pixels), max_size=80),
    st.lists(st.integers(0, 80), max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_equal_to_their_definition_whatever_the_chunks(first_ns, steps, cuts):
    t_ns = first_ns + np.cumsum([step for step, _ in steps], dtype=np.int64)
    x, y, p = zip(*(pixel for _, pixel in steps), strict=True) if steps else [()] * 3
    events = event_array(t_ns, x, y, p, W, H)
    assert_as_defined(statistics(events, cuts), events)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_equal_in_a_dense_stream_too(seed, ms):
    rng = np.random.default_rng(seed)
    n = 600
    t_ns = np.sort(rng.integers(0, 1000 * ms, n)) * (MS // 10)
    events = event_array(t_ns, rng.integers(0, W, n), rng.integers(0, H, n), rng.random(n) < 0.8, W, H)
    assert_as_defined(statistics(events, rng.integers(0, n, 5).tolist()), events)


def test_no_event_and_one():
    assert set(statistics(stream()).values()) == {None}
    one = statistics(stream((5, 0, 0, 1)))
    assert (one["isolated_share"], one["supported_share"]) == (1, 0)
    assert (one["run_length"], one["run_length_of_event"]) == (1, 1)
    # No time has passed: nothing is said about density, nor about times between events.
    assert {one[name] for name in ("events_per_pixel", "active_share", "events_per_active_pixel", "gap_p01_ms")} == {
        None
    }


@pytest.mark.parametrize(
    "second, isolated, supported",
    [
        ((9.9, 3, 2, 1), 0, 0.5),  # the pixel diagonally below
        ((10, 2, 0, 0), 0, 0.5),  # above, at the limit, of the other polarity
        ((10.000001, 2, 0, 0), 1, 0),
        ((9.9, 4, 1, 1), 1, 0),  # two pixels away
        ((9.9, 2, 1, 1), 0, 0),  # its own pixel supports nothing
        ((10.1, 2, 1, 1), 1, 0),
    ],
)
def test_two_events_near_each_other(second, isolated, supported):
    found = statistics(stream((0, 2, 1, 1), second), cuts=(1,))
    assert (found["isolated_share"], found["supported_share"]) == (isolated, supported)


def test_an_event_is_judged_by_what_comes_after_it():
    """Each first event has company only in the 10 ms after it, and is replaced or left over later."""
    events = stream((0, 0, 0, 1), (9, 1, 1, 1), (50, 0, 0, 1), (90, 4, 2, 1), (99, 3, 2, 1), (150, 4, 2, 1))
    for cuts in ((), range(6)):
        # (50, 0, 0) and (150, 4, 2) are alone; looking back only, (0, 0, 0) and (90, 4, 2) would be, too.
        assert statistics(events, cuts)["isolated_share"] == pytest.approx(2 / 6)


def test_runs_by_hand():
    on, off = 1, 0
    at = [(0, on), (5, on), (14.9, on), (20, off), (25, on), (35, on)]  # runs of 3, 1, 1, 1: 10 ms are too long
    events = stream(*((t, 1, 1, p) for t, p in at), (36, 4, 0, on))  # and another pixel's
    found = statistics(events)
    assert found["run_length"] == pytest.approx(7 / 5)
    assert found["run_length_of_event"] == pytest.approx((3 * 3 + 4 * 1) / 7)
    assert found["gap_p01_ms"] == pytest.approx(5, rel=0.004)


def test_density_by_hand():
    # Windows from 0: [0, 20) has 4 events in 2 pixels, [20, 40) none, [40, 60) one; [60, …) is not over.
    events = stream((0, 0, 0, 1), (1, 0, 0, 1), (2, 0, 0, 1), (3, 4, 2, 1), (59, 0, 0, 1), (60, 0, 0, 1))
    found = statistics(events)
    assert found["active_share"] == pytest.approx((2 + 0 + 1) / 3 / (H * W))
    assert found["events_per_active_pixel"] == pytest.approx(5 / 3)
    assert found["events_per_pixel"] == pytest.approx(6 * 20 / 60 / (H * W))


def test_noise_without_a_scene_is_what_chance_says():
    """Poisson noise of 1 Hz a pixel: isolated with exp(-9·20 ms·1 Hz), unsupported with exp(-8·10 ms·1 Hz)."""
    rng = np.random.default_rng(0)
    h, w, seconds = 100, 120, 4
    n = rng.poisson(h * w * seconds)
    t_ns = np.sort(rng.integers(0, seconds * 10**9, n))
    events = event_array(t_ns, rng.integers(0, w, n), rng.integers(0, h, n), rng.integers(0, 2, n), w, h)
    found = statistics(events, range(0, n, 1000))
    # Pixels at the border have fewer neighbours, and less time lies around the first and last events.
    assert found["isolated_share"] == pytest.approx(np.exp(-0.18), abs=0.01)
    assert found["supported_share"] == pytest.approx(1 - np.exp(-0.08), abs=0.01)
    assert found["active_share"] == pytest.approx(1 - np.exp(-0.02), rel=0.02)
    assert found["events_per_pixel"] == pytest.approx(0.02, rel=0.02)


def test_events_of_another_sensor_are_refused():
    found = EventStatistics(H, W)
    with pytest.raises(ValueError, match="events of a 6x3 px sensor in statistics of 5x3 px"):
        found.add(stream((0, 0, 0, 1), width=6))
    with pytest.raises(ValueError, match="x = 5 or y = 2 lies outside the sensor of 5x3 px"):
        found.add(stream((0, 1, 2, 1), (1, 5, 0, 1)))
    assert found.summary() == statistics(stream())


def test_a_summary_holds_the_statistics(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "READ_EVENTS", 1)  # each event is a chunk
    events = stream((0, 2, 1, 1), (9, 3, 1, 1), (18, 2, 1, 1), (70, 0, 0, 1))
    write_events_h5(tmp_path / "a.h5", [part(events, 0, 1), part(events, 1, 4)])
    found = summarise_events(tmp_path / "a.h5")
    assert found["statistics"] == pytest.approx(statistics(events), rel=1e-3)
    assert found["statistics"]["active_share"] == 0.04444
    write_events_h5(tmp_path / "out.h5", [stream((0, 1, 1, 1)), stream((1, 60_000, 1, 1))])
    assert (
        "values 60000 to 60000 among events 1 to 1; the sensor has 5x3 px"
        in summarise_events(tmp_path / "out.h5")["damage"]
    )


def scene_events(path):
    with h5py.File(path) as file:
        x, y, p, t_us = (file[f"events/{name}"][:] for name in "xypt")
        width, height = file["calib/resolution"][:]
    return event_array(t_us.astype(np.int64) * US, x, y, p, int(width), int(height))


def test_a_set_of_scenes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(layouts, "READ_EVENTS", 100)
    folder = write_tiny_set(tmp_path / "set")
    (folder / "drive_000000_pseudo.h5").write_bytes(b"labels")
    (folder / ".drive_000009.h5.unfinished").write_bytes(b"")
    found = summarise_events(folder)
    scenes = {path.stem: scene_events(path) for path in sorted(folder.glob("*_00000?.h5"))}
    each = {name: statistics(events) for name, events in scenes.items()}
    assert len(scenes) == found["files"] == 4
    assert (found["kind"], found["sensor"], found["damage"]) == ("set", "64x48", None)
    assert found["events"] == sum(map(len, scenes.values())) > 1000
    assert list(found["domains"]) == ["drive", "indoor"]
    for part_of_set, names in (
        (found, list(scenes)),
        (found["domains"]["indoor"], ["indoor_000000", "indoor_000001"]),
    ):
        assert part_of_set["events"] == sum(len(scenes[name]) for name in names)
        for key, value in part_of_set["statistics"].items():
            assert value == pytest.approx(np.mean([each[name][key] for name in names]), rel=1e-3), key
        shares = [scenes[name].p.mean() for name in names]
        assert part_of_set["on_share"] == pytest.approx(np.mean(shares), abs=1e-4)
    first = scenes["drive_000000"]
    with h5py.File(folder / "drive_000000.h5", "r+") as file:
        file["t_offset"][()] = 5_000_000
    one = summarise_events(folder / "drive_000000.h5")
    assert (one["kind"], one["events"]) == ("simulated", len(first))
    assert (one["first_ns"], one["last_ns"]) == (first.t_ns[0] + 5000 * MS, first.t_ns[-1] + 5000 * MS)
    assert main(["info-events", str(folder)]) == 0
    assert "domains.indoor.statistics.run_length " in capsys.readouterr().out
    json.dumps(found)


def test_a_folder_of_other_recordings_and_what_is_wrong_in_it(tmp_path):
    small, large = stream((0, 1, 1, 1), (30, 1, 1, 1)), stream((0, 7, 7, 0), (50, 7, 7, 0), width=8, height=8)
    write_events_h5(tmp_path / "walk.h5", [small])
    write_events_h5(tmp_path / "run.h5", [large])
    write_events_h5(tmp_path / "still.h5", [])
    found = summarise_events(tmp_path)
    assert (found["files"], found["events"], found["sensor"]) == (3, 4, "0x0, 5x3, 8x8")
    assert found["on_share"] == 0.5 and found["domains"] == {}
    assert found["statistics"]["gap_p01_ms"] == pytest.approx(40, rel=0.004)  # a file without events says nothing
    write_events_h5(tmp_path / "out.h5", [joined([small, stream((31, 60_000, 1, 1))])])
    assert summarise_events(tmp_path)["damage"].endswith(
        "events/x: values 1 to 60000 among events 0 to 2; the sensor has 5x3 px"
    )
    (tmp_path / "zero.h5").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"zero\.h5: not a readable HDF5 file"):
        summarise_events(tmp_path)
    with h5py.File(tmp_path / "zero.h5", "w") as file:
        file.attrs["format"] = "eventspd-simulated"
    with pytest.raises(ValueError, match=r"zero\.h5: of no HDF5 layout that is known"):
        summarise_events(tmp_path / "zero.h5")
    (tmp_path / "metadata.yaml").write_text("")  # a rosbag2, if a bad one
    with pytest.raises(ValueError, match="not a bag"):
        summarise_events(tmp_path)
