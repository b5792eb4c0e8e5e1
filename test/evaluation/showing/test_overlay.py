"""The picture of events and keypoints."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from eventspd_ros.drawing import COLORMAP
from eventspd_ros.evaluation.showing.overlay import MARGIN_PX, draw_overlay
from eventspd_ros.events.types import EventArray, EventWindow

W, H = 120, 90
SCALE = 10  # 1200 / 120


def events_at(pixels, polarity, width=W, height=H):
    x, y = np.array(pixels, np.uint16).reshape(-1, 2).T
    p = np.broadcast_to(np.asarray(polarity, np.uint8), x.shape)
    return EventArray(x, y, p, np.arange(len(x), dtype=np.int64), width, height)


def drawn(tmp_path, events, uv, depth, ok, title=""):
    """The PNG as RGB and the place of a sensor pixel's centre in it."""
    path = tmp_path / "overlay.png"
    draw_overlay(events, np.array(uv, np.float32), np.array(depth, np.float32), np.array(ok), path, title)
    picture = cv2.imread(str(path))[:, :, ::-1]

    def at(u, v, scale=SCALE):
        return picture[round(MARGIN_PX["top"] + (v + 0.5) * scale), round(MARGIN_PX["left"] + (u + 0.5) * scale)]

    return picture, at


def test_events_are_red_where_brighter_and_blue_where_darker_at_their_own_pixels(tmp_path):
    events = events_at([(10, 20), (30, 40), (30, 40), (0, 0), (119, 89)], [1, 0, 0, 1, 0])
    picture, at = drawn(tmp_path, events, [], [], [])
    assert picture.shape[:2] == (H * SCALE + 48 + 44, W * SCALE + 12 + 120)
    for u, v, strongest in ((10, 20, 0), (30, 40, 2)):
        assert at(u, v).argmax() == strongest
        assert np.ptp(at(u, v).astype(int)) > 40
        for du, dv in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            assert (at(u + du, v + dv) == 255).all()
    assert at(0, 0).argmax() == 0
    assert at(119, 89).argmax() == 2


def test_keypoints_have_the_colour_of_their_depth_on_a_logarithmic_scale(tmp_path):
    _, at = drawn(tmp_path, events_at([], []), [[20, 20], [60, 40], [100, 70]], [1.0, 4.0, 16.0], [True] * 3)
    span = np.log(16 * 1.25) - np.log(1 / 1.25)
    colormap = colormaps[COLORMAP]
    for uv, depth in (((20, 20), 1.0), ((60, 40), 4.0), ((100, 70), 16.0)):
        expected = colormap((np.log(depth) - np.log(1 / 1.25)) / span)[:3]
        np.testing.assert_allclose(at(*uv) / 255, expected, atol=0.03)


def test_points_that_are_not_ok_or_have_no_depth_are_grey_crosses(tmp_path):
    uv, depth = [[20, 20], [60, 40], [100, 70], [20, 70]], [1.0, np.nan, np.inf, 2.0]
    _, at = drawn(tmp_path, events_at([], []), uv, depth, [True, True, True, False])
    for u, v in uv[1:]:
        assert np.ptp(at(u, v).astype(int)) < 8
        assert at(u, v).max() < 140
    assert np.ptp(at(20, 20).astype(int)) > 60


def test_without_any_depth_there_is_no_colour_bar(tmp_path):
    bar = slice(None), slice(W * SCALE + 12 + 15, None)
    with_depth, _ = drawn(tmp_path, events_at([], []), [[20, 20]], [3.0], [True])
    assert (with_depth[bar] < 250).any()
    without, _ = drawn(tmp_path, events_at([], []), [[20, 20]], [np.nan], [False])
    assert (without[bar] == 255).all()


@pytest.mark.parametrize(("width", "height", "picture_w"), [(346, 260, 1170), (640, 480, 1412), (1280, 720, 1412)])
def test_every_sensor_gets_whole_pixels_and_a_readable_size(tmp_path, width, height, picture_w):
    events = events_at([(5, 5), (width - 4, height - 4)], [1, 0], width, height)
    picture, at = drawn(tmp_path, events, [[width / 2, height / 2]], [2.0], [True], "a title")
    assert picture.shape[1] == picture_w
    scale = (picture_w - 132) // width
    assert at(5, 5, scale).argmax() == 0
    assert at(width - 4, height - 4, scale).argmax() == 2
    assert (picture[: MARGIN_PX["top"] - 4] < 128).any()


def test_windows_are_drawn_as_well_as_arrays(tmp_path):
    events = events_at([(10, 20)], [1])
    window = EventWindow(events.x, events.y, events.p, events.t_ns, W, H, 0, 20_000_000)
    one, _ = drawn(tmp_path, events, [[5, 5]], [1.0], [True])
    two, _ = drawn(tmp_path, window, [[5, 5]], [1.0], [True])
    np.testing.assert_array_equal(one, two)


def test_unequal_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 keypoints, 1 depths, 2 states"):
        draw_overlay(events_at([], []), np.zeros((2, 2)), np.ones(1), np.ones(2, bool), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_drawing_leaves_pyplot_and_its_global_state_alone():
    code = "import sys, eventspd_ros.evaluation.showing.overlay; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
