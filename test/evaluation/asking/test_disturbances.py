"""What happens to events follows from the event alone: overlapping windows agree."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.windows import random_window

from eventspd_ros.datasets.sample import cut_windows
from eventspd_ros.evaluation.asking.disturbances import EventRate, Gap, ShotNoise, Stop
from eventspd_ros.events.types import EventWindow

MS = 1_000_000


def rows(window: EventWindow, start_ns: int = 0, end_ns: int = 10**12) -> np.ndarray:
    """The events of a span, (N, 4)."""
    inside = (window.t_ns >= start_ns) & (window.t_ns < end_ns)
    return np.stack([getattr(window, name)[inside].astype(np.int64) for name in ("t_ns", "x", "y", "p")], axis=1)


def overlapping(seed: int, shift_ms: int) -> tuple[EventWindow, EventWindow]:
    """Two windows of 20 ms, cut out of one stream."""
    stream = random_window(64, 48, 3000, seed, end_ns=20 * MS)
    later = random_window(64, 48, 3000, seed + 1, end_ns=40 * MS)
    columns = [np.concatenate((getattr(stream, n), getattr(later, n))) for n in ("x", "y", "p", "t_ns")]
    both = EventWindow(*columns, 64, 48, 0, 40 * MS)
    bounds = np.array([[0, 20 * MS], [shift_ms * MS, (20 + shift_ms) * MS]])
    return tuple(cut_windows(both, bounds))


@pytest.mark.parametrize(
    "disturbance", [EventRate(0.4), ShotNoise(20.0), Gap(5.0, 4.0, 30.0), Stop(13 * MS, ShotNoise(20.0))]
)
@given(seed=st.integers(0, 5), shift_ms=st.integers(1, 19))
def test_windows_that_overlap_hold_the_same_events(disturbance, seed, shift_ms):
    first, second = (disturbance(window, 0) for window in overlapping(seed, shift_ms))
    span = (shift_ms * MS, 20 * MS)
    np.testing.assert_array_equal(rows(first, *span), rows(second, *span))
    for window in (first, second):
        assert (np.diff(window.t_ns) >= 0).all() and (window.t_ns >= window.start_ns).all()
        assert (window.t_ns < window.end_ns).all() and (window.x < 64).all() and (window.y < 48).all()
        assert [getattr(window, f.name).dtype for f in fields(window)[:4]] == ["u2", "u2", "u1", "i8"]


def test_event_rates_are_met_and_nested():
    window = random_window(320, 240, 40_000)
    kept = {share: rows(EventRate(share)(window, 0)) for share in (0.0, 0.25, 0.5, 1.0)}
    assert len(kept[0.0]) == 0 and len(kept[1.0]) == 40_000
    for share in (0.25, 0.5):
        assert len(kept[share]) / 40_000 == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 40_000))
    quarter, half = ({tuple(row) for row in kept[share].tolist()} for share in (0.25, 0.5))
    assert quarter <= half
    # Neither place nor polarity nor time decides.
    for column in range(1, 4):
        assert kept[0.5][:, column].mean() == pytest.approx(rows(window)[:, column].mean(), rel=0.03)


def test_noise_is_as_much_as_asked():
    window = random_window(320, 240, 100)
    noisy = ShotNoise(5.0)(window, 0)
    expected = 5.0 * 320 * 240 * 0.020
    assert len(noisy) - 100 == pytest.approx(expected, abs=5 * np.sqrt(expected))
    assert {tuple(row) for row in rows(window).tolist()} <= {tuple(row) for row in rows(noisy).tolist()}
    np.testing.assert_array_equal(rows(ShotNoise(0.0)(window, 0)), rows(window))


def test_noise_comes_anew_every_millisecond():
    noisy = ShotNoise(20.0)(random_window(64, 48, 0), 0)
    of_slots = [rows(noisy, slot * MS, (slot + 1) * MS) - (slot * MS, 0, 0, 0) for slot in range(20)]
    assert len({of_slot.tobytes() for of_slot in of_slots}) == 20


def test_a_gap_comes_again_every_period():
    gap = Gap(first_ms=100.0, length_ms=50.0, period_ms=1000.0)
    begin = 7 * MS
    times = np.array([0, 99, 100, 149, 150, 400, 1099, 1100, 1160]) * MS + begin
    np.testing.assert_allclose(gap.since_ms(times, begin), [np.inf, np.inf, -50, -1, 0, 250, 949, -50, 10])
    window = random_window(64, 48, 2000, end_ns=107 * MS + 10 * MS)
    kept = gap(window, begin)
    assert kept.t_ns.max() < 107 * MS and len(kept) == (window.t_ns < 107 * MS).sum()


def test_a_camera_that_stopped_sees_noise_only():
    window = random_window(64, 48, 2000)
    assert len(Stop(0, ShotNoise(0.0))(window, 0)) == 0
    np.testing.assert_array_equal(rows(Stop(12 * MS, ShotNoise(0.0))(window, 0)), rows(window, 0, 12 * MS))
