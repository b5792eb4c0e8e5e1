"""A Depth Anything V2 of the real class, tiny and randomly initialised, for tests of what listens to a teacher."""

import tempfile
from pathlib import Path

import torch

from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.depth_anything import read_depth_anything

PATCH_PX, SHORT_SIDE_PX, CHANNELS, BLOCKS = 14, 42, 16, 12


def write_teacher(folder: Path, seed: int = 0, blocks: int = BLOCKS, **changes) -> Path:
    """A folder as save_pretrained() leaves it. changes: of DepthAnythingConfig."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(seed)
    backbone = Dinov2Config(
        hidden_size=CHANNELS,
        num_hidden_layers=blocks,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=SHORT_SIDE_PX,
        patch_size=PATCH_PX,
        out_indices=[blocks // 4, blocks // 2, blocks * 3 // 4, blocks],
        reshape_hidden_states=False,
        layerscale_value=0.5,
    )
    sizes = {"reassemble_hidden_size": CHANNELS, "neck_hidden_sizes": [4, 8, 8, 16], "fusion_hidden_size": 8}
    config = DepthAnythingConfig(backbone_config=backbone, patch_size=PATCH_PX, head_hidden_size=4, **sizes, **changes)
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for parameter in model.parameters():  # far from zero, so that no part of it is silent
            parameter.add_(0.1 * torch.randn_like(parameter))
        _spread_answers(model)
    model.save_pretrained(folder)
    return folder


def tiny_dense() -> DenseModel:
    """The dense baseline on such a network."""
    with tempfile.TemporaryDirectory() as folder:
        return DenseModel(network=read_depth_anything(write_teacher(Path(folder), blocks=4)))


def _spread_answers(model) -> None:
    """Last layer scaled so that answers have mean 1 and deviation 1: its ReLU leaves some zeros, as for the sky."""
    last = model.head.conv3
    last.bias.fill_(100.0)
    answers = model.eval()(torch.randn(4, 3, SHORT_SIDE_PX, SHORT_SIDE_PX)).predicted_depth - 100.0
    last.weight /= answers.std()
    last.bias.fill_(1.0 - float(answers.mean() / answers.std()))
