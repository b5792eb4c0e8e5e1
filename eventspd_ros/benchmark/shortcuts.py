"""What approximations save and what they change: merged L4 tokens, and a voxel table in half precision.

Depths of a trained model on a simulated scene, exact and approximate, at the same keypoints with their own recurrent
memories. A change is |ln(depth / exact depth)|: 0.01 is one per cent.
"""

from __future__ import annotations

import numpy as np
import torch

from eventspd_ros.benchmark.device_time import wall_ms
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import device_conditions
from eventspd_ros.events.pitch import seen_hw
from eventspd_ros.events.types import EventWindow
from eventspd_ros.events.windows import window_slicer
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.stream import SimulationConfig, simulate_stream

DURATION_S, KEYPOINTS, SHARES = 0.048, 512, (0.25, 0.5, 0.75)


def bench_shortcuts(model: PointDepthModel, sensor_hw: tuple[int, int], repetitions: int = 5) -> dict:
    """Exact, merged by each share, and with a float16 table: encode and L4 in ms, bytes, and the change of depth."""
    windows = scene_windows(model, sensor_hw)
    last = windows[-1]
    drawn = np.random.default_rng(0).integers(len(last), size=KEYPOINTS)
    uv_px = torch.from_numpy(np.stack((last.x[drawn], last.y[drawn]), axis=-1).astype(np.float32))
    if last.pitch is not None:
        uv_px = last.pitch.to_pixels(uv_px)
    variants = {"exact": (0.0, None)} | {f"merged {share:g}": (share, None) for share in SHARES}
    variants["float16 table"] = (0.0, torch.float16)
    found, exact = {}, None
    with torch.inference_mode():
        for name, (share, table_dtype) in variants.items():
            model.merge_tokens = share
            model.drop_tables()
            model.prepare(*sensor_hw, table_dtype)
            state = StreamState()
            for window in windows:
                before = state
                (cache,), (state,) = model.encode([window], [state])
            depth = model.decode(cache, uv_px)[0].double()
            exact = depth if exact is None else exact
            change = (depth / exact).log().abs().cpu().numpy()
            found[name] = {
                "encode_ms": wall_ms(lambda b=before: model.encode(windows[-1:], [b]), model.device, repetitions),
                "l4_ms": _l4_ms(model, windows[-1], before, repetitions),
                "voxel_table_bytes": model.encoder.grids.voxel_table_bytes,
                "change": {"median": float(np.median(change)), "p95": float(np.percentile(change, 95)),
                           "largest": float(change.max())},
            }  # fmt: skip
    model.merge_tokens = 0.0
    return {
        "bench": "shortcuts",
        "preset": model.config.preset,
        "sensor": "{1}x{0}".format(*sensor_hw),
        "events": [len(window) for window in windows],
        "l4_cells": int(np.prod(model.memory_shape(*seen_hw(model.config, *sensor_hw))[1:])),
        "variants": found,
        "repetitions": repetitions,
        **device_conditions(model.device),
        **conditions(torch),
    }


def scene_windows(model: PointDepthModel, sensor_hw: tuple[int, int]) -> list[EventWindow]:
    """The windows of 48 ms in the demo's hall, as a camera of that size would see it."""
    height, width = sensor_hw
    slicer = window_slicer(model.config, height, width, max_events=100_000_000)
    simulation = SimulationConfig(PinholeCamera.centred(width, height), DURATION_S, threads=torch.get_num_threads())
    return [window for chunk in simulate_stream(simulation) for window in slicer.push(chunk.events)]


def _l4_ms(model: PointDepthModel, window: EventWindow, state: StreamState, repetitions: int) -> float:
    """Time of L4's blocks with the planning of the merging, on what the window gives them."""
    memory = state.memory
    seen: list[torch.Tensor] = []
    handle = model.pyramid.downs[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.encode([window], [state])
    handle.remove()
    return wall_ms(lambda: model.pyramid.top(seen[0], memory, model.merge_tokens), model.device, repetitions)
