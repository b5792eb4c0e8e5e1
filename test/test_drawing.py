"""Events and depth in colour, and figures that leave no trace."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from eventspd_ros.drawing import (
    COLORMAP,
    FAR_M,
    LARGE_PX,
    NEAR_M,
    as_bytes,
    depth_colours,
    depth_ticks,
    event_image,
    mark_metres,
    new_figure,
    save_figure,
)
from eventspd_ros.events.types import EventArray


def events_at(pixels, polarity, width=120, height=90):
    x, y = np.array(pixels, np.uint16).reshape(-1, 2).T
    p = np.broadcast_to(np.asarray(polarity, np.uint8), x.shape)
    return EventArray(x, y, p, np.arange(len(x), dtype=np.int64), width, height)


def test_an_event_image_mixes_polarities_and_saturates_with_many_events():
    image = event_image(events_at([(1, 1)] * 30 + [(2, 2)] * 30 + [(3, 3)] * 30, [1] * 30 + [0] * 30 + [0, 1] * 15))
    assert image.shape == (90, 120, 3) and (image[0, 0] == 1).all()
    assert image[1, 1, 0] > image[1, 1, 2]
    assert image[2, 2, 2] > image[2, 2, 0]
    np.testing.assert_allclose(image[3, 3], (image[1, 1] + image[2, 2]) / 2)
    assert image.min() >= 0.4
    assert (event_image(events_at([], [])) == 1).all()


@pytest.mark.parametrize(("width", "drawn"), [(LARGE_PX, 1), (LARGE_PX + 1, 9)])
def test_single_events_of_a_large_sensor_are_drawn_three_pixels_wide(width, drawn):
    image = event_image(events_at([(9, 9)], [1], width))
    assert (image < 1).any(axis=2).sum() == drawn


def test_bytes_are_the_nearest_to_the_floats():
    assert as_bytes(np.array([0.0, 0.4 / 255, 0.6 / 255, 1.0])).tolist() == [0, 0, 1, 255]


def test_depths_have_the_colours_of_matplotlib_on_a_logarithmic_scale():
    depth_m = np.geomspace(NEAR_M, FAR_M, 12).reshape(3, 4)
    share = np.log(depth_m / NEAR_M) / np.log(FAR_M / NEAR_M)
    expected = 255 * colormaps[COLORMAP](share)[..., :3]
    assert np.abs(depth_colours(depth_m) - expected).max() < 4
    beyond = depth_colours(np.array([0.0, NEAR_M, FAR_M, 1e9]))
    assert (beyond[0] == beyond[1]).all() and (beyond[2] == beyond[3]).all()
    assert beyond[0].sum() > beyond[2].sum(), "near is light, far is dark"


def test_where_there_is_no_depth_there_is_white():
    colours = depth_colours(np.array([[1.0, np.nan], [np.inf, 2.0]], np.float32))
    assert (colours == 255).all(axis=2).tolist() == [[False, True], [True, False]]
    assert depth_colours(np.empty(0)).shape == (0, 3)


def test_ticks_are_round_metres_inside_the_scale():
    assert depth_ticks(0.9, 8.0).tolist() == [1, 1.5, 2, 3, 5, 7]
    assert depth_ticks(2.1, 2.2).tolist() == [2.1, 2.2]


def test_a_bar_has_at_most_so_many_metres_beside_it():
    figure = new_figure(4, 3)
    axes = figure.subplots()
    bar = figure.colorbar(axes.imshow(np.array([[1.0, 90.0]]), norm="log"))
    mark_metres(bar, 1.0, 90.0)
    assert [text.get_text() for text in bar.ax.get_yticklabels()][:4] == ["1", "1.5", "2", "3"]
    mark_metres(bar, 1.0, 90.0, 4, fontsize=9)
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == ["1", "3", "10", "30"]
    assert len(bar.ax.yaxis.get_minor_ticks()) == 0


def test_a_figure_is_saved_at_its_own_resolution_or_another(tmp_path):
    figure = new_figure(2, 1, dpi=50)
    for dpi, shape in ((None, (50, 100)), (100, (100, 200))):
        save_figure(figure, tmp_path / "a.png", dpi)
        assert cv2.imread(str(tmp_path / "a.png")).shape[:2] == shape
    assert b"atplotlib" not in (tmp_path / "a.png").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_drawing_touches_neither_pyplot_nor_without_a_figure_matplotlib():
    code = (
        "import sys, numpy, eventspd_ros.drawing as drawing; drawing.depth_colours(numpy.ones(3));"
        "assert 'matplotlib' not in sys.modules; drawing.new_figure(1, 1);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
