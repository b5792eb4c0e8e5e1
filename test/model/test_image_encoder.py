"""A1 for pictures, and models that see the wrong thing."""

import numpy as np
import pytest
import torch
from reference.models import small_config, small_model
from reference.windows import random_image, random_window

from eventspd_ros.events.types import ImageWindow
from eventspd_ros.model.checkpoints import load_checkpoint, save_checkpoint
from eventspd_ros.model.config import ImageConfig, ModelConfig
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.image_encoder import ImageEncoder
from eventspd_ros.model.presets import build_model, preset_config


def test_black_and_white_and_which_axis_is_which():
    image = np.zeros((4, 6, 3), np.uint8)
    image[1, 5] = (255, 0, 51)
    field = ImageEncoder(ImageConfig()).scatter([ImageWindow(image, 0)])
    assert field.shape == (1, 3, 4, 6) and field.dtype == torch.float32
    torch.testing.assert_close(field[0, :, 1, 5], torch.tensor([1.0, -1.0, -0.6]))
    assert (field[0, :, 0] == -1).all()


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_features_are_at_stride_two_after_a_gelu(size):
    encoder = ImageEncoder(ImageConfig(channels=8))
    features = encoder(encoder.scatter([random_image(*size)]))
    assert features.shape == (1, 8, -(-size[1] // 2), -(-size[0] // 2)) and features.min() > -0.2


@pytest.mark.parametrize("image", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3)), np.zeros((0, 6, 3), np.uint8)])
def test_an_image_is_named_that_is_none(image):
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\), RGB"):
        ImageWindow(image, 0)


def test_a_model_says_what_it_sees():
    states = [StreamState()]
    with pytest.raises(ValueError, match="this model sees images, but got EventWindow"):
        small_model(image=True).encode([random_window(64, 48, 10)], states)
    with pytest.raises(ValueError, match="this model sees events, but got ImageWindow"):
        small_model().encode([random_image(64, 48)], states)
    with pytest.raises(ValueError, match=r"images of 2 sizes \(H, W\) \[\(48, 64\), \(50, 64\)\]"):
        small_model(image=True).encode([random_image(64, 48), random_image(64, 50)], 2 * states)
    with pytest.raises(ValueError, match="sensor of 20x40 pixels: this model needs at least 32"):
        small_model(image=True).encode([random_image(20, 40)], states)


def test_a_config_has_one_of_both():
    values = small_config(image=True).to_dict()
    assert ModelConfig.from_dict(values) == small_config(image=True)
    with pytest.raises(ValueError, match="expected one of encoder and image"):
        ModelConfig.from_dict({**values, "image": None})
    with pytest.raises(ValueError, match="family 'minimal' sees events"):
        ModelConfig.from_dict({**values, "family": "minimal"})


@torch.no_grad()
def test_a_checkpoint_gives_the_same_depths(tmp_path):
    model = small_model(image=True)
    save_checkpoint(model, tmp_path / "image.safetensors")
    loaded, uv_px = load_checkpoint(tmp_path / "image.safetensors"), torch.rand(20, 2) * 40
    depths = [m.decode(m.encode([random_image(64, 48)], [StreamState()])[0][0], uv_px) for m in (model, loaded)]
    assert torch.equal(depths[0][0], depths[1][0]) and loaded.trained and loaded.config.input == "image"


def test_the_decoder_is_the_one_for_events():
    """Plan §12: all decoder stages are identical."""
    ours, theirs = (build_model(preset_config(preset)).decoder for preset in ("rgb_spd", "eventspd_v9"))
    assert type(ours) is type(theirs) and ours.config == theirs.config
