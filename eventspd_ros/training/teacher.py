"""The teacher: Depth Anything V2 (Yang et al., NeurIPS 2024), frozen, through the transformers library.

It looks at images that are aligned with the event pixels, and gives features to imitate (L_feat, feature_loss.py) and
dense relative inverse depth (pseudo_labels.py). Its weights come from a folder that the user has
(model/depth_anything.py); nothing is downloaded.

Shapes: B images, C channels of the teacher (ViT-S: 384), (h, w) its tokens, one for 14×14 px of the scaled image.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from eventspd_ros.model.depth_anything import read_depth_anything, weights_file
from eventspd_ros.text import one_line

LAYERS = (6, 12)  # transformer blocks counted from 1: output_hidden_states[6] and [12], as [0] is the embedded patches
# Of ImageNet's pixels in 0…1, red, green, blue: what DINOv2, inside the teacher, was trained with.
MEAN, STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Teacher:
    """A frozen teacher on a device. Not a Module, so that no checkpoint, optimizer or DDP takes hold of it.

    channels: C. fingerprint: tells teachers apart, a hash of the weights.
    """

    def __init__(self, model, fingerprint: str):
        """model: a DepthAnythingForDepthEstimation; read load_teacher()."""
        self.model, self.fingerprint = model.eval().requires_grad_(False), fingerprint
        backbone = model.config.backbone_config
        self.channels, self.patch_px = backbone.hidden_size, backbone.patch_size
        self.short_side_px = backbone.image_size

    @torch.no_grad()
    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 (B, H, W, 3), RGB -> (B, C, h, w) float32 of each of LAYERS, through the final LayerNorm, as the
        teacher's own depth head reads them. The h·w tokens cover the whole image."""
        pixels = self._pixels(images)
        cells_hw = (pixels.shape[-2] // self.patch_px, pixels.shape[-1] // self.patch_px)
        backbone = self.model.backbone
        states = backbone(pixels, output_hidden_states=True).hidden_states
        tokens = [backbone.layernorm(states[layer])[:, 1:] for layer in LAYERS]  # the first one is the class token
        return tuple(layer.transpose(1, 2).unflatten(2, cells_hw).float() for layer in tokens)

    @torch.no_grad()
    def inverse_depth(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3), RGB -> relative inverse depth float32 (B, H, W): larger is nearer, 0 is farthest."""
        answer = self.model(self._pixels(images)).predicted_depth.float()
        return F.interpolate(answer[:, None], images.shape[1:3], mode="bilinear", align_corners=False)[:, 0]

    def _pixels(self, images: Tensor) -> Tensor:
        """Scaled and normalised, (B, 3, H', W'): the short side as in the teacher's training (518 px), the long one in
        proportion, both to whole patches."""
        height, width = images.shape[1:3]
        scale = self.short_side_px / min(height, width)
        size = [max(round(side * scale / self.patch_px), 1) * self.patch_px for side in (height, width)]
        device = self.model.device
        unit = images.to(device).permute(0, 3, 1, 2).float() / 255
        scaled = F.interpolate(unit, size, mode="bicubic", align_corners=False, antialias=True)
        # Channel by channel: a tensor made of numbers would make the step wait for the device.
        return torch.stack([(scaled[:, c] - MEAN[c]) / STDDEV[c] for c in range(3)], dim=1)


def load_teacher(path: Path | str, device: torch.device | str | None = None) -> Teacher:
    """The teacher of a folder with config.json and model.safetensors. device: None: CUDA where there is one.

    ValueError, one line: as read_depth_anything(), or a model with too few blocks.
    """
    model = read_depth_anything(path)
    if (layers := model.config.backbone_config.num_hidden_layers) < max(LAYERS):
        raise ValueError(f"{path}: has {layers} transformer blocks; blocks {LAYERS} are distilled")
    try:
        model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r}: {one_line(error, 300)}; use cpu or cuda:N") from None
    return Teacher(model, hashlib.sha256(weights_file(path).read_bytes()).hexdigest()[:16])
