"""The frozen teacher: which layers, which pixels, and what is said of a folder that holds none."""

import builtins
import json
import shutil

import numpy as np
import pytest
import torch

from eventspd_ros.training.teacher import LAYERS, load_teacher

pytest.importorskip("transformers", reason="transformers is not installed; it is the teacher's library")
from reference.teachers import CHANNELS, write_teacher


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher") / "dav2")


@pytest.fixture(scope="module")
def teacher(folder):
    return load_teacher(folder, "cpu")


def images(count=2, height=42, width=56, seed=0):
    return torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def normalised(pixels):
    """ImageNet's mean and deviation, written out."""
    unit = pixels.float().permute(0, 3, 1, 2) / 255
    return torch.stack(
        [(unit[:, 0] - 0.485) / 0.229, (unit[:, 1] - 0.456) / 0.224, (unit[:, 2] - 0.406) / 0.225], dim=1
    )


@torch.no_grad()
def test_layers_six_and_twelve_are_the_outputs_of_these_blocks(teacher):
    """Of an image that needs no scaling: hidden_states[0] is the embedding, so entry k is what block k leaves."""
    pixels = images()
    blocks, seen = teacher.model.backbone.encoder.layer, {}
    hooks = [
        block.register_forward_hook(lambda _, __, output, number=number: seen.update({number: output}))
        for number, block in enumerate(blocks, start=1)
    ]
    states = teacher.model(normalised(pixels), output_hidden_states=True).hidden_states
    assert len(states) == len(blocks) + 1 == 13
    found = teacher.features(pixels)
    for hook in hooks:
        hook.remove()
    norm = teacher.model.backbone.layernorm
    for layer, features in zip(LAYERS, found, strict=True):
        output = seen[layer][0] if isinstance(seen[layer], tuple) else seen[layer]
        torch.testing.assert_close(states[layer], output)
        assert features.shape == (2, CHANNELS, 3, 4)
        expected = norm(states[layer])[:, 1:].reshape(2, 3, 4, CHANNELS).permute(0, 3, 1, 2)
        torch.testing.assert_close(features, expected)
    assert LAYERS == (6, 12) and not torch.allclose(*found)


@torch.no_grad()
def test_features_keep_the_place_of_what_they_show(teacher):
    """Where two images differ in one patch, the first block's input differs there; features differ most there."""
    pixels = images(1, height=84, width=112)
    other = pixels.clone()
    other[:, 56:84, 28:56] = 255 - other[:, 56:84, 28:56]  # after scaling by a half: patch row 2, column 1 of 3×4
    difference = (teacher.features(pixels)[0] - teacher.features(other)[0]).norm(dim=1)[0]
    assert divmod(int(difference.argmax()), 4) == (2, 1)


@torch.no_grad()
def test_any_size_is_scaled_to_whole_patches_and_the_answer_back(teacher):
    for height, width, cells in ((260, 346, (3, 4)), (720, 1280, (3, 5)), (30, 20, (4, 3)), (42, 42, (3, 3))):
        pixels = images(1, height, width)
        assert [tuple(layer.shape[2:]) for layer in teacher.features(pixels)] == [cells, cells]
        assert teacher.inverse_depth(pixels).shape == (1, height, width)
    pixels = images()
    expected = teacher.model(normalised(pixels)).predicted_depth
    found = teacher.inverse_depth(pixels)
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float32 and (found >= 0).all() and found.std() > 0


@torch.no_grad()
def test_scaling_keeps_every_pixel_s_place(teacher):
    """Ramps, which any exact interpolation keeps: in at half the size, out at twice, (0, 0) a pixel's centre."""
    v, u = torch.meshgrid(torch.arange(84), torch.arange(112), indexing="ij")
    seen = []
    hooks = [
        teacher.model.backbone.embeddings.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])),
        teacher.model.head.register_forward_hook(lambda *_: (3 * v - u + 200.0)[None, :42, :56]),
    ]
    answer = teacher.inverse_depth(torch.stack((2 * u, 3 * v, u + v), dim=-1).byte()[None])
    for hook in hooks:
        hook.remove()
    half_v, half_u = 2 * v[:42, :56] + 0.5, 2 * u[:42, :56] + 0.5  # centres of the pixels of half the size
    expected = normalised(torch.stack((2 * half_u, 3 * half_v, half_u + half_v), dim=-1)[None])
    torch.testing.assert_close(seen[0][..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    whole = 3 * (v / 2 - 0.25) - (u / 2 - 0.25) + 200.0
    torch.testing.assert_close(answer[0, 1:-1, 1:-1], whole[1:-1, 1:-1])


def test_it_is_frozen_and_no_module_takes_it_in(teacher):
    assert not teacher.model.training and not any(p.requires_grad for p in teacher.model.parameters())
    assert not teacher.features(images())[0].requires_grad
    holder = torch.nn.Module()
    holder.teacher = teacher
    assert holder.state_dict() == {} and list(holder.parameters()) == []


def test_fingerprints_tell_teachers_apart(folder, teacher, tmp_path):
    assert load_teacher(folder, "cpu").fingerprint == teacher.fingerprint
    assert load_teacher(write_teacher(tmp_path, seed=1), "cpu").fingerprint != teacher.fingerprint


def test_what_is_wrong_with_a_folder_is_one_line(folder, tmp_path, monkeypatch):
    def said(path, message, device="cpu"):
        with pytest.raises(ValueError, match=message) as error:
            load_teacher(path, device)
        assert "\n" not in str(error.value)
        return str(error.value)

    said(tmp_path / "nowhere", "nowhere/config.json: no such file; name a folder with Depth Anything V2")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = (folder / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[:1000])
    assert str(broken) in said(broken, "cannot be read as Depth Anything V2")
    (broken / "model.safetensors").unlink()
    said(broken, r"model\.safetensors: no such file")
    (broken / "config.json").write_text("{")
    (broken / "model.safetensors").write_bytes(weights)
    said(broken, "cannot be read as Depth Anything V2")
    for changes, message in (
        ({"model_type": "dinov2"}, "holds a 'dinov2' model"),
        ({"depth_estimation_type": "metric", "max_depth": 80}, "gives metric depth; expected the relative variant"),
    ):
        (broken / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | changes))
        said(broken, message)
    said(write_teacher(tmp_path / "shallow", blocks=8), "has 8 transformer blocks")
    said(folder, "device 'cuda:99'", "cuda:99")


def test_missing_weights_are_named(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "partial")
    path = tmp_path / "partial/model.safetensors"
    tensors = load_file(path)
    name = "backbone.encoder.layer.3.mlp.fc1.weight"
    assert name in tensors
    save_file({key: value for key, value in tensors.items() if key != name}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks 1 weights of the model, such as {name}"):
        load_teacher(tmp_path / "partial", "cpu")


def test_without_the_library_it_says_what_to_install(folder, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'transformers>=4\.45'"):
        load_teacher(folder, "cpu")


def test_grey_images_have_three_equal_channels():
    from eventspd_ros.datasets.sequence import grey_image

    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert grey_image(grey).shape == (3, 4, 3)
    np.testing.assert_array_equal(grey_image(grey)[..., 1], grey)
