"""What every model of the package offers: encode() a window once, decode() any number of keypoints from the cache.

A window is of events, or a picture where the model's config says so.

Shapes: B windows, one of each stream; K queries. A model fills in phase_a() and phase_b(), which work on whole batches
and are what training calls; encode() and decode() are their form for streams.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from eventspd_ros.events.pitch import pixel_pitch, seen_hw
from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.config import ImageConfig, ModelConfig
from eventspd_ros.model.event_encoder import EventEncoder
from eventspd_ros.model.feature_cache import FeatureCache, StreamState, map_tensors
from eventspd_ros.model.image_encoder import ImageEncoder
from eventspd_ros.model.stages import Phase, Stage


class PointDepthModel(nn.Module):
    """Canonical depth (metres at fx = sensor width) and its standard deviation at keypoints, from events: a
    KeypointModel of weights and PyTorch alone.

    trained: whether weights were loaded; an untrained model answers its configured median depth, more or less.
    in_bfloat16: run encode() and decode() in bfloat16, but for routing, softmax, heads and the memory; weights stay
    float32. Set it before the first window: a cache is decoded in the precision that made it.
    """

    sensor_hw: tuple[int, int] | None = None  # any sensor's windows

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.trained, self.in_bfloat16 = config, False, False
        stem = config.stem
        self.encoder = ImageEncoder(stem) if isinstance(stem, ImageConfig) else EventEncoder(stem)

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    def prepare(self, height: int, width: int) -> None:
        """Build the F³ voxel table for a sensor of that size. Call it when weights stand, before a stream's first
        window; a model that is never prepared hashes every event instead, to the same numbers. ValueError: the model
        needs a larger sensor."""
        height, width = seen_hw(self.config, height, width)
        self.memory_shape(height, width)
        self.encoder.prepare(height, width)

    def drop_tables(self) -> None:
        """Forget all that prepare() built."""
        self.encoder.drop_tables()

    def encode(
        self, windows: Sequence[EventWindow | ImageWindow], states: list[StreamState]
    ) -> tuple[list[FeatureCache], list[StreamState]]:
        """Phase A of B streams at once. Each stream's result is what it would be alone; states are not changed."""
        if len(windows) != len(states):
            raise ValueError(f"encode: {len(windows)} windows but {len(states)} states; expected one state a window")
        check_pitch(self.config, windows)
        field = self.encoder.scatter(windows)
        with self.precision():
            tensors, memory = self.phase_a(field, self._joint_memory(states, field))
        caches, next_states = [], []
        for index, window in enumerate(windows):
            own = map_tensors(operator.itemgetter(slice(index, index + 1)), tensors)
            caches.append(FeatureCache.of(window, own))
            next_states.append(StreamState(None if memory is None else memory[index : index + 1]))
        return caches, next_states

    def decode(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints (K, 2) in pixels of the sensor -> canonical depth (K,) and its standard deviation (K,), in metres.

        Metric depth is canonical·fx_px/width. Queries do not see one another: one alone gives what many give.
        """
        if uv_px.ndim != 2 or uv_px.shape[1] != 2:
            raise ValueError(f"decode: uv_px has shape {tuple(uv_px.shape)}; expected (K, 2)")
        with self.precision():
            depth, stddev = self.phase_b(cache.tensors, cache.to_seen(uv_px.to(self.device, torch.float32))[None])
        return depth[0] * cache.canonical_scale, stddev[0] * cache.canonical_scale

    def prior_depth(self, cache: FeatureCache, uv_px: Tensor) -> Tensor | None:
        """What the dense map of Phase A alone says at keypoints, as decode() takes and gives them; None where the model
        makes none."""
        return None

    def phase_a(self, field: Tensor, memory: Tensor | None) -> tuple[Any, Tensor | None]:
        """Event field (B, C, H, W) of what the model sees and memory h or None -> the cache's tensors (B first) and the
        next memory."""
        raise NotImplementedError

    def unroll(self, late: Tensor, early: Tensor | None = None) -> Any:
        """Event fields of windows one after another (n, B, C, H, W) -> the last one's tensors. For training.

        early: windows before the late ones, without gradients. A model without memory only needs the last.
        """
        return self.phase_a(late[-1], None)[0]

    def phase_b(self, tensors: Any, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, K, 2) in pixels -> canonical depth and standard deviation, both (B, K) float32, metres."""
        raise NotImplementedError

    def memory_shape(self, height: int, width: int) -> tuple[int, int, int] | None:
        """(C, rows, columns) of the memory for what the model sees, or None for a model without one."""
        return None

    def stages(self) -> dict[str, Stage]:
        """The model's stages by name, in order (stages.py)."""
        return {"a1": Stage(self.encoder, Phase.A, "A1 F³")}

    def slow_parameters(self) -> list[nn.Parameter]:
        """What trains at a tenth of the learning rate: nothing."""
        return []

    def precision(self) -> AbstractContextManager:
        """What both phases run under: bfloat16 where that is on, otherwise what the caller does, as in training."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.in_bfloat16 else nullcontext()

    def _joint_memory(self, states: list[StreamState], field: Tensor) -> Tensor | None:
        """The states' memories as one batch; a stream that starts brings zeros."""
        shape = self.memory_shape(*field.shape[-2:])
        if shape is None:
            return None
        for state in states:
            if state.memory is not None and tuple(state.memory.shape[1:]) != shape:
                found = tuple(state.memory.shape[1:])
                raise ValueError(
                    f"encode: a state's memory is {found} but this sensor needs {shape}; reset() the state"
                )
        zeros = field.new_zeros((1, *shape))
        return torch.cat([zeros if state.memory is None else state.memory for state in states])


def check_pitch(config: ModelConfig, windows: Sequence[EventWindow | ImageWindow]) -> None:
    """ValueError: a window that is not in the cells the model sees, or in others."""
    for window in windows:
        height, width = window.sensor_hw
        if window.pitch != pixel_pitch(config, height, width):
            seen = "{1}x{0}".format(*seen_hw(config, height, width))
            raise ValueError(
                f"window of {window.width}x{window.height} of a sensor of {width}x{height} px: {config.preset} sees "
                f"that in {seen} cells; cut windows by window_slicer(model.config, height, width)"
            )
