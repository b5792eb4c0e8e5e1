"""A1 for pictures: the convolutional stem of RGB-SPD in F³'s place (research plan v9, §12.1).

    stem     Conv 3→C k7 s2 + LN + GELU
    enrich   2 × (Conv C→C k3 + LN + GELU): texture for B1, which F³'s blocks give to events

Everything after it is the model for events. Maps are (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.blocks import LayerNorm2d, init_weights
from eventspd_ros.model.config import ImageConfig


class ImageEncoder(nn.Sequential):
    """The methods of EventEncoder, for windows that are pictures."""

    field_channels = 3
    # Of F³: there are no grids here.
    table_values = table_bytes = 0

    def __init__(self, config: ImageConfig):
        layers, channels = [], self.field_channels
        for index in range(1 + config.convolutions):
            kernel, stride = (config.kernel, config.stride) if index == 0 else (3, 1)
            convolution = nn.Conv2d(channels, config.channels, kernel, stride, padding=kernel // 2)
            layers.append(nn.Sequential(convolution, LayerNorm2d(config.channels), nn.GELU()))
            channels = config.channels
        super().__init__(*layers)
        self.channels = config.channels
        self.apply(init_weights)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def prepare(self, height: int, width: int) -> None:
        """Nothing depends on the sensor's size, and there is no table."""

    def drop_tables(self) -> None:
        """Nothing was prepared."""

    def bytes_for(self, height: int, width: int) -> int:
        """Memory that prepare() takes for a sensor size: none."""
        return 0

    def scatter(self, windows: Sequence[EventWindow | ImageWindow]) -> Tensor:
        """B pictures of one size -> field (B, 3, H, W) float32."""
        images = [window.image for window in windows if isinstance(window, ImageWindow)]
        if len(images) < len(windows):
            raise ValueError(f"encode: this model sees images, but got {type(windows[0]).__name__}")
        sizes = {image.shape[:2] for image in images}
        if len(sizes) != 1:
            raise ValueError(f"encode: images of {len(sizes)} sizes (H, W) {sorted(sizes)}; encode one size at a time")
        return self.field(torch.from_numpy(np.stack(images)))

    def field(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3), RGB -> (B, 3, H, W) float32 on the model's device, −1 black, 1 white."""
        images = images.to(self.device).permute(0, 3, 1, 2)
        return images.to(next(self.parameters()).dtype) / 127.5 - 1.0
