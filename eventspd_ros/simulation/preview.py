"""A strip of pictures of simulated scenes: brightness, events and depth at a few moments."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eventspd_ros.drawing import as_bytes, depth_colours, event_image
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import CHUNK_NS, SimulationConfig, World, concatenate, simulate_stream
from eventspd_ros.whole import whole_file

MOMENTS = 4
CHUNKS_SHOWN = 5  # 20 ms of events
GAP_PX = 4


def write_preview(path: Path | str, config: SetConfig) -> Path:
    """Draws the first scene of every domain into a picture: a row a domain, brightness over events over depth.

    Events are the last 20 ms, and they and depth are drawn as everywhere (drawing.py). ValueError where OpenCV can
    write no picture of that name.
    """
    path = Path(path)
    strip = np.vstack([_row(config.scene(domain, config.seed)) for domain in config.domains])
    with whole_file(path) as unfinished:
        try:
            written = cv2.imwrite(str(unfinished), strip[..., ::-1])
        except cv2.error:
            written = False
        if not written:
            raise ValueError(f"{path}: no picture of this kind can be written; name a .png file")
    return path


def _row(config: SimulationConfig) -> np.ndarray:
    world = World.of(config)
    renderer, columns, recent = Renderer(world.scene, config.camera), [], []
    shown = np.unique(np.linspace(CHUNKS_SHOWN, config.chunks, MOMENTS).astype(int))
    for number, chunk in enumerate(simulate_stream(config, world), 1):
        recent = [*recent[1 - CHUNKS_SHOWN :], chunk.events]
        if number in shown:
            frame = renderer.render(chunk.pose, number * CHUNK_NS / NS_PER_S)
            events = concatenate(recent)
            grey = cv2.cvtColor(frame.grey, cv2.COLOR_GRAY2RGB)
            parts = grey, as_bytes(event_image(events)), depth_colours(frame.depth_m)
            border = (0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT)
            columns.append(cv2.copyMakeBorder(np.vstack(parts), *border, value=(255, 255, 255)))
    return np.hstack(columns)
