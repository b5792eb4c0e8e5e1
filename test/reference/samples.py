"""Samples made by hand, for tests of what happens to samples."""

import numpy as np

from eventspd_ros.datasets.sample import Intrinsics, Sample, Windowing
from eventspd_ros.events.types import EventArray


def make_sample(seed=0, height=48, width=64, events=3000, windows=3, known=0.6, pseudo=True, distorted=True):
    """Random events over the windows, depth known for a share of the pixels, a pseudo-label with holes, an image."""
    rng = np.random.default_rng(seed)
    t_ns = 10**9
    bounds = Windowing(windows).bounds_ns(t_ns)
    times = np.sort(rng.integers(bounds[0, 0], t_ns, events))
    columns = (rng.integers(0, width, events), rng.integers(0, height, events), rng.integers(0, 2, events))
    x, y, p = (column.astype(kind) for column, kind in zip(columns, (np.uint16, np.uint16, np.uint8), strict=True))
    depth = np.exp(rng.uniform(0, 4, (height, width))).astype(np.float32)
    depth[rng.random(depth.shape) >= known] = np.nan
    relative = rng.uniform(1, 1000, (height, width)).astype(np.float32)
    relative[rng.random(depth.shape) < 0.1] = np.nan
    model = ((-0.2, 0.05, 0.003, -0.004), "radtan") if distorted else ((), "none")
    camera = Intrinsics(width, height, 50.0, 52.0, 30.5, 22.0, *model)
    array = EventArray(x, y, p, times, width, height)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Sample(array, bounds, depth, camera, "test", "hand", seed, t_ns, relative if pseudo else None, image)


def assert_same(one: Sample, other: Sample):
    """Every field of two samples is equal."""
    assert one.intrinsics == other.intrinsics and (one.name, one.t_ns) == (other.name, other.t_ns)
    np.testing.assert_array_equal(one.window_bounds_ns, other.window_bounds_ns)
    np.testing.assert_array_equal(one.depth_m, other.depth_m)
    for name in ("pseudo_inverse_depth", "image"):
        if getattr(one, name) is None:
            assert getattr(other, name) is None
        else:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    for name in ("x", "y", "p", "t_ns"):
        np.testing.assert_array_equal(getattr(one.events, name), getattr(other.events, name), name)
        assert getattr(one.events, name).dtype == getattr(other.events, name).dtype, name
    assert (one.events.width, one.events.height) == (other.events.width, other.events.height)
