"""Weights on disk: safetensors with the ModelConfig inside, loaded strictly. Nothing here unpickles objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.event_encoder import FeatureField
from eventspd_ros.model.presets import Model, build_model
from eventspd_ros.readable import check_readable
from eventspd_ros.text import one_line
from eventspd_ros.whole import whole_file

CONFIG_KEY = "eventspd_model_config"
ENCODER_PREFIX = "encoder."


class HasEncoder(Protocol):
    """A model whose F³ encoder is a part of its own."""

    @property
    def encoder(self) -> nn.Module:
        """Of the same shape as the one that is loaded."""


def save_checkpoint(model: Model, path: str | Path) -> None:
    """Write the weights of a model built by build_model(), with its config as JSON in the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _write(path, tensors, model.config)


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> Model:
    """The model of a checkpoint, in eval mode on a device, trained = True.

    ValueError, one line naming the file: unreadable, not ours, unknown config keys, missing, unexpected or misshapen
    weights.
    """
    config, tensors = _read(path)
    with torch.device("meta"):  # no memory yet: a config that does not belong to these weights may ask for any amount
        _check_fit(build_model(config), tensors, path)
    model = build_model(config)
    _load_strictly(model, tensors, path)
    model.trained = True
    return model.to(device)


def read_model_config(path: str | Path) -> ModelConfig:
    """The ModelConfig of a checkpoint. ValueError as load_checkpoint()."""
    return _read(path)[0]


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a checkpoint into a model of the same shape, whatever else its config says."""
    _load_strictly(model, _read(path)[1], path)


def scale_temperature(path: str | Path, factor: float, out: str | Path, dtype: torch.dtype | None = None) -> None:
    """Copy a checkpoint with head.temperature times factor. dtype: of the stored weights; by default as they were."""
    config, tensors = _read(path)
    head = replace(config.head, temperature=config.head.temperature * factor)
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    _write(out, tensors, replace(config, head=head), [path])


def _write(path: str | Path, tensors: dict, config: ModelConfig, sources: Iterable[str | Path] = ()) -> None:
    with whole_file(path, sources) as unfinished:
        save_file(tensors, str(unfinished), metadata={CONFIG_KEY: json.dumps(config.to_dict())})


def load_encoder(model: HasEncoder, path: str | Path) -> None:
    """Put the F³ encoder of any checkpoint of ours into a model whose encoder has the same shape."""
    _, tensors = _read(path)
    own = {name.removeprefix(ENCODER_PREFIX): t for name, t in tensors.items() if name.startswith(ENCODER_PREFIX)}
    _load_strictly(model.encoder, own, path)


def convert_f3_checkpoint(path: str | Path, preset: str) -> FeatureField:
    """A checkpoint of the published F³ code as our FeatureField; save_checkpoint() stores it.

    path: a dict {model: weights, …} of torch.save, read with weights_only=True; the keys may carry `_orig_mod.` (saved
    compiled) and `eventff.` (inside a depth model, whose other weights are left behind). preset: which encoder it is;
    strides and grid resolutions cannot be read off the weights.
    """
    check_readable(path)
    if not Path(path).stat().st_size:
        raise ValueError(f"{path}: is empty; copy or download the F³ checkpoint again")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted unpickler raise nearly anything
        # What torch advises besides, weights_only=False, would let a file run code.
        why = one_line(error, 300).removeprefix("Weights only load failed. ").partition("In PyTorch 2.6")[0]
        what = f"{type(error).__name__}: {why}".rstrip(": ")
        raise ValueError(
            f"{path}: cannot be read as an F³ checkpoint ({what}); give one that torch.save wrote"
        ) from None
    if not isinstance(stored, dict) or not isinstance(stored.get("model"), dict):
        keys = sorted(map(str, stored)) if isinstance(stored, dict) else type(stored).__name__
        raise ValueError(f"{path}: expected a dict with the weights under 'model', found {keys}")
    published = {name.replace("_orig_mod.", ""): tensor for name, tensor in stored["model"].items()}
    inside = {name.removeprefix("eventff."): t for name, t in published.items() if name.startswith("eventff.")}
    model = build_model(preset)
    if not isinstance(model, FeatureField):
        raise ValueError(f"preset {preset!r} is not an F³ encoder preset")
    _load_strictly(model, _from_published(inside or published, model, path), path)
    model.trained = True
    return model


def _from_published(published: dict[str, Tensor], model: FeatureField, path: str | Path) -> dict[str, Tensor]:
    """Published names and layouts to ours: live table slots only, H before W in kernels and predicted patches."""
    config = model.encoder.config
    converted = {}
    for name, tensor in published.items():
        if name == "multi_hash_encoder.hashmap":
            converted["encoder.grids.table"] = _live_slots(tensor, model, path)
        elif name.startswith("pred."):
            converted[name] = _patch_rows_first(tensor, config.stride, config.time_bins)
        elif name.endswith((".gamma", ".beta")):
            converted[ENCODER_PREFIX + name] = tensor.flatten()
        else:
            converted[ENCODER_PREFIX + name] = tensor.transpose(-1, -2) if tensor.ndim == 4 else tensor
    return converted


def _live_slots(hashmap: Tensor, model: FeatureField, path: str | Path) -> Tensor:
    """(L, 2^19, F) -> the slots that our levels can address, (Σ slots, F)."""
    grids = model.encoder.grids
    sizes = grids.slots
    if hashmap.ndim != 3 or len(hashmap) != len(sizes) or hashmap.shape[1] < max(sizes):
        expected = f"({len(sizes)}, ≥{max(sizes)}, {grids.table.shape[1]})"
        raise ValueError(f"{path}: multi_hash_encoder.hashmap is {tuple(hashmap.shape)}, expected {expected}")
    return torch.cat([level[:size] for level, size in zip(hashmap, sizes, strict=True)])


def _patch_rows_first(tensor: Tensor, patch: int, bins: int) -> Tensor:
    """Prediction channels ordered (x in patch, y in patch, bin) to pixel_shuffle's (bin, y in patch, x in patch)."""
    if len(tensor) != patch * patch * bins:
        return tensor  # of another encoder: the strict load names it
    return tensor.reshape(patch, patch, bins, *tensor.shape[1:]).transpose(0, 2).flatten(0, 2)


def _read(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    check_readable(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as a safetensors checkpoint: {one_line(error, 300)}") from None
    if CONFIG_KEY not in metadata:
        raise ValueError(f"{path}: no {CONFIG_KEY} in the metadata; this is not a checkpoint of eventspd_ros")
    try:
        return ModelConfig.from_dict(json.loads(metadata[CONFIG_KEY])), tensors
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error, 300)}") from None


def _load_strictly(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Load all or nothing."""
    _check_fit(module, tensors, path)
    module.load_state_dict(tensors)


def _check_fit(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """ValueError, one line: what is missing, unexpected or of another shape."""
    own = module.state_dict()
    problems = [
        ("missing", sorted(set(own) - set(tensors))),
        ("unexpected", sorted(set(tensors) - set(own))),
        (
            "of another shape",
            [
                f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
                for name in sorted(set(own) & set(tensors))
                if own[name].shape != tensors[name].shape
            ],
        ),
    ]
    found = [f"{kind}: {_some(names)}" for kind, names in problems if names]
    if found:
        raise ValueError(f"{path}: the weights do not fit this {type(module).__name__}; {'; '.join(found)}")


def _some(names: list[str], limit: int = 4) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
