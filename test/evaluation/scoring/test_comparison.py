import numpy as np
import pytest

from eventspd_ros.evaluation.results import PairedDifference
from eventspd_ros.evaluation.scoring.comparison import compare, paired_difference


def test_ratio_and_wins_by_hand():
    values = compare(np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 5.0]), np.array(["a", "a", "b"]))
    assert values.scenes == 3 and values.ratio == pytest.approx(1) and values.won == pytest.approx(1 / 3)


def test_pairs_stay_together():
    """Scenes differ a hundredfold, the ratio in each is exactly ½: nothing is uncertain."""
    other = np.geomspace(1, 100, 20)
    values = compare(other / 2, other, np.zeros(20))
    assert values.ratio == pytest.approx(0.5) and values.interval == pytest.approx([0.5, 0.5])


def test_domains_keep_their_size():
    """Two domains with ratios of their own: only scenes inside a domain change places, so nothing is uncertain."""
    own, other = np.array([1.0, 1.0, 9.0]), np.array([2.0, 2.0, 10.0])
    assert compare(own, other, np.array([0, 0, 1])).interval == pytest.approx([11 / 14, 11 / 14])
    low, high = compare(own, other, np.zeros(3)).interval
    assert low == pytest.approx(0.5) and high == pytest.approx(0.9)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """200 draws of 40 scenes with a true ratio of 0.8."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        other = rng.lognormal(0, 0.5, 40)
        low, high = compare(0.8 * other * rng.lognormal(-0.125, 0.5, 40), other, np.zeros(40)).interval
        inside += low <= 0.8 <= high
    assert 0.85 <= inside / 200 <= 0.99


def test_against_a_perfect_other_there_is_no_ratio():
    values = compare(np.ones(2), np.zeros(2), np.zeros(2))
    assert values.ratio is None and values.interval is None and values.won == 0


def test_paired_differences_by_hand():
    """Differences 1, 2 and 6: mean 3, sample variance (4 + 1 + 9) / 2 = 7. A scene without a value does not count."""
    values = paired_difference(np.array([2.0, 4.0, 106.0, np.nan]), np.array([1.0, 2.0, 100.0, 5.0]))
    assert values == PairedDifference(3, pytest.approx(3), pytest.approx((7 / 3) ** 0.5))
    assert paired_difference(np.ones(1), np.zeros(1)).standard_error is None
    assert paired_difference(np.full(2, np.nan), np.zeros(2)) == PairedDifference(0, None, None)
