"""Weights on disk: strict, self-describing, and upstream F³ checkpoints in their published layout."""

import json

import pytest
import torch
from reference.windows import random_window, randomise
from safetensors.torch import save_file

from eventspd_ros.model.checkpoints import (
    CONFIG_KEY,
    convert_f3_checkpoint,
    load_checkpoint,
    load_encoder,
    save_checkpoint,
    scale_temperature,
)
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import ENCODER_PRESETS, MODEL_PRESETS, build_model


@pytest.mark.parametrize("preset", MODEL_PRESETS + ENCODER_PRESETS)
def test_round_trip(preset, tmp_path):
    model = randomise(build_model(preset))
    save_checkpoint(model, tmp_path / "weights.safetensors")
    loaded = load_checkpoint(tmp_path / "weights.safetensors")
    assert loaded.trained and not model.trained and not loaded.training
    assert loaded.config == model.config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize("preset", ["minimal", "eventspd_lite"])
def test_a_temperature_widens_the_answer_and_multiplies(preset, tmp_path):
    model = randomise(build_model(preset))
    save_checkpoint(model, tmp_path / "raw.safetensors")
    scale_temperature(tmp_path / "raw.safetensors", 1.5, tmp_path / "one.safetensors")
    scale_temperature(tmp_path / "one.safetensors", 2.0, tmp_path / "two.safetensors")
    window, uv = random_window(64, 48, 500), torch.tensor([[3.0, 4.0], [60.0, 40.0]])
    answers = {}
    for name, temperature in (("raw", 1.0), ("one", 1.5), ("two", 3.0)):
        loaded = load_checkpoint(tmp_path / f"{name}.safetensors")
        assert loaded.config.head.temperature == temperature
        with torch.no_grad():
            (cache,), _ = loaded.encode([window], [StreamState()])
            answers[name] = loaded.decode(cache, uv)
    for name, temperature in (("one", 1.5), ("two", 3.0)):
        torch.testing.assert_close(answers[name][0], answers["raw"][0], rtol=0, atol=0)
        torch.testing.assert_close(answers[name][1], temperature * answers["raw"][1])
    # Half as large on disk, float32 in memory.
    half = tmp_path / "half.safetensors"
    scale_temperature(tmp_path / "raw.safetensors", 1.0, half, torch.float16)
    assert half.stat().st_size < 0.6 * (tmp_path / "raw.safetensors").stat().st_size
    full, rounded = (load_checkpoint(path).state_dict() for path in (tmp_path / "raw.safetensors", half))
    for key, tensor in full.items():
        assert rounded[key].dtype == tensor.dtype
        torch.testing.assert_close(rounded[key], tensor.half().to(tensor.dtype), rtol=0, atol=0)


def test_misfits_are_named_in_one_line(tmp_path):
    model = build_model("minimal")
    weights = model.state_dict()
    weights.pop("log_depth.bias")
    weights["stray"] = torch.zeros(2)
    weights["log_depth.weight"] = torch.zeros(1, 3)
    other = build_model("minimal")
    other.state_dict = lambda: weights
    save_checkpoint(other, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "bad.safetensors")
    message = str(caught.value)
    for part in (
        "bad.safetensors",
        "missing: log_depth.bias",
        "unexpected: stray",
        "of another shape: log_depth.weight (1, 3) instead of (1, 64)",
    ):
        assert part in message
    assert "\n" not in message


def test_files_that_are_no_checkpoints_are_named(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(ValueError, match=r"file\.safetensors: no such file"):
        load_checkpoint(path)
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"file\.safetensors: cannot be read"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(ValueError, match="not a checkpoint of eventspd_ros"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, str(path), metadata={"eventspd_model_config": '{"family": "minimal", "x": 1}'})
    with pytest.raises(ValueError, match=r"file\.safetensors: model config: unknown keys \['x'\]"):
        load_checkpoint(path)


def test_a_pretrained_encoder_moves_into_a_model(tmp_path):
    source, target = randomise(build_model("minimal"), seed=1), build_model("minimal")
    save_checkpoint(source, tmp_path / "source.safetensors")
    load_encoder(target, tmp_path / "source.safetensors")
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(target.encoder.state_dict()[name], tensor), name
    save_checkpoint(build_model("hd_micro"), tmp_path / "micro.safetensors")
    with pytest.raises(ValueError, match="do not fit this EventEncoder"):
        load_encoder(target, tmp_path / "micro.safetensors")


def published_checkpoint(model, prefix: str = "") -> dict:
    """Our weights in the published layout: a 2^19-entry table a level, W before H, (x, y, bin) prediction channels."""
    config = model.config.encoder
    hashmap = torch.full((len(config.levels), 2**19, 2), float("nan"))  # a dead slot that were read would show
    start = 0
    for level, slots in enumerate(model.encoder.grids.slots):
        hashmap[level, :slots] = model.encoder.grids.table.detach()[start : start + slots]
        start += slots
    weights = {"multi_hash_encoder.hashmap": hashmap}
    for name, tensor in model.state_dict().items():
        if name.startswith("pred."):
            patch = config.stride
            shaped = tensor.reshape(config.time_bins, patch, patch, *tensor.shape[1:])  # bin, y, x
            weights[name] = shaped.permute(2, 1, 0, *range(3, shaped.ndim)).reshape(tensor.shape)
        elif name != "encoder.grids.table":
            name = name.removeprefix("encoder.")
            grn = name.endswith(("gamma", "beta"))
            weights[name] = tensor[None, None, None] if grn else tensor.mT if tensor.ndim == 4 else tensor
    weights = {prefix + name: tensor.contiguous() for name, tensor in weights.items()}
    return {"epoch": 3, "loss": 0.1, "acc": 0.9, "f1": 0.5, "model": weights, "optimizer": {}, "scheduler": {}}


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "eventff.", "_orig_mod.eventff.", "eventff._orig_mod."])
@pytest.mark.parametrize("preset", ["ds2", "mvsec_small"])
def test_published_checkpoints_convert(preset, prefix, tmp_path):
    model = randomise(build_model(preset))
    stored = published_checkpoint(model, prefix)
    if "eventff." in prefix:
        stored["model"]["dav2.head.weight"] = torch.zeros(3)  # the depth model around it stays behind
    torch.save(stored, tmp_path / "f3.pth")
    converted = convert_f3_checkpoint(tmp_path / "f3.pth", preset)
    assert converted.trained
    field = model.encoder.scatter([random_window(34, 22, 200)])
    torch.testing.assert_close(converted.encoder.scatter([random_window(34, 22, 200)]), field, rtol=0, atol=0)
    torch.testing.assert_close(converted(field), model(field), rtol=0, atol=0)


def test_published_checkpoints_of_another_shape_are_named(tmp_path):
    path = tmp_path / "f3.pth"
    torch.save(published_checkpoint(build_model("hd_micro")), path)
    with pytest.raises(ValueError, match=r"f3\.pth: the weights do not fit this FeatureField; of another shape"):
        convert_f3_checkpoint(path, "hd_small")
    stored = published_checkpoint(build_model("mvsec_small"))
    stored["model"]["multi_hash_encoder.hashmap"] = torch.zeros(4, 2**16, 2)
    torch.save(stored, path)
    with pytest.raises(ValueError, match=r"hashmap is \(4, 65536, 2\), expected \(4, ≥225361, 2\)"):
        convert_f3_checkpoint(path, "mvsec_small")
    del stored["model"]["multi_hash_encoder.hashmap"]
    torch.save(stored, path)
    with pytest.raises(ValueError, match=r"missing: encoder\.grids\.table"):
        convert_f3_checkpoint(path, "mvsec_small")


def test_files_that_are_no_f3_checkpoints_are_named(tmp_path):
    path = tmp_path / "f3.pth"
    with pytest.raises(ValueError, match=r"f3\.pth: no such file"):
        convert_f3_checkpoint(path, "hd_micro")
    path.touch()
    with pytest.raises(ValueError, match=r"f3\.pth: is empty; copy or download"):
        convert_f3_checkpoint(path, "hd_micro")
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"f3\.pth: cannot be read"):
        convert_f3_checkpoint(path, "hd_micro")
    torch.save({"weights": 1}, path)
    with pytest.raises(ValueError, match=r"under 'model', found \['weights'\]"):
        convert_f3_checkpoint(path, "hd_micro")
    torch.save({"model": build_model}, path)  # needs unpickling of code: refused
    with pytest.raises(ValueError, match=r"f3\.pth: cannot be read"):
        convert_f3_checkpoint(path, "hd_micro")
    torch.save({"model": {}}, path)
    with pytest.raises(ValueError, match="'minimal' is not an F³ encoder preset"):
        convert_f3_checkpoint(path, "minimal")


def test_a_config_that_asks_for_more_than_its_weights_takes_no_memory(tmp_path):
    """One that is made to exhaust the machine: 2**40 hidden units."""
    path = tmp_path / "greedy.safetensors"
    model = build_model("minimal")
    values = model.config.to_dict()
    values["head"]["hidden"] = 2**40
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, str(path), metadata={CONFIG_KEY: json.dumps(values)})
    with pytest.raises(ValueError, match="of another shape") as error:
        load_checkpoint(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
