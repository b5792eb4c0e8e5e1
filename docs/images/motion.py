"""The figure of docs/motion.md: what the events of a simulated street say about one keypoint's depth.

.venv/bin/python docs/images/motion.py docs/images/motion.png
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.drawing import event_image, new_figure, save_figure
from eventspd_ros.events.types import EventArray
from eventspd_ros.motion.fusion import posterior
from eventspd_ros.motion.likelihood import BINS, Likelihoods, SeenScene, UndistortedCamera, depth_likelihoods
from eventspd_ros.motion.slices import LEVELS, MARGIN, EventSlices, Look
from eventspd_ros.motion.trajectory import Motion, StampedPose, Trajectory
from eventspd_ros.simulation.keypoints import event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import SimulationConfig, World, before, concatenate, simulate_stream

DURATION_S, SEED, DOMAIN = 0.5, 1_200_001, "drive"
NOW_NS = 480_000_000
LEARNED_ERROR, LEARNED_STDDEV = 0.35, 0.35  # the prior is drawn off by one of its own standard deviations
PATCH_PX = 9


@dataclass(frozen=True)
class View:
    """A camera on its way at NOW_NS."""

    events: EventArray
    slices: EventSlices
    look: Look
    motion: Motion
    camera: UndistortedCamera
    renderer: Renderer
    world: World


def simulate() -> View:
    """The street, its events as slices, and the motion to them."""
    config = SimulationConfig(duration_s=DURATION_S, seed=SEED, domain=DOMAIN)
    world, lens = World.of(config), config.camera
    events = before(concatenate([chunk.events for chunk in simulate_stream(config, world)]), NOW_NS)
    slices = EventSlices(lens.height, lens.width)
    slices.add(events.x, events.y, events.p, events.t_ns)
    look = slices.look(NOW_NS)
    trajectory = Trajectory()
    for t_ns in range(0, NOW_NS + 1, 5_000_000):
        pose = world.pose(t_ns)
        trajectory.add(StampedPose(t_ns, pose.position_W, rotations.from_matrix(pose.rotation_WC)))
    motion = trajectory.relative(NOW_NS, look.middle_ns.ravel())
    camera = UndistortedCamera(lens.fx, lens.fy, lens.cx, lens.cy)
    return View(events, slices, look, motion, camera, Renderer(world.scene, lens), world)


def places(view: View, level: int, uv_px: np.ndarray, depth_m: float) -> np.ndarray:
    """Where a point of that depth was in each slice of a level, (8, 2) px."""
    ray = np.append(view.camera.rays(uv_px), 1.0)
    shape = (LEVELS, -1)
    rotation = view.motion.rotation.reshape(*shape, 3, 3)[level]
    points = rotation @ ray * depth_m + view.motion.translation_m.reshape(*shape, 3)[level]
    focal, middle = (view.camera.fx, view.camera.fy), (view.camera.cx, view.camera.cy)
    return points[:, :2] / points[:, 2:] * focal + middle


def stacked(view: View, level: int, uv_px: np.ndarray, depth_m: float) -> np.ndarray:
    """The mean of the slices' patches along the path that a depth implies."""
    total = np.zeros((2 * PATCH_PX + 1,) * 2)
    for at, (u, v) in zip(view.look.full_at[level].tolist(), places(view, level, uv_px, depth_m), strict=True):
        size = (view.slices.height + 2 * MARGIN) * view.slices.stride
        image = view.look.full[at : at + size].reshape(-1, view.slices.stride)
        column, row = np.rint((u, v)).astype(int) + MARGIN
        total += image[row - PATCH_PX : row + PATCH_PX + 1, column - PATCH_PX : column + PATCH_PX + 1]
    return total / 8


def choose(view: View) -> tuple[np.ndarray, float, Likelihoods]:
    """A corner in the middle of the picture with a sharp likelihood: its place, true depth and likelihood."""
    height, width = view.slices.height, view.slices.width
    uv = np.rint(event_corners(before_window(view), height, width, 150)).astype(np.float64)
    uv = uv[(np.abs(uv - (width / 2, height / 2)) < (width / 3, height / 3)).all(axis=1)]
    true_m = view.renderer.depth_at(view.world.pose(NOW_NS), uv, NOW_NS * 1e-9)
    prior = np.log(true_m) + LEARNED_ERROR, np.full(len(uv), LEARNED_STDDEV)
    rays = view.camera.rays(uv)
    errors_px = np.full(len(uv), 0.1), np.zeros(len(uv))
    found = depth_likelihoods(SeenScene.of(view.look, view.slices, view.motion, view.camera), rays, prior, errors_px)
    good = (np.abs(found.peak - np.log(true_m)) < 0.05) & (found.parallax_px > 2) & (found.parallax_px < 5)
    best = int(np.argmax(np.where(good, found.strength, -1)))
    one = slice(best, best + 1)
    return uv[best], float(true_m[best]), found.of(one)


def before_window(view: View) -> EventArray:
    """The events of the last 20 ms."""
    e, first = view.events, int(np.searchsorted(view.events.t_ns, NOW_NS - 20_000_000))
    return EventArray(e.x[first:], e.y[first:], e.p[first:], e.t_ns[first:], e.width, e.height)


def draw(view: View, path: Path | str) -> None:
    """Writes the PNG."""
    uv, true_m, found = choose(view)
    level = int(found.level[0])
    figure = new_figure(11, 3.6, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    axes = left.subplots()
    axes.imshow(event_image(before_window(view)), interpolation="nearest")
    axes.plot(*uv, "o", mfc="none", mec="black", ms=11)
    axes.set(xticks=[], yticks=[], title="events of 20 ms, and a keypoint")
    upper, lower = right.subfigures(2, 1, height_ratios=(1.0, 1.25))
    depths = true_m * 0.75, true_m, true_m * 1.35
    for panel, depth_m, name in zip(upper.subplots(1, 3), depths, ("too near", "right", "too far"), strict=True):
        patch = stacked(view, level, uv, depth_m)
        panel.imshow(patch, cmap="RdBu_r", vmin=-4, vmax=4)
        panel.set(xticks=[], yticks=[])
        panel.set_title(f"8 slices stacked\nat {depth_m:.1f} m: {name}", fontsize=9)
    axes = lower.subplots()
    z = np.linspace(np.log(true_m) - 0.7, np.log(true_m) + 1.2, 600)
    bins = found.low[0] + (np.arange(BINS) + 0.5) * found.width[0]
    mean = np.log(true_m) + LEARNED_ERROR
    prior = (1 + ((z - mean) / LEARNED_STDDEV * np.sqrt(2)) ** 2 / 4) ** -2.5
    likelihood = np.exp(found.log_density[0] - found.log_density[0].max())
    axes.plot(np.exp(z), prior, color="#5b6770", label="learned depth (prior)")
    axes.plot(np.exp(bins), likelihood, color="#d1622b", label="events under known motion")
    median, stddev, _ = posterior(found, np.array([mean]), np.array([LEARNED_STDDEV]), np.array([0.1]))
    axes.axvspan(
        *np.exp(median[0] + np.array([-0.91, 0.91]) * stddev[0]), color="#1f5fa8", alpha=0.3, label="answer, 68 %"
    )
    axes.axvline(true_m, color="black", ls=":", label="truth")
    axes.set(xlabel="depth, m", yticks=[], xlim=np.exp(z[[0, -1]]))
    axes.legend(fontsize=8, frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    save_figure(figure, path, 110)


if __name__ == "__main__":
    draw(simulate(), sys.argv[1])
