"""Lenses against OpenCV's, and their inverse against themselves."""

import cv2
import numpy as np
import pytest

from eventspd_ros.lens import FisheyeLens, PolynomialLens

RATIONAL = (0.466, -2.524, 6e-4, -2e-4, 1.466, 0.346, -2.354, 1.397)
LENSES = {
    "barrel": PolynomialLens(np.array([-0.3, 0.08, 2e-3, -1e-3])),
    "pincushion": PolynomialLens(np.array([0.2, 0.05, -1e-3, 2e-3, 0.01])),
    "rational": PolynomialLens(np.array(RATIONAL)),
    "thin prism": PolynomialLens(np.array([*RATIONAL, 4e-3, -1e-3, -3e-3, 2e-3])),
    "tilted": PolynomialLens(np.array([*RATIONAL, 4e-3, -1e-3, -3e-3, 2e-3, 0.05, -0.03])),
    "equidistant": FisheyeLens(np.array([-0.02, 0.01, -0.003, 0.001])),
    "none": PolynomialLens(np.zeros(4)),
}


def rays_of(lens, count=500):
    """On all sides, out to 42 degrees, or nearly to where the lens folds."""
    rng = np.random.default_rng(0)
    turn, length = rng.uniform(-np.pi, np.pi, count), min(0.9, 0.85 * lens.reach) * np.sqrt(rng.uniform(0, 1, count))
    return np.stack([length * np.cos(turn), length * np.sin(turn)], axis=1)


@pytest.mark.parametrize("name", LENSES)
def test_rays_are_bent_as_opencv_bends_them(name):
    lens = LENSES[name]
    rays = np.concatenate([rays_of(lens), [[0, 0]]])
    project = cv2.fisheye.projectPoints if isinstance(lens, FisheyeLens) else cv2.projectPoints
    points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)[:, None]
    expected = project(points, np.zeros(3), np.zeros(3), np.eye(3), lens.d)[0].reshape(-1, 2)
    np.testing.assert_allclose(lens.distort(rays), expected, atol=1e-14)


@pytest.mark.parametrize("name", LENSES)
def test_the_way_back_is_exact(name):
    lens = LENSES[name]
    rays = rays_of(lens)
    bent = lens.distort(rays)
    assert name == "none" or np.abs(bent - rays).max() > 1e-3
    np.testing.assert_allclose(lens.undistort(bent), rays, atol=1e-11)
    np.testing.assert_allclose(lens.distort(lens.undistort(bent)), bent, atol=2e-13)
    assert lens.undistort(np.empty((0, 2))).shape == (0, 2)
    np.testing.assert_array_equal(lens.undistort(np.zeros((1, 2))), np.zeros((1, 2)))


@pytest.mark.parametrize("name", LENSES)
def test_images_of_rays_keep_their_shape(name):
    lens = LENSES[name]
    rays = rays_of(lens, 12)
    for way in (lens.distort, lens.undistort):
        np.testing.assert_allclose(way(rays.reshape(3, 4, 2)).reshape(-1, 2), way(rays), atol=1e-12)


@pytest.mark.parametrize("name", [name for name, lens in LENSES.items() if isinstance(lens, PolynomialLens)])
def test_the_slopes_are_those_of_differences(name):
    lens, step = LENSES[name], 1e-6
    rays = rays_of(lens)
    for axis, move in enumerate(((step, 0), (0, step))):
        expected = (lens.distort(rays + move) - lens.distort(rays - move)) / (2 * step)
        np.testing.assert_allclose(lens._slopes(rays)[:, axis].T, expected, atol=1e-8)


@pytest.mark.parametrize(
    "lens",
    [
        PolynomialLens(np.array([-0.35, 0.0, 0.0, 0.0])),
        PolynomialLens(np.array([-0.3, 0.02, 0.0, 0.0, 0.001])),
        FisheyeLens(np.array([-0.2, 0.0, 0.0, 0.0])),
    ],
)
def test_the_image_grows_up_to_the_reach_and_no_further(lens):
    lengths = lens.reach * np.array([0.99, 0.9999, 1.0001, 1.01])
    radii = lens.distort(np.stack([lengths, np.zeros(4)], axis=1))[:, 0]
    assert radii[0] < radii[1] and radii[2] > radii[3]


def test_a_lens_that_never_folds_reaches_right_angles():
    assert PolynomialLens(np.zeros(4)).reach == FisheyeLens(np.zeros(4)).reach == 1e6
