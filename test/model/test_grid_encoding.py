"""The grids of F³ by hand, their voxel table and training form against them, through the encoder that holds them."""

import numpy as np
import pytest
import torch
from reference.windows import encoder_of, hand_window, random_window

from eventspd_ros.model.event_tensors import gather_events
from eventspd_ros.model.grid_encoding import GridEncoding
from eventspd_ros.model.presets import build_model


def test_live_slots_of_the_published_levels():
    assert build_model("hd_small").encoder.grids.slots == [137, 1_810, 29_389, 518_721]


@torch.no_grad()
def test_one_event_by_hand():
    """At pixel (0, 0) and age 0 an event sits on node (0, 0, 0) of every level: the field is that slot, once."""
    encoder = encoder_of("hd_micro")
    field = encoder.scatter([hand_window([(0, 0, 19_999_999)], width=64, height=48)])
    slots = torch.tensor(encoder.grids.offsets)
    expected = torch.zeros(1, 8, 48, 64)
    expected[0, :, 0, 0] = encoder.grids.table[slots].flatten()
    torch.testing.assert_close(field, expected, rtol=0, atol=0)


@torch.no_grad()
def test_halfway_between_two_nodes_of_the_coarsest_level():
    """x = W/16 lies in the middle of cells 0 and 1 of the 8×8×1 level."""
    encoder = encoder_of("hd_micro")
    field = encoder.scatter([hand_window([(4, 0, 19_999_999)], width=64, height=48)])
    expected = encoder.grids.table[:2].mean(dim=0)
    torch.testing.assert_close(field[0, :2, 0, 4], expected, rtol=1e-6, atol=1e-6)


def test_age_bins_count_back_from_the_window_end():
    window = hand_window([(1, 2, 19_999_999), (1, 2, 19_000_000), (1, 2, 18_999_999), (1, 2, 0)], 8, 8)
    assert gather_events([window], 20).bin.tolist() == [0, 0, 1, 19]


@torch.no_grad()
def test_duplicates_add():
    encoder = encoder_of("hd_micro")
    once = encoder.scatter([hand_window([(5, 7, 3_000_000)], 20, 16)])
    thrice = encoder.scatter([hand_window([(5, 7, 3_000_000)] * 3, 20, 16)])
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(346, 260), (240, 180), (64, 48), (33, 17)])
@torch.no_grad()
def test_voxel_table_equals_the_grids(width, height):
    """Every (x, y, bin) of the sensor, weights of size one."""
    encoder = encoder_of("mvsec_small")
    rng = np.random.default_rng(1)
    windows = [random_window(width, height, 20_000, seed=int(seed)) for seed in rng.integers(0, 99, 2)]
    events = gather_events(windows, 20)
    hashed = encoder.grids(events)
    encoder.prepare(height, width)
    assert encoder.grids.voxel_table_bytes == encoder.grids.bytes_for(height, width) == width * height * 19 * 2 * 4
    read = encoder.grids(events)
    assert not torch.equal(read, hashed)  # else the table was not used
    torch.testing.assert_close(read, hashed, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("width", "height"), [(346, 260), (33, 17)])
@torch.no_grad()
def test_sums_by_pixel_equal_the_grids_event_by_event(width, height, training):
    """Windows of many events a pixel, of none and of one, in one batch and alone; also as training takes them."""
    encoder = encoder_of("mvsec_small")
    windows = [random_window(width, height, count, seed=count) for count in (30_000, 0, 1, 400)]
    events = gather_events(windows, 20)
    expected = torch.zeros(4 * height * width, 8).index_add(0, events.pixel, encoder.grids(events))
    expected = expected.view(4, height, width, 8).permute(0, 3, 1, 2)
    encoder.train(training)
    encoder.prepare(height, width)
    field = encoder.scatter(windows)
    torch.testing.assert_close(field, expected, rtol=1e-5, atol=1e-5)
    for number, window in enumerate(windows):
        assert torch.equal(encoder.scatter([window])[0], field[number])


@torch.no_grad()
def test_voxel_table_goes_when_weights_change_or_training_starts():
    encoder = encoder_of("hd_micro")
    window = random_window(64, 48, 100)

    encoder.prepare(48, 64)
    encoder.grids.table.mul_(2)  # stale: must not be read any more
    fresh = encoder_of("hd_micro")
    fresh.grids.table.mul_(2)
    torch.testing.assert_close(encoder.scatter([window]), fresh.scatter([window]), rtol=0, atol=0)
    assert encoder.grids.voxel_table_bytes == 0

    encoder.prepare(48, 64)
    encoder.load_state_dict(encoder_of("hd_micro", seed=5).state_dict())
    assert encoder.grids.voxel_table_bytes == 0
    encoder.prepare(48, 64)
    encoder.double()
    assert encoder.grids.voxel_table_bytes == 0
    encoder.prepare(48, 64)
    encoder.train()
    assert encoder.grids.voxel_table_bytes == 0
    encoder.prepare(48, 64)  # in training: nothing to build
    assert encoder.grids.voxel_table_bytes == 0


@torch.inference_mode()
def test_models_built_in_inference_mode_prepare_too():
    encoder, window = encoder_of("hd_micro"), random_window(64, 48, 100)
    hashed = encoder.scatter([window])
    encoder.prepare(48, 64)
    torch.testing.assert_close(encoder.scatter([window]), hashed, rtol=1e-6, atol=1e-6)


def test_bad_windows_are_named():
    good = random_window(45, 31, 5)
    with pytest.raises(ValueError, match="several sensor sizes"):
        gather_events([good, random_window(31, 45, 5)], 20)
    long = hand_window([(0, 0, 5)], 8, 8)
    long = type(long)(long.x, long.y, long.p, long.t_ns, 8, 8, 0, 50_000_000)
    with pytest.raises(ValueError, match="50 ms"):
        gather_events([long], 20)
    with pytest.raises(ValueError, match="holds events of 0…20000000"):
        gather_events([hand_window([(0, 0, 0), (0, 0, 20_000_000)], 8, 8)], 20)
    with pytest.raises(ValueError, match=r"\(8, 3\), outside its 8x8"):
        gather_events([hand_window([(8, 3, 0)], 8, 8)], 20)
    with pytest.raises(ValueError, match="no windows"):
        gather_events([], 20)


@pytest.mark.parametrize("form", ["field_by_pixel", "field_by_event"])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 17), (346, 20)])
def test_the_training_field_equals_the_grids_and_so_does_its_gradient(width, height, form, monkeypatch):
    """Whole windows, an empty one and one of a single event among them; grid values of size one. On a CPU by pixel."""
    monkeypatch.setattr(GridEncoding, "field_by_pixel", getattr(GridEncoding, form))
    encoder = encoder_of("mvsec_small").double()
    windows = [random_window(width, height, count, seed=count) for count in (5_000, 0, 1, 40)]
    weights = torch.rand(4, 8, height, width, dtype=torch.float64)
    fields, gradients = [], []
    for training in (False, True):
        encoder.train(training).zero_grad()
        fields.append(encoder.scatter(windows))
        (fields[-1] * weights).sum().backward()
        gradients.append(encoder.grids.table.grad.clone())
    # Weights of nodes are float32 in both.
    torch.testing.assert_close(fields[1], fields[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(encoder.scatter(windows), fields[1].detach(), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_grids_that_start_as_time_bins_say_when_and_not_where():
    encoder = encoder_of("mvsec_small").train()
    encoder.grids.start_as_time_bins()
    ages_ms = (0, 3, 7, 12, 19)
    at = [(0, 0), (39, 0), (0, 20), (39, 20), (17, 11)]
    for age_ms in ages_ms:
        events = [(x, y, 19_900_000 - age_ms * 1_000_000) for x, y in at]
        field = encoder.scatter([hand_window(events, 40, 30)])[0]
        answers = torch.stack([field[:, y, x] for x, y in at])
        torch.testing.assert_close(answers, answers[:1].expand_as(answers), rtol=1e-5, atol=1e-6)
        hats = [max(0.0, 1 - abs(age_ms / 20 * rt - node)) for rt in (1, 2, 4, 8) for node in (0, 1)]
        torch.testing.assert_close(answers[0], torch.tensor(hats), rtol=1e-5, atol=1e-5)
