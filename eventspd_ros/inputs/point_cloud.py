"""Answers as points of a sensor_msgs/PointCloud2: x, y, z, depth_stddev (float32, m) and id.

id is a uint64 declared as two UINT32, low half first: PointField has no 64-bit integers before 2026's ROS 2, and
sensor_msgs_py refuses a cloud with a field it does not know.
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.keypoints import FLOAT32, UINT32
from eventspd_ros.predictor import Status

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "depth_stddev", "id"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u8"],
        "offsets": [0, 4, 8, 12, 16],
    }
)
# name, offset, datatype and count of its PointFields
CLOUD_FIELDS = (
    *((name, POINT.fields[name][1], FLOAT32, 1) for name in ("x", "y", "z", "depth_stddev")),
    ("id", POINT.fields["id"][1], UINT32, 2),
)
# Of KeypointDepthArray, in the order that keypoint_cloud() takes them.
CLOUD_COLUMNS = ("id", "u", "v", "depth", "depth_stddev", "status")


def keypoint_cloud(
    camera: CameraModel,
    ids: np.ndarray,
    u_px: np.ndarray,
    v_px: np.ndarray,
    depth_m: np.ndarray,
    depth_stddev_m: np.ndarray,
    status: np.ndarray,
) -> np.ndarray:
    """The keypoints (K,) that have a depth as POINTs in the optical frame, distortion removed; those that the lens has
    no ray for are left out."""
    ok = status == Status.OK
    rays = camera.rays(np.stack((u_px, v_px), axis=1).astype(np.float64)[ok])
    kept = np.isfinite(rays).all(axis=1)
    points = np.zeros(int(kept.sum()), POINT)
    z = depth_m[ok][kept].astype(np.float32)
    points["x"], points["y"], points["z"] = rays[kept, 0] * z, rays[kept, 1] * z, z
    points["depth_stddev"] = depth_stddev_m[ok][kept]
    points["id"] = ids[ok][kept].astype(np.uint64)
    return points
