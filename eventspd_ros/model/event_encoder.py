"""A1: the F³ event encoder, events of a window to a feature map (Das et al., Fast Feature Fields, arXiv 2509.25146).

Every event is encoded by multi-resolution grids over (x, y, age) (grid_encoding.py), the encodings of the events of one
pixel are summed, and two stages of ConvNeXt V2 blocks turn that field into features. Maps are (B, C, H, W) here; the
published code is W first, which only transposes its kernels (checkpoints.convert_f3_checkpoint does so).

Shapes: B windows, L levels, F features a level, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.blocks import ConvNeXtBlock, LayerNorm2d, init_weights
from eventspd_ros.model.config import EncoderConfig, ModelConfig
from eventspd_ros.model.event_tensors import EventTensors, PackedEvents, check_length, event_windows, gather_events
from eventspd_ros.model.grid_encoding import GridEncoding
from eventspd_ros.model.stages import Phase, Stage


class EventEncoder(nn.Module):
    """A1 whole: scatter() events into a field, forward() the field into features at stride config.stride."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.grids = GridEncoding(config)
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        channels = self.grids.channels
        for stage, width in enumerate(config.dims):
            kernel, stride = config.dskernels[stage], config.dsstrides[stage]
            convolution = nn.Conv2d(channels, width, kernel, stride, padding=(kernel - 1) // 2)
            opening = (convolution, LayerNorm2d(width)) if stage == 0 else (LayerNorm2d(channels), convolution)
            self.downsample_layers.append(nn.Sequential(*opening))
            block = (width, config.dwkernels[stage], config.bottleneck[stage])
            self.stages.append(nn.Sequential(*(ConvNeXtBlock(*block) for _ in range(config.blocks[stage]))))
            channels = width
        self.apply(init_weights)

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def field_channels(self) -> int:
        """Of what scatter() makes."""
        return self.grids.channels

    @property
    def device(self) -> torch.device:
        return self.grids.table.device

    @property
    def table_values(self) -> int:
        """Grid values, which are counted apart from parameters."""
        return self.grids.table.numel()

    @property
    def table_bytes(self) -> int:
        """Memory of what is prepared now."""
        return self.grids.voxel_table_bytes

    def bytes_for(self, height: int, width: int) -> int:
        """Memory that prepare() takes for a sensor size."""
        return self.grids.bytes_for(height, width)

    def prepare(self, height: int, width: int) -> None:
        """Build the voxel table of a sensor size once weights stand; without it every window is hashed."""
        self.grids.prepare(height, width)

    def drop_tables(self) -> None:
        """Let go of what prepare() built."""
        self.grids.drop_tables()

    def scatter(self, windows: Sequence[EventWindow | ImageWindow], into: Tensor | None = None) -> Tensor:
        """B windows of one sensor -> field (B, L·F, H, W) float32: the sum of the encodings of each pixel's events.
        into: as GridEncoding.sums() takes it."""
        return self._scatter(gather_events(event_windows(windows), self.config.time_bins, self.device), into)

    def scatter_packed(self, events: PackedEvents) -> Tensor:
        """scatter() of windows that were packed where they were read: what training takes."""
        check_length(events.longest_ns, self.config.time_bins)
        return self._scatter(events.tensors(self.device))

    def _scatter(self, events: EventTensors, into: Tensor | None = None) -> Tensor:
        # What needs no gradient is faster in compiled loops, on a CPU.
        differentiated = self.training and (torch.is_grad_enabled() or self.device.type != "cpu")
        with torch.autocast(self.device.type, enabled=False):
            field = self.grids.field(events) if differentiated else self.grids.sums(events, into)
        return field.view(events.windows, events.height, events.width, -1).permute(0, 3, 1, 2)

    def forward(self, field: Tensor) -> Tensor:
        """(B, L·F, H, W) -> features (B, C, ⌈H/s⌉, ⌈W/s⌉) with s = config.stride. No shape depends on the events."""
        x = field
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return x


class FeatureField(nn.Module):
    """F³ as published and pretrained: the encoder and a head that predicts the events of the next 20 ms.

    Other models share its parameter names (encoder.…), so that checkpoints.load_encoder() moves a pretrained encoder.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.trained = config, False
        encoder = config.encoder
        assert encoder is not None, "ModelConfig: family 'encoder' sees events"
        self.encoder = EventEncoder(encoder)
        self.pred = nn.Conv2d(encoder.channels, encoder.stride**2 * encoder.time_bins, 1)
        self.pred.apply(init_weights)

    def stages(self) -> dict[str, Stage]:
        """See stages.py."""
        return {"a1": Stage(self.encoder, Phase.A), "pred": Stage(self.pred, Phase.A)}

    def forward(self, field: Tensor) -> Tensor:
        """Field (B, L·F, H, W) -> logits (B, time_bins, H, W): does this pixel see an event in that future 1 ms bin?"""
        logits = F.pixel_shuffle(self.pred(self.encoder(field)), self.encoder.config.stride)
        return logits[..., : field.shape[-2], : field.shape[-1]]
