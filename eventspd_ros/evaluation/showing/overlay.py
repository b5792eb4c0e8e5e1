"""A picture of events with keypoints coloured by depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from eventspd_ros.drawing import COLORMAP, event_image, mark_metres, new_figure, save_figure
from eventspd_ros.events.types import EventArray

IMAGE_WIDTH_PX = 1200  # about; sensor pixels are drawn as squares of whole pixels
MARGIN_PX = {"left": 12, "right": 120, "top": 48, "bottom": 44}
DPI = 100


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
    axes.imshow(event_image(events), interpolation="nearest")
    _mark_failed(axes, uv_px[~ok])
    _mark_depths(figure, axes, bar_axes, uv_px[ok], depth_m[ok])
    save_figure(figure, path, DPI)


def _scale(width: int) -> int:
    return max(1, round(IMAGE_WIDTH_PX / width))


def _frame(width: int, height: int, title: str) -> tuple[Figure, Axes, Axes]:
    """A figure with room for a title above, a legend below and a colour bar at the right."""
    image_w, image_h = _scale(width) * width, _scale(width) * height
    figure_w = MARGIN_PX["left"] + image_w + MARGIN_PX["right"]
    figure_h = MARGIN_PX["bottom"] + image_h + MARGIN_PX["top"]
    figure = new_figure(figure_w / DPI, figure_h / DPI, facecolor="white")

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
        norm = LogNorm(low, high)
        dots = axes.scatter(uv_px[:, 0], uv_px[:, 1], s=85, c=depth_m, norm=norm, cmap=COLORMAP, zorder=3)
        dots.set(edgecolor="black", linewidth=0.9)
        label = f"keypoint, coloured by depth: {len(depth_m)}"
        axes.scatter([], [], s=85, c="white", edgecolor="black", linewidth=0.9, label=label)
        bar = figure.colorbar(dots, cax=bar_axes)
        mark_metres(bar, low, high)
        bar.ax.tick_params(labelsize=13)
        bar.set_label("depth [m]", fontsize=14)
    if axes.get_legend_handles_labels()[0]:
        corner = {"loc": "upper left", "bbox_to_anchor": (0, -0.005), "borderaxespad": 0.3}
        axes.legend(ncols=2, frameon=False, fontsize=13, handletextpad=0.2, **corner)
