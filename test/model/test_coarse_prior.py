"""The dense coarse map keeps to the pixel-centre convention, at odd sizes too."""

import pytest
import torch
from reference.windows import randomise

from eventspd_ros.model.coarse_prior import CoarsePrior, upsample_twice
from eventspd_ros.model.geometry import bilinear_read, cell_centres_px


@pytest.mark.parametrize("cells_hw", [(8, 10), (9, 10), (8, 11), (9, 11)])
def test_upsampling_is_a_bilinear_read_at_the_finer_cells(cells_hw):
    coarse = torch.randn(2, 3, 4, 5)
    centres_px = cell_centres_px(8, cells_hw).expand(2, -1, -1)
    expected = bilinear_read(coarse, centres_px, stride=16).transpose(1, 2).unflatten(2, cells_hw)
    torch.testing.assert_close(upsample_twice(coarse, cells_hw), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_map_starts_at_the_median_and_sees_every_level():
    torch.manual_seed(0)
    prior = CoarsePrior((6, 8, 12), median_depth_m=4.0)
    levels = [torch.randn(1, 6, 9, 13), torch.randn(1, 8, 4, 6), torch.randn(1, 12, 2, 3)]
    log_depth, l2, l3 = prior(*levels)
    assert log_depth.shape == (1, 1, 9, 13) and l2.shape == levels[0].shape and l3.shape == levels[1].shape
    torch.testing.assert_close(log_depth.exp(), torch.full_like(log_depth, 4.0), rtol=0.2, atol=0)
    randomise(prior)
    log_depth = prior(*levels)[0]
    for index in range(3):
        changed = list(levels)
        changed[index] = levels[index] + 1
        assert (prior(*changed)[0] - log_depth).abs().max() > 1e-3
