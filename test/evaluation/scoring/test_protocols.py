"""Each published protocol on one image whose scores can be worked out by hand."""

import numpy as np
import pytest

from eventspd_ros.evaluation.scoring.protocols import PROTOCOLS, Protocol, choose_protocol, disparity_metrics

ROWS = np.zeros((5, 2))


def test_e2depth_stretches_the_truth_and_forgets_what_is_far():
    """Largest true depth 40 m: E2Depth scales the truth by 80/40. The farthest point does not count, nor one
    predicted at 90 m."""
    true = np.array([5.0, 10.0, 20.0, 15.0, 40.0])
    predicted = np.array([10.0, 10.0, 20.0, 90.0, 80.0])
    scores = PROTOCOLS["e2depth"].score(predicted, true, ROWS, np.zeros(5))
    ln2 = np.log(2)
    assert scores["abs_rel"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert scores["sq_rel_squared"] == pytest.approx((0 + 0.25 + 0.25) / 3)
    assert scores["silog_variance"] == pytest.approx(2 / 3 * ln2**2 - (2 / 3 * ln2) ** 2)
    assert scores["rmse"] == pytest.approx(np.sqrt((100 + 400) / 3)) and scores["delta1"] == pytest.approx(1 / 3)
    # Stretched depths 10, 20 and 40 m: none lies below 10, one below 20.
    assert "mean_error_below_10" not in scores and scores["mean_error_below_20"] == pytest.approx(0)
    assert scores["mean_error_below_30"] == pytest.approx(5) and scores["counted"] == pytest.approx(3 / 5)


def test_e2depth_clips_the_truth_at_80_m():
    true, predicted = np.array([20.0, 100.0, 90.0]), np.array([25.0, 10.0, 10.0])
    scores = PROTOCOLS["e2depth"].score(predicted, true, ROWS[:3], np.zeros(3))
    assert scores["abs_rel"] == pytest.approx(0.25) and scores["counted"] == pytest.approx(1 / 3)


def test_e2depth_takes_the_first_260_rows():
    true, rows = np.array([20.0, 20.0, 80.0]), np.array([[0.0, 259.0], [0.0, 260.0], [0.0, 0.0]])
    scores = PROTOCOLS["e2depth"].score(np.array([30.0, 60.0, 10.0]), true, rows, np.zeros(3))
    assert scores["abs_rel"] == pytest.approx(0.5)


def test_hmnet_counts_a_closed_range_and_no_prediction_is_dropped():
    true = np.array([1.9, 1.978, 80.0, 80.1, 20.0])
    predicted = np.array([50.0, 3.956, 160.0, 1.0, 20.0])
    scores = PROTOCOLS["hmnet"].score(predicted, true, ROWS, np.zeros(5))
    ln2 = np.log(2)
    assert scores["abs_rel"] == pytest.approx(2 / 3) and scores["sq_rel"] == pytest.approx((1.978 + 80) / 3)
    assert scores["silog_percent"] == pytest.approx(100 * np.sqrt(2 / 3 * ln2**2 - (2 / 3 * ln2) ** 2))
    assert scores["log10"] == pytest.approx(np.log10(2) * 2 / 3)
    assert scores["mean_error_below_10"] == pytest.approx(1.978) and scores["mean_error_below_30"] == pytest.approx(
        0.989
    )


def test_f3_takes_images_of_ten_points_and_windows_around_the_label():
    protocol = PROTOCOLS["f3"]
    true = np.concatenate((np.full(10, 10.0), np.full(9, 10.0), [0.05, 90.0]))
    predicted = np.where(np.arange(21) < 10, 20.0, 99.0)
    image = np.where(np.arange(21) < 10, 0, 1)
    scores = protocol.score(predicted, true, np.zeros((21, 2)), image)
    assert (scores["images"], scores["skipped_images"], scores["counted"]) == (1, 1, pytest.approx(19 / 21))
    assert scores["abs_rel"] == scores["sq_rel_squared"] == pytest.approx(1)
    assert scores["silog_half"] == pytest.approx(np.log(2) * np.sqrt(0.5))
    assert protocol.centred and not any(PROTOCOLS[name].centred for name in ("e2depth", "hmnet", "dsec"))


def test_dsec_scores_disparity():
    true, predicted = np.array([10.0, 10.0, 20.0, 20.0, np.nan]), np.array([10.5, 11.5, 17.0, 20.0, 1.0])
    assert disparity_metrics(predicted, true) == pytest.approx(
        {"mae_px": 5 / 4, "rmse_px": np.sqrt((0.25 + 2.25 + 9) / 4), "1pe": 50, "2pe": 25}
    )
    scores = PROTOCOLS["dsec"].score(predicted, true, np.array([0, 0, 0, 1, 2]))
    assert scores["images"] == 2 and scores["1pe"] == pytest.approx((200 / 3 + 0) / 2)


def test_means_are_over_images_and_alignment_comes_before_the_range():
    """Two images, one twice too far and one right: aligned, both are right. Held in the range, 160 m is 80 m."""
    true, image = np.array([10.0, 40.0, 60.0]), np.array([0, 0, 1])
    predicted = np.array([20.0, 80.0, 60.0])
    plain = Protocol("own", ("abs_rel",))
    assert plain.score(predicted, true, ROWS[:3], image)["abs_rel"] == pytest.approx(0.5)
    aligned = choose_protocol("hmnet", "median")
    assert aligned.score(predicted, true, ROWS[:3], image)["abs_rel"] == 0 and choose_protocol("f3") == PROTOCOLS["f3"]
    held = Protocol("own", ("abs_rel",), clip_prediction=True)
    assert held.score(2 * predicted, true, ROWS[:3], image)["abs_rel"] == pytest.approx(((3 + 1) / 2 + 1 / 3) / 2)
