"""The figure of docs/motion.md, "Without odometry": near and far by how events move, where the network knows neither.

.venv/bin/python docs/images/by_events.py docs/images/by_events.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from eventspd_ros.drawing import event_image, new_figure, save_figure
from eventspd_ros.events.types import EventArray
from eventspd_ros.motion.depth_from_motion import Basis, MotionDepth, Points
from eventspd_ros.motion.flow import Flow, corner_flow
from eventspd_ros.motion.likelihood import SeenScene, UndistortedCamera
from eventspd_ros.motion.slices import EventSlices
from eventspd_ros.motion.trajectory import Motion, Trajectory
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.keypoints import event_corners
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import SimulationConfig, World, before, concatenate, simulate_stream

NOW_NS = 480_000_000
CONFIG = SimulationConfig(duration_s=0.5, seed=1_200_002, domain="jumble")
SAME_M, OWN_STDDEV, SCALE_STDDEV = 10.0, 1.0, 0.5  # what a network says that knows nothing


def answer(camera: PinholeCamera, events: EventArray, uv_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth at points and its standard deviation, m, without poses; and at which of them the events show it."""
    motion = MotionDepth(camera.height, camera.width, Trajectory(), by_events=True)
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    motion.set_lens(SimpleNamespace(k=k, rays=camera.rays))
    motion.add(events.x, events.y, events.p, events.t_ns)
    same, stddev = np.full(len(uv_px), np.log(SAME_M)), np.full(len(uv_px), np.hypot(OWN_STDDEV, SCALE_STDDEV))
    found = motion.answer(Points(uv_px, same, stddev, scale_stddev=SCALE_STDDEV), NOW_NS, NOW_NS)
    return found.depth_m, found.depth_stddev_m, (found.basis & Basis.SHAPE) > 0


def flow_of(camera: PinholeCamera, events: EventArray) -> Flow:
    slices = EventSlices(camera.height, camera.width)
    slices.add(events.x, events.y, events.p, events.t_ns)
    look = slices.look(NOW_NS)
    lens = UndistortedCamera(camera.fx, camera.fy, camera.cx, camera.cy)
    return corner_flow(look, slices, SeenScene.of(look, slices, Motion.still(look.middle_ns.size), lens), NOW_NS)


def draw(path: Path | str) -> None:
    """Writes the PNG."""
    world, camera = World.of(CONFIG), CONFIG.camera
    events = before(concatenate([chunk.events for chunk in simulate_stream(CONFIG, world)]), NOW_NS)
    first = int(np.searchsorted(events.t_ns, NOW_NS - 20_000_000))
    newest = EventArray(*(c[first:] for c in (events.x, events.y, events.p, events.t_ns)), camera.width, camera.height)
    uv_px = event_corners(newest, camera.height, camera.width, 250).astype(np.float64)
    true_m = Renderer(world.scene, camera).depth_at(world.pose(NOW_NS), uv_px, NOW_NS * 1e-9)
    depth_m, stddev_m, shown = answer(camera, events, uv_px)
    flow = flow_of(camera, events)
    figure = new_figure(11, 3.9, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    left.imshow(event_image(newest), interpolation="nearest", alpha=0.6)
    left.quiver(*flow.uv_px.T, *flow.px_s.T, angles="xy", scale_units="xy", scale=8.0, width=0.003, color="#1b1b1b")
    left.set(xticks=[], yticks=[], title=f"flow of {len(flow.uv_px)} corners of the events, times ⅛ s")
    known = shown & np.isfinite(true_m)
    bars = np.abs(depth_m * (np.exp(np.outer([-0.91, 0.91], stddev_m / depth_m)) - 1))
    right.errorbar(
        true_m[known], depth_m[known], bars[:, known], fmt="o", ms=3, color="#1f5fa8", ecolor="#1f5fa850", lw=1
    )
    right.axhline(SAME_M, color="#d1622b", label="what the network says of all")
    ends = np.array([true_m[known].min(), true_m[known].max()])
    scale = np.exp(np.median(np.log(depth_m[known] / true_m[known])))
    right.plot(ends, ends * scale, color="black", ls=":", label=f"truth × {scale:.2f}")
    right.set(xscale="log", yscale="log", xlabel="true depth, m", ylabel="answer and its 68 %, m")
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    right.legend(fontsize=8, frameon=False)
    save_figure(figure, path, 110)


if __name__ == "__main__":
    draw(sys.argv[1])
