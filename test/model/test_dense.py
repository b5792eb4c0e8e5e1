"""The dense model is the map it makes, read bilinearly."""

import pytest
import torch
import torch.nn.functional as F
from reference.teachers import write_teacher
from reference.windows import random_window, randomise

from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.dense import load_dense, network_size, widen_patches
from eventspd_ros.model.depth_anything import read_depth_anything
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import build_model

pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("dav2"))


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("f3") / "f3.safetensors"
    torch.manual_seed(0)
    save_checkpoint(randomise(build_model("mvsec_small")), path)
    return path


@pytest.fixture(scope="module")
def dense(encoder_file, network_folder):
    return load_dense(encoder_file, network_folder)


@pytest.mark.parametrize(
    ("sensor", "size"),
    [((720, 1280), (518, 924)), ((480, 640), (518, 700)), ((640, 480), (700, 518)), ((640, 640), (518, 518))],
)
def test_the_network_is_given_the_published_sizes(sensor, size):
    assert network_size(*sensor, 518, 14) == size


def test_patches_are_repeated_over_the_channels(network_folder):
    before = read_depth_anything(network_folder)
    old = before.backbone.embeddings.patch_embeddings.projection
    network = widen_patches(read_depth_anything(network_folder), 32)
    new = network.backbone.embeddings.patch_embeddings.projection
    for channel in range(32):
        torch.testing.assert_close(new.weight[:, channel], old.weight[:, channel % 3])
    torch.testing.assert_close(new.bias, old.bias)
    # Repeated three times, channels that are equal modulo 3 are seen as their sum.
    features = torch.randn(1, 32, 42, 56)
    summed = torch.stack([features[:, channel::3].sum(1) for channel in range(3)], dim=1)
    torch.testing.assert_close(network(features).predicted_depth, before(summed).predicted_depth, rtol=1e-3, atol=1e-4)
    assert widen_patches(network, 32) is network
    with pytest.raises(ValueError, match="with 32 channels: expected 3 or 16"):
        widen_patches(network, 16)


@torch.inference_mode()
def test_answers_are_the_map_read_bilinearly(dense):
    window = random_window(64, 48, 3000)
    (cache,), _ = dense.encode([window], [StreamState()])
    features = F.interpolate(dense.encoder(dense.encoder.scatter([window])), (42, 56), mode="bilinear")
    by_hand = dense.network(features).predicted_depth
    by_hand = F.interpolate(by_hand[:, None], (48, 64), mode="bilinear", align_corners=True)[0, 0]
    torch.testing.assert_close(cache.tensors.inverse_depth[0, 0], by_hand)
    uv = torch.tensor([[5.0, 7.0], [5.5, 7.0], [63.0, 47.0], [20.0, 30.5]])
    depth, stddev = dense.decode(cache, uv)
    wanted = [by_hand[7, 5], (by_hand[7, 5] + by_hand[7, 6]) / 2, by_hand[47, 63], by_hand[30:32, 20].mean()]
    torch.testing.assert_close(depth, 1 / torch.stack(wanted).clamp(min=1 / 80), rtol=1e-4, atol=1e-5)
    assert stddev.isnan().all() and by_hand.std() > 0


def test_what_does_not_fit_is_one_line(encoder_file, network_folder, tmp_path):
    save_checkpoint(build_model("hd_micro"), tmp_path / "micro.safetensors")
    with pytest.raises(ValueError, match="holds preset 'hd_micro'; the dense baseline needs one of hd_small, mvsec_"):
        load_dense(tmp_path / "micro.safetensors", network_folder)
    with pytest.raises(ValueError, match=r"nowhere/config\.json: no such file"):
        load_dense(encoder_file, tmp_path / "nowhere")
