"""A strip of pictures of simulated scenes: brightness, events and depth at a few moments."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eventspd_ros.events.types import EventArray
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import CHUNK_NS, SimulationConfig, World, concatenate, simulate_stream
from eventspd_ros.whole import whole_file

MOMENTS = 4
CHUNKS_SHOWN = 5  # 20 ms of events
NEAREST_M, FARTHEST_M = 0.5, 80.0
GAP_PX = 4


def write_preview(path: Path | str, config: SetConfig) -> Path:
    """Draws the first scene of every domain into a picture: a row a domain, brightness over events over depth.

    Events are the last 20 ms, red brighter, blue darker; depth goes from red, 0.5 m, to dark blue, 80 m. ValueError
    where OpenCV can write no picture of that name.
    """
    path = Path(path)
    strip = np.vstack([_row(config.scene(domain, config.seed)) for domain in config.domains])
    with whole_file(path) as unfinished:
        try:
            written = cv2.imwrite(str(unfinished), strip)
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
            frame = renderer.render(chunk.pose, number * CHUNK_NS / 1e9)
            events = concatenate(recent)
            parts = (cv2.cvtColor(frame.grey, cv2.COLOR_GRAY2BGR), draw_events(events), draw_depth(frame.depth_m))
            border = (0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT)
            columns.append(cv2.copyMakeBorder(np.vstack(parts), *border, value=(255, 255, 255)))
    return np.hstack(columns)


def draw_events(events: EventArray) -> np.ndarray:
    """(H, W, 3) uint8: brighter events red, darker ones blue, on white; the last one of a pixel counts."""
    image = np.full((events.height, events.width, 3), 255, np.uint8)
    image[events.y, events.x] = np.array([(200, 60, 30), (30, 30, 220)], np.uint8)[events.p]
    return image


def draw_depth(depth_m: np.ndarray) -> np.ndarray:
    """(H, W) m → (H, W, 3) uint8, by the logarithm; black where there is nothing."""
    valid = np.isfinite(depth_m)
    share = np.log(np.where(valid, depth_m, 1.0) / NEAREST_M) / np.log(FARTHEST_M / NEAREST_M)
    image = cv2.applyColorMap((255 * (1 - np.clip(share, 0, 1))).astype(np.uint8), cv2.COLORMAP_TURBO)
    image[~valid] = 0
    return image
