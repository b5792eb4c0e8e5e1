"""Windows of random events, to measure speed on and to make a model ready with before a camera speaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventspd_ros.events.pitch import pixel_pitch, seen_hw
from eventspd_ros.events.types import EventWindow, ImageWindow

EVENTS_PER_PIXEL = 0.22  # in 20 ms: 20 k events at 346×260, 200 k at 1280×720


def uniform_window(height: int, width: int, count: int | None = None) -> EventWindow:
    """20 ms of uniformly random events, by default 0.22 a pixel: the worst case for memory locality."""
    rng = np.random.default_rng(0)
    count = round(EVENTS_PER_PIXEL * height * width) if count is None else count
    return EventWindow(
        x=rng.integers(0, width, count).astype(np.uint16),
        y=rng.integers(0, height, count).astype(np.uint16),
        p=rng.integers(0, 2, count).astype(np.uint8),
        t_ns=np.sort(rng.integers(0, 20_000_000, count)),
        width=width,
        height=height,
        start_ns=0,
        end_ns=20_000_000,
    )


def uniform_image(height: int, width: int) -> ImageWindow:
    """A picture of random pixels."""
    return ImageWindow(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8), 0)


def model_window(config, height: int, width: int, count: int | None = None) -> EventWindow | ImageWindow:
    """One of these two for the model of that ModelConfig on a sensor: at its pixel pitch. count: of its events."""
    if config.input == "image":
        return uniform_image(height, width)
    window = uniform_window(*seen_hw(config, height, width), count)
    return replace(window, pitch=pixel_pitch(config, height, width))
