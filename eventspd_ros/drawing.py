"""How events and depth are drawn, for every room: events red where brighter and blue where darker, depths yellow near
and dark far on a logarithmic scale. Figures are objects of matplotlib that pyplot and its global state know nothing of.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from eventspd_ros.whole import whole_file

if TYPE_CHECKING:  # it takes a while to load, and the node draws without it
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

BRIGHTER, DARKER = np.array([0.84, 0.38, 0.30]), np.array([0.26, 0.45, 0.78])  # event colours, RGB
STRONGEST = 0.6  # events stay pale, so that keypoints stand out
LARGE_PX = 800  # of the sensor's width; events of wider ones are drawn three pixels wide
SPARSE = 0.03  # where they are on fewer pixels than this share
NEAR_M, FAR_M = 0.5, 50.0  # of depth_colours(), the same in every picture
COLORMAP = "viridis_r"  # matplotlib's name of the same colours, for depths on a LogNorm
TICKS_M = np.outer(10.0 ** np.arange(-3, 5), (1, 1.5, 2, 3, 5, 7)).ravel()


def event_image(events) -> np.ndarray:
    """An EventArray as (H, W, 3) float RGB on white, stronger where events are more."""
    shape = events.height, events.width
    size = events.height * events.width
    pixel = events.y.astype(np.int64) * events.width + events.x
    counts = [np.bincount(pixel[events.p == p], minlength=size).astype(np.float64) for p in (1, 0)]
    if events.width > LARGE_PX and np.count_nonzero(counts[0] + counts[1]) < SPARSE * size:
        counts = [cv2.dilate(count.reshape(shape), np.ones((3, 3), np.uint8)).ravel() for count in counts]
    total = counts[0] + counts[1]
    enough = np.percentile(total[total > 0], 90) if len(events) else 1.0
    strength = STRONGEST * np.sqrt(np.minimum(total / enough, 1.0))
    share = np.divide(counts[0], total, out=np.zeros(size), where=total > 0)[:, None]
    colour = share * BRIGHTER + (1 - share) * DARKER
    image = 1 - strength[:, None] * (1 - colour)
    return image.reshape(*shape, 3)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image of floats from 0 to 1 as uint8."""
    return np.rint(255 * image).astype(np.uint8)


def depth_colours(depth_m: np.ndarray) -> np.ndarray:
    """Depths (...) m to colours (..., 3) uint8 RGB, the same from FAR_M on; white where there is none."""
    depth_m = np.asarray(depth_m)
    known = np.isfinite(depth_m)
    share = np.log(np.clip(np.where(known, depth_m, FAR_M), NEAR_M, FAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)
    colours = np.full((*depth_m.shape, 3), 255, np.uint8)
    if depth_m.size:
        shades = np.rint(255 * (1 - share)).astype(np.uint8).reshape(-1, 1)
        colours[known] = cv2.applyColorMap(shades, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1].reshape(colours.shape)[known]
    return colours


def new_figure(width_in: float, height_in: float, **options) -> Figure:
    """A figure of that size, inches, that nobody else knows of. options: matplotlib's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path | str, dpi: float | None = None) -> None:
    """Writes the PNG, which is the same whatever matplotlib's version; dpi: None for the figure's own."""
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi or "figure", metadata={"Software": None})


def depth_ticks(low_m: float, high_m: float) -> np.ndarray:
    """Round metres inside a logarithmic scale; its ends where there are none."""
    inside = TICKS_M[(TICKS_M >= low_m) & (TICKS_M <= high_m)]
    return inside if len(inside) >= 2 else np.array([low_m, high_m])


def mark_metres(bar: Colorbar, low_m: float, high_m: float, most: int | None = None, **options) -> None:
    """Round metres beside a logarithmic colour bar, at most so many. options: of their text."""
    from matplotlib.ticker import NullLocator

    ticks = depth_ticks(low_m, high_m)
    ticks = ticks if most is None else ticks[:: -(-len(ticks) // most)]
    bar.set_ticks(ticks, labels=[f"{metres:.3g}" for metres in ticks], **options)
    bar.minorlocator = NullLocator()
