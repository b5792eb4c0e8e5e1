"""The F³ encoder written to be read: one event at a time, W before H as published, no shortcuts.

The oracle of eventspd_ros/model/event_encoder.py (Das et al., arXiv 2509.25146; blocks: arXiv 2301.00808). It takes
the fast encoder's own parameters. Maps are (C, W, H) here.
"""

import numpy as np
import torch
from torch import nn


def encode_event(x: int, y: int, age_bin: int, encoder: nn.Module, height: int, width: int) -> np.ndarray:
    """The (L·F,) encoding of one event: eight grid nodes around it in each level, weighted by nearness."""
    config, table = encoder.config, encoder.grids.table.detach().numpy()
    at = np.float32([x, y, age_bin]) / np.float32([width, height, config.time_bins])
    encoding, first_slot = [], 0
    for resolution in config.levels:
        rx, ry, rt = resolution
        total = np.zeros(config.level_features, np.float32)
        scaled = at * np.float32(resolution)
        low = np.floor(scaled).astype(int)
        for corner in np.ndindex(2, 2, 2):
            node = np.minimum(low + corner, resolution)
            weight = np.prod(1 - np.abs(node - scaled))
            total += weight * table[first_slot + node[0] + node[1] * rx + node[2] * rx * ry]
        encoding.append(total)
        first_slot += rx + ry * rx + rt * rx * ry + 1
    return np.concatenate(encoding)


def scatter_events(window, encoder: nn.Module) -> torch.Tensor:
    """The sum of the encodings of each pixel's events, (L·F, W, H)."""
    channels = len(encoder.config.levels) * encoder.config.level_features
    field = np.zeros((channels, window.width, window.height), np.float32)
    for x, y, t_ns in zip(window.x, window.y, window.t_ns, strict=True):
        age_bin = (window.end_ns - 1 - int(t_ns)) // 1_000_000
        field[:, x, y] += encode_event(int(x), int(y), age_bin, encoder, window.height, window.width)
    return torch.from_numpy(field)


def layer_norm(x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    """Over the channels of (C, W, H)."""
    mean = x.mean(dim=0)
    variance = ((x - mean) ** 2).mean(dim=0)
    return (x - mean) / torch.sqrt(variance + 1e-6) * norm.weight[:, None, None] + norm.bias[:, None, None]


def convolve(x: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
    """A convolution on (C, W, H): the kernel's axes are exchanged with the map's."""
    weight = layer.weight.transpose(-1, -2)
    padding = (weight.shape[-1] - 1) // 2
    return nn.functional.conv2d(x[None], weight, layer.bias, layer.stride, padding, 1, layer.groups)[0]


def convnext_block(x: torch.Tensor, block: nn.Module) -> torch.Tensor:
    """depthwise conv → LN → Linear → GELU → GRN → Linear → + x on (C, W, H)."""
    hidden = layer_norm(convolve(x, block.dwconv), block.norm).permute(1, 2, 0)
    hidden = hidden @ block.pwconv1.weight.T + block.pwconv1.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    norm = torch.sqrt((hidden**2).sum(dim=(0, 1)))
    response = norm / (norm.mean() + 1e-6)
    hidden = block.grn.gamma * (hidden * response) + block.grn.beta + hidden
    hidden = hidden @ block.pwconv2.weight.T + block.pwconv2.bias
    return x + hidden.permute(2, 0, 1)


def features(window, encoder: nn.Module) -> torch.Tensor:
    """One window -> features (C, W/s, H/s)."""
    x = scatter_events(window, encoder)
    for stage, blocks in enumerate(encoder.stages):
        first, second = encoder.downsample_layers[stage]
        x = layer_norm(convolve(x, first), second) if stage == 0 else convolve(layer_norm(x, first), second)
        for block in blocks:
            x = convnext_block(x, block)
    return x
