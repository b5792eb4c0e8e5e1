"""The cells that become anchors."""

import torch
from reference.slow_decoder import lots

from eventspd_ros.model.routing import random_scores, route


def test_route_takes_the_largest_and_the_lower_index_of_ties():
    weights = torch.tensor([[0.1, 0.3, 0.1, 0.0, 0.3, 0.1, 0.1], [0.0] * 7])
    assert route(weights, 4).tolist() == [[1, 4, 0, 2], [0, 1, 2, 3]]


def test_route_equals_a_stable_sort():
    weights = torch.randint(0, 40, (50, 300), generator=torch.Generator().manual_seed(0)) / 37
    expected = weights.sort(dim=-1, descending=True, stable=True).indices[:, :32]
    assert torch.equal(route(weights, 32), expected)


def test_lots_equal_the_slow_form():
    """To the bit, of queries inside the image, at a pixel's edges and far outside."""
    uv_px = torch.rand(2, 30, 2, generator=torch.Generator().manual_seed(0)) * 1500
    uv_px[0, :4] = torch.tensor([[0.0, 0.0], [-0.5, 2.5], [-700.0, 3.0], [1e6, -1e6]])
    assert torch.equal(random_scores(uv_px, 33), lots(uv_px, 33))


def test_lots_favour_no_cell():
    """Of 40,000 pixels each of 35 cells is an anchor in 8 of 35, and any two cells together as often as by chance."""
    pixels = torch.stack(torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij"), dim=-1)
    routed = route(random_scores(pixels.view(1, -1, 2), 35), 8)[0]
    chosen = torch.zeros(len(routed), 35).scatter_(1, routed, 1.0)
    assert (chosen.sum(1) == 8).all(), "no cell twice"
    together = chosen.t() @ chosen / len(chosen)
    expected = torch.full((35, 35), 8 / 35 * 7 / 34).fill_diagonal_(8 / 35)
    error = 5 * (expected * (1 - expected) / len(chosen)).sqrt()  # five standard errors
    assert ((together - expected).abs() < error).all()
    beside = (routed[1:] == routed[:-1]).float().mean()  # of neighbouring pixels, rank by rank
    assert abs(beside - 1 / 35) < 0.002


def test_a_draw_is_another_lottery():
    uv_px = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(0)) * 300
    same, drawn = random_scores(uv_px, 20), random_scores(uv_px, 20, torch.tensor([[0], [12345]]))
    assert torch.equal(drawn[0], same[0]) and (drawn[1] != same[1]).float().mean() > 0.99
