"""The picture of docs/datasets.md: where each category of queries.py draws from.

python -m eventspd_ros.datasets.pictures docs/images/query_categories.png
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from eventspd_ros.datasets.queries import WEIGHTS, Category, LossMap, category_bits, draw_pixels
from eventspd_ros.datasets.sample import Sample, Windowing
from eventspd_ros.datasets.simulated import SimulatedSequence
from eventspd_ros.drawing import new_figure, save_figure
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.scene_file import write_scene

LIDAR_ROWS, LIDAR_RANGE_M = 5, 40.0  # the scanner of the picture: every fifth row, up to 40 m
TITLES = {
    Category.DEPTH: "DEPTH: metric depth",
    Category.PSEUDO: "PSEUDO: pseudo-label, no metric depth",
    Category.EVENTS: "EVENTS: most events around",
    Category.EDGES: "EDGES: depth edges",
    Category.HARD: "HARD: by the loss map",
}


def example_sample(domain: str = "drive", seed: int = 3) -> Sample:
    """A simulated scene whose depth is thinned out like a LiDAR's; the rest of it is the pseudo-label."""
    with tempfile.TemporaryDirectory() as folder:
        config = SetConfig(domains=(domain,), scenes=1, seed=seed, duration_s=0.2)
        ((path, scene),) = config.files(Path(folder)).items()
        sample = SimulatedSequence(write_scene(path, scene, config.preset), Windowing())[-1]
    scanned = np.full_like(sample.depth_m, np.nan)
    scanned[::LIDAR_ROWS] = sample.depth_m[::LIDAR_ROWS]
    scanned[~(scanned <= LIDAR_RANGE_M)] = np.nan
    return replace(sample, depth_m=scanned, pseudo_inverse_depth=100 / sample.depth_m)


def loss_of_the_median(sample: Sample, rng: np.random.Generator, steps: int = 50) -> LossMap:
    """The loss map of a model that answers the median depth everywhere: its loss is |log(depth / median)|."""
    loss_map, bits = LossMap(*sample.depth_m.shape), category_bits(sample)
    log_error = np.abs(np.log(sample.depth_m / np.nanmedian(sample.depth_m)))
    for _ in range(steps):
        uv, _ = draw_pixels(bits, rng, loss_map=loss_map)
        loss_map.update(uv, log_error[uv[:, 1], uv[:, 0]])
    return loss_map


def draw_categories(out: Path) -> None:
    """One panel for the sample, one for each category: its pixels in grey, the draws of K = 2,048 in colour."""
    rng = np.random.default_rng(0)
    sample = example_sample()
    loss_map, bits = loss_of_the_median(sample, rng), category_bits(sample)
    uv, category = draw_pixels(bits, rng, loss_map=loss_map)
    figure = new_figure(11, 6, dpi=75, layout="constrained")
    axes = figure.subplots(2, 3)
    first, *panels = axes.flat
    first.imshow(np.log(1 / sample.pseudo_inverse_depth), cmap="gray")
    v, u = np.nonzero(sample.event_mask)
    first.plot(u, v, ",", color="tab:red")
    first.set_title("depth (light: far) and events of 20 ms", fontsize=10)
    for panel, name in zip(panels, WEIGHTS, strict=True):
        if name == Category.HARD:
            height, width = bits.shape
            shown = np.kron(loss_map.values, np.ones((16, 16)))[:height, :width]
            panel.imshow(shown, cmap="Greys")
        else:
            panel.imshow(bits & (1 << name) > 0, cmap="Greys", vmax=3)
        chosen = uv[category == name]
        panel.plot(chosen[:, 0], chosen[:, 1], ".", markersize=2, color=f"C{int(name)}")
        panel.set_title(f"{TITLES[name]}: {len(chosen)} of {len(uv):,}", fontsize=10)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    save_figure(figure, out)


if __name__ == "__main__":
    draw_categories(Path(sys.argv[1]))
