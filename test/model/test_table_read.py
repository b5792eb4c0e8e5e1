"""Reads of tables as weighted sums of rows, and their gradients."""

import pytest
import torch

from eventspd_ros.model.table_read import read_table


@pytest.fixture
def inputs():
    """A table (B, T, C), rows (B, K, P, 4), some of them read often and some never, and weights."""
    torch.manual_seed(0)
    table = torch.randn(3, 40, 5, dtype=torch.float64)
    rows = torch.randint(0, 20, (3, 6, 7, 4), dtype=torch.int32) * 2
    return table.requires_grad_(), rows, torch.randn(rows.shape, dtype=torch.float64).requires_grad_()


def gather(table, rows, weights):
    """The same by indexing each window's table."""
    picked = torch.stack([own[index.long()] for own, index in zip(table, rows, strict=True)])
    return (picked * weights.unsqueeze(-1)).sum(-2)


def test_read_and_gradients_equal_indexing(inputs):
    table, rows, weights = inputs
    expected, got = gather(table, rows, weights), read_table(table, rows, weights)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    sign = torch.randn(got.shape, dtype=torch.float64)
    theirs = torch.autograd.grad((expected * sign).sum(), (table, weights))
    ours = torch.autograd.grad((got * sign).sum(), (table, weights))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert not ours[0][:, 1::2].any()  # nobody read them


def test_gradient_of_the_table_alone(inputs):
    """Fixed coordinates have no gradient."""
    table, rows, weights = inputs
    read = read_table(table, rows, weights.detach())
    (expected,) = torch.autograd.grad(gather(table, rows, weights.detach()).square().sum(), table)
    (got,) = torch.autograd.grad(read.square().sum(), table)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_weights_learn_in_float32_from_a_bfloat16_table():
    """CUDA has no such gradient in bfloat16. What is read, and the table's gradient, keep the table's type."""
    table = torch.randn(1, 9, 64).bfloat16().requires_grad_()
    weights = torch.rand(1, 3, 4, requires_grad=True)
    rows = torch.randint(0, 9, (1, 3, 4), dtype=torch.int32)
    read = read_table(table, rows, weights)
    assert read.dtype == torch.bfloat16
    read.float().sum().backward()
    expected = table.detach().double()[0, rows[0].long()].sum(-1)[None]
    torch.testing.assert_close(weights.grad, expected.float(), rtol=1e-5, atol=1e-4)
    assert table.grad.dtype == torch.bfloat16


def test_bfloat16_gradients_are_summed_in_float32():
    """A row that a thousand bags read: added up one by one, bfloat16 would stop at 256."""
    table = torch.zeros(1, 3, 8, dtype=torch.bfloat16, requires_grad=True)
    read_table(table, torch.ones(1, 1000, 1, dtype=torch.int32), torch.ones(1, 1000, 1)).sum().backward()
    assert table.grad[0, :, 0].tolist() == [0.0, 1000.0, 0.0]
