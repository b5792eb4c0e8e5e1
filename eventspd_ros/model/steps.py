"""The two phases as functions of tensors alone, one window of one sensor: what is exported, compiled and captured.

EncodeStep   packed events (N,) int32 [, h]  ->  the cache's tensors [, the next h]
DecodeStep   keypoints (1, K, 2), the cache's tensors  ->  canonical depth and standard deviation, (1, K) each
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from eventspd_ros.events.packing import BIN_BITS, PADDING
from eventspd_ros.model.event_encoder import EventEncoder
from eventspd_ros.model.feature_cache import list_tensors, put_tensors
from eventspd_ros.model.point_depth import PointDepthModel


def event_encoder(model: PointDepthModel) -> EventEncoder:
    """Of a model that has steps. ValueError: it sees images."""
    if not isinstance(model.encoder, EventEncoder):
        raise ValueError(f"a model with input {model.config.input!r} has no packed events: it runs as it is only")
    return model.encoder


class PackedField(nn.Module):
    """Packed events -> event field (1, L·F, H, W) float32, from the voxel table: one gather, one scatter-add."""

    def __init__(self, model: PointDepthModel, height: int, width: int):
        super().__init__()
        grids = event_encoder(model).grids
        if grids.time_bins > PADDING:
            raise ValueError(f"encoder.time_bins={grids.time_bins}: packed events hold ages below {PADDING} ms")
        self.height, self.width = height, width
        self.table: Tensor
        self.node_index: Tensor
        self.node_weight: Tensor
        self.register_buffer("table", grids.planes(height, width).detach().flatten(0, 1))  # (H·W·nodes, F)
        self.nodes = grids.time_nodes
        self.register_buffer("node_index", grids.node_index)
        # Whatever the bin, a weight: those beyond the window's, which mark padding, weigh nothing.
        missing = PADDING + 1 - grids.time_bins
        self.register_buffer("node_weight", torch.nn.functional.pad(grids.node_weight, (0, 0, 0, 0, 0, missing)))

    def forward(self, packed: Tensor) -> Tensor:
        pixel, age_bin = (packed >> BIN_BITS).long(), (packed & PADDING).long()
        index = self.node_index[age_bin.clamp_max(len(self.node_index) - 1)]  # (N, L, 2)
        rows = self.table[(pixel * self.nodes)[:, None, None] + index]
        encoded = (rows * self.node_weight[age_bin].unsqueeze(-1)).sum(dim=2).flatten(1)
        field = encoded.new_zeros(self.height * self.width, encoded.shape[1]).index_add(0, pixel, encoded)
        return field.view(1, self.height, self.width, -1).permute(0, 3, 1, 2)


class EncodeStep(nn.Module):
    """Phase A of one window."""

    def __init__(self, model: PointDepthModel, height: int, width: int):
        super().__init__()
        self.model, self.field = model, PackedField(model, height, width)

    def forward(self, packed: Tensor, memory: Tensor | None = None) -> tuple[Tensor, ...]:
        """memory: h (1, C, H_4, W_4), for models that have one; zeros at a stream's start."""
        with self.model.precision():
            tensors, memory = self.model.phase_a(self.field(packed), memory)
        found = [*list_tensors(tensors), *([] if memory is None else [memory])]
        return tuple(tensor.contiguous() for tensor in found)  # compiled code is made for one layout


class DecodeStep(nn.Module):
    """Phase B for the keypoints of one window."""

    def __init__(self, model: PointDepthModel, height: int, width: int):
        super().__init__()
        self.model, self.layout = model, cache_layout(model, height, width)

    def forward(self, uv_px: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        with self.model.precision():
            return self.model.phase_b(put_tensors(self.layout, tensors), uv_px)


def cache_layout(model: PointDepthModel, height: int, width: int):
    """The cache's dataclass of a model on a sensor, holding tensors that have shapes only: where real ones belong."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        field = torch.empty(1, model.encoder.field_channels, height, width, device=model.device)
        return model.phase_a(field, None)[0]
