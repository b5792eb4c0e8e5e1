"""Depth that a bag knows: images (REP-118), or a LiDAR's points projected into the event camera.

Extrinsics are T_camera_lidar, 4×4: x_camera = T_camera_lidar · x_lidar, metres, from the frame of the point cloud to
the event camera's optical frame (x right, y down, z forward). As seven numbers x y z qx qy qz qw: that translation and
the quaternion of that rotation, as tf2_ros' static_transform_publisher takes them with the camera as parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import yaml

from eventspd_ros import rotations
from eventspd_ros.datasets.sample import known_depth
from eventspd_ros.evaluation.replay.topics import DEPTH_ENCODINGS
from eventspd_ros.events.messages import image_values
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.keypoints import cloud_field
from eventspd_ros.readable import check_readable

# Beams are sparse: a point takes the nearest one so many pixels around it, if all of those agree.
LIDAR_RADIUS_PX = 2
AGREEING_RATIO = 1.1
KEY = "T_camera_lidar"


class GroundTruth(Protocol):
    """radius_px: how far from a point its depth may be looked for."""

    topic: str
    radius_px: int

    def depth_m(self, message) -> np.ndarray:
        """A message to depth along the optical axis, float32 (H, W), m, NaN where unknown, of the raw sensor."""


@dataclass(frozen=True)
class DepthImages:
    """32FC1 in metres, or 16UC1 in millimetres with 0 for unknown (REP-118), pixel by pixel of the raw sensor."""

    topic: str
    height: int
    width: int
    radius_px: int = 0

    def depth_m(self, message) -> np.ndarray:
        """ValueError, one line: of another size or encoding, or cut off."""
        if message.encoding not in DEPTH_ENCODINGS:
            raise ValueError(f"{self.topic}: encoding {message.encoding!r}; depth is {' or '.join(DEPTH_ENCODINGS)}")
        if (message.height, message.width) != (self.height, self.width):
            raise ValueError(
                f"{self.topic}: depth of {message.width}x{message.height} px for events of {self.width}x{self.height};"
                " warp it into the event camera's raw frame, or name another topic with --depth"
            )
        kind, scale = ("f4", 1.0) if message.encoding == "32FC1" else ("u2", 1e-3)
        try:
            pixels = image_values(message, kind)[..., 0]
        except ValueError as error:
            raise ValueError(f"{self.topic}: {error}") from None
        return known_depth(pixels.astype(np.float32) * np.float32(scale))


@dataclass(frozen=True)
class LidarDepth:
    """Point clouds through the lens; the nearest point stands where several meet in a pixel.

    Points are taken at the cloud's stamp: a sweep of a moving sensor is not undone, and what the camera cannot see past
    a near surface is not found out.
    """

    topic: str
    T_camera_lidar: np.ndarray
    camera: CameraModel
    radius_px: int = LIDAR_RADIUS_PX

    def depth_m(self, message) -> np.ndarray:
        """ValueError, one line: fields x, y, z missing or cut off."""
        try:
            points = np.stack([cloud_field(message, name) for name in "xyz"], axis=1).astype(np.float64)
        except ValueError as error:
            raise ValueError(f"{self.topic}: {error}") from None
        rotation, translation = self.T_camera_lidar[:3, :3], self.T_camera_lidar[:3, 3]
        x, y, z = (points[np.isfinite(points).all(axis=1)] @ rotation.T + translation).T
        ahead = z > 0
        rays = np.stack((x[ahead], y[ahead]), axis=1) / z[ahead, None]
        uv = self.camera.to_pixels(rays, "normalized")
        image = np.full((self.camera.height, self.camera.width), np.nan, np.float32)
        inside, u, v = pixels_of(uv, *image.shape)
        np.fmin.at(image, (v, u), z[ahead][inside].astype(np.float32))
        return image


def pixels_of(uv_px: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points (K, 2) lie in the image, bool (K,), and the columns and rows of those."""
    finite = np.where(np.isfinite(uv_px), uv_px, -1e6)
    u, v = np.floor(np.clip(finite, -1e6, 1e6) + 0.5).astype(np.int64).T.reshape(2, -1)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return inside, u[inside], v[inside]


def depth_at(depth_m: np.ndarray, uv_px: np.ndarray, radius_px: int) -> np.ndarray:
    """Depth at points (K, 2): of the nearest known pixel within radius_px rows and columns, float32 (K,).

    NaN where there is none, or where the known ones there differ by more than 10 %: a depth edge, and it is not known
    on which side of it the point lies.
    """
    height, width = depth_m.shape
    inside, u, v = pixels_of(uv_px, height, width)
    offsets = np.array([(x, y) for y in range(-radius_px, radius_px + 1) for x in range(-radius_px, radius_px + 1)])
    offsets = offsets[np.argsort((offsets**2).sum(axis=1), kind="stable")]
    padded = np.pad(depth_m, radius_px, constant_values=np.nan)
    around = padded[v[:, None] + offsets[:, 1] + radius_px, u[:, None] + offsets[:, 0] + radius_px]
    known = np.isfinite(around)
    nearest = around[np.arange(len(around)), known.argmax(axis=1)]
    far = np.where(known, around, -np.inf).max(axis=1, initial=-np.inf)
    near = np.where(known, around, np.inf).min(axis=1, initial=np.inf)
    found = np.full(len(inside), np.nan, np.float32)
    found[inside] = np.where(far <= AGREEING_RATIO * near, nearest, np.nan)
    return found


def read_extrinsics(given: Sequence[str]) -> np.ndarray:
    """T_camera_lidar (4, 4) from seven numbers, or from the path of a YAML or JSON file that holds it under that name.

    ValueError, one line: neither, or no rigid transformation.
    """
    text = " ".join(given)
    if len(given) == 1:
        return _from_file(Path(given[0]))
    try:
        x, y, z, *q = map(float, given)
        if len(q) != 4 or not abs(np.linalg.norm(q) - 1) < 1e-2:
            raise ValueError
    except ValueError:
        raise ValueError(f"extrinsics {text!r}: give a file, or x y z qx qy qz qw with a unit quaternion") from None
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotations.to_matrix(np.array(q) / np.linalg.norm(q)), (x, y, z)
    return _rigid(transform, text)


def _from_file(path: Path) -> np.ndarray:
    check_readable(path)
    try:
        values = yaml.safe_load(path.read_text())
        transform = np.array(values[KEY], np.float64)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UnicodeDecodeError):
        raise ValueError(f"{path}: no {KEY}, four rows of four numbers, in YAML or JSON") from None
    return _rigid(transform, str(path))


def _rigid(transform: np.ndarray, name: str) -> np.ndarray:
    rigid = transform.shape == (4, 4) and np.isfinite(transform).all() and (transform[3] == (0, 0, 0, 1)).all()
    if rigid:
        rotation = transform[:3, :3]
        rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0
    if not rigid:
        raise ValueError(f"{name}: {KEY} is no rigid transformation (a rotation, a translation in m, 0 0 0 1)")
    return transform
