"""The pixel-centre convention, against hand-computed bilinear reads at every level's stride."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventspd_ros.model.geometry import (
    bilinear_read,
    cell_centres_px,
    cell_coordinates,
    inside_image,
    sample_grid,
    unit_coordinates,
)


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_hand_computed_bilinear_read(stride):
    """Four cells around a point a quarter of a cell right of and half a cell below the centre of cell (1, 1)."""
    features = torch.arange(12.0).reshape(1, 1, 3, 4) ** 2
    u_px, v_px = 1.75 * stride - 0.5, 2.0 * stride - 0.5
    expected = 0.5 * (0.75 * 5**2 + 0.25 * 6**2) + 0.5 * (0.75 * 9**2 + 0.25 * 10**2)
    read = bilinear_read(features, torch.tensor([[[u_px, v_px]]]), stride)
    torch.testing.assert_close(read, torch.tensor([[[expected]]]))


@pytest.mark.parametrize("stride", [1, 4, 8, 16, 32])
def test_cell_centres_read_their_own_cell(stride):
    features = torch.randn(1, 5, 6, 9)
    read = bilinear_read(features, cell_centres_px(stride, (6, 9))[None], stride)
    torch.testing.assert_close(read, features.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_anchor_centres_in_continuous_coordinates():
    centres = cell_coordinates(cell_centres_px(32, (2, 3)), 1)
    assert centres.tolist() == [[16, 16], [48, 16], [80, 16], [16, 48], [48, 48], [80, 48]]


def test_border_and_zero_padding():
    """The corner pixel lies outside the outermost cell centres: border repeats them, zeros fade."""
    features = torch.ones(1, 1, 2, 2)
    corner = torch.tensor([[[-0.5, -0.5]]])
    assert bilinear_read(features, corner, 8).item() == 1.0
    assert bilinear_read(features, corner, 8, padding_mode="zeros").item() == pytest.approx(0.25)


def test_rounded_levels_stay_on_their_stride():
    """A level floored to 22 rows covers 704 of 720 pixels: the grid is measured on 704, not on 720."""
    grid = sample_grid(torch.tensor([703.5, 703.5]), 32, (22, 44))
    assert grid.tolist() == pytest.approx([0.0, 1.0])


@given(st.floats(-50, 400), st.floats(-50, 300), st.floats(-6, 6), st.sampled_from([4, 8, 16, 32]))
def test_offsets_are_in_cells(u_px, v_px, offset, stride):
    uv_px = torch.tensor([u_px, v_px], dtype=torch.float64)
    moved = sample_grid(uv_px + offset * stride, stride, (11, 17))
    torch.testing.assert_close(sample_grid(uv_px, stride, (11, 17), torch.tensor([offset, offset])), moved)


@pytest.mark.parametrize(
    ("u_px", "v_px", "inside"),
    [
        (-0.5, -0.5, True),
        (-0.5001, 0.0, False),
        (345.4999, 259.4999, True),
        (345.5, 0.0, False),
        (0.0, 259.5, False),
        (math.nan, 0.0, False),
        (0.0, math.inf, False),
    ],
)
def test_inside_image(u_px, v_px, inside):
    uv_px = torch.tensor([[u_px, v_px]], dtype=torch.float64)
    assert inside_image(uv_px, 260, 346).tolist() == inside_image(uv_px.numpy(), 260, 346).tolist() == [inside]


def test_unit_coordinates_span_the_image():
    unit = unit_coordinates(torch.tensor([[-0.5, -0.5], [345.5, 259.5], [172.5, 129.5]]), 260, 346)
    torch.testing.assert_close(unit, torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]))
