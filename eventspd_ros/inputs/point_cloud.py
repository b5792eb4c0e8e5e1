"""Makes an answer a PointCloud2 of x, y, z, depth_stddev (float32, m), id and, if asked for, covariance.

id is a uint64 declared as two UINT32, low half first: PointField has no 64-bit integers before 2026's ROS 2, and
sensor_msgs_py refuses a cloud with a field it does not know.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventspd_ros.events.messages import HEADER, POINT_CLOUD2, POINT_FIELD, New
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
STEP_PX = 0.5  # from a pixel to where its neighbouring rays are taken


def new_point_cloud(new: New, header, points: np.ndarray) -> Any:
    """Of keypoint_points(), under optical_header(). new: see events/messages.py."""
    return new(
        POINT_CLOUD2,
        header=header,
        height=1,
        width=len(points),
        fields=point_fields(new, points.dtype),
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=points.view(np.uint8).ravel(),
        is_dense=True,
    )


def optical_header(new: New, answer, camera: CameraModel) -> Any:
    """The answer's stamp in the camera's own frame: front-ends put their request into "world" or leave it empty."""
    return new(HEADER, stamp=answer.header.stamp, frame_id=camera.frame_id or answer.header.frame_id)


def point_fields(new: New, point: np.dtype) -> list:
    """Its PointFields."""
    kinds = {"id": (UINT32, 2)}
    rows = [(name, at, *kinds.get(name, (FLOAT32, 1))) for name, at in zip(point.names or (), _OFFSETS, strict=False)]
    return [new(POINT_FIELD, name=name, offset=at, datatype=kind, count=count) for name, at, kind, count in rows]


def keypoint_points(answer, camera: CameraModel, noise_px: float | None = None) -> np.ndarray:
    """The keypoints of a KeypointDepthArray that have a depth as POINTs in the optical frame, distortion removed.

    Keypoints for which the lens has no ray are left out. noise_px: standard deviation of u and of v; if it is given,
    the points are POINT_WITH_COVARIANCE.
    """
    ids, u_px, v_px, depth_m, depth_stddev_m = (
        np.asarray(getattr(answer, name)) for name in ("id", "u", "v", "depth", "depth_stddev")
    )
    ok = np.asarray(answer.status) == Status.OK
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
