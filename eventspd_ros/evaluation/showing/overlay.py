"""A picture of events with keypoints coloured by depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from eventspd_ros.events.types import EventArray
from eventspd_ros.whole import whole_file

IMAGE_WIDTH_PX = 1200  # about; sensor pixels are drawn as squares of whole pixels
MARGIN_PX = {"left": 12, "right": 120, "top": 48, "bottom": 44}
DPI = 100
BRIGHTER, DARKER = np.array([0.84, 0.38, 0.30]), np.array([0.26, 0.45, 0.78])  # event colours, RGB
STRONGEST = 0.6  # events stay pale, so that the keypoints stand out
SPARSE = 0.03  # with events on fewer pixels than this share, those of a large sensor are drawn three pixels wide
COLORMAP = "viridis"  # near is yellow, far is dark
TICKS_M = np.outer(10.0 ** np.arange(-3, 5), (1, 1.5, 2, 3, 5, 7)).ravel()


def draw_overlay(
    events: EventArray,
    uv_px: np.ndarray,
    depth_m: np.ndarray,
    status_ok: np.ndarray,
    path: Path | str,
    title: str = "",
) -> None:
    """Writes a PNG about 1200 px wide, or a little wider than the sensor if that is more.

    events: those of one window. uv_px: (K, 2) px; depth_m: (K,) m; status_ok: (K,) bool, where depth_m holds; the
    other keypoints are grey crosses. Colours are logarithmic in depth. Raises ValueError for unequal lengths.
    """
    uv_px, depth_m, ok = np.asarray(uv_px).reshape(-1, 2), np.asarray(depth_m), np.asarray(status_ok, bool)
    if not len(uv_px) == len(depth_m) == len(ok):
        raise ValueError(f"{len(uv_px)} keypoints, {len(depth_m)} depths, {len(ok)} states: must be equally many")
    ok = ok & np.isfinite(depth_m) & (depth_m > 0)
    figure, axes, bar_axes = _frame(events.width, events.height, title)
    axes.imshow(event_image(events), interpolation="nearest", extent=_extent(events.width, events.height))
    _mark_failed(axes, uv_px[~ok])
    _mark_depths(figure, axes, bar_axes, uv_px[ok], depth_m[ok])
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI)


def event_image(events: EventArray) -> np.ndarray:
    """(H, W, 3) float RGB on white: red where brighter, blue where darker, stronger where events are more."""
    size = events.height * events.width
    pixel = events.y.astype(np.int64) * events.width + events.x
    counts = [np.bincount(pixel[events.p == p], minlength=size).astype(np.float64) for p in (1, 0)]
    if _scale(events.width) == 1 and np.count_nonzero(counts[0] + counts[1]) < SPARSE * size:
        shape, dot = (events.height, events.width), np.ones((3, 3), np.uint8)
        counts = [cv2.dilate(count.reshape(shape), dot).ravel() for count in counts]
    total = counts[0] + counts[1]
    enough = np.percentile(total[total > 0], 90) if len(events) else 1.0
    strength = STRONGEST * np.sqrt(np.minimum(total / enough, 1.0))
    share = np.divide(counts[0], total, out=np.zeros(size), where=total > 0)[:, None]
    colour = share * BRIGHTER + (1 - share) * DARKER
    image = 1 - strength[:, None] * (1 - colour)
    return image.reshape(events.height, events.width, 3)


def _extent(width: int, height: int) -> tuple[float, float, float, float]:
    return -0.5, width - 0.5, height - 0.5, -0.5  # pixel (0, 0) is the centre of the top-left pixel


def _scale(width: int) -> int:
    return max(1, round(IMAGE_WIDTH_PX / width))


def _frame(width: int, height: int, title: str) -> tuple[Figure, Axes, Axes]:
    """A figure with room for a title above, a legend below and a colour bar at the right."""
    image_w, image_h = _scale(width) * width, _scale(width) * height
    figure_w = MARGIN_PX["left"] + image_w + MARGIN_PX["right"]
    figure_h = MARGIN_PX["bottom"] + image_h + MARGIN_PX["top"]
    figure = Figure(figsize=(figure_w / DPI, figure_h / DPI), facecolor="white")
    FigureCanvasAgg(figure)

    def place(left: int, wide: int) -> Axes:
        low = MARGIN_PX["bottom"] / figure_h
        return figure.add_axes([left / figure_w, low, wide / figure_w, image_h / figure_h])

    axes, bar_axes = place(MARGIN_PX["left"], image_w), place(MARGIN_PX["left"] + image_w + 20, 22)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    title_at = MARGIN_PX["left"] / figure_w, 1 - 0.5 * MARGIN_PX["top"] / figure_h
    figure.text(*title_at, title, ha="left", va="center", fontsize=14)
    return figure, axes, bar_axes


def _mark_failed(axes: Axes, uv_px: np.ndarray) -> None:
    if len(uv_px):
        label = f"no depth (status not OK): {len(uv_px)}"
        axes.scatter(uv_px[:, 0], uv_px[:, 1], s=55, c="0.35", marker="x", linewidths=1.8, zorder=2, label=label)


def _mark_depths(figure: Figure, axes: Axes, bar_axes: Axes, uv_px: np.ndarray, depth_m: np.ndarray) -> None:
    if len(depth_m) == 0:
        bar_axes.set_visible(False)
    else:
        # Depths that are nearly one would fill a colour bar with noise.
        low, high = depth_m.min() / 1.25, depth_m.max() * 1.25
        norm, colormap = LogNorm(low, high), colormaps[COLORMAP].reversed()
        dots = axes.scatter(uv_px[:, 0], uv_px[:, 1], s=85, c=depth_m, norm=norm, cmap=colormap, zorder=3)
        dots.set(edgecolor="black", linewidth=0.9)
        label = f"keypoint, coloured by depth: {len(depth_m)}"
        axes.scatter([], [], s=85, c="white", edgecolor="black", linewidth=0.9, label=label)
        _depth_bar(figure, dots, bar_axes, low, high)
    if axes.get_legend_handles_labels()[0]:
        corner = {"loc": "upper left", "bbox_to_anchor": (0, -0.005), "borderaxespad": 0.3}
        axes.legend(ncols=2, frameon=False, fontsize=13, handletextpad=0.2, **corner)


def depth_ticks(low_m: float, high_m: float) -> np.ndarray:
    """Round metres inside a logarithmic scale; its ends where there are none."""
    inside = TICKS_M[(TICKS_M >= low_m) & (TICKS_M <= high_m)]
    return inside if len(inside) >= 2 else np.array([low_m, high_m])


def _depth_bar(figure: Figure, dots, bar_axes: Axes, low: float, high: float) -> None:
    ticks = depth_ticks(low, high)
    bar = figure.colorbar(dots, cax=bar_axes)
    bar.set_ticks(ticks, labels=[f"{metres:.3g}" for metres in ticks])
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=13)
    bar.set_label("depth [m]", fontsize=14)
