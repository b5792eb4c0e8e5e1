"""What benchmarks run on, and its hash: a report says whether another one had the same input."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from eventspd_ros.events.types import EventArray, EventWindow, ImageWindow
from eventspd_ros.model.event_tensors import PackedEvents
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.scene_file import write_scene


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


def packed_sha256(batches: Iterable[PackedEvents]) -> str:
    """Of the events of windows as training takes them."""
    digest = hashlib.sha256()
    for events in batches:
        digest.update(events.words.cpu().numpy().tobytes())
    return digest.hexdigest()


def window_sha256(window: EventWindow | ImageWindow) -> str:
    """Of what a model sees."""
    if isinstance(window, ImageWindow):
        return hashlib.sha256(np.ascontiguousarray(window.image).tobytes()).hexdigest()
    return events_sha256([window])


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
