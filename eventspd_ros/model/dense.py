"""Baselines A and B: depth of every pixel, of which the keypoints are then read. F³ ds1 and Depth Anything V2 ViT-S.

F³'s features at full resolution take the place of the image: the network's patch embedding is repeated from 3 to 32
channels, the short side is scaled to 518 px, and what comes out is inverse depth, scaled back to the sensor and read
bilinearly (Das et al., arXiv:2509.25146, section on monocular depth; Yang et al., arXiv:2406.09414). It is asked like
every other model: encode() makes the dense map, decode() reads it.

Shapes: B windows, K queries, C feature channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.checkpoints import load_encoder, read_model_config
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.depth_anything import random_depth_anything, read_depth_anything
from eventspd_ros.model.geometry import bilinear_read, size_hw
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.presets import preset_config

if TYPE_CHECKING:  # optional, see depth_anything.py
    from transformers import DepthAnythingForDepthEstimation

ENCODERS = ("hd_small", "mvsec_small")  # F³ ds1 by its grids: of 1280×720 and 640×480, and of 346×260
FARTHEST_M = 80.0  # canonical; its ReLU answers an inverse depth of 0 for the sky


@dataclass(frozen=True)
class DenseTensors:
    """The cache: inverse depth (B, 1, H, W) of every pixel, in the network's own unit."""

    inverse_depth: Tensor


class DenseModel(PointDepthModel):
    """F³ ds1 → Depth Anything V2 → a dense map of inverse depth → bilinear reads. It has no memory and no σ.

    depth = inverse_scale / inverse depth, canonical metres. inverse_scale: 1 until fitted to a training set; only
    median-aligned numbers mean something before that.
    """

    def __init__(self, encoder_preset: str = ENCODERS[0], network: DepthAnythingForDepthEstimation | None = None):
        """network: None for a ViT-S with random weights, to be timed."""
        encoder = preset_config(encoder_preset).encoder
        super().__init__(ModelConfig("dense", "dense", encoder))
        self.network = widen_patches(network or random_depth_anything(), self.encoder.channels)
        self.inverse_scale = 1.0
        self.eval()

    def phase_a(self, field: Tensor, memory: Tensor | None = None) -> tuple[DenseTensors, None]:
        """Event field (B, 8, H, W) -> the dense map."""
        features = self.encoder(field)
        height, width = size_hw(field)
        backbone = self.network.config.backbone_config
        size = network_size(height, width, backbone.image_size, backbone.patch_size)
        scaled = F.interpolate(features, size, mode="bilinear", align_corners=False)
        inverse = self.network(scaled).predicted_depth[:, None].float()
        return DenseTensors(F.interpolate(inverse, (height, width), mode="bilinear", align_corners=True)), None

    def phase_b(self, tensors: DenseTensors, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, K, 2) in pixels -> canonical depth (B, K), metres, and NaN, as it knows no σ."""
        inverse = bilinear_read(tensors.inverse_depth, uv_px, stride=1)[..., 0]
        depth = self.inverse_scale / inverse.clamp(min=self.inverse_scale / FARTHEST_M)
        return depth, torch.full_like(depth, math.nan)


def load_dense(encoder: Path | str, network: Path | str, device: str = "cpu") -> DenseModel:
    """The dense baseline with trained weights. encoder: F³ ds1 as `eventspd convert-f3` stores it. network: a folder
    of Depth Anything V2 in transformers' layout, with 3 image channels or already with 32.

    ValueError: files that cannot be read or do not fit, or transformers is missing.
    """
    model = DenseModel(_encoder_preset(encoder), read_depth_anything(network))
    load_encoder(model, encoder)
    model.trained = True
    return model.to(device)


def _encoder_preset(path: Path | str) -> str:
    """Which of ENCODERS a file holds."""
    config = read_model_config(path)
    for name in ENCODERS:
        if preset_config(name).encoder == config.encoder:
            return name
    raise ValueError(f"{path}: holds preset {config.preset!r}; the dense baseline needs one of {', '.join(ENCODERS)}")


def network_size(height: int, width: int, short_side_px: int, patch_px: int) -> tuple[int, int]:
    """(H', W') that the features are scaled to: the short side as in training, the long one in proportion and up to a
    whole patch. 720×1280 gives 518×924, 480×640 gives 518×700, as F³'s code does."""
    short, long = sorted((height, width))
    scaled = math.ceil(long * short_side_px // short / patch_px) * patch_px
    return (short_side_px, scaled) if height <= width else (scaled, short_side_px)


def widen_patches(network: DepthAnythingForDepthEstimation, channels: int) -> DepthAnythingForDepthEstimation:
    """The network with a patch embedding for so many channels, its own repeated (3, 3, … and the rest), as F³ starts
    from; a network that has them already stays. ValueError: it has other channels."""
    embedding = network.backbone.embeddings.patch_embeddings
    before = embedding.projection
    if before.in_channels == channels:
        return network
    if before.in_channels != 3:
        raise ValueError(f"Depth Anything V2 with {before.in_channels} channels: expected 3 or {channels}")
    projection = nn.Conv2d(channels, before.out_channels, before.kernel_size, before.stride)
    with torch.no_grad():
        projection.weight.copy_(before.weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels])
        projection.get_parameter("bias").copy_(before.bias)
    embedding.projection, embedding.num_channels = projection, channels
    network.config.backbone_config.num_channels = channels
    return network
