"""Bandwidth, leak, shot noise and hot pixels against the rates asked for."""

import itertools

import numpy as np
import pytest

from eventspd_ros.simulation.event_sensor import IDEAL, PRESETS, EventSensor, EventSensorConfig
from eventspd_ros.simulation.sensor_noise import HOT_RATE_HZ, low_pass
from eventspd_ros.simulation.stream import concatenate

MS = 1_000_000


def watch(config, brightness, duration_ms, shape=(120, 160), step_ms=4, skip_ms=0, seed=0):
    """Events a second and pixel of (darker, brighter) polarity in front of a still scene, and the events."""
    view = np.full(shape, np.log(brightness), np.float32)
    sensor = EventSensor(config, view, 0, np.random.default_rng(seed))
    steps = [sensor.step(view, t * MS) for t in range(step_ms, skip_ms + duration_ms + 1, step_ms)]
    events = concatenate(steps[skip_ms // step_ms :])
    seconds = duration_ms / 1000 * view.size
    return np.bincount(events.p, minlength=2) / seconds, events


def test_a_still_scene_without_noise_is_silent():
    rates, _ = watch(PRESETS["clean"], 0.3, 100)
    assert rates.tolist() == [0, 0]


@pytest.mark.parametrize("leak_hz", [2.0, 10.0])
def test_leak_sends_brighter_events_at_the_rate_asked_for(leak_hz):
    rates, events = watch(EventSensorConfig(leak_hz=leak_hz), 0.3, 1000, skip_ms=1000)
    assert rates[0] == 0
    assert rates[1] == pytest.approx(leak_hz, rel=0.02)
    halves = np.histogram(events.t_ns, 20)[0]
    assert halves.std() < 0.2 * halves.mean(), "pixels leak out of step"


@pytest.mark.parametrize("brightness", [0.02, 0.5, 1.0])
def test_shot_noise_comes_at_the_rate_of_v2e_evenly_in_both_polarities(brightness):
    rates, events = watch(EventSensorConfig(shot_hz=5.0, refractory_ns=0), brightness, 1000)
    expected = 5.0 / 2 * (1 - 0.75 * brightness)
    np.testing.assert_allclose(rates, expected, rtol=5 / np.sqrt(expected * 19200))
    gaps = np.histogram(events.t_ns % (4 * MS), 8)[0]
    assert gaps.std() < 0.05 * gaps.mean(), "even in time"
    assert (np.diff(events.t_ns) >= 0).all()


def test_hot_pixels_are_as_many_as_asked_for_and_fire_by_themselves():
    config = EventSensorConfig(hot_pixel_share=0.01, refractory_ns=0)
    _, events = watch(config, 0.3, 1000)
    count = np.bincount(events.y.astype(int) * 160 + events.x, minlength=19200)
    assert (count > 0).sum() == pytest.approx(192, abs=60)
    assert count[count > 0].min() > HOT_RATE_HZ[0] / 4
    assert count.max() < HOT_RATE_HZ[1] * 1.3


def test_noise_respects_the_refractory_period():
    config = EventSensorConfig(shot_hz=400.0, hot_pixel_share=0.5, refractory_ns=3 * MS, leak_hz=20.0)
    _, events = watch(config, 0.05, 300, shape=(20, 20))
    pixel = events.y.astype(int) * 20 + events.x
    order = np.lexsort((events.t_ns, pixel))
    gap = np.diff(events.t_ns[order])[np.diff(pixel[order]) == 0]
    assert len(gap) > 1000
    assert gap.min() >= 3 * MS - 1000  # times are cut to whole microseconds


@pytest.mark.parametrize("bandwidth_hz", [30.0, 300.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_the_low_pass_answers_a_ramp_as_the_differential_equation_does(bandwidth_hz, steps):
    """x(t) = a + b·t into y' = (x − y)/τ: y = x − b·τ + (y0 − a + b·τ)·e^(−t/τ), corner scaled by (255·I + 20)/275."""
    a, b, y0, duration = -0.5, 1.5e-3, -1.3, 0.004
    levels = a + b * np.linspace(0, 1, steps + 1)
    filtered = np.full((1, 1), y0, np.float32)
    for before, now in itertools.pairwise(levels):
        one = (np.full((1, 1), level, np.float32) for level in (before, now))
        filtered = low_pass(*one, filtered, duration / steps, bandwidth_hz)
    tau = 1 / (2 * np.pi * bandwidth_hz * (255 * np.exp(levels[-1]) + 20) / 275)
    slope = b / duration
    expected = levels[-1] - slope * tau + (y0 - a + slope * tau) * np.exp(-duration / tau)
    assert filtered[0, 0] == pytest.approx(expected, abs=2e-3)


def test_a_slow_pixel_sends_the_same_events_later_and_a_dark_one_later_still():
    times = {}
    for name, brightness, bandwidth_hz in (("fast", 0.5, 0.0), ("slow", 0.5, 100.0), ("dark", 0.02, 100.0)):
        low, high = (np.full((1, 1), np.log(brightness * x), np.float32) for x in (1.0, 2.0))
        sensor = EventSensor(EventSensorConfig(threshold_spread=0, refractory_ns=0, bandwidth_hz=bandwidth_hz), low, 0,
                             np.random.default_rng(0))  # fmt: skip
        steps = [sensor.step(high, t * MS) for t in range(1, 200)]
        times[name] = concatenate(steps).t_ns
        assert len(times[name]) == 3  # ln 2 / 0.2
    assert (times["fast"] < times["slow"]).all()
    assert (times["slow"] < times["dark"]).all()


def test_polarities_balance_over_a_texture_that_passes_by():
    """What comes goes: over whole periods of a pattern, brighter and darker crossings are equal."""
    phase = np.linspace(0, 2 * np.pi, 160, endpoint=False)[None] * 4 + np.zeros((40, 1))
    for config in (IDEAL, EventSensorConfig(bandwidth_hz=300.0)):
        sensor = EventSensor(config, 0.6 * np.sin(phase), 0, np.random.default_rng(0))
        turns = [sensor.step(0.6 * np.sin(phase + 0.05 * k), k * MS) for k in range(1, 503)]
        events = concatenate(turns)
        assert len(events) > 100_000
        assert abs(events.p.mean() - 0.5) < 0.002


def test_presets_are_the_published_figures():
    assert PRESETS["clean"] == IDEAL
    normal, night = PRESETS["normal"], PRESETS["night"]
    assert (normal.threshold, normal.threshold_spread, normal.bandwidth_hz) == (0.2, 0.03, 300.0)
    assert (normal.leak_hz, normal.shot_hz, normal.refractory_ns) == (0.01, 0.001, 500_000)
    assert (night.threshold_spread, night.bandwidth_hz, night.leak_hz, night.shot_hz) == (0.05, 30.0, 0.1, 5.0)


def test_the_rates_of_the_presets():
    for name, seconds in (("normal", 20), ("night", 4)):
        config = PRESETS[name]
        rates, _ = watch(config, 0.3, seconds * 1000, shape=(60, 80), step_ms=10, seed=3)
        shot = config.shot_hz / 2 * (1 - 0.75 * 0.3)
        hot = 4800 * config.hot_pixel_share * 100 / 4800  # some pixels at about 100 Hz
        assert shot * 0.5 <= rates[0] < shot * 1.1 + 3 * hot + 0.002
        assert rates[1] < shot * 1.1 + 1.1 * config.leak_hz + 3 * hot


def test_what_makes_no_sense_is_refused():
    for name in ("bandwidth_hz", "leak_hz", "shot_hz", "hot_pixel_share"):
        with pytest.raises(ValueError, match=f"{name} -1"):
            EventSensorConfig(**{name: -1.0})
    with pytest.raises(ValueError, match="leak_hz nan"):
        EventSensorConfig(leak_hz=float("nan"))
    with pytest.raises(ValueError, match="hot_pixel_share 2"):
        EventSensorConfig(hot_pixel_share=2.0)
