"""camera_info as bad lines and drivers leave it: a lens whose rays are right, or one line; never a crash."""

import numpy as np
from reference.mutations import mutated

from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.inputs.camera_model import COORDINATES, CameraModel, focal_length_px

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
STORE = bag_typestore()
W, H = 64, 48
K = [40.0, 0, 31.5, 0, 40.0, 23.5, 0, 0, 1]
LENSES = [("plumb_bob", [-0.35, 0.15, 1e-3, -2e-3, 0.02]), ("equidistant", [-0.02, 0.01, -0.003, 0.001])]
POINTS = np.random.default_rng(0).uniform(-0.5, W, (50, 2)) * (1, H / W)


def message(model, d):
    types = STORE.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "camera")
    k, r = np.array(K), np.eye(3).ravel()
    p = np.insert(k.reshape(3, 3), 3, 0.0, axis=1).ravel()
    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return types[CAMERA_INFO](header, H, W, model, np.array(d), k, r, p, 0, 0, roi)


def use(info):
    """All that is done with a camera_info. Rays of pixels must project back onto them, or be NaN."""
    try:
        focal_px = focal_length_px(info, W)
        assert focal_px is None or 0 < focal_px < np.inf
        camera = CameraModel.from_info(info, W, H)
    except ValueError as error:
        assert "camera_info" in str(error) and "\n" not in str(error)
        return
    rays = camera.rays(POINTS)
    away_px = np.abs(camera.to_pixels(rays, "normalized") - POINTS)
    assert (away_px[np.isfinite(away_px)] < 1e-3).all() and (np.isnan(away_px) == np.isnan(rays)).all()
    for coordinates in COORDINATES:
        if coordinates != "rectified" or camera.p is not None:
            assert camera.to_pixels(POINTS, coordinates).shape == POINTS.shape


def mishaps(seeds):
    whole = [bytes(STORE.serialize_cdr(message(*lens), CAMERA_INFO)) for lens in LENSES]
    for seed in seeds:
        data = mutated(whole[seed % 2], np.random.default_rng(seed))
        try:
            info = STORE.deserialize_cdr(data, CAMERA_INFO)
        except Exception:
            continue  # Bag.deserialize() says so, in one line
        use(info)


def test_a_whole_one_is_used():
    for lens in LENSES:
        info = message(*lens)
        assert np.isfinite(CameraModel.from_info(info, W, H).rays(POINTS)).all()
        use(info)


def test_a_camera_info_with_mishaps():
    mishaps(range(300))


def test_coefficients_that_powers_overflow_by_are_no_crash():
    for k3 in (1e-310, 1e-200, 1e150, -1e308):
        use(message("plumb_bob", [0.0, 0.0, 0.0, 0.0, k3]))
        use(message("equidistant", [0.0, 0.0, 0.0, k3]))
