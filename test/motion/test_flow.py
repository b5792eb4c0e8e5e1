"""Flow of patterns of events that move as they are made to."""

import numpy as np
import pytest

from eventspd_ros.motion.flow import MIN_NATS, corner_flow, corners
from eventspd_ros.motion.likelihood import SeenScene, UndistortedCamera
from eventspd_ros.motion.slices import EventSlices
from eventspd_ros.motion.trajectory import Motion

pytestmark = pytest.mark.filterwarnings("error")

WIDTH, HEIGHT, MS = 173, 130, 1_000_000
CAMERA = UndistortedCamera(130.0, 130.0, 86.0, 64.5)
END_NS = 400 * MS


def moving(flow_px_s, seed=0, patterns=250):
    """Slices of crosses that move: each fires where it comes to a new pixel. flow_px_s: of places (n, 2)."""
    rng = np.random.default_rng(seed)
    at = rng.uniform((-200, -200), (WIDTH + 200, HEIGHT + 200), (patterns * 8, 2))
    arms = rng.integers(-3, 4, (len(at), 6, 2))
    polarity = rng.integers(0, 2, (len(at), 6))
    slices, last = EventSlices(HEIGHT, WIDTH), None
    for t_ns in range(0, END_NS, MS):
        pixels = np.rint(at[:, None] + arms).astype(np.int64)
        if last is not None:
            inside = (pixels >= 0).all(axis=2) & (pixels[..., 0] < WIDTH) & (pixels[..., 1] < HEIGHT)
            fires = inside & (pixels != last).any(axis=2)
            x, y = pixels[fires].T.astype(np.uint16)
            slices.add(x, y, polarity[fires].astype(np.uint8), np.full(len(x), t_ns))
        last, at = pixels, at + flow_px_s(at) * 1e-3
    slices.advance_to(END_NS)
    return slices


def found(slices):
    look = slices.look(END_NS)
    still = SeenScene.of(look, slices, Motion.still(look.middle_ns.size), CAMERA)
    return corner_flow(look, slices, still, END_NS)


@pytest.mark.parametrize("flow_px_s", [(60.0, 0.0), (-25.0, 40.0), (0.0, -220.0), (20.0, 8.0)])
def test_patterns_that_move_together(flow_px_s):
    flow = found(moving(lambda at: np.array(flow_px_s)))
    off_px = np.linalg.norm(flow.px_s - flow_px_s, axis=1) * flow.span_s
    assert len(off_px) > 60
    assert np.median(off_px) < 0.4
    assert (off_px < 1.5).mean() > 0.9


def test_each_pattern_has_its_own():
    """A picture that grows from its middle; flow is what patterns have moved in the span."""
    middle = np.array([86.0, 64.5])
    flow = found(moving(lambda at: (at - middle) * 0.6))
    mean = (flow.uv_px - middle) * (1 - np.exp(-0.6 * flow.span_s)) / flow.span_s
    off = flow.px_s - mean
    off_px = np.linalg.norm(off, axis=1) * flow.span_s
    assert len(off_px) > 60 and np.median(off_px) < 0.8
    assert np.median(np.einsum("ki,kij,kj->k", off, np.linalg.inv(flow.covariance), off)) < 3


@pytest.mark.parametrize("case", ["silence", "noise"])
def test_where_nothing_moves_nothing_is_found(case):
    slices, rng = EventSlices(HEIGHT, WIDTH), np.random.default_rng(0)
    t_ns = np.sort(rng.integers(0, END_NS, 20_000 if case == "noise" else 2))
    x, y = rng.integers(0, WIDTH, len(t_ns), np.uint16), rng.integers(0, HEIGHT, len(t_ns), np.uint16)
    slices.add(x, y, rng.integers(0, 2, len(t_ns), np.uint8), t_ns)
    slices.advance_to(END_NS)
    assert len(found(slices).uv_px) < 40, f"chance reaches {MIN_NATS} nats now and then"


def test_corners_lie_on_patterns_one_in_a_cell():
    slices = EventSlices(HEIGHT, WIDTH)
    rows, columns = np.mgrid[60:66, 40:46].reshape(2, -1)
    for t_ns in range(0, END_NS, MS):
        slices.add(columns.astype(np.uint16), rows.astype(np.uint16), np.ones(36, np.uint8), np.full(36, t_ns))
    slices.advance_to(END_NS)
    uv_px = corners(slices.look(END_NS), slices)
    assert 1 <= len(uv_px) <= 20
    assert (np.abs(uv_px - (42.5, 62.5)) < 14).all()
