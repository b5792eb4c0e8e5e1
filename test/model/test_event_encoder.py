"""The F³ encoder against its slow twin, and between its own forms."""

import pytest
import torch
from reference import slow_f3
from reference.windows import encoder_of, random_window

from eventspd_ros.model.config import EncoderConfig
from eventspd_ros.model.event_encoder import EventEncoder
from eventspd_ros.model.presets import ENCODER_PRESETS, build_model


@pytest.mark.parametrize(
    ("preset", "count"), [("hd_small", 38_036), ("hd_tiny", 12_628), ("hd_micro", 6_548), ("mvsec_small", 38_036)]
)
def test_published_parameter_counts(preset, count):
    model = build_model(preset)
    assert sum(p.numel() for p in model.parameters()) - model.encoder.grids.table.numel() == count


@pytest.mark.parametrize("preset", ENCODER_PRESETS)
@torch.no_grad()
def test_features_equal_the_slow_twin(preset):
    encoder = encoder_of(preset)
    window = random_window(37, 26, 300, seed=3)
    expected = slow_f3.features(window, encoder).transpose(1, 2)[None]
    torch.testing.assert_close(encoder(encoder.scatter([window])), expected, rtol=1e-5, atol=1e-5)


def test_training_reaches_the_grid_values():
    encoder = encoder_of("hd_micro").train()
    encoder(encoder.scatter([random_window(32, 24, 50)])).square().mean().backward()
    assert encoder.grids.table.grad.abs().sum() > 0


@pytest.mark.parametrize("count", [0, 1])
@torch.no_grad()
def test_empty_and_one_event_windows(count):
    encoder = encoder_of("ds2")
    window = random_window(45, 31, count)
    for _ in range(2):
        features = encoder(encoder.scatter([window]))
        assert features.shape == (1, 64, 16, 23)
        assert torch.isfinite(features).all()
        encoder.prepare(31, 45)


@torch.no_grad()
def test_a_batch_is_each_window_alone():
    encoder = encoder_of("ds2")
    windows = [random_window(45, 31, count, seed=count, end_ns=20_000_000 + count) for count in (500, 0, 1, 90)]
    together = encoder(encoder.scatter(windows))
    alone = torch.cat([encoder(encoder.scatter([window])) for window in windows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_pretraining_logits_cover_the_sensor():
    """A cell's prediction lands on the cell's own pixels: an odd sensor loses no row, a moved cell moves its patch."""
    model = build_model("ds2")
    with torch.no_grad():
        model.pred.weight.zero_()
        model.pred.bias.copy_(torch.arange(80.0))
    logits = model(torch.zeros(1, 8, 31, 45))
    assert logits.shape == (1, 20, 31, 45)
    assert logits[0, 3, 0, :4].tolist() == [12, 13, 12, 13]
    assert logits[0, 3, 1, :4].tolist() == [14, 15, 14, 15]


def test_encoder_configs_are_checked():
    with pytest.raises(ValueError, match="blocks=\\(3,\\): expected 2 values"):
        EncoderConfig(dims=(8, 8), dsstrides=(1, 1), dskernels=(1, 1), bottleneck=(4, 4), blocks=(3,), dwkernels=(7, 7))
    fine = EncoderConfig(
        dims=(8,),
        dsstrides=(1,),
        dskernels=(1,),
        bottleneck=(4,),
        blocks=(1,),
        dwkernels=(7,),
        levels=((640, 480, 20),),
    )
    with pytest.raises(ValueError, match="would need hashing"):
        EventEncoder(fine)
