"""Shapes, sizes and positions of the pyramid, and its recurrence."""

import pytest
import torch
from reference.windows import randomise

from eventspd_ros.model.config import PyramidConfig
from eventspd_ros.model.event_encoder import EventEncoder
from eventspd_ros.model.memory import ConvGRU
from eventspd_ros.model.presets import build_model, preset_config
from eventspd_ros.model.pyramid import Pyramid, decoder_levels, level_cells, position_code

SENSORS = [(720, 1280), (480, 640), (640, 640), (260, 346), (180, 240)]


def test_cells_of_the_document_and_of_an_odd_sensor():
    config = PyramidConfig()
    assert level_cells(720, 1280, config, 2) == ((180, 320), (90, 160), (45, 80), (22, 40))
    assert level_cells(260, 346, config, 2) == ((65, 87), (32, 43), (16, 21), (8, 10))


def test_levels_that_the_decoder_reads_follow_from_encoder_and_pyramid():
    """The document's table, and plan v9's with F³'s own map as the finest."""
    encoder, pyramid = preset_config("eventspd").encoder, PyramidConfig()
    document = {"channels": (64, 128, 192, 384), "strides": (4, 8, 16, 32)}
    assert decoder_levels(encoder, pyramid) == document
    plan_v9 = {"channels": (64, 64, 128, 192, 384), "strides": (2, 4, 8, 16, 32)}
    assert decoder_levels(encoder, pyramid, with_stem=True) == plan_v9
    other = PyramidConfig((8, 12, 24, 48), stem_stride=1, heads=(2, 2))
    assert decoder_levels(encoder, other) == {"channels": (8, 12, 24, 48), "strides": (2, 4, 8, 16)}


@pytest.mark.parametrize("preset", ["eventspd", "eventspd_lite"])
@pytest.mark.parametrize(("height", "width"), SENSORS)
def test_levels_have_the_cells_that_are_promised(preset, height, width):
    """On shape-only tensors: the real modules at full size."""
    config = preset_config(preset)
    with torch.device("meta"):
        encoder, pyramid = EventEncoder(config.encoder), Pyramid(config.pyramid, config.encoder.dims[-1])
        levels = pyramid(encoder(torch.empty(2, 8, height, width)))
    cells = level_cells(height, width, config.pyramid, config.encoder.stride)
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, *size) for channels, size in zip(config.pyramid.channels, cells, strict=True)
    ]


def test_sensors_too_small_for_four_levels_are_named():
    with pytest.raises(ValueError, match="sensor of 40x20 pixels: this model needs at least 32 pixels a side"):
        build_model("eventspd").memory_shape(20, 40)


def test_every_cell_has_its_own_position():
    code = position_code(22, 40, 384, torch.device("cpu"))
    distance = torch.cdist(code, code) + torch.eye(22 * 40) * 9
    assert distance.min() > 0.1
    frequency = 10_000.0 ** (-torch.arange(96) / 96)
    cell = code[3 * 40 + 7]  # row 3, column 7
    torch.testing.assert_close(cell[:96], (7 * frequency).sin(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cell[96:192], (7 * frequency).cos(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cell[192:288], (3 * frequency).sin(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cell[288:], (3 * frequency).cos(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_cells_without_events_do_not_tie():
    config = preset_config("eventspd_lite")
    encoder, pyramid = EventEncoder(config.encoder), Pyramid(config.pyramid, config.encoder.dims[-1])
    tokens = pyramid(encoder(torch.zeros(1, 8, 128, 160)))[3].flatten(2)[0].T
    assert (torch.cdist(tokens, tokens) + torch.eye(len(tokens)) * 9).min() > 0.1


@torch.no_grad()
def test_memory_equals_its_equations():
    gru = randomise(ConvGRU(6))
    x, h = torch.randn(2, 6, 5, 4), torch.randn(2, 6, 5, 4)
    z = torch.sigmoid(gru.update(torch.cat((x, h), 1)))
    r = torch.sigmoid(gru.reset(torch.cat((x, h), 1)))
    candidate = torch.tanh(gru.candidate(torch.cat((x, r * h), 1)))
    torch.testing.assert_close(gru(x, h), (1 - z) * h + z * candidate)


@pytest.mark.parametrize(("bias", "kept"), [(-50.0, True), (50.0, False)])
@torch.no_grad()
def test_the_update_gate_keeps_or_replaces(bias, kept):
    gru = randomise(ConvGRU(6))
    gru.update.pointwise.bias.fill_(bias)
    x, h = torch.randn(1, 6, 5, 4), torch.randn(1, 6, 5, 4)
    r = torch.sigmoid(gru.reset(torch.cat((x, h), 1)))
    candidate = torch.tanh(gru.candidate(torch.cat((x, r * h), 1)))
    torch.testing.assert_close(gru(x, h), h if kept else candidate)


@torch.no_grad()
def test_of_the_past_a_share_is_kept_and_so_it_fades():
    """With a gate that keeps everything h falls by that share a window, and nothing a stream began with lasts."""
    gru, plain = randomise(ConvGRU(6, keep=0.9)), ConvGRU(6)
    plain.load_state_dict(gru.state_dict())
    x, h = torch.randn(1, 6, 5, 4), torch.randn(1, 6, 5, 4)
    torch.testing.assert_close(gru(x, h), plain(x, 0.9 * h))
    gru.update.pointwise.bias.fill_(-50.0)
    then = h
    for _ in range(20):
        then = gru(torch.randn(1, 6, 5, 4), then)
    torch.testing.assert_close(then, 0.9**20 * h)


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, float("nan")])
def test_a_memory_can_keep_no_more_than_all(keep):
    with pytest.raises(ValueError, match="memory_keep"):
        PyramidConfig(memory_keep=keep)


@torch.no_grad()
def test_the_state_stays_in_float32():
    gru = ConvGRU(6)
    with torch.autocast("cpu", torch.bfloat16):
        assert gru(torch.randn(1, 6, 5, 4).bfloat16(), torch.randn(1, 6, 5, 4)).dtype == torch.float32
