"""The support filter: the rule whatever the packets, what it does to edges and to noise, and where it begins anew."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import event_array, rows
from reference.slow_cells import slow_cells
from reference.slow_support import slow_support
from reference.slow_windows import slow_windows

from eventspd_ros.events.statistics import NEAR_NS, EventStatistics
from eventspd_ros.events.support import SupportFilter, support_filter
from eventspd_ros.events.types import PixelPitch
from eventspd_ros.events.windows import WindowSlicer, window_slicer
from eventspd_ros.model.presets import preset_config

MS = 1_000_000
LITE = preset_config("eventspd_lite")


def cut(events, edges):
    for first, last in pairwise(edges):
        yield replace(events, **{c: getattr(events, c)[first:last] for c in ("x", "y", "p", "t_ns")})


def random_events(rng, count, width, height, step=3):
    t_ns = np.cumsum(rng.integers(0, step, count))
    return event_array(t_ns, *(rng.integers(0, side, count) for side in (width, height, 2)), width=width, height=height)


@given(
    st.integers(1, 12), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 200), max_size=6), st.sampled_from([1, 2])
)
@settings(max_examples=100, deadline=None)
def test_windows_have_the_events_of_the_definition_whatever_the_packets(within_ns, seed, cuts, n):
    """On a sensor so small that every pixel lies at its edge, or next to one that does; n×n pixels are a cell, and who
    is told every event is told every event."""
    rng, count, width, height = np.random.default_rng(seed), 200, 7, 5
    events, told = random_events(rng, count, width, height), []
    pitch = PixelPitch(n=n, sensor_height=height, sensor_width=width, height=-(-height // n), width=-(-width // n))
    slicer = WindowSlicer(
        width, height, 20, 8, 1000,
        on_sorted=lambda buffer, first, last: told.extend(rows(buffer.view(first, last))),
        pitch=pitch, support=SupportFilter(height, width, within_ns),
    )  # fmt: skip
    closed = [window for part in cut(events, [0, *sorted(cuts), count]) for window in slicer.push(part)]
    passed = slow_support(rows(events), within_ns)
    assert told == rows(events) and slicer.support.events_removed == count - len(passed)
    cells, expected = slow_cells(passed, n), []
    for _, start_ns, end_ns, _ in slow_windows(events.t_ns.tolist(), 20, 8):  # they close as the sensor's events come
        inside = [row for row in cells if start_ns <= row[0] < end_ns]
        expected += [(end_ns, inside)] if inside else []
    assert [(w.end_ns, rows(w)) for w in closed] == expected
    assert slicer.newest_ns == events.t_ns[-1], "time goes on with what is left out"


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_what_passes_in_10_ms_is_what_info_events_calls_supported(seed):
    events = random_events(np.random.default_rng(seed), 500, 20, 10, step=MS)
    statistics = EventStatistics(10, 20)
    statistics.add(events)
    passed = SupportFilter(10, 20, NEAR_NS).of(events)
    assert len(passed) / 500 == pytest.approx(statistics.summary()["supported_share"])


def test_an_edge_passes_but_for_its_first_event():
    """A vertical edge, a column every 5 ms, from top to bottom within one."""
    column, row = np.arange(60) // 6, np.arange(60) % 6
    events = event_array(column * 5 * MS + row * 1000, column, row, np.ones(60), 10, 6)
    assert rows(SupportFilter(6, 10, 6 * MS).of(events)) == rows(events)[1:]
    # Slower than the filter's time each column begins alone; slower within a column too, nothing passes.
    shorter = rows(SupportFilter(6, 10, 4 * MS).of(events))
    assert shorter == [row for row in rows(events) if row[2] > 0]
    assert len(SupportFilter(6, 10, 999).of(events)) == 0


def test_noise_passes_with_the_chance_that_a_neighbour_fired_by_chance():
    """Shot noise of r Hz a pixel: 1 − e^(−k·r·T), of a pixel with k neighbours on the sensor."""
    rng, rate_hz, seconds, height, width, within_ms = np.random.default_rng(0), 5.0, 20, 30, 40, 10
    count = rng.poisson(rate_hz * seconds * height * width)
    t_ns = np.sort(rng.integers(0, seconds * 1000 * MS, count))
    columns = (rng.integers(0, side, count) for side in (width, height, 2))
    events = event_array(t_ns, *columns, width, height)
    inside, edge, corner = (height - 2) * (width - 2), 2 * (height + width - 4), 4
    neighbours = np.repeat([8, 5, 3], (inside, edge, corner))
    chance = (1 - np.exp(-neighbours * rate_hz * within_ms / 1e3)).mean()
    assert 0.3 < chance < 0.33
    passed = SupportFilter(height, width, within_ms * MS).of(events)
    assert len(passed) / count == pytest.approx(chance, rel=0.02)


def test_a_pixel_does_not_support_itself_and_what_is_left_out_supports_others():
    one = SupportFilter(4, 4, 10)
    assert len(one.of(event_array([0, 1, 2, 3], [1] * 4, [1] * 4, [1] * 4, 4, 4))) == 0
    # The next pixel but one is no neighbour; a pixel further right on the row above is none of the row's first.
    assert len(one.of(event_array([4, 5], [3, 0], [1, 2], [1, 1], 4, 4))) == 1
    assert rows(one.of(event_array([16], [1], [2], [0], 4, 4))) == [], "11 ns after the last"
    assert rows(one.of(event_array([26, 27], [2, 2], [3, 2], [0, 0], 4, 4))) == [(26, 2, 3, 0), (27, 2, 2, 0)]
    assert one.events_removed == 6


def test_the_filter_begins_anew_with_the_stream():
    slicer = window_slicer(LITE, 48, 64, support_filter_ms=10)
    first, second = event_array([0, 1], [5, 60], [5, 5], [1, 1], 64, 48), event_array([MS], [6], [5], [1], 64, 48)
    last = event_array([30 * MS, 31 * MS], [40, 50], [40, 40], [1, 1], 64, 48)
    slicer.push(first)
    slicer.push(second)
    (window, *_) = slicer.push(last)
    assert rows(window) == rows(second)
    slicer.reset()
    slicer.push(first)
    slicer.reset()
    slicer.push(second)
    assert slicer.push(last) == []
    # Time that falls, in the middle of a packet too: nothing of before supports, though it lies ahead.
    slicer.reset()
    times = [10**9, 10**9 + 1, 0, 1, 30 * MS, 31 * MS]
    fallen = event_array(times, [5, 30, 6, 20, 40, 50], [5, 5, 5, 5, 40, 40], [1] * 6, 64, 48)
    assert slicer.push(fallen) == [] and slicer.time_jumps == 1
    assert slicer.support.events_removed == 4 + 2 + 3 + 6


def test_late_events_pass_at_the_time_they_are_set_to():
    slicer = WindowSlicer(9, 9, 20, 10, 100, support=SupportFilter(9, 9, 2))
    (window, *_) = slicer.push(event_array([5, 8, 4, 15], [1, 5, 6, 1], [1, 5, 5, 1], [1] * 4, 9, 9))
    assert rows(window) == [(8, 6, 5, 1)] and slicer.late_events == 1
    assert slicer.cut(25).t_ns.tolist() == [8]


def test_off_is_no_filter():
    assert support_filter(48, 64, 0.0) is None and window_slicer(LITE, 48, 64).support is None
    assert support_filter(48, 64, 2.5).within_ns == 2_500_000


@pytest.mark.parametrize("wrong", [-1.0, 1000.1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_one_line_that_names_it(wrong):
    with pytest.raises(ValueError, match=rf"^support_filter_ms {wrong}: give 0 \(off\) to 1000 ms; .*$"):
        window_slicer(LITE, 48, 64, support_filter_ms=wrong)
