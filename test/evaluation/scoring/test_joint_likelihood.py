"""One error of scale in all points of a window: against the integral, and fitted to drawn errors."""

import numpy as np
import pytest
import torch
from reference.laws import logistic

from eventspd_ros.evaluation.scoring.joint_likelihood import joint_negative_log_likelihood, joint_nll
from eventspd_ros.training.losses import nll_loss


def test_the_joint_nll_is_the_integral_over_the_shared_scale():
    rng = np.random.default_rng(0)
    error = torch.from_numpy(rng.normal(0.3, 0.2, (3, 20))).double()
    own = torch.from_numpy(rng.uniform(0.03, 0.4, (3, 20))).double()
    scale = torch.tensor([0.05, 0.4, 1.5]).double()
    valid = torch.from_numpy(rng.random((3, 20)) < 0.8)
    valid[0, 3], error[0, 3] = True, 4.0  # a point far off
    found = joint_nll(error, torch.hypot(own, scale[:, None]), scale, valid)
    s = torch.linspace(-8, 8, 200_001).double()
    for window in range(3):
        points = [
            logistic(own[window, k]).log_prob(error[window, k] - s) for k in torch.nonzero(valid[window])[:, 0].tolist()
        ]
        log_density = torch.stack(points).sum(0) + torch.distributions.Normal(0, scale[window]).log_prob(s)
        exact = torch.logsumexp(log_density, 0) + (s[1] - s[0]).log()
        assert found[window].item() == pytest.approx(-exact.item() / valid[window].sum().item(), abs=2e-3)


def test_the_joint_nll_knows_that_errors_of_one_scale_are_one_error():
    """Fitted to windows whose points share most of their error, it finds both spreads."""
    torch.manual_seed(0)
    shared, own = 0.4, 0.1
    error = shared * torch.randn(400, 1) + logistic(torch.full((400, 32), own)).sample()
    valid = torch.ones_like(error, dtype=torch.bool)
    log = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([log], lr=0.05)
    for _ in range(150):
        scale, each = log.exp()
        loss = joint_nll(error, torch.hypot(each, scale).expand_as(error), scale.expand(400), valid).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(log.detach().exp(), (shared, own), rtol=0.1)
    independent = nll_loss(error, torch.full_like(error, (shared**2 + own**2) ** 0.5), valid).mean()
    assert loss < independent - 0.5


def test_the_joint_nll_of_a_window_without_labels_is_0_and_keeps_the_graph():
    error = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[True, True, False], [False, False, False]])
    loss = joint_nll(error, torch.full((2, 3), 0.5), torch.full((2,), 0.3), valid)
    assert loss[1] == 0
    loss.sum().backward()
    assert error.grad.isfinite().all() and (error.grad[~valid] == 0).all()


def test_images_count_by_their_points():
    rng = np.random.default_rng(1)
    error, stddev, shared = rng.normal(0, 0.3, 30), rng.uniform(0.4, 0.6, 30), np.repeat([0.1, 0.3], [10, 20])
    image = np.repeat([4, 7], [10, 20])
    one, two = (
        joint_negative_log_likelihood(*(column[image == number] for column in (error, stddev, shared, image)))
        for number in (4, 7)
    )
    found = joint_negative_log_likelihood(error, stddev, shared, image)
    assert found == pytest.approx((10 * one + 20 * two) / 30, rel=1e-12)
