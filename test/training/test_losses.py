"""Against numbers worked out by hand, and the properties that each loss is there for."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.laws import logistic

from eventspd_ros.training.losses import (
    cell_depth,
    dense_loss,
    forgiving,
    nll_loss,
    point_loss,
    silog_loss,
    window_mean,
)

ALL = torch.ones(1, 2, dtype=torch.bool)


def test_a_window_with_few_labels_weighs_as_much_as_one_with_many():
    values = torch.tensor([[1.0, 3.0, 5.0], [7.0, torch.nan, torch.inf], [torch.nan] * 3])
    valid = torch.tensor([[True] * 3, [True, False, False], [False] * 3])
    torch.testing.assert_close(window_mean(values, valid), torch.tensor([3.0, 7.0, 0.0]))


def test_point_loss_is_huber_of_inverse_depth():
    depth, target = torch.tensor([[2.0, 1.0]]), torch.tensor([[4.0, 10.0]])
    # 1/2 − 1/4 = 0.25 and 1 − 0.1 = 0.9, both past δ = 0.1: |e| − δ/2.
    torch.testing.assert_close(point_loss(depth, target, ALL, 0.1), torch.tensor([(0.2 + 0.85) / 2]))
    # 0.25 within δ = 1: e² / 2; 0.9 too.
    torch.testing.assert_close(point_loss(depth, target, ALL, 1.0), torch.tensor([(0.03125 + 0.405) / 2]))


def test_silog_by_hand():
    error = torch.tensor([[0.3, -0.1]])
    mean_square, mean = (0.09 + 0.01) / 2, 0.1
    for focus in (0.0, 0.15, 0.5, 1.0):
        expected = math.sqrt(mean_square - focus * mean**2)
        torch.testing.assert_close(silog_loss(error, ALL, focus), torch.tensor([expected]))


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=8), st.floats(-3, 3))
def test_silog_at_full_focus_does_not_see_scale(errors, shift):
    error = torch.tensor([errors], dtype=torch.float64)
    valid = torch.ones_like(error, dtype=torch.bool)
    torch.testing.assert_close(
        silog_loss(error + shift, valid, 1.0), silog_loss(error, valid, 1.0), atol=1e-3, rtol=1e-6
    )


def test_nll_is_the_logistic_density_and_its_minimum_the_true_spread():
    log_error = torch.tensor([[0.2, -0.7]], dtype=torch.float64)
    stddev = torch.tensor([[0.3, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(nll_loss(log_error, stddev, ALL), -logistic(stddev).log_prob(log_error).mean(dim=1))
    torch.manual_seed(0)
    draws = logistic(torch.tensor([0.4], dtype=torch.float64)).sample((200_000,)).T
    assert draws.std() == pytest.approx(0.4, rel=0.01), "s is a standard deviation"
    candidates = [0.3, 0.35, 0.4, 0.45, 0.5]
    values = [
        nll_loss(draws, torch.full_like(draws, s), torch.ones_like(draws, dtype=torch.bool)).item() for s in candidates
    ]
    assert candidates[values.index(min(values))] == 0.4


@pytest.mark.parametrize("loss", ["point", "silog", "nll"])
def test_windows_without_labels_cost_nothing_and_have_finite_gradients(loss):
    prediction = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.full((2, 2), torch.nan)
    valid = target.isfinite()
    error = prediction.log() - torch.where(valid, target, 1.0).log()
    value = {
        "point": lambda: point_loss(prediction, target, valid, 0.1),
        "silog": lambda: silog_loss(error, valid, 0.5),
        "nll": lambda: nll_loss(error, prediction, valid),
    }[loss]()
    value.sum().backward()
    assert value.max() <= 1e-3 and prediction.grad.isfinite().all()


def test_cells_take_the_geometric_mean_of_what_they_know():
    depth = torch.full((1, 5, 4), torch.nan)
    depth[0, 0, 0], depth[0, 1, 1], depth[0, 0, 3] = 2.0, 8.0, 5.0
    cells = cell_depth(depth, 2, (3, 2))  # the last row of cells reaches past the image
    expected = torch.tensor([[[4.0, 5.0], [torch.nan, torch.nan], [torch.nan, torch.nan]]])
    torch.testing.assert_close(cells, expected, equal_nan=True)
    torch.testing.assert_close(cell_depth(depth, 2, (2, 2)), expected[:, :2], equal_nan=True)


def test_dense_loss_in_both_parametrisations():
    target, told = torch.tensor([[[math.e, torch.nan]]]), torch.tensor([True])
    assert dense_loss(torch.tensor([[[1.5, 9.0]]]), target, told, False, 0.1).item() == pytest.approx(0.5)
    before = math.log(math.expm1(0.5))  # softplus gives inverse depth 0.5
    expected = abs(0.5 - 1 / math.e) - 0.05
    loss = dense_loss(torch.tensor([[[before, 9.0]]]), target, told, True, 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert dense_loss(torch.tensor([[[1.5, 9.0]]]), target, ~told, False, 0.1).item() == pytest.approx(0, abs=1e-6)


def test_labels_are_as_large_as_the_answers_where_scale_is_not_told():
    """By the median of the ratios, here 3 of 1, 3, 5; a window without labels stays one."""
    target = torch.tensor([[1.0, 2.0, 4.0, torch.nan], [1.0, 2.0, 4.0, torch.nan], [torch.nan] * 4])
    depth = torch.tensor([[1.0, 6.0, 20.0, 9.0]] * 3, requires_grad=True)
    found = forgiving(target, depth, target.isfinite(), torch.tensor([True, False, False]))
    expected = torch.tensor([[1.0, 2.0, 4.0, torch.nan], [3.0, 6.0, 12.0, torch.nan], [torch.nan] * 4])
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert not found.requires_grad
