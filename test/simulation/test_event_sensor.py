"""The event sensor against physics and against a slow twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.slow_simulation import pixel_events

from eventspd_ros.simulation.event_sensor import IDEAL, EventSensor, EventSensorConfig

MS = 1_000_000


def sensor_at(levels, config=IDEAL, t_ns=0, seed=0):
    return EventSensor(config, np.atleast_2d(np.asarray(levels, np.float32)), t_ns, np.random.default_rng(seed))


def test_a_ramp_crosses_every_threshold_at_its_time():
    events = sensor_at([0.0]).step(np.array([[1.1]]), 11 * MS)
    np.testing.assert_allclose(events.t_ns, np.array([2, 4, 6, 8, 10]) * MS, atol=1000)  # 0.1 a ms, C = 0.2
    np.testing.assert_array_equal(events.p, 1)
    assert events.t_ns.dtype == np.int64
    assert (events.x.dtype, events.y.dtype, events.p.dtype) == (np.uint16, np.uint16, np.uint8)


def test_a_fall_sends_darker_events_and_what_is_left_counts_for_the_next_step():
    sensor = sensor_at([0.0])
    first = sensor.step(np.array([[-0.5]]), 5 * MS)
    assert first.p.tolist() == [0, 0]
    second = sensor.step(np.array([[-0.7]]), 7 * MS)
    assert (second.p.tolist(), second.t_ns.tolist()) == ([0], [pytest.approx(6 * MS, abs=1000)])
    assert len(sensor.step(np.array([[-0.55]]), 9 * MS)) == 0


@pytest.mark.parametrize("ratio", [1.1, 1.5, 2.0, 4.0, 10.0])
def test_a_step_of_contrast_gives_ln_ratio_over_threshold_events_a_pixel(ratio):
    before, after = np.full((6, 8), np.log(0.1)), np.full((6, 8), np.log(0.1 * ratio))
    events = sensor_at(before).step(after, 3 * MS)
    assert len(events) == 48 * int(np.log(ratio) / 0.2)
    assert len(sensor_at(after).step(before, 3 * MS)) == len(events)


def test_events_lie_in_the_half_open_step_on_whole_microseconds_and_in_order():
    rng = np.random.default_rng(1)
    sensor, last = sensor_at(rng.normal(size=(30, 40)), t_ns=5 * MS), 5 * MS
    for end in (6 * MS, 6 * MS + 1000, 9 * MS):
        events = sensor.step(rng.normal(size=(30, 40)), end)
        assert len(events) > 100
        assert last <= events.t_ns[0]
        assert events.t_ns[-1] < end
        assert (np.diff(events.t_ns) >= 0).all()
        assert (events.t_ns % 1000 == 0).all()
        same = np.diff(events.t_ns) == 0
        place = events.y.astype(int) * 40 + events.x
        assert (np.diff(place)[same] >= 0).all()
        last = end


def test_the_refractory_period_silences_but_the_reference_moves():
    config = EventSensorConfig(threshold_spread=0.0, refractory_ns=3 * MS)
    sensor = sensor_at([0.0], config)
    events = sensor.step(np.array([[1.1]]), 11 * MS)  # crossings at 2, 4, 6, 8, 10 ms
    np.testing.assert_allclose(events.t_ns, np.array([2, 6, 10]) * MS, atol=1000)
    assert len(sensor.step(np.array([[1.19]]), 20 * MS)) == 0  # the reference is at 1.0, not at 0.6
    assert len(sensor.step(np.array([[1.21]]), 30 * MS)) == 1


def test_thresholds_differ_from_pixel_to_pixel_as_asked():
    config = EventSensorConfig(threshold=0.2, threshold_spread=0.03, refractory_ns=0)
    events = sensor_at(np.zeros((200, 200)), config).step(np.full((200, 200), 20.0), 100 * MS)
    first = np.full((200, 200), -1)
    for x, y, t in zip(events.x[::-1], events.y[::-1], events.t_ns[::-1], strict=True):
        first[y, x] = t
    threshold = 20.0 * first / (100 * MS)
    assert threshold.mean() == pytest.approx(0.2, abs=0.001)
    assert threshold.std() == pytest.approx(0.03, rel=0.03)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3), min_size=2, max_size=6),
    st.sampled_from([0, 200_000, 2_000_000]),
    st.sampled_from([0.0, 0.05]),
)
def test_it_agrees_with_the_slow_twin(levels, refractory_ns, spread):
    config = EventSensorConfig(threshold=0.21, threshold_spread=spread, refractory_ns=refractory_ns)
    sensor = sensor_at(levels[0], config, seed=3)
    views = np.array(levels, np.float32)
    times = [0, *(np.cumsum(np.arange(1, len(views))) * MS).tolist()]
    steps = [sensor.step(view[None], t_ns) for view, t_ns in zip(views[1:], times[1:], strict=True)]
    for x in range(3):
        expected = pixel_events(times, views[:, x], sensor._threshold[:, 0, x], refractory_ns)
        here = [(t, p) for e in steps for t, p, column in zip(e.t_ns, e.p, e.x, strict=True) if column == x]
        assert here == expected


def test_the_same_seed_gives_the_same_sensor():
    views = np.random.default_rng(2).normal(size=(2, 20, 20))
    one, two, other = (sensor_at(views[0], EventSensorConfig(), seed=s).step(views[1], MS) for s in (1, 1, 2))
    for name in ("x", "y", "p", "t_ns"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert len(one) != len(other) or (one.t_ns != other.t_ns).any()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"threshold 0\.0"):
        EventSensorConfig(threshold=0.0)
    with pytest.raises(ValueError, match="refractory_ns -1"):
        EventSensorConfig(refractory_ns=-1)
    sensor = sensor_at(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="view at 0 ns: must be later"):
        sensor.step(np.zeros((2, 2)), 0)
    with pytest.raises(ValueError, match="view at 1500 ns"):
        sensor.step(np.zeros((2, 2)), 1500)
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        sensor.step(np.zeros((2, 3)), 1000)
