"""B4: where samples fall and how they are summed, by hand."""

import pytest
import torch

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.deformable_read import DeformableRead
from eventspd_ros.model.table_read import to_table

CONFIG = DecoderConfig(dim=4, heads=2, channels=(4, 4, 4, 4), samples=2)
SENSOR_HW = (96, 128)
CELLS_HW = ((12, 16), (6, 8), (3, 4))  # of L2, L3, L4
CELL = 6  # row 1, column 2 of L4: its centre lies at (80, 48) px of the continuous plane


@pytest.fixture
def b4():
    """A read whose output is its input: uniform weights over the 6 samples of a head, W_O = I."""
    torch.manual_seed(0)
    module = DeformableRead(CONFIG)
    module.weights.weight.data.zero_()
    module.weights.bias.data.zero_()
    module.out.weight.data = torch.eye(4)
    module.out.bias.data.zero_()
    return module


def read(module, maps, cell=CELL):
    """maps: of L2, L3, L4, (H_l, W_l, 4) each -> h_r (4,) for one query and one anchor."""
    table = torch.cat([to_table(features[None]) for features in maps], dim=1)
    h, uv_px, routed = torch.randn(1, 1, 4), torch.tensor([[[30.0, 20.0]]]), torch.tensor([[[cell]]])
    return module(context(module.anchor_terms(torch.randn(1, 12, 4)), table), h, uv_px, routed)[0, 0, 0]


def context(anchors, reads):
    """Only what B4 reads."""
    unused = reads[:, :0]
    return DecoderContext(unused, unused, unused, unused, anchors, reads, None, None, ((24, 32), *CELLS_HW), SENSOR_HW)


def only(level, values):
    """Maps of zeros but for one level: channels 0, 1 belong to head 0 and 2, 3 to head 1."""
    maps = [torch.zeros(*size, 4) for size in CELLS_HW]
    maps[level] = values
    return maps


def coordinates(level):
    """Each cell's centre in cells: x in channels 0 and 2, y in 1 and 3."""
    rows, columns = CELLS_HW[level]
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return torch.stack((x, y, x, y), dim=-1)


@pytest.mark.parametrize("level", range(3))
def test_anchor_centre_at_every_level_by_hand(b4, level):
    """Zero offsets read p_r / s_l: (80, 48) px is (10, 6) cells of L2, (5, 3) of L3, (2.5, 1.5) of L4.

    A third of a head's samples lie on each level.
    """
    expected = torch.tensor([[10.0, 6.0], [5.0, 3.0], [2.5, 1.5]][level]).repeat(2) / 3
    torch.testing.assert_close(read(b4, only(level, coordinates(level))), expected)


@pytest.mark.parametrize("level", range(3))
def test_offsets_are_in_cells_of_their_level(b4, level):
    """Eq. 17 as design corrects it: one unit is one cell. Only head 1's second sample of the level moves."""
    bias = b4.offsets.bias.data.view(2, 3, 2, 2)  # H, L, M, (x, y)
    bias[1, level, 1] = torch.tensor([-1.0, 0.5])
    expected = torch.tensor([[10.0, 6.0], [5.0, 3.0], [2.5, 1.5]][level]).repeat(2) / 3
    expected[2:] += torch.tensor([-1.0, 0.5]) / 6
    torch.testing.assert_close(read(b4, only(level, coordinates(level))), expected)


def test_outside_is_zero(b4):
    """Half a cell beyond the last centre half of a sample is left, a whole cell beyond nothing, however far."""
    ones = only(2, torch.ones(*CELLS_HW[2], 4))
    for x, left in ((1.0, 1.0), (1.5, 0.5), (2.0, 0.0), (1e6, 0.0), (-2.5, 0.5), (-1e6, 0.0), (float("inf"), 0.0)):
        b4.offsets.bias.data.view(2, 3, 2, 2)[..., 0] = x
        torch.testing.assert_close(read(b4, ones), torch.full((4,), left / 3))
    b4.offsets.bias.data.view(2, 3, 2, 2)[..., 0] = 0
    for y, left in ((1.0, 1.0), (1.5, 0.5), (-1.25, 0.75), (9.0, 0.0)):
        b4.offsets.bias.data.view(2, 3, 2, 2)[..., 1] = y
        torch.testing.assert_close(read(b4, ones), torch.full((4,), left / 3))


def test_weights_are_a_softmax_over_levels_and_samples_of_a_head(b4):
    """β = log 3 for one of six samples: 3 / 8 of that head, 1 / 8 for each of the others."""
    b4.weights.bias.data.view(2, 3, 2)[0, 1, 0] = torch.tensor(3.0).log()
    maps = [torch.full((*size, 4), value) for size, value in zip(CELLS_HW, (1.0, 10.0, 100.0), strict=True)]
    head_0 = (2 * 1 + 4 * 10 + 2 * 100) / 8
    expected = torch.tensor([head_0, head_0, 37.0, 37.0])
    torch.testing.assert_close(read(b4, maps), expected)


def test_heads_read_their_own_channels(b4):
    """Every cell of every level holds its channel's number."""
    maps = [torch.arange(4.0).expand(*size, 4).contiguous() for size in CELLS_HW]
    torch.testing.assert_close(read(b4, maps), torch.arange(4.0))


def test_nan_reads_nowhere_and_answers_nan(b4):
    b4.offsets.bias.data.fill_(float("nan"))
    assert read(b4, only(0, coordinates(0))).isnan().all()


def test_first_gradients_tell_samples_apart():
    """Offsets start at zero; the weight head does not, or a level's samples would move together for ever."""
    torch.manual_seed(1)
    module = DeformableRead(CONFIG)
    assert not module.offsets.weight.any() and not module.offsets.bias.any()
    read(module, [torch.randn(*size, 4) for size in CELLS_HW]).square().sum().backward()
    by_sample = module.offsets.bias.grad.view(2, 3, 2, 2)
    assert (by_sample[:, :, 0] - by_sample[:, :, 1]).abs().min() > 0


def test_windows_read_their_own_tables(b4):
    torch.manual_seed(2)
    table = torch.randn(3, sum((rows + 3) * (columns + 3) for rows, columns in CELLS_HW), 4)
    terms, h = torch.randn(3, 12, 4), torch.randn(3, 5, 4)
    uv_px, routed = torch.rand(3, 5, 2) * 90, torch.randint(0, 12, (3, 5, 2))
    b4.offsets.weight.data.normal_()
    together = b4(context(terms, table), h, uv_px, routed)
    for index in range(3):
        one = slice(index, index + 1)
        alone = b4(context(terms[one], table[one]), h[one], uv_px[one], routed[one])
        torch.testing.assert_close(together[one], alone)
