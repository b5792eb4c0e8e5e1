import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspd_ros.evaluation.results import NoPoints
from eventspd_ros.evaluation.scoring.uncertainty import (
    LEVELS,
    coverage,
    expected_calibration_error,
    fit_temperature,
    interval_half_width,
    negative_log_likelihood,
    sparsification,
    sparsification_areas,
    uncertainty_report,
)


def drawn(count=200_000, seed=0):
    """σ between 0.05 and 1, and log errors of the stated distribution with that standard deviation."""
    rng = np.random.default_rng(seed)
    stddev = rng.uniform(0.05, 1.0, count)
    return rng.logistic(0.0, stddev * np.sqrt(3) / np.pi), stddev


def test_samples_of_the_stated_distribution_are_covered_as_promised():
    error, stddev = drawn()
    for level in LEVELS:
        assert coverage(error, stddev, level) == pytest.approx(level, abs=0.004)
    assert expected_calibration_error(error, stddev) < 0.002
    assert error.std() == pytest.approx(np.sqrt(np.mean(stddev**2)), rel=0.01), "σ is a standard deviation"


def test_likelihood_by_hand_and_least_at_the_true_sigma():
    """Density of a logistic law of standard deviation π/√3 (scale 1): e^−x / (1 + e^−x)², ¼ at 0."""
    sigma = np.pi / np.sqrt(3)
    by_hand = [np.log(4), 3 + 2 * np.log(1 + np.exp(-3))]
    assert negative_log_likelihood(np.array([0.0, -3.0]), np.full(2, sigma)) == pytest.approx(np.mean(by_hand))
    error, stddev = drawn()
    best = negative_log_likelihood(error, stddev)
    assert best < negative_log_likelihood(error, 1.1 * stddev) and best < negative_log_likelihood(error, 0.9 * stddev)


def test_half_width_by_hand():
    """A logistic law of scale 1 holds (1 + e^−1)⁻¹ − (1 + e^1)⁻¹ inside ±1."""
    inside = 1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1))
    assert interval_half_width(np.pi / np.sqrt(3), inside) == pytest.approx(1)
    assert interval_half_width(1.0, 0.95) / interval_half_width(1.0, 0.68) == pytest.approx(2.21, abs=0.005)
    assert interval_half_width(1.0, 0.0) == 0
    in_docs = [interval_half_width(1.0, level) for level in LEVELS]  # docs/messages.md, docs/evaluation.md
    assert in_docs == pytest.approx([0.61, 0.91, 1.62, 2.02], abs=0.005)
    with pytest.raises(ValueError, match=r"level 1\.0"):
        interval_half_width(1.0, 1.0)


def test_calibration_error_sees_a_bias_that_coverage_of_the_middle_does_not_name():
    """All true depths far above the prediction: every quantile is missed by itself, mean 50 %."""
    assert expected_calibration_error(np.full(100, -50.0), np.ones(100)) == pytest.approx(0.5)
    assert expected_calibration_error(np.full(100, 50.0), np.ones(100)) == pytest.approx(0.5)


def test_sparsification_by_hand():
    """50 points of error 50 … 1; each step drops one. The oracle drops the largest, its contrary the least."""
    error = np.arange(50.0, 0, -1)
    np.testing.assert_allclose(sparsification(error, error), [(k + 1) / 2 for k in range(50, 0, -1)])
    np.testing.assert_allclose(sparsification(error, -error), [50 - (k - 1) / 2 for k in range(50, 0, -1)])
    np.testing.assert_allclose(sparsification(error**2, error, root=True)[-2:], [np.sqrt(2.5), 1])


def test_areas_of_an_oracle_of_chance_and_of_its_contrary():
    rng = np.random.default_rng(0)
    error = rng.exponential(size=100_000)
    oracle = sparsification_areas(error, error)
    assert oracle.curve == oracle.oracle == sparsification(error, error).tolist()
    assert oracle.ause == 0 and oracle.aurg > 0 and oracle.ause_ratio == 0
    assert sparsification_areas(error, rng.random(100_000)).ause_ratio == pytest.approx(1, abs=0.01)
    assert sparsification_areas(error, -error).ause_ratio > 1.5
    # The curve of exponential errors, oldest first: the mean of the least share 1 − f is 1 + f·ln f / (1 − f).
    assert oracle.aurg == pytest.approx(np.pi**2 / 6 - 1, abs=0.015)
    assert sparsification_areas(np.ones(100), rng.random(100)).ause_ratio is None


@given(st.floats(0.2, 5.0))
def test_temperature_undoes_a_wrong_scale(scale):
    error, stddev = drawn(20_000)
    factor = fit_temperature(error, scale * stddev)
    assert factor * scale == pytest.approx(fit_temperature(error, stddev), rel=0.006)
    assert factor * scale == pytest.approx(1, abs=0.04)


def test_temperature_serves_the_worst_group():
    """Two domains, σ half as large as it should be in one and right in the other: neither is left at its own."""
    error, stddev = drawn(100_000)
    group = np.arange(100_000) % 2
    factor = fit_temperature(error, np.where(group == 0, stddev / 2, stddev), group)
    assert factor == pytest.approx(np.sqrt(2), rel=0.1)
    one_sided = np.concatenate((np.zeros(99_000, int), np.ones(1_000, int)))
    unequal = fit_temperature(error, np.where(one_sided == 1, stddev / 2, stddev), one_sided)
    assert unequal == pytest.approx(factor, rel=0.05), "a small group weighs as much as a large one"
    with pytest.raises(ValueError, match="temperature of 3 points"):
        fit_temperature(np.zeros(3), np.ones(3))


def test_a_report_leaves_out_what_has_no_depth():
    error, stddev = drawn(1_000)
    true = np.random.default_rng(1).uniform(1, 50, 1_000)
    whole = uncertainty_report(true * np.exp(error), true, stddev)
    with_gaps = uncertainty_report(
        np.append(true * np.exp(error), [np.nan, 1, 1]),
        np.append(true, [1, np.nan, 1]),
        np.append(stddev, [1, 1, np.nan]),
    )
    assert whole == with_gaps and whole.points == 1_000
    assert whole.nll == pytest.approx(negative_log_likelihood(error, stddev))
    assert whole.width["90%"] == pytest.approx(2 * interval_half_width(stddev, 0.9).mean())
    assert uncertainty_report(true[:0], true[:0], true[:0]) == NoPoints()
