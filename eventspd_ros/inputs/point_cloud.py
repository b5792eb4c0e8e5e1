"""Makes an answer the points of a PointCloud2: x, y, z, depth_stddev (float32, m), id and, if asked for, covariance.

id is a uint64 declared as two UINT32, low half first: PointField has no 64-bit integers before 2026's ROS 2, and
sensor_msgs_py refuses a cloud with a field it does not know.
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.keypoints import FLOAT32, UINT32
from eventspd_ros.predictor import Status

# The upper triangle of the covariance of (x, y, z), m².
COVARIANCE = ("cov_xx", "cov_xy", "cov_xz", "cov_yy", "cov_yz", "cov_zz")
_NAMES = ("x", "y", "z", "depth_stddev", "id", *COVARIANCE)
_OFFSETS = (0, 4, 8, 12, 16, 24, 28, 32, 36, 40, 44)


def _point(count: int) -> np.dtype:
    formats = ["<u8" if name == "id" else "<f4" for name in _NAMES]
    return np.dtype({"names": _NAMES[:count], "formats": formats[:count], "offsets": _OFFSETS[:count]})


POINT, POINT_WITH_COVARIANCE = _point(5), _point(11)
# Of KeypointDepthArray, in the order that keypoint_cloud() takes them.
CLOUD_COLUMNS = ("id", "u", "v", "depth", "depth_stddev", "status")
STEP_PX = 0.5  # from a pixel to where its neighbouring rays are taken


def cloud_fields(point: np.dtype) -> list[tuple[str, int, int, int]]:
    """Name, offset, datatype and count of its PointFields."""
    kinds = {"id": (UINT32, 2)}
    fields = [(name, offset) for name, offset in zip(_NAMES, _OFFSETS, strict=True) if name in (point.names or ())]
    return [(name, offset, *kinds.get(name, (FLOAT32, 1))) for name, offset in fields]


CLOUD_FIELDS = cloud_fields(POINT)


def keypoint_cloud(
    camera: CameraModel,
    ids: np.ndarray,
    u_px: np.ndarray,
    v_px: np.ndarray,
    depth_m: np.ndarray,
    depth_stddev_m: np.ndarray,
    status: np.ndarray,
    noise_px: float | None = None,
) -> np.ndarray:
    """Turn the keypoints (K,) that have a depth into POINTs in the optical frame, with the distortion removed.

    Keypoints for which the lens has no ray are left out. noise_px: standard deviation of u and of v; if it is given,
    the points are POINT_WITH_COVARIANCE.
    """
    ok = status == Status.OK
    uv_px = np.stack((u_px, v_px), axis=1).astype(np.float64)[ok]
    rays = camera.rays(uv_px)
    slopes = np.zeros((len(rays), 2, 2)) if noise_px is None else _slopes(camera, uv_px)
    kept = np.isfinite(rays).all(axis=1) & np.isfinite(slopes).all(axis=(1, 2))
    points = np.zeros(int(kept.sum()), POINT if noise_px is None else POINT_WITH_COVARIANCE)
    z, z_stddev = depth_m[ok][kept].astype(np.float32), depth_stddev_m[ok][kept]
    points["x"], points["y"], points["z"] = rays[kept, 0] * z, rays[kept, 1] * z, z
    points["depth_stddev"] = z_stddev
    points["id"] = ids[ok][kept].astype(np.uint64)
    if noise_px is not None:
        covariance = point_covariance(rays[kept], slopes[kept], z, z_stddev, noise_px)
        for name, (row, column) in zip(COVARIANCE, np.transpose(np.triu_indices(3)), strict=True):
            points[name] = covariance[:, row, column]
    return points


def point_covariance(
    rays: np.ndarray, slopes: np.ndarray, depth_m: np.ndarray, depth_stddev_m: np.ndarray, noise_px: float
) -> np.ndarray:
    """Covariance (K, 3, 3), m², of X = depth (x, y, 1), (x, y) being the rays (K, 2) and slopes (K, 2, 2) their
    derivative by u and v: J diag(noise², noise², σ_depth²) Jᵀ, J = [depth ∂(x, y)/∂(u, v) | (x, y, 1)]. To first order:
    where σ is a large share of the depth, its log is what has a symmetric law, see KeypointDepthArray.msg."""
    jacobian = np.zeros((len(rays), 3, 3))
    jacobian[:, :2, :2] = slopes * depth_m[:, None, None]
    jacobian[:, :2, 2], jacobian[:, 2, 2] = rays, 1.0
    jacobian[:, :, :2] *= noise_px
    jacobian[:, :, 2] *= depth_stddev_m[:, None]
    return jacobian @ np.swapaxes(jacobian, 1, 2)


def _slopes(camera: CameraModel, uv_px: np.ndarray) -> np.ndarray:
    """Derivative (K, 2, 2) of the rays by u (first column) and v, over a pixel."""
    steps = STEP_PX * np.array([[1.0, 0.0], [0.0, 1.0]])
    return np.stack([(camera.rays(uv_px + s) - camera.rays(uv_px - s)) / (2 * STEP_PX) for s in steps], axis=2)
