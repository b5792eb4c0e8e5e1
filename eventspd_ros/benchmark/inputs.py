"""What benchmarks run on, and its hash: a report says whether another one had the same input."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from eventspd_ros.events.pitch import pixel_pitch, seen_hw
from eventspd_ros.events.types import EventArray, EventWindow, ImageWindow
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.scene_file import write_scene

EVENTS_PER_PIXEL = 0.22  # in 20 ms: 20 k events at 346×260, 200 k at 1280×720


def file_sha256(path: Path) -> str:
    """Of the file, or of all files of a folder in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def events_sha256(arrays: Iterable[EventArray]) -> str:
    """Of the columns x, y, p and t_ns of event arrays, one array after another."""
    digest = hashlib.sha256()
    for events in arrays:
        for column in (events.x, events.y, events.p, events.t_ns):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def window_sha256(window: EventWindow | ImageWindow) -> str:
    """Of what a model sees."""
    if isinstance(window, ImageWindow):
        return hashlib.sha256(np.ascontiguousarray(window.image).tobytes()).hexdigest()
    return events_sha256([window])


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


@contextmanager
def training_set(folder: Path | str | None, sensor_hw: tuple[int, int], seconds: float) -> Iterator[str]:
    """The set in a folder, or for as long as it is used one scene of each domain, of so many seconds and (H, W) px."""
    if folder is not None:
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        height, width = sensor_hw
        config = SetConfig(scenes=1, duration_s=seconds, camera=PinholeCamera.centred(width, height))
        for path, scene in config.files(Path(scratch)).items():
            write_scene(path, scene, config.preset)
        yield scratch
