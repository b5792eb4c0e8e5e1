"""Random windows and randomised weights for the model's tests."""

import numpy as np
import torch
from torch import nn

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.event_encoder import EventEncoder
from eventspd_ros.model.presets import preset_config


def random_window(width: int, height: int, count: int, seed: int = 0, end_ns: int = 20_000_000) -> EventWindow:
    """count uniform events in the 20 ms before end_ns."""
    rng = np.random.default_rng(seed)
    return EventWindow(
        x=rng.integers(0, width, count).astype(np.uint16),
        y=rng.integers(0, height, count).astype(np.uint16),
        p=rng.integers(0, 2, count).astype(np.uint8),
        t_ns=np.sort(rng.integers(end_ns - 20_000_000, end_ns, count)),
        width=width,
        height=height,
        start_ns=end_ns - 20_000_000,
        end_ns=end_ns,
    )


def hand_window(events: list[tuple[int, int, int]], width: int, height: int) -> EventWindow:
    """A window [0, 20 ms) of (x, y, t_ns)."""
    x, y, t_ns = (np.array([event[axis] for event in events], np.int64) for axis in range(3))
    p = np.ones(len(events), np.uint8)
    return EventWindow(x.astype(np.uint16), y.astype(np.uint16), p, t_ns, width, height, 0, 20_000_000)


def randomise(module: nn.Module, seed: int = 0, scale: float = 0.2) -> nn.Module:
    """Weights far from their start, so that no term of a formula is zero or one by initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise if name.endswith("grids.table") else parameter + scale * noise)
    return module


def encoder_of(preset: str, seed: int = 0) -> EventEncoder:
    """The encoder of a preset with random weights."""
    torch.manual_seed(seed)
    return randomise(EventEncoder(preset_config(preset).encoder), seed, scale=0.1).eval()


def random_image(width: int, height: int, seed: int = 0, t_ns: int = 0) -> ImageWindow:
    """Smooth patches under noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (height // 8 + 1, width // 8 + 1, 3))
    smooth = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return ImageWindow((smooth + rng.integers(0, 56, (height, width, 3))).astype(np.uint8), t_ns)
