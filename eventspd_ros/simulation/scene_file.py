"""One simulated scene as an HDF5 file for training: events, exact depth, poses, intrinsics, and images where asked for.

Layout: docs/simulation.md.

Like DSEC's: events/{x, y, t, p}, ms_to_idx, t_offset. Depth is coded as its logarithm in uint16.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_US
from eventspd_ros.simulation.event_sensor import TICK_NS
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import CHUNK_NS, SimulationConfig, World, concatenate, simulate_stream
from eventspd_ros.whole import whole_file

FORMAT, FORMAT_VERSION = "eventspd-simulated", 1
NEAR_M, FAR_M, STEPS_PER_LOG = 0.1, 200.0, 1024.0
EVENTS_PER_CHUNK = 32_768
LABEL_PERIOD_US = 8333  # a label at the end of every window of a stream that closes windows every 8.333 ms


def encode_depth(depth_m: np.ndarray) -> np.ndarray:
    """Depth in m → uint16 codes: 1 + round(ln(depth / 0.1 m) · 1024), 0 for NaN and outside 0.1 … 200 m.

    The rounding is at most half a step of 1/1024, 0.049 %.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        code = 1 + np.rint(np.log(depth_m / NEAR_M) * STEPS_PER_LOG)
        return np.where((depth_m >= NEAR_M) & (depth_m <= FAR_M), code, 0).astype(np.uint16)


def decode_depth(code: np.ndarray, near_m: float = NEAR_M, steps_per_log: float = STEPS_PER_LOG) -> np.ndarray:
    """uint16 codes → depth float32 m, NaN where the code is 0."""
    depth_m = near_m * np.exp((code.astype(np.float32) - 1) / np.float32(steps_per_log))
    return np.where(code > 0, depth_m, np.nan).astype(np.float32)


def write_scene(
    path: Path | str,
    config: SimulationConfig,
    preset: str = "",
    label_period_us: int = LABEL_PERIOD_US,
    world: World | None = None,
    progress: Callable[[int], object] | None = None,
    images: bool = False,
) -> Path:
    """Simulates a scene into a file that appears under its name only when it is whole; returns the path.

    preset: the sensor's name, written down. progress: called with the number of 4 ms chunks done since the last call.
    images: with the picture of a camera beside every depth map. ValueError if the file exists.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path}: exists already; remove it or name another file")
    if label_period_us < 1:
        raise ValueError(f"label_period_us {label_period_us}: must be at least 1")
    world = world or World.of(config)
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        _write_head(file, config, preset, label_period_us)
        _write_labels(file, config, world, label_period_us, images)
        _write_events(file, config, world, progress or (lambda chunks: None))
    return path


def _write_head(file: h5py.File, config: SimulationConfig, preset: str, label_period_us: int) -> None:
    camera = config.camera
    file.attrs.update(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        domain=config.domain,
        preset=preset,
        seed=config.seed,
        duration_us=config.chunks * CHUNK_NS // NS_PER_US,
        label_period_us=label_period_us,
        scale=config.how.scale or 1.0,
        sensor=json.dumps(asdict(config.sensor)),
        variety=json.dumps(asdict(config.how)),
    )
    calib = file.create_group("calib")
    calib.attrs["distortion_model"] = "radtan"
    calib["resolution"] = np.array([camera.width, camera.height], np.int64)
    calib["intrinsics"] = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    calib["distortion_coeffs"] = np.array(camera.distortion, np.float64)


def _write_labels(file: h5py.File, config: SimulationConfig, world: World, label_period_us: int, images: bool) -> None:
    renderer = Renderer(world.scene, config.camera)
    times_us = np.arange(label_period_us, config.chunks * CHUNK_NS // NS_PER_US + 1, label_period_us, dtype=np.int64)
    depth = file.create_group("depth")
    depth.attrs.update(near_m=NEAR_M, far_m=FAR_M, steps_per_log=STEPS_PER_LOG)
    depth["t"] = times_us
    shape = (len(times_us), config.camera.height, config.camera.width)
    code = _create_maps(depth, "code", shape, np.uint16)
    moving = _create_maps(depth, "moving", shape, np.uint8)
    grey = _create_maps(file, "image/grey", shape, np.uint8) if images else None
    poses = [world.pose(t_us * NS_PER_US) for t_us in times_us.tolist()]
    for k, (t_us, pose) in enumerate(zip(times_us.tolist(), poses, strict=True)):
        depth_m, moving[k] = renderer.depth_and_moving(pose, t_us / 1e6)
        code[k] = encode_depth(depth_m)
        if images:
            grey[k] = renderer.render(pose, t_us / 1e6).grey
    file["pose/T_WC"] = np.array([pose.matrix for pose in poses]).reshape(-1, 4, 4)


def _create_maps(group: h5py.Group, name: str, shape: tuple[int, int, int], dtype: type) -> h5py.Dataset:
    """An empty dataset of N maps, a chunk each."""
    shuffle = hdf5plugin.Blosc.NOSHUFFLE if dtype is np.uint8 else hdf5plugin.Blosc.BITSHUFFLE  # each the smaller
    packed = {"chunks": (1, *shape[1:]), **_packed(shuffle)} if shape[0] else {}
    return group.create_dataset(name, shape, dtype, **packed)


def _write_events(file: h5py.File, config: SimulationConfig, world: World, progress: Callable[[int], object]) -> None:
    parts = []
    for chunk in simulate_stream(config, world):
        parts.append(chunk.events)
        progress(1)
    events = concatenate(parts)
    t_us = events.t_ns // TICK_NS
    columns = {"x": (events.x, "u2"), "y": (events.y, "u2"), "t": (t_us, "u4"), "p": (events.p, "u1")}
    for name, (values, dtype) in columns.items():
        packed = _packed(hdf5plugin.Blosc.SHUFFLE)
        chunks = (min(EVENTS_PER_CHUNK, max(len(values), 1)),)
        file.create_dataset(f"events/{name}", data=values.astype(dtype), chunks=chunks, maxshape=(None,), **packed)
    milliseconds = -(-config.chunks * CHUNK_NS // NS_PER_MS)
    file["ms_to_idx"] = np.searchsorted(t_us, np.arange(milliseconds + 1) * 1000).astype(np.uint64)
    file["t_offset"] = np.int64(0)


def _packed(shuffle: int) -> dict:
    return dict(hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=shuffle))
