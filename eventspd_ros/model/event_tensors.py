"""Events of several windows as tensors: what A1 (event_encoder.py) adds up.

Inference gathers them from windows as they come. Training packs them where samples are read, 4 bytes an event, and
unpacks the windows of a whole batch on the device.

Shapes: N events of all windows together, B windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eventspd_ros.events.packing import BIN_BITS, NS_PER_BIN, PADDING, pack_events
from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.nanoseconds import NS_PER_MS


class EventTensors(NamedTuple):
    """Events of B windows of one sensor, as int64 tensors of shape (N,)."""

    site: Tensor  # pixel of the sensor: y·width + x
    bin: Tensor  # age in 1 ms bins, 0 = newest
    window: Tensor  # 0…B−1, ascending
    windows: int
    height: int
    width: int

    @property
    def pixel(self) -> Tensor:
        """Row of the event's pixel in a field (B·H·W, C)."""
        return self.window * (self.height * self.width) + self.site


def event_windows(windows: Sequence[EventWindow | ImageWindow]) -> list[EventWindow]:
    """All of them. ValueError: there is an image among them."""
    found = [window for window in windows if isinstance(window, EventWindow)]
    if len(found) < len(windows):
        raise ValueError(f"encode: this model sees events, but got {type(windows[0]).__name__}")
    return found


def gather_events(windows: list[EventWindow], time_bins: int, device: torch.device | str = "cpu") -> EventTensors:
    """Windows of one sensor size to tensors. Age bin = (end_ns − 1 − t_ns) // 1,000,000, which must be < time_bins."""
    if not windows:
        raise ValueError("encode: got no windows")
    sizes = {(window.height, window.width) for window in windows}
    if len(sizes) > 1:
        raise ValueError(f"encode: windows of several sensor sizes (H, W) {sorted(sizes)}; encode one size at a time")
    check_length(max(window.end_ns - window.start_ns for window in windows), time_bins)
    ages_ns = [window.end_ns - 1 - window.t_ns for window in windows]
    for window, age_ns in zip(windows, ages_ns, strict=True):
        if len(age_ns) and not (age_ns.min() >= 0 and age_ns.max() < window.end_ns - window.start_ns):
            first_ns, last_ns = int(window.t_ns.min()), int(window.t_ns.max())
            raise ValueError(f"window [{window.start_ns}, {window.end_ns}) ns holds events of {first_ns}…{last_ns} ns")
        if len(age_ns) and (window.x.max() >= window.width or window.y.max() >= window.height):
            where = f"({int(window.x.max())}, {int(window.y.max())})"
            raise ValueError(f"window holds events up to {where}, outside its {window.width}x{window.height} sensor")
    columns = (
        np.concatenate([window.y.astype(np.int64) * window.width + window.x for window in windows]),
        np.concatenate(ages_ns) // NS_PER_BIN,
        np.repeat(np.arange(len(windows)), [len(window) for window in windows]),
    )
    site, age_bin, index = (torch.from_numpy(column.astype(np.int64, copy=False)).to(device) for column in columns)
    return EventTensors(site, age_bin, index, len(windows), windows[0].height, windows[0].width)


def check_length(longest_ns: int, time_bins: int) -> None:
    """ValueError: a window of that length has ages for which an encoder of so many bins knows nothing."""
    if longest_ns > time_bins * NS_PER_BIN:
        raise ValueError(f"window of {longest_ns / NS_PER_MS:g} ms: this encoder takes at most {time_bins} ms")


@dataclass(frozen=True)
class PackedEvents:
    """Events of B windows of one sensor as packing.py packs them, one window after another.

    words: int32 (N,). counts: int64 (B,), events of each window; stays on the CPU. longest_ns: of the windows.
    """

    words: Tensor
    counts: Tensor
    height: int
    width: int
    longest_ns: int

    @classmethod
    def of(cls, windows: list[EventWindow]) -> PackedEvents:
        """Windows of one sensor size. ValueError: a window holds what does not belong in it."""
        counts = torch.tensor([len(window) for window in windows])
        words = torch.empty(int(counts.sum()), dtype=torch.int32)
        for window, part in zip(windows, words.split(counts.tolist()), strict=True):
            pack_checked(window, part.numpy())
        longest_ns = max(window.end_ns - window.start_ns for window in windows)
        return cls(words, counts, windows[0].height, windows[0].width, longest_ns)

    def part(self, first: int, last: int) -> PackedEvents:
        """Windows first…last − 1: views."""
        counts = self.counts.tolist()
        before, here = sum(counts[:first]), sum(counts[first:last])
        return replace(self, words=self.words[before : before + here], counts=self.counts[first:last])

    def pin_memory(self) -> PackedEvents:
        """A copy from which a GPU fetches while the CPU goes on."""
        return replace(self, words=self.words.pin_memory(), counts=self.counts.pin_memory())

    def to(self, device: torch.device, non_blocking: bool = False) -> PackedEvents:
        """With the events on a device, as Tensor.to()."""
        return replace(self, words=self.words.to(device, non_blocking=non_blocking))

    def tensors(self, device: torch.device) -> EventTensors:
        """Unpacked on that device, without waiting for it."""
        words, counts = (column.to(device, non_blocking=True) for column in (self.words, self.counts))
        windows = len(self.counts)
        window = torch.arange(windows, device=device).repeat_interleave(counts, output_size=len(words))
        return EventTensors(
            (words >> BIN_BITS).long(), (words & PADDING).long(), window, windows, self.height, self.width
        )


def pack_checked(window: EventWindow, words: np.ndarray) -> None:
    """pack_events(). ValueError: the window holds events of other times or outside its sensor."""
    if not pack_events(window, words):
        gather_events([window], PADDING)  # says what is wrong with it
        raise AssertionError("events that cannot be packed are refused")
