"""What answers keypoints, however it is run: the interface that predictor, node, evaluation and benches hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.feature_cache import FeatureCache, StreamState


@runtime_checkable
class KeypointModel(Protocol):
    """A PointDepthModel (point_depth.py), its steps for one sensor (SteppedModel) or compiled ones (CompiledModel).
    isinstance() tells it from an F³ encoder, which answers no keypoints.

    trained: whether weights were loaded.
    """

    config: ModelConfig
    trained: bool

    @property
    def sensor_hw(self) -> tuple[int, int] | None:
        """The only sensor (H, W) it answers for; None: any."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def prepare(self, height: int, width: int) -> None:
        """Get ready for a sensor of that size. ValueError: the model needs a larger one, or was made for another."""

    def drop_tables(self) -> None:
        """Forget all that prepare() built."""

    def encode(
        self, windows: Sequence[EventWindow | ImageWindow], states: list[StreamState]
    ) -> tuple[list[FeatureCache], list[StreamState]]:
        """Phase A of B streams, a window each. Each stream's result is what it would be alone; states are not
        changed."""

    def decode(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """Phase B: keypoints (K, 2) in pixels of the sensor -> canonical depth (K,) and its standard deviation (K,), in
        metres."""
