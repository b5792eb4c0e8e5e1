"""B1: what is read where, by hand."""

import dataclasses
import math

import pytest
import torch

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.local_tokens import LocalTokens, border_read, fourier_features, grid_offsets
from eventspd_ros.model.table_read import read_table, to_table

# All levels as wide as the model, so that coarse tokens are the features themselves.
PLAIN = DecoderConfig(dim=8, heads=2, channels=(8, 8, 8, 8), adaptive_points=2)
FINE_TOKENS = 26
SENSOR_HW = (256, 320)


def read(features, cells, cells_hw):
    """One map (H_l, W_l) at cell coordinates [(x, y), ...]."""
    rows, weights = border_read(torch.tensor([cells]), cells_hw)
    return read_table(to_table(features[None, :, :, None]), rows, weights)[0, :, 0]


def plain_tokens(config=PLAIN):
    """LocalTokens that adds nothing to what it reads: no embeddings, h⁽⁰⁾ = L1's feature."""
    torch.manual_seed(0)
    b1 = LocalTokens(config)
    for name, parameter in b1.named_parameters():
        if "embedding" in name:
            parameter.data.zero_()
    b1.seed.weight.data.zero_()
    b1.seed.weight.data[:, : config.channels[0]] = torch.eye(config.dim)
    return b1


def run(b1, levels, uv_px):
    fine, coarse = b1.tables([features.permute(0, 2, 3, 1) for features in levels])
    cells_hw = tuple(tuple(features.shape[2:]) for features in levels)
    unused = fine[0][:, :0]
    context = DecoderContext(fine, coarse, unused, unused, unused, unused, None, None, cells_hw, SENSOR_HW)
    return b1(context, uv_px)


@pytest.mark.parametrize("level", range(4))
def test_bilinear_read_by_hand(level):
    """Pixel u lies at u + 0.5; cell i of a level with stride s has its centre at (i + 0.5)·s.

    Query (2.5·s − 0.5 + s/4, 1.5·s − 0.5 + s/2) is a quarter of a cell right of the centre of column 2 and half a cell
    below that of row 1: (3·¾·½ + 5·¼·½) + (7·¾·½ + 11·¼·½) = 1.125 + 0.625 + 2.625 + 1.375 = 5.75.
    """
    stride = PLAIN.strides[level]
    levels = [torch.zeros(1, 8, SENSOR_HW[0] // s, SENSOR_HW[1] // s) for s in PLAIN.strides]
    levels[level][0, 4, 1:3, 2:4] = torch.tensor([[3.0, 5.0], [7.0, 11.0]])
    uv_px = torch.tensor([[[2.75 * stride - 0.5, 2.0 * stride - 0.5]]])
    h, tokens = run(plain_tokens(), levels, uv_px)
    centre = h[0, 0] if level == 0 else tokens[0, 0, FINE_TOKENS + (12, 37, 54)[level - 1]]
    torch.testing.assert_close(centre, torch.tensor([0, 0, 0, 0, 5.75, 0, 0, 0]))


def test_reads_pad_by_the_border():
    """Beyond the outermost cell centres the map goes on as it ends, as far out as anyone asks."""
    features = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    got = read(features, [(0.5, 0.5), (0.0, 0.0), (-9.0, 0.5), (3.0, 0.0), (2.0, 9.0), (1e9, 1e9)], (2, 3))
    torch.testing.assert_close(got, torch.tensor([1.0, 1.0, 1.0, 4.0, 24.0, 32.0]))


def test_one_cell_maps():
    assert read(torch.tensor([[7.0]]), [(0.5, 0.5), (0.9, 0.1), (4.0, -3.0)], (1, 1)).tolist() == [7.0, 7.0, 7.0]


@pytest.mark.parametrize(("level", "radius", "first"), [(1, 2, 0), (2, 2, 25), (3, 1, 50)])
def test_grid_runs_row_by_row(level, radius, first):
    """A map of x and y in cells gives back each token's offset."""
    stride = PLAIN.strides[level]
    levels = [torch.zeros(1, 8, SENSOR_HW[0] // s, SENSOR_HW[1] // s) for s in PLAIN.strides]
    rows, columns = levels[level].shape[2:]
    levels[level][0, 0] = torch.arange(columns) + 0.5
    levels[level][0, 1] = (torch.arange(rows) + 0.5)[:, None]
    uv_px = torch.tensor([[[4.3 * stride, 3.1 * stride]]])
    coarse = run(plain_tokens(), levels, uv_px)[1][:, :, FINE_TOKENS:]
    side = 2 * radius + 1
    got = coarse[0, 0, first : first + side**2, :2] - (uv_px[0, 0] + 0.5) / stride
    expected = torch.tensor([[x - radius, y - radius] for y in range(side) for x in range(side)], dtype=torch.float32)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(grid_offsets(radius), expected)


def test_fine_tokens_leave_the_centre_out():
    """W_loc reads feature 0 only, a map of x + 10·y in cells: 24 tokens without the centre, then the adaptive ones."""
    b1 = plain_tokens()
    b1.fine.weight.data.zero_()
    b1.fine.weight.data[0, 0] = 1.0
    b1.fine.bias.data.fill_(50.0)  # far on GELU's straight side
    b1.offsets.weight.data.zero_()
    b1.offsets.bias.data = torch.tensor([math.atanh(0.5), 0.0, 0.0, -100.0])  # (3, 0) and (0, −6) cells
    levels = [torch.zeros(1, 8, SENSOR_HW[0] // s, SENSOR_HW[1] // s) for s in PLAIN.strides]
    rows, columns = levels[0].shape[2:]
    levels[0][0, 0] = torch.arange(columns) + 10.0 * torch.arange(rows)[:, None]
    uv_px = torch.tensor([[[20.0 * 4 + 1.5, 15.0 * 4 + 1.5]]])  # the centre of cell (20, 15)
    fine = run(b1, levels, uv_px)[1][:, :, :FINE_TOKENS]
    offsets = [(x, y) for y in range(-2, 3) for x in range(-2, 3) if (x, y) != (0, 0)] + [(3, 0), (0, -6)]
    expected = torch.tensor([170.0 + 50 + x + 10 * y for x, y in offsets])
    torch.testing.assert_close(fine[0, 0, :, 0], expected, rtol=0, atol=1e-3)


def test_adaptive_offsets_start_apart():
    """Eight points that start together would have one gradient and stay together."""
    b1 = LocalTokens(DecoderConfig())
    offsets = b1._adaptive_offsets(b1.offsets, torch.randn(1, 1, 64))[0, 0]
    assert offsets.shape == (8, 2) and offsets.abs().max() <= 6
    assert torch.pdist(offsets).min() > 1e-3


def test_embeddings_join_level_and_position():
    b1 = plain_tokens()
    b1.level_embedding.data.normal_()
    b1.position_embedding.data.normal_()
    levels = [torch.zeros(1, 8, SENSOR_HW[0] // s, SENSOR_HW[1] // s) for s in PLAIN.strides]
    coarse = run(b1, levels, torch.tensor([[[100.0, 100.0]]]))[1][:, :, FINE_TOKENS:]
    levels_of_tokens = torch.tensor([0] * 25 + [1] * 25 + [2] * 9)
    torch.testing.assert_close(coarse[0, 0], b1.level_embedding[levels_of_tokens] + b1.position_embedding)


def test_fourier_features_by_hand():
    got = fourier_features(torch.tensor([0.5, -0.25]), 2)
    half = math.sqrt(0.5)
    expected = torch.tensor([1.0, 0.0, 0.0, -1.0, -half, -1.0, half, 0.0])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_fourier_features_tell_grid_offsets_and_far_sides_apart():
    """2π in place of π would make φ_4 constant on integers and −W/2 the same as W/2."""
    grid = fourier_features(grid_offsets(2) / 6, 4)
    assert torch.pdist(grid).min() > 0.1
    assert (fourier_features(torch.tensor([0.5, 0.5]), 8) - fourier_features(torch.tensor([-0.5, 0.5]), 8)).norm() > 1


@pytest.mark.parametrize(
    ("radii", "points", "count"),
    [
        ((2, 2, 2, 1), 8, 91),
        ((2, 2, 2, -1), 0, 74),
        ((-1, 2, 2, 2), 0, 75),
        ((-1, -1, 2, -1), 3, 28),
        ((-1, -1, -1, -1), 0, 0),
    ],
)
def test_token_counts(radii, points, count):
    config = dataclasses.replace(PLAIN, local_radius=radii, adaptive_points=points, local_layers=0)
    levels = [torch.randn(2, 8, SENSOR_HW[0] // s, SENSOR_HW[1] // s) for s in PLAIN.strides]
    h, tokens = run(LocalTokens(config), levels, torch.rand(2, 3, 2) * 200)
    assert h.shape == (2, 3, 8)
    assert tokens.shape == (2, 3, count, 8) and count == config.local_tokens
