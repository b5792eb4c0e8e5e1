"""The posterior of learned depth and motion against a slow twin, and in its limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.slow_motion import SlowPosterior

from eventspd_ros.evaluation.scoring.uncertainty import interval_half_width
from eventspd_ros.motion.fusion import SPREAD, WEIGHT_95, posterior
from eventspd_ros.motion.likelihood import BINS, Likelihoods

RANGE_PX = 30.0


def likelihoods(low, width, nats):
    """Of (K, BINS) nats above the floor, normalised over the bins as a density over RANGE_PX."""
    low, width, nats = np.atleast_1d(low), np.atleast_1d(width), np.atleast_2d(nats).astype(np.float64)
    empty = Likelihoods.empty(len(nats))
    px = RANGE_PX / BINS
    log_density = nats - np.log((np.exp(nats) * px).sum(axis=1, keepdims=True))
    log_uniform = np.full(len(nats), -np.log(RANGE_PX))
    return Likelihoods(low, width, log_density, log_uniform, *[getattr(empty, name) for name in REST])


REST = ["level", "parallax_px", "peak", "stddev", "strength"]


def flat(mean, stddev):
    """Over eight standard deviations of each prior on both sides."""
    mean = np.asarray(mean)
    width = np.full(len(mean), 16 * stddev / BINS)
    return likelihoods(mean - 8 * stddev, width, np.zeros((len(mean), BINS)))


def bump(places, stddev, low=-3.0, high=3.0, nats=20.0):
    """A Gaussian one, that many nats above its floor."""
    places = np.atleast_1d(places)
    z = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
    heights = np.maximum(nats - 0.5 * ((z - places[:, None]) / stddev) ** 2, 0)
    return likelihoods(np.full(len(places), low), np.full(len(places), (high - low) / BINS), heights)


def fuse(found, mean, stddev, outlier):
    count = len(found.low)
    return posterior(
        found, *(np.broadcast_to(np.asarray(v, np.float64), count).copy() for v in (mean, stddev, outlier))
    )


def logistic_stddev(half_68, half_95):
    """Of the law whose intervals are so wide, and how much of that is answered."""
    ratio = [half / interval_half_width(np.ones(1), level)[0] for half, level in ((half_68, 0.68), (half_95, 0.95))]
    return SPREAD * ratio[0] ** (1 - WEIGHT_95) * ratio[1] ** WEIGHT_95


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.05, 1.5), st.floats(0.001, 0.99))
def test_median_stddev_and_outlier_are_the_twin_s(seed, mean, stddev, outlier):
    """Of ragged likelihoods around the prior or off it, in bins at most a quarter as wide as its standard deviation."""
    rng = np.random.default_rng(seed)
    width = rng.uniform(0.02, 0.25) * stddev
    low = mean + rng.uniform(-2, 2) * stddev - BINS * width / 2
    nats = np.convolve(rng.normal(0, rng.uniform(0, 8), BINS), np.ones(5) / 5, "same")
    found = likelihoods(low, width, nats)
    median, sigma, away = fuse(found, mean, stddev, outlier)
    twin = SlowPosterior(low, width, found.log_density[0], found.log_uniform[0], mean, stddev, outlier)
    assert away[0] == pytest.approx(twin.outlier, rel=0.03)
    assert twin.quantile(0.49) - 0.1 * width <= median[0] <= twin.quantile(0.51) + 0.1 * width
    half = [(twin.quantile(0.5 + p / 2) - twin.quantile(0.5 - p / 2)) / 2 for p in (0.68, 0.95)]
    assert sigma[0] == pytest.approx(logistic_stddev(*half), rel=0.05)


@pytest.mark.parametrize("stddev", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("outlier", [0.01, 0.5])
def test_a_flat_likelihood_returns_the_prior(stddev, outlier):
    means = np.linspace(-1, 2, 7)
    median, sigma, away = fuse(flat(means, stddev), means, stddev, outlier)
    np.testing.assert_allclose(median, means, atol=0.01 * stddev)
    student = SlowPosterior(-30, 1.0, np.zeros(BINS), 0.0, 0.0, stddev, 1.0)
    half = [(student.quantile(0.5 + p / 2) - student.quantile(0.5 - p / 2)) / 2 for p in (0.68, 0.95)]
    np.testing.assert_allclose(sigma, logistic_stddev(*half), rtol=0.03)
    np.testing.assert_allclose(away, outlier, rtol=0.02)


def test_a_sharp_likelihood_that_is_surely_the_point_s_returns_its_peak():
    places = np.linspace(-0.6, 0.6, 9)
    median, sigma, away = fuse(bump(places, 0.08), 0.0, 0.5, 1e-6)
    np.testing.assert_allclose(median, places, atol=0.03)
    assert (np.abs(sigma / (SPREAD * 0.08) - 1) < 0.3).all() and (away < 1e-4).all()


def test_a_prior_that_is_surely_the_point_s_wins_over_a_likelihood_that_is_surely_not():
    median, sigma, away = fuse(bump([1.5, -1.5], 0.08), 0.0, 0.2, 1 - 1e-9)
    np.testing.assert_allclose(median, 0, atol=0.01)
    np.testing.assert_allclose(sigma, SPREAD * 0.2, rtol=0.15)
    np.testing.assert_allclose(away, 1, atol=1e-3)


def test_a_conflict_is_decided_by_the_outlier_s_probability_and_between_the_two_it_is_wide():
    outliers = np.array([1e-6, 0.01, 0.1, 0.3, 0.6, 0.9, 0.99, 0.9999])
    median, sigma, away = fuse(bump(np.full(8, 1.2), 0.06), 0.0, 0.25, outliers)
    assert (np.diff(away) > 0).all() and (np.diff(median) < 0.01).all()
    assert abs(median[0] - 1.2) < 0.05 and abs(median[-1]) < 0.05
    torn = (away > 0.2) & (away < 0.8)
    assert torn.any() and sigma[torn].min() > 2 * max(sigma[0], 0.0) and sigma[torn].min() > 0.3


def test_peaks_on_both_sides_leave_the_median_between_and_both_inside_the_interval():
    z = -3 + (np.arange(BINS) + 0.5) * 6 / BINS
    nats = np.maximum(15 - 0.5 * ((np.abs(z) - 0.9) / 0.06) ** 2, 0)
    median, sigma, _ = fuse(likelihoods(-3.0, 6 / BINS, nats), 0.0, 0.6, 0.02)
    half_95 = interval_half_width(sigma, 0.95)
    assert median[0] - half_95[0] < -0.8 and median[0] + half_95[0] > 0.8


@settings(max_examples=30, deadline=None)
@given(st.floats(-8, 8), st.floats(-1.5, 1.5), st.floats(0.05, 0.5), st.floats(0.001, 0.9))
def test_another_unit_of_length_shifts_the_median_and_nothing_else(shift, place, width, outlier):
    a = fuse(bump(place, width), 0.1, 0.4, outlier)
    b = fuse(bump(place + shift, width, -3 + shift, 3 + shift), 0.1 + shift, 0.4, outlier)
    np.testing.assert_allclose(b[0] - a[0], shift, atol=2e-3)
    np.testing.assert_allclose(b[1], a[1], rtol=0.02, atol=2e-3)
    np.testing.assert_allclose(b[2], a[2], rtol=1e-6)


def test_near_and_far_are_treated_alike():
    a, b = fuse(bump(0.7, 0.1), 0.0, 0.4, 0.1), fuse(bump(-0.7, 0.1), 0.0, 0.4, 0.1)
    np.testing.assert_allclose(b[0], -a[0], atol=2e-3)
    np.testing.assert_allclose(b[1:], a[1:], rtol=0.02)


def test_intervals_hold_what_they_say_where_prior_and_likelihood_are_true():
    """Truths from the prior; of a tenth the likelihood is about anything else."""
    rng = np.random.default_rng(0)
    count, outlier = 4000, 0.1
    truth = np.clip(0.5 * rng.standard_t(4, count) / np.sqrt(2), -2.5, 2.5)
    stddev = rng.uniform(0.1, 0.4, count)
    shown = truth + stddev * rng.normal(size=count)
    other = rng.random(count) < outlier
    shown[other] = rng.uniform(-3, 3, other.sum())
    found = bump(shown, stddev[:, None], nats=12.0)
    median, sigma, _ = fuse(found, 0.0, 0.5, outlier)
    for level, tolerance in ((0.68, 0.08), (0.95, 0.03)):
        held = np.mean(np.abs(median - truth) < interval_half_width(sigma / SPREAD, level))
        assert abs(held - level) < tolerance
    assert np.median(np.abs(median - truth)) < 0.8 * np.median(np.abs(truth))


def test_no_points_are_no_answers():
    assert [len(column) for column in fuse(Likelihoods.empty(0), 0.0, 1.0, 0.1)] == [0, 0, 0]
