"""L_feat by hand: which teacher token a cell is compared with, how much it weighs, and what learns."""

import pytest
import torch
from reference.models import CHANNELS, small_model
from reference.windows import hand_window, random_window
from torch import nn

from eventspd_ros.model.event_tensors import gather_events
from eventspd_ros.training.feature_loss import FeatureLoss, count_events, read_at_cells, sparsity_weight

AS_IN_THE_DOCUMENT = ((192, 384), (16, 32), 384)


def identity_connectors(loss: FeatureLoss) -> FeatureLoss:
    loss.connectors = nn.ModuleList(nn.Identity() for _ in loss.connectors)
    return loss


def test_connectors_have_the_stated_widths():
    counts = [
        sum(p.numel() for p in connector.parameters()) for connector in FeatureLoss(*AS_IN_THE_DOCUMENT).connectors
    ]
    assert counts == [192 * 384 + 384 + 384 * 384 + 384, 2 * (384 * 384 + 384)] == [221_952, 295_680]


def test_the_loss_of_identical_features_is_zero_and_of_opposite_ones_twice_the_weight():
    window = random_window(64, 48, 500)
    target = torch.randn(1, 8, 3, 4)
    loss = identity_connectors(FeatureLoss((8,), (16,), 8))
    (same,) = loss((target,), (target,), gather_events([window], 20))  # the level's cells are the teacher's tokens
    torch.testing.assert_close(same, torch.zeros(1), atol=1e-6, rtol=0)
    weight = sparsity_weight(count_events(gather_events([window], 20), 16, (3, 4)))
    (opposite,) = loss((-3 * target,), (target,), gather_events([window], 20))
    torch.testing.assert_close(opposite, 2 * weight.mean(dim=(1, 2)))


def test_weights_by_hand():
    """Ten events in four cells of two pixels: 6, 3, 1 and 0 against a mean of 2.5."""
    events = [(0, 0, 0)] * 6 + [(2, 0, 1), (3, 1, 2), (2, 1, 3), (1, 3, 4)]
    window = hand_window(events, width=4, height=4)
    counts = count_events(gather_events([window, hand_window([], 4, 4)], 20), 2, (2, 2))
    torch.testing.assert_close(counts, torch.tensor([[[6.0, 3.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    expected = torch.tensor([[[2.0, 1.2], [0.4, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(sparsity_weight(counts), expected)
    # A level that floors has no cell for the last column and row; one that ceils has cells that reach beyond them.
    torch.testing.assert_close(count_events(gather_events([window], 20), 3, (1, 1)), torch.tensor([[[8.0]]]))
    torch.testing.assert_close(
        count_events(gather_events([window], 20), 3, (2, 2)), torch.tensor([[[8.0, 1.0], [1.0, 0.0]]])
    )


def test_the_whole_sum_by_hand():
    """Two cells, weights 1.5 and 0.5, angles of 60° and 90°: (1.5·0.5 + 0.5·1)/2."""
    window = hand_window([(0, 0, 0), (1, 1, 1), (1, 0, 2), (3, 0, 3)], width=4, height=2)
    target = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).T.view(1, 2, 1, 2)  # (1, 0) and (0, 2)
    level = torch.tensor([[0.5, 3**0.5 / 2], [7.0, 0.0]]).T.view(1, 2, 1, 2)
    (loss,) = identity_connectors(FeatureLoss((2,), (2,), 2))((level,), (target,), gather_events([window], 20))
    torch.testing.assert_close(loss, torch.tensor([(1.5 * 0.5 + 0.5 * 1.0) / 2]))


@pytest.mark.parametrize(("stride", "cells_hw"), [(16, (17, 22)), (32, (8, 11)), (32, (9, 11))])
def test_a_cell_reads_the_teacher_where_it_looks_itself(stride, cells_hw):
    """A teacher map that holds its own pixel coordinates, as linear functions, gives each cell its centre."""
    height, width, rows, columns = 260, 346, 37, 50
    x = (torch.arange(columns) + 0.5) * width / columns - 0.5
    y = (torch.arange(rows) + 0.5) * height / rows - 0.5
    target = torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]
    read = read_at_cells(target, stride, cells_hw, (height, width))
    v, u = torch.meshgrid(*((torch.arange(n) + 0.5) * stride - 0.5 for n in cells_hw), indexing="ij")
    expected = torch.stack((v.clamp(max=float(y[-1])), u.clamp(max=float(x[-1]))))[None]
    torch.testing.assert_close(read, expected, rtol=1e-5, atol=1e-3)


def test_the_model_s_levels_and_the_connectors_learn():
    model = small_model().train()
    windows = [random_window(64, 48, 800), random_window(64, 48, 300, seed=1), hand_window([], 64, 48)]
    tensors, _ = model.phase_a(model.encoder.scatter(windows))
    loss = FeatureLoss(CHANNELS[2:], model.level_strides[2:], 16)
    targets = (torch.randn(3, 16, 4, 5), torch.randn(3, 16, 4, 5))
    terms = loss(tensors.levels[2:], targets, gather_events(windows, 20))
    assert [term.shape for term in terms] == [(3,), (3,)] and all(term.dtype == torch.float32 for term in terms)
    assert all(float(term[2].detach()) == 0 and (term[:2] > 0).all() for term in terms), "no events, no lesson"
    for alone in range(2):
        tensors_alone, _ = model.phase_a(model.encoder.scatter(windows[alone : alone + 1]))
        own = loss(
            tensors_alone.levels[2:],
            tuple(t[alone : alone + 1] for t in targets),
            gather_events(windows[alone : alone + 1], 20),
        )
        torch.testing.assert_close(torch.cat(own), torch.stack(terms)[:, alone], rtol=1e-4, atol=1e-5)
    sum(term.mean() for term in terms).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    for part in (model.pyramid, model.memory, model.encoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
