"""Depth Anything V2 (Yang et al., NeurIPS 2024) through the transformers library, an optional dependency.

Weights come from a folder that the user has, as DepthAnythingForDepthEstimation.save_pretrained() writes it:
config.json and model.safetensors. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventspd_ros.text import one_line

NEEDS = "Depth Anything V2 needs the transformers library: pip install 'transformers>=4.45' (the extra `teacher`)"


def read_depth_anything(path: Path | str):
    """The DepthAnythingForDepthEstimation of a folder, float32, on the CPU.

    ValueError, one line: transformers is missing, no such folder, another model, or weights that are damaged or do
    not fit.
    """
    path = Path(path)
    try:
        from transformers import AutoConfig, DepthAnythingForDepthEstimation
    except ImportError as error:
        raise ValueError(f"{NEEDS} ({one_line(error, 300)})") from None
    weights = weights_file(path)
    for needed in (path / "config.json", weights):
        if not needed.is_file():
            raise ValueError(f"{needed}: no such file; name a folder with Depth Anything V2 as transformers stores it")
    with _reading(path):
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    _check(path, config)
    with _reading(path):
        model, found = DepthAnythingForDepthEstimation.from_pretrained(
            path, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{weights}: lacks {len(missing)} weights of the model, such as {missing[0]}")
    return model.float().eval()


def random_depth_anything():
    """A Depth Anything V2 ViT-S with random weights, to be timed: 24.8 M parameters.

    The numbers are those of depth-anything/Depth-Anything-V2-Small-hf. ValueError: transformers is missing.
    """
    try:
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
    except ImportError as error:
        raise ValueError(f"{NEEDS} ({one_line(error, 300)})") from None
    backbone = Dinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
        out_indices=[3, 6, 9, 12],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=384, neck_hidden_sizes=[48, 96, 192, 384]
    )
    return DepthAnythingForDepthEstimation(config).eval()


def weights_file(path: Path | str) -> Path:
    return Path(path) / "model.safetensors"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Without the library's progress bar, and with whatever it raises for a broken folder as one line."""
    from transformers.utils import logging

    bar_wanted = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as Depth Anything V2: {one_line(error, 300)}") from None
    finally:
        if bar_wanted:
            logging.enable_progress_bar()


def _check(path: Path, config) -> None:
    """ValueError: not a model that fits. A metric variant gives depth, where relative inverse depth is expected."""
    if config.model_type != "depth_anything":
        raise ValueError(f"{path}: holds a {config.model_type!r} model; expected 'depth_anything'")
    if config.depth_estimation_type != "relative":
        raise ValueError(f"{path}: gives {config.depth_estimation_type} depth; expected the relative variant")
