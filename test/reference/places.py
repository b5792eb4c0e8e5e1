"""Where a check of what a GPU does runs: at real sizes on the GPU, and at a tiny size wherever the default suite runs,
so that the check itself is known to work before it meets a GPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from reference.windows import random_image, random_window

from eventspd_ros.events.pitch import pixel_pitch, seen_hw
from eventspd_ros.events.types import EventWindow, ImageWindow

HERE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Place:
    """device; sensor_hw (H, W) px; events of a window; queries of a request."""

    device: str
    sensor_hw: tuple[int, int]
    events: int
    queries: int

    def window(self, config, seed: int, events: int | None = None) -> EventWindow | ImageWindow:
        """A random window for the model of that config, another for each seed."""
        height, width = seen_hw(config, *self.sensor_hw)
        if config.input == "image":
            return random_image(width, height, seed)
        window = random_window(width, height, self.events if events is None else events, seed)
        return replace(window, pitch=pixel_pitch(config, *self.sensor_hw))

    def points(self, seed: int = 0) -> torch.Tensor:
        """Random keypoints (queries, 2)."""
        unit = torch.rand(self.queries, 2, generator=torch.Generator().manual_seed(seed))
        return unit * torch.tensor([self.sensor_hw[1], self.sensor_hw[0]]) - 0.5


TINY = Place("cpu", (96, 128), 1500, 40)
REAL = Place("cuda", (720, 1280), 200_000, 256)
PLACES = [pytest.param(TINY, id="cpu-tiny"), pytest.param(REAL, id="gpu-1280x720", marks=pytest.mark.gpu)]


@contextmanager
def poisoned() -> Iterator[None]:
    """Within, memory that nobody has written holds NaN: what a kernel leaves out shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # torch.empty() then fills what it hands out
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def held_bytes(device: str) -> int:
    """Of all tensors that live there, after a collection. No CUDA graph may run again after it."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        # cuBLAS keeps a workspace for every stream that ever multiplied: nobody's leak. PyTorch's own tests of memory
        # let go of it in the same way.
        torch._C._cuda_clearCublasWorkspaces()
        return torch.cuda.memory_allocated(device)
    tensors = [each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]
    storages = {
        each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors if each.device.type == "cpu"
    }
    return sum(storage.nbytes() for storage in storages.values())
