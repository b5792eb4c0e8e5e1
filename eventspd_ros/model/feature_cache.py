"""What encode() hands to decode(), and what it carries from window to window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from eventspd_ros.events.types import EventWindow, ImageWindow, PixelPitch


@dataclass(frozen=True)
class FeatureCache:
    """Phase A of one window of one stream: all that decode() needs, for any number of queries.

    start_ns, end_ns: the window, sensor clock. height, width: the sensor in pixels. tensors: the model's own dataclass
    of tensors, batch dimension 1. pitch: of the window, where the model sees cells.
    """

    start_ns: int
    end_ns: int
    height: int
    width: int
    tensors: Any
    pitch: PixelPitch | None = None

    @classmethod
    def of(cls, window: EventWindow | ImageWindow, tensors: Any) -> FeatureCache:
        return cls(window.start_ns, window.end_ns, *window.sensor_hw, tensors, window.pitch)

    @property
    def scale_stddev(self) -> float | None:
        """The part of decode()'s standard deviation of log depth that all points of the window share, because its scale
        as a whole may be wrong; None where the model does not tell."""
        found = getattr(self.tensors, "scale_stddev", None)
        return None if found is None else float(found[0])

    def to_seen(self, uv_px: Tensor) -> Tensor:
        """Pixels of the sensor (..., 2) to those of what the model saw."""
        return uv_px if self.pitch is None else self.pitch.to_cells(uv_px)

    @property
    def canonical_scale(self) -> float:
        """Canonical depth is metres where the focal length is one width: that of the sensor over that of what the model
        saw. They differ where the last cells reach over the sensor's edge."""
        return 1.0 if self.pitch is None else self.pitch.sensor_width / (self.pitch.n * self.pitch.width)


@dataclass
class StreamState:
    """The recurrent memory of one camera: h of Eq. 3, (1, C, H_4, W_4), or None where the stream starts (h = 0)."""

    memory: Tensor | None = None

    def reset(self) -> None:
        """Forget: after a time jump, a bag loop or a sensor change."""
        self.memory = None


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A copy of a dataclass or tuple of tensors with function applied to each tensor; other fields stay."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(map_tensors(function, item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: map_tensors(function, getattr(value, item.name)) for item in fields(value)})
    return value


def list_tensors(value: Any) -> list[Tensor]:
    """The tensors of a dataclass or tuple, in the order of its fields."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(note, value)
    return found


def put_tensors(layout: Any, tensors: Iterable[Tensor]) -> Any:
    """The inverse of list_tensors(): a copy of layout with these tensors in place of its own."""
    remaining = iter(tensors)
    return map_tensors(lambda _: next(remaining), layout)
