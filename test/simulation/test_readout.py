"""The readout against a slow queue, at its rate, and inside a sensor."""

from dataclasses import replace

import numpy as np
import pytest

from eventspd_ros.events.types import EventArray
from eventspd_ros.simulation.event_sensor import HELD_OUT_PRESETS, PRESETS, EventSensor
from eventspd_ros.simulation.readout import QUEUE, Readout
from eventspd_ros.simulation.variety import random_sensor

MS = 1_000_000


def events_at(t_ns):
    n = np.arange(len(t_ns))
    columns = (n % 40).astype(np.uint16), (n % 30).astype(np.uint16), (n % 2).astype(np.uint8)
    return EventArray(*columns, np.asarray(t_ns, np.int64), 40, 30)


def slow_queue(t_ns, event_ns):
    """(number, when its turn comes) of those that are not lost: served in order, lost where QUEUE are waiting."""
    served, free_ns = [], -np.inf
    for number, t in enumerate(t_ns):
        waiting = sum(turn > t for _, turn in served[-2 * QUEUE :])
        if waiting >= QUEUE:
            continue
        turn = max(float(t), free_ns)
        served.append((number, turn))
        free_ns = turn + event_ns
    return served


def test_a_slow_readout_changes_nothing_where_events_are_few():
    events = events_at(np.arange(0, 10 * MS, 20_000))
    out = Readout(1e5, 1000).read(events, 10 * MS)
    for name in ("x", "y", "p", "t_ns"):
        np.testing.assert_array_equal(getattr(out, name), getattr(events, name))


def test_it_agrees_with_a_slow_queue_over_several_calls():
    rng = np.random.default_rng(0)
    busy = np.concatenate([rng.integers(2 * MS, 5 * MS, 3000), rng.integers(0, 20 * MS, 400)])
    events, ends = events_at(np.sort(busy) // 1000 * 1000), (3 * MS, 4 * MS, 9 * MS, 40 * MS)
    expected = slow_queue(events.t_ns, 5000.0)
    readout, start, out = Readout(2e5, 1000), 0, []
    for end in ends:
        which = (events.t_ns >= start) & (events.t_ns < end)
        part = EventArray(*(getattr(events, n)[which] for n in ("x", "y", "p", "t_ns")), 40, 30)
        out.append(readout.read(part, end))
        assert (out[-1].t_ns >= start).all() and (out[-1].t_ns < end).all(), "a call gives what leaves in its time"
        start = end
    t_ns = np.concatenate([part.t_ns for part in out])
    assert 800 < len(t_ns) < len(events) - 1000, "some are lost"
    np.testing.assert_array_equal(t_ns, [turn // 1000 * 1000 for _, turn in expected])
    x = np.concatenate([part.x for part in out])
    np.testing.assert_array_equal(x, [number % 40 for number, _ in expected])


def test_no_more_leave_than_the_rate_lets_and_none_early_or_later_than_the_queue_is_long():
    events = events_at(np.sort(np.random.default_rng(1).integers(0, 5 * MS, 20_000)))
    out = Readout(1e6, 1000).read(events, 20 * MS)
    assert (np.diff(out.t_ns) >= 0).all() and (out.t_ns % 1000 == 0).all()
    assert np.bincount(out.t_ns // MS).max() <= 1001
    assert len(out) == pytest.approx(5000 + QUEUE, abs=3)
    assert out.t_ns.max() <= 5 * MS + QUEUE * 1000


def test_the_held_out_sensor_is_unlike_all_that_training_draws():
    arbiter, drawn = PRESETS["arbiter"], [random_sensor("fly", seed) for seed in range(200)]
    assert HELD_OUT_PRESETS == ("arbiter",)
    others = [*drawn, *(PRESETS[name] for name in PRESETS if name not in HELD_OUT_PRESETS)]
    assert all(sensor.readout_hz == 0 for sensor in others)
    share = arbiter.threshold_spread / arbiter.threshold
    assert share > 1.2 * max(sensor.threshold_spread / sensor.threshold for sensor in others)


def test_a_sensor_with_it_sends_in_time_and_at_most_its_rate():
    rng = np.random.default_rng(2)
    views = np.cumsum(rng.normal(0, 0.6, (12, 120, 160)), 0).astype(np.float32)
    counts = []
    for config in (PRESETS["arbiter"], replace(PRESETS["arbiter"], readout_hz=0.0)):
        sensor, last, count = EventSensor(config, views[0], 0, np.random.default_rng(3)), 0, []
        for k, view in enumerate(views[1:], 1):
            events = sensor.step(view, k * MS)
            assert (events.t_ns >= last).all() and (events.t_ns < k * MS).all() and (np.diff(events.t_ns) >= 0).all()
            last = k * MS
            count.append(len(events))
        counts.append(count)
    assert max(counts[0]) <= 1001 < min(counts[1][2:])
    with pytest.raises(ValueError, match="readout_hz -1"):
        replace(PRESETS["arbiter"], readout_hz=-1)
