"""The picture a run leaves every so often: what the model sees, says and should say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eventspd_ros.datasets.feed import Batch
from eventspd_ros.drawing import COLORMAP, new_figure, save_figure

SHOWN = 4
STEP_PX = 4  # the dense panel asks at every fourth pixel


def draw_answers(batch: Batch, answers: np.ndarray, seen: str, path: Path) -> None:
    """One row for each of the first samples: events of the last window, true depth, depth answered at a grid of
    pixels, and its error. Colours span each row's true depths, on a log scale. answers: of grid_answers(); seen: the
    model's input, "events" or "image"."""
    from matplotlib.colors import LogNorm

    rows = min(SHOWN, len(batch.names))
    figure = new_figure(13, 2.6 * rows, dpi=75, layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for index, panels in enumerate(axes):
        truth = batch.depth_m[index].numpy()
        known = truth[np.isfinite(truth)]
        norm = LogNorm(*np.percentile(known, (1, 99))) if len(known) else None
        panels[0].imshow((batch.event_mask if seen == "events" else batch.image)[index].numpy(), cmap="Greys")
        panels[0].set_title(batch.names[index], fontsize=9)
        panels[1].imshow(truth, cmap=COLORMAP, norm=norm)
        panels[1].set_title("true depth", fontsize=9)
        shown = panels[2].imshow(answers[index], cmap=COLORMAP, norm=norm)
        panels[2].set_title(f"answered at every {STEP_PX}th pixel", fontsize=9)
        figure.colorbar(shown, ax=panels[2], shrink=0.8)
        error = np.log(answers[index] / truth[::STEP_PX, ::STEP_PX][: len(answers[index]), : answers[index].shape[1]])
        shown = panels[3].imshow(error, cmap="RdBu", vmin=-1, vmax=1)
        panels[3].set_title(f"log error, mean size {np.nanmean(np.abs(error)):.2f}", fontsize=9)
        figure.colorbar(shown, ax=panels[3], shrink=0.8)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    save_figure(figure, path)


def draw_prediction(context: np.ndarray, future: np.ndarray, predicted: np.ndarray, path: Path) -> None:
    """Pretraining, a row a window, shares of 1 ms bins with an event by pixel, each (B, H, W)."""
    rows = min(SHOWN, len(context))
    figure = new_figure(10, 2.6 * rows, dpi=75, layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False)
    for panels, *shares in zip(axes, context, future, predicted, strict=False):
        for panel, share, title in zip(panels, shares, ("context", "future", "predicted future"), strict=True):
            panel.imshow(share, cmap="Greys", vmin=0, vmax=max(float(np.max(shares[1])), 1e-6))
            panel.set_title(title, fontsize=9)
            panel.set_xticks([])
            panel.set_yticks([])
    save_figure(figure, path)


def grid_answers(task, batch: Batch) -> np.ndarray:
    """Metric depth at every STEP_PX-th pixel, (B, ⌈H/STEP⌉, ⌈W/STEP⌉)."""
    height, width = batch.depth_m.shape[1:]
    v, u = torch.meshgrid(torch.arange(0, height, STEP_PX), torch.arange(0, width, STEP_PX), indexing="ij")
    uv = torch.stack((u, v), dim=-1).flatten(0, 1).float().to(task.model.device)
    canonical, _ = task.model.phase_b(task.unroll(batch), uv.expand(len(batch.names), -1, -1))
    return (canonical.cpu() * batch.metric_per_canonical[:, None]).unflatten(1, u.shape).float().numpy()
