import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eventspd_ros.evaluation.results import METRICS, to_json
from eventspd_ros.evaluation.scoring.metrics import (
    abs_rel,
    align,
    align_images,
    bias,
    by_range,
    correlation,
    depth_metrics,
    mean_error_below,
    per_image,
    split_images,
)

DEPTHS = arrays.arrays(np.float64, 12, elements=st.floats(0.3, 100.0))


def test_every_metric_by_hand():
    """Errors of a factor 2, ½ and 1 at 4, 8 and 10 m: δ = ln 2 · (1, −1, 0)."""
    values = depth_metrics(np.array([8.0, 4.0, 10.0]), np.array([4.0, 8.0, 10.0]))
    ln2 = np.log(2)
    expected = {
        "points": 3,
        "abs_rel": (1 + 0.5) / 3,
        "sq_rel": (16 / 4 + 16 / 8) / 3,
        "sq_rel_squared": (1 + 0.25) / 3,
        "rmse": np.sqrt(32 / 3),
        "mae": 8 / 3,
        "rmse_log": ln2 * np.sqrt(2 / 3),
        "abs_log": ln2 * 2 / 3,
        "log10": np.log10(2) * 2 / 3,
        "silog_variance": ln2**2 * 2 / 3,
        "silog_percent": 100 * ln2 * np.sqrt(2 / 3),
        "silog_half": ln2 * np.sqrt(2 / 3),
        "delta1": 1 / 3,
        "delta2": 1 / 3,
        "delta3": 1 / 3,
    }
    assert to_json(values) == pytest.approx(expected) and set(expected) == {"points", *METRICS}


def test_the_three_silogs_differ_by_what_they_forgive():
    """Everything twice too far: the variance is 0, half of the bias stays in the third."""
    true = np.array([1.0, 5.0, 20.0])
    values = depth_metrics(2 * true, true)
    assert values.silog_variance == pytest.approx(0, abs=1e-12) and values.silog_percent < 1e-4
    assert values.silog_half == pytest.approx(np.log(2) * np.sqrt(0.5))


def test_a_factor_on_the_threshold_is_outside():
    near, far = np.nextafter(1.25, 0), np.nextafter(1.25, 2)
    true = np.ones(4)
    values = depth_metrics(np.array([near, far, 1 / near, 1 / far]), true)
    assert values.delta1 == 0.5 and values.delta2 == 1


def test_points_without_a_depth_do_not_count():
    predicted = np.array([2.0, np.nan, 3.0, 0.0, -1.0, np.inf, 5.0])
    true = np.array([1.0, 1.0, np.nan, 1.0, 1.0, 1.0, 0.0])
    assert depth_metrics(predicted, true).points == 1 and abs_rel(predicted, true) == 1
    nothing = depth_metrics(np.empty(0), np.empty(0))
    assert to_json(nothing) == {"points": 0, **dict.fromkeys(METRICS)} and abs_rel(true[:0], true[:0]) is None
    with pytest.raises(ValueError, match=r"\(2,\) predicted and \(3,\) true"):
        depth_metrics(np.ones(2), np.ones(3))


@given(DEPTHS, DEPTHS, st.permutations(range(12)))
def test_the_order_of_points_does_not_matter(predicted, true, order):
    order = np.array(order)
    ordered, shuffled = depth_metrics(predicted, true), depth_metrics(predicted[order], true[order])
    assert to_json(shuffled) == pytest.approx(to_json(ordered), rel=1e-9)


@given(DEPTHS, DEPTHS, st.floats(0.1, 10))
def test_median_alignment_forgets_scale(predicted, true, scale):
    np.testing.assert_allclose(align(scale * predicted, true, "median"), align(predicted, true, "median"))
    np.testing.assert_allclose(align(scale * true, true, "median"), true)


def test_median_alignment_by_hand():
    """Medians 2 and 6 of points that both have: everything times 3, whatever the far ones say."""
    predicted, true = np.array([1.0, 2.0, 50.0, 4.0]), np.array([5.0, 6.0, 7.0, np.nan])
    np.testing.assert_allclose(align(predicted, true, "median"), [3.0, 6.0, 150.0, 12.0])


@given(DEPTHS, st.floats(0.2, 5), st.floats(0, 2))
def test_scale_and_shift_alignment_recovers_an_affine_inverse_depth(true, scale, shift):
    """Inverse depths a relative network might answer, of scenes within the 80 m it may give."""
    true = np.minimum(true, 80.0) + np.linspace(0, 0.1, 12)
    np.testing.assert_allclose(align(1 / (scale / true + shift), true, "scale-and-shift", 200.0), true, rtol=1e-5)


def test_what_alignment_makes_infinite_is_held_at_the_farthest():
    """1/t = 2·(1/p) − 0.5 fits three points exactly; at p = 10 it is −0.3."""
    predicted = np.array([1.0, 2.0, 0.5, 10.0])
    true = np.array([1 / 1.5, 2.0, 1 / 3.5, np.nan])
    np.testing.assert_allclose(align(predicted, true, "scale-and-shift"), [1 / 1.5, 2.0, 1 / 3.5, 80.0])
    with pytest.raises(ValueError, match="alignment 'mean': must be one of none, median, scale-and-shift"):
        align(predicted, true, "mean")
    assert align(predicted, true, "none") is predicted


def test_ranges_and_limits_go_by_true_depth():
    true = np.array([9.9, 10.0, 29.0, 30.0, 80.0])
    predicted = true + [1, 2, 3, 4, 5]
    assert {name: values.mae for name, values in by_range(predicted, true).items()} == pytest.approx(
        {"0-10": 1, "10-30": 2.5, "30+": 4.5}
    )
    assert mean_error_below(predicted, true) == pytest.approx({"10": 1, "20": 1.5, "30": 2})
    assert mean_error_below(predicted[3:], true[3:])["10"] is None


def test_images_weigh_alike_however_many_points_they_have():
    image = np.array([7, 3, 7, 7])
    true = np.full(4, 2.0)
    predicted = np.array([4.0, 3.0, 4.0, 4.0])
    assert sorted(map(sorted, split_images(image))) == [[0, 2, 3], [1]]
    values = per_image(predicted, true, image)
    assert values.images == 2 and values.abs_rel == pytest.approx((1 + 0.5) / 2)
    assert depth_metrics(predicted, true).abs_rel == pytest.approx((3 + 0.5) / 4)
    np.testing.assert_allclose(align_images(predicted, true, image, "median"), true)
    assert per_image(true[:0], true[:0], image[:0]).images == 0


@given(DEPTHS, DEPTHS, st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3))
def test_correlation_forgives_each_image_its_scale(predicted, true, scales):
    """The coefficient of numpy, of the logarithms less their means of an image."""
    image = np.repeat([0, 1, 2], 4)
    own = correlation(predicted * np.array(scales)[image], true, image)
    logs = np.log(np.stack((predicted, true)))
    logs -= np.stack([logs[:, image == i].mean(axis=1) for i in range(3)], axis=1)[:, image]
    if np.linalg.norm(logs, axis=1).min() < 1e-3:
        return
    assert own == pytest.approx(np.corrcoef(logs)[0, 1], abs=1e-6)


def test_correlation_and_bias_of_the_true_and_of_nothing():
    true, image = np.array([1.0, 2.0, 4.0, 3.0]), np.array([0, 0, 1, 1])
    assert correlation(2 * true, true, image) == pytest.approx(1) and bias(2 * true, true) == 2
    assert correlation(1 / true, true, image) == pytest.approx(-1)
    assert correlation(np.ones(4), true, image) is None and correlation(true[:0], true[:0], image[:0]) is None
    assert bias(np.full(4, np.nan), true) is None
