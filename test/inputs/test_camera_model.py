"""camera_info's lens against OpenCV's own projection, there and back, for every model."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo

from eventspd_ros.inputs.camera_model import CameraModel

W, H, F = 640, 480, 420.0
K = np.array([[F, 0, 323.5], [0, 1.01 * F, 234.0], [0, 0, 1]])
R = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]
P = np.array([[0.9 * F, 0, 310.0, -40.0], [0, 0.9 * F, 240.0, 0], [0, 0, 1, 0]])
LENSES = {
    "barrel": ("plumb_bob", [-0.35, 0.15, 1e-3, -2e-3, 0.02]),
    "pincushion": ("plumb_bob", [0.2, -0.1, 0.0, 0.0, 0.0]),
    "four": ("plumb_bob", [-0.3, 0.1, 1e-3, 1e-3]),
    "rational": ("rational_polynomial", [0.466, -2.524, 6e-4, -2e-4, 1.466, 0.346, -2.354, 1.397]),
    "thin prism": ("rational_polynomial", [5.8, 3.2, 1e-4, -2e-4, 0.16, 6.1, 5.0, 0.85, 1e-4, 0.0, -1e-4, 0.0]),
    "equidistant": ("equidistant", [-0.02, 0.01, -0.003, 0.001]),
    "fisheye": ("fisheye", [0.03, -0.004, 0.001, -0.0002]),
    "none": ("", []),
}


def info(model="plumb_bob", d=(0.0,) * 5, **fields):
    fields = {"k": K.ravel(), "r": R.ravel(), "p": P.ravel(), "width": W, "height": H} | fields
    return CameraInfo(distortion_model=model, d=list(d), **fields)


def projected(rays, model, d):
    """OpenCV's pixels of rays (K, 2)."""
    points, still, d = np.c_[rays, np.ones(len(rays))][:, None], np.zeros(3), np.array(d or [0.0] * 4)
    project = cv2.fisheye.projectPoints if model in ("equidistant", "fisheye") else cv2.projectPoints
    return project(points, still, still, K, d)[0].reshape(-1, 2)


def image_points():
    u, v = np.meshgrid(np.linspace(-0.5, W - 0.51, 40), np.linspace(-0.5, H - 0.51, 30))
    return np.stack([u.ravel(), v.ravel()], axis=1)


@pytest.mark.parametrize("lens", LENSES)
def test_rays_of_the_whole_image_project_back_onto_their_pixels(lens):
    model, d = LENSES[lens]
    rays = CameraModel.from_info(info(model, d), W, H).rays(image_points())
    assert np.abs(projected(rays, model, d) - image_points()).max() < 1e-5


@pytest.mark.parametrize("lens", LENSES)
def test_normalized_and_rectified_points_become_the_raw_pixels_that_opencv_gives(lens):
    model, d = LENSES[lens]
    camera = CameraModel.from_info(info(model, d), W, H)
    rays = camera.rays(image_points())
    assert np.abs(camera.to_pixels(rays, "normalized") - image_points()).max() < 1e-5
    # As a rectifier would: rotate the ray, project it by p. Its translation (a stereo base) moves no ray.
    turned = np.c_[rays, np.ones(len(rays))] @ R.T
    rectified = turned[:, :2] / turned[:, 2:] * (P[0, 0], P[1, 1]) + P[:2, 2]
    assert np.abs(camera.to_pixels(rectified, "rectified") - image_points()).max() < 1e-5
    np.testing.assert_array_equal(camera.to_pixels(rectified, "pixel"), rectified)


@pytest.mark.parametrize("lens", ["barrel", "rational"])
def test_opencv_rectifies_the_points_that_we_unrectify(lens):
    model, d = LENSES[lens]
    camera = CameraModel.from_info(info(model, d), W, H)
    inner = image_points()[np.abs(image_points() - (W / 2, H / 2)).max(axis=1) < 150]
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    iterate = getattr(cv2, "undistortPointsIter", None)  # another name for the same before OpenCV 5
    if iterate is not None:
        rectified = iterate(inner, K, np.array(d), R, P[:, :3], criteria)
    else:
        rectified = cv2.undistortPoints(inner, K, np.array(d), R=R, P=P[:, :3], criteria=criteria)
    assert np.abs(camera.to_pixels(rectified.reshape(-1, 2), "rectified") - inner).max() < 1e-3


@pytest.mark.parametrize("lens", LENSES)
@example(points=[(0.0, 13.0)])  # a distorted angle beyond 90 degrees
@given(points=st.lists(st.tuples(st.floats(width=64), st.floats(width=64)), max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_numbers_give_pixels_of_that_very_ray_or_nan(lens, points):
    model, d = LENSES[lens]
    camera = CameraModel.from_info(info(model, d), W, H)
    rays = np.array(points, np.float64).reshape(-1, 2)
    for coordinates in ("normalized", "rectified"):
        assert camera.to_pixels(rays, coordinates).shape == rays.shape
    uv_px = camera.to_pixels(rays, "normalized")
    assert not np.isfinite(uv_px[~np.isfinite(rays).all(axis=1)]).any()
    seen = (np.abs(uv_px) < 10 * W).all(axis=1)
    seen &= (np.abs(rays) < 100).all(axis=1)  # beyond 89.4 degrees a pixel says little about the length of its ray
    back = camera.rays(uv_px[seen])
    assert (np.abs(back - rays[seen]) <= 1e-5 * (1 + rays[seen] ** 2)).all()
    assert camera.rays(rays).shape == rays.shape


def test_a_ray_beyond_the_lens_is_not_folded_into_the_image():
    model, d = "plumb_bob", [-0.35, 0.0, 0.0, 0.0, 0.0]
    far = np.array([[1.6, 0.0]])
    folded = projected(far, model, d)[0]
    assert 0 < folded[0] < W and 0 < folded[1] < H, "OpenCV alone would put it inside"
    assert np.isnan(CameraModel.from_info(info(model, d), W, H).to_pixels(far, "normalized")).all()


@pytest.mark.parametrize(
    "d", [[-0.35, 0.0, 0.0, 0.0, 0.0], [-0.35, 0.0, 2e-3, -2e-3, 0.0], [-0.3, 0.02, 0.0, 0.0, 0.0]]
)
def test_no_pixel_has_a_ray_beyond_the_fold_or_from_the_other_side(d):
    model = CameraModel.from_info(info("plumb_bob", d), W, H)
    wide = np.stack(np.meshgrid(np.arange(-3 * W, 4 * W, 16.0), np.arange(-3 * H, 4 * H, 16.0)), -1).reshape(-1, 2)
    rays = model.rays(wide)
    seen = np.isfinite(rays).all(axis=1)
    radii = np.arange(0.3, 3, 1e-3)
    reach = radii[1 + 3 * d[0] * radii**2 + 5 * d[1] * radii**4 < 0][0]  # up to here the image grows with the radius
    assert 0.01 < seen.mean() < 0.9
    assert np.hypot(*rays[seen].T).max() < 1.05 * reach
    assert ((rays[seen] * (wide[seen] - K[:2, 2])).sum(axis=1) >= 0).all()


def test_rectified_points_behind_the_camera_have_no_pixel():
    around = cv2.Rodrigues(np.array([0.0, 3.0, 0.0]))[0]
    camera = CameraModel.from_info(info(r=around.ravel()), W, H)
    assert np.isnan(camera.to_pixels([[310.0, 240.0]], "rectified")).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"k": np.zeros(9)}, "focal lengths 0, 0 px"),
        ({"k": [np.nan, 0, 0, 0, 1, 0, 0, 0, 1]}, "focal lengths nan"),
        ({"k": [F, 3.0, 0, 0, F, 0, 0, 0, 1]}, "skew"),
        ({"width": 1280}, "1280x480 px, the events are 640x480"),
        ({"height": 100}, "640x100 px, the events are 640x480"),
        ({"binning_x": 2}, "binning"),
        ({"d": [0.1, 0.2]}, "plumb_bob with 2 coefficients"),
        ({"d": [np.inf] * 5}, "not finite"),
        ({"model": "equidistant", "d": [0.1] * 5}, "equidistant with 5 coefficients; it has 4"),
        ({"model": "none", "d": [0.1] * 4}, "'none' is not known"),
        ({"model": "plumb_bob", "d": [0.1] * 6}, "plumb_bob with 6 coefficients"),
        ({"model": "omni", "d": [0.1] * 4}, "'omni' is not known; known are plumb_bob, rational_polynomial, radt"),
        ({"model": "", "d": [0.1] * 4}, "'' is not known"),
        ({"r": [1.0] * 9}, "r is no rotation"),
    ],
)
def test_what_is_wrong_with_camera_info_is_said_in_one_line(fields, said):
    with pytest.raises(ValueError, match=said) as error:
        CameraModel.from_info(info(**fields), W, H)
    assert str(error.value).startswith("camera_info: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (("equidistant", [-0.02, 0.01, -0.003, 0.001, 0.0]), ("equidistant", [-0.02, 0.01, -0.003, 0.001])),
        (("equi", [-0.02, 0.01, -0.003, 0.001]), ("equidistant", [-0.02, 0.01, -0.003, 0.001])),
        (("Equidistant", []), ("equidistant", [0.0] * 4)),
        (("radtan", [-0.3, 0.1, 1e-3, 1e-3]), ("plumb_bob", [-0.3, 0.1, 1e-3, 1e-3])),
        (("PLUMB_BOB", [-0.3, 0.1, 1e-3, 1e-3, 0.02]), ("plumb_bob", [-0.3, 0.1, 1e-3, 1e-3, 0.02])),
        (("plumb_bob", [-0.3, 0.1, 1e-3, 1e-3, 0.02, 0.0]), ("plumb_bob", [-0.3, 0.1, 1e-3, 1e-3, 0.02])),
        (("none", [0.0] * 5), ("", [])),
        (("none", []), ("", [])),
    ],
)
def test_lenses_as_drivers_and_kalibr_write_them(written, meant):
    found, wanted = (CameraModel.from_info(info(*each), W, H) for each in (written, meant))
    assert type(found.lens) is type(wanted.lens) and found.lens.reach == wanted.lens.reach
    np.testing.assert_array_equal(found.lens.d, wanted.lens.d)
    np.testing.assert_array_equal(found.rays(image_points()), wanted.rays(image_points()))


def test_a_calibration_without_rectification_still_converts_normalized_points():
    camera = CameraModel.from_info(info(p=np.zeros(12), r=np.zeros(9), width=0, height=0), W, H)
    np.testing.assert_allclose(camera.to_pixels([[0.0, 0.0]], "normalized"), [[323.5, 234.0]])
    with pytest.raises(ValueError, match="p has no focal length"):
        camera.to_pixels([[0.0, 0.0]], "rectified")
    assert camera.to_pixels(np.empty((0, 2)), "normalized").shape == (0, 2)
