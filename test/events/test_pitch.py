"""Cells of pixels: the rule whatever the packets, the physics it stands for, and where streams begin anew."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import event_array, rows
from reference.slow_cells import slow_cells
from reference.slow_windows import slow_windows

from eventspd_ros.events.pitch import CellSums, pixel_pitch, seen_hw
from eventspd_ros.events.types import PixelPitch
from eventspd_ros.events.windows import WindowSlicer, window_slicer
from eventspd_ros.model.config import PitchConfig
from eventspd_ros.model.presets import preset_config

MS = 1_000_000
LITE = preset_config("eventspd_lite")


@pytest.mark.parametrize(
    ("sensor", "n", "seen", "top"),
    [
        ((640, 480), 2, (320, 240), 0),
        ((1280, 720), 4, (320, 240), 30),  # 320x180 cells
        ((1024, 768), 3, (342, 256), 0),
        ((640, 640), 2, (320, 320), 0),
        ((480, 360), 2, (240, 180), 0),
        ((320, 180), 1, (320, 240), 30),
        ((1, 1), 1, (1, 1), 0),
    ],
)
def test_how_sensors_are_seen(sensor, n, seen, top):
    width, height = sensor
    pitch = pixel_pitch(LITE, height, width)
    assert pitch is None or pitch == PixelPitch(
        n=n, sensor_height=height, sensor_width=width, height=seen[1], width=seen[0], top=top
    )
    assert (pitch is None) == (sensor == seen) and seen_hw(LITE, height, width) == seen[::-1]
    # What is seen is seen as it is: a sample in cells, or a sensor of that size.
    assert pixel_pitch(LITE, *seen[::-1]) is None


@pytest.mark.parametrize("sensor", [(346, 260), (240, 180), (320, 240), (64, 48)])
def test_the_sensors_of_the_training_and_the_documents_model_see_every_pixel(sensor):
    assert pixel_pitch(LITE, *sensor[::-1]) is None
    assert pixel_pitch(preset_config("eventspd"), 720, 1280) is None


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=100, deadline=None)
def test_windows_hold_the_events_of_the_definition_whatever_the_packets(n, seed, cuts):
    rng = np.random.default_rng(seed)
    count, width, height = 300, 11, 7  # the last cells reach over the edge
    t_ns = np.cumsum(rng.integers(0, 3, count))
    columns = rng.integers(0, width, count) // 3, rng.integers(0, height, count) // 3, rng.random(count) < 0.8
    events = event_array(t_ns, *columns, width=width, height=height)
    pitch = PixelPitch(
        n=n, sensor_height=height, sensor_width=width, height=-(-height // n) + 2, width=-(-width // n), top=1
    )
    slicer = WindowSlicer(width, height, 20, 8, 1000, pitch=pitch)
    closed, edges = [], [0, *sorted(min(cut, count) for cut in cuts), count]
    for first, last in pairwise(edges):
        closed += slicer.push(replace(events, **{c: getattr(events, c)[first:last] for c in ("x", "y", "p", "t_ns")}))
    cells = slow_cells(rows(events), n, top=1)
    expected = []
    for _, start_ns, end_ns, _ in slow_windows(t_ns.tolist(), 20, 8):  # they close as the pixels' events come
        inside = [row for row in cells if start_ns <= row[0] < end_ns]
        expected += [(end_ns, inside)] if inside else []
    assert [(w.end_ns, rows(w)) for w in closed] == expected
    assert all((w.width, w.height, w.sensor_hw) == (pitch.width, pitch.height, (height, width)) for w in closed)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_cell_fires_as_one_pixel_would_where_all_its_pixels_see_the_same(n):
    """An ideal sensor on a picture that gets brighter and darker as a whole: k thresholds are k events of a pixel."""
    steps = np.repeat([1, 0, 1], [5, 3, 7])
    y, x = (axis.ravel() for axis in np.mgrid[:n, :n])
    events = event_array(
        np.repeat(np.arange(15), n * n), np.tile(x, 15), np.tile(y, 15), np.repeat(steps, n * n), width=n, height=n
    )
    found = CellSums(PixelPitch(n=n, sensor_height=n, sensor_width=n, height=1, width=1)).of(events)
    assert found.t_ns.tolist() == list(range(15)) and found.p.tolist() == steps.tolist()


def test_lone_noise_of_both_signs_seldom_passes():
    """Noise of ±1 reaches ±n² after n⁴ events on average (a symmetric walk), in place of one in n²."""
    rng, count = np.random.default_rng(0), 200_000
    events = event_array(np.arange(count), *rng.integers(0, 2, (3, count)), width=2, height=2)
    assert len(
        CellSums(PixelPitch(n=2, sensor_height=2, sensor_width=2, height=1, width=1)).of(events)
    ) == pytest.approx(count / 16, rel=0.05)


def test_sums_begin_anew_with_the_stream():
    slicer = window_slicer(LITE, 480, 640)
    three = event_array([0, 1, 2], [0, 1, 0], [0, 0, 1], [1, 1, 1])
    fourth = event_array([3, 30 * MS, 31 * MS], [1, 9, 19], [1, 9, 19], [1, 1, 1])
    slicer.push(three)
    (window, *_) = slicer.push(fourth)
    assert rows(window) == [(3, 0, 0, 1)]
    slicer.reset()
    slicer.push(three)
    slicer.reset()
    assert slicer.push(fourth) == []
    # Time that falls, in the middle of a packet too.
    slicer.reset()
    jumped = event_array([10**9, 10**9 + 1, 10**9 + 2, 0, 30 * MS], [0, 1, 0, 1, 9], [0, 0, 1, 1, 9], [1] * 5)
    assert slicer.push(jumped) == [] and slicer.time_jumps == 1
    jumped = event_array([60 * MS + 1, 60 * MS + 2, *range(-100 * MS, 4 - 100 * MS), 0, 1], [0] * 8, [0] * 8, [1] * 8)
    (window, *_) = slicer.push(jumped)
    assert rows(window) == [(3 - 100 * MS, 0, 0, 1)] and window.epoch == slicer.epoch


def test_late_events_and_what_was_taken_out_count_as_ever():
    seen = []
    slicer = WindowSlicer(
        4, 4, 20, 10, 100, pitch=PixelPitch(n=2, sensor_height=4, sensor_width=4, height=2, width=2),
        on_sorted=lambda buffer, first, last: seen.append(buffer.t_ns[first:last].tolist()),
    )  # fmt: skip
    (window,) = slicer.push(event_array([5, 6, 4, 7, 15], [0, 1, 0, 1, 0], [0, 0, 1, 1, 3], [1] * 5, 4, 4))
    assert rows(window) == [(7, 0, 0, 1)] and slicer.late_events == 1
    assert seen == [[5, 6, 6, 7, 15]], "who is told every event is told the pixels'"
    assert slicer.newest_ns == 15 and slicer.cut(25).t_ns.tolist() == [7]


@given(st.floats(-0.5, 1279.4), st.floats(-0.5, 719.4), st.sampled_from([(480, 640), (720, 1280), (768, 1024)]))
def test_a_point_lies_in_the_cell_that_holds_it(u, v, sensor_hw):
    pitch = pixel_pitch(LITE, *sensor_hw)
    uv_px = np.array([[u, v]])
    cells = pitch.to_cells(uv_px)
    column, row = np.floor((uv_px[0] + 0.5) / pitch.n)
    assert np.floor(cells[0] + 0.5).tolist() == [column, row + pitch.top]
    np.testing.assert_allclose(pitch.to_pixels(cells), uv_px, atol=1e-9)


def test_a_picture_in_cells_is_laid_over_the_sensor():
    pitch = PixelPitch(n=2, sensor_height=3, sensor_width=5, height=4, width=3, top=1)
    image = np.arange(12).reshape(4, 3)
    full = pitch.to_sensor(image)
    assert full.tolist() == [[3, 3, 4, 4, 5], [3, 3, 4, 4, 5], [6, 6, 7, 7, 8]]


def test_another_picture_than_320_columns():
    config = SimpleNamespace(pitch=PitchConfig(columns=427, aspect=0.5))
    assert pixel_pitch(config, 720, 1280) == PixelPitch(
        n=3, sensor_height=720, sensor_width=1280, height=240, width=427
    )
    with pytest.raises(ValueError, match="columns=0"):
        PitchConfig(columns=0)
