"""Reads keypoints as SLAM front-ends publish them, as ids and pixels of the raw image.

    keypoint_array  eventspd_ros/KeypointArray: id, u, v
    point_cloud2    sensor_msgs/PointCloud2: the fields id, u, v by name, of any type
    vins_mono       sensor_msgs/PointCloud, `feature` of VINS-Mono: points x, y, 1 normalised; channels id, u, v, ...
    vins_fusion     sensor_msgs/PointCloud, `feature` of VINS-Fusion: points likewise; channels id, camera, u, v, ...
    openvins        sensor_msgs/PointCloud, `loop_feats` of OpenVINS and `keyframe_point` of VINS: a channel a point,
                    its values x, y normalised, u, v, id

The layouts are those of VINS-Mono's feature_tracker_node.cpp, VINS-Fusion's rosNodeTest.cpp, the visualization.cpp of
both, and OpenVINS's ROS2Visualizer.cpp. KeypointSource.read() raises for no message: what it cannot read is MALFORMED.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventspd_ros.inputs.camera_model import COORDINATES, CameraModel
from eventspd_ros.predictor import Status

LAYOUTS = {
    "keypoint_array": "eventspd_ros/msg/KeypointArray",
    "point_cloud2": "sensor_msgs/msg/PointCloud2",
    "vins_mono": "sensor_msgs/msg/PointCloud",
    "vins_fusion": "sensor_msgs/msg/PointCloud",
    "openvins": "sensor_msgs/msg/PointCloud",
}
MAX_KEYPOINTS = 1_000_000
ReadField = Callable[[Any, str], np.ndarray]
# Of sensor_msgs/PointField.
UINT32, FLOAT32 = 6, 7
# PointField.datatype; 9 and 10, known to PCL, came into the message after ROS 2 Kilted.
DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8", 9: "i8", 10: "u8"}


@dataclass(frozen=True, slots=True)
class Keypoints:
    """The K keypoints of one request. id: uint64 (K,). uv_px: float32 (K, 2), raw pixels, NaN where a point has none.

    refusal: if none of the points can be answered, the status of all (MALFORMED, UNCALIBRATED); reason: why, one line.
    """

    id: np.ndarray
    uv_px: np.ndarray
    refusal: Status | None = None
    reason: str = ""

    @classmethod
    def refuse(cls, ids: np.ndarray, status: Status, reason: str) -> Keypoints:
        return cls(ids, np.full((len(ids), 2), np.nan, np.float32), status, reason)


@dataclass(frozen=True, slots=True)
class KeypointSource:
    """Which message brings the keypoints and what their coordinates are. ValueError names a value that is not known.

    coordinates: pixel (raw image), rectified (pixels of camera_info's p) or normalized. camera: which one's points to
    take, where a message holds those of several (vins_fusion); the others get no depth.
    """

    layout: str = "keypoint_array"
    coordinates: str = "pixel"
    camera: int = 0

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("coordinates", COORDINATES)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"keypoints: {name} {value!r} is not known; known are {', '.join(known)}")

    @property
    def message_type(self) -> str:
        """package/msg/Name."""
        return LAYOUTS[self.layout]

    def read(self, msg, camera_model: CameraModel | None, read_field: ReadField | None = None) -> Keypoints:
        """The request a message holds. camera_model: what camera_info says, None as long as there is none. read_field:
        what reads a field of a PointCloud2, cloud_field() or its like."""
        read_field = read_field or cloud_field
        ids = np.empty(0, np.uint64)
        try:
            ids = _ids(_raw_ids(msg, self.layout, read_field))
            if len(ids) > MAX_KEYPOINTS:
                raise ValueError(f"{len(ids)} points, more than {MAX_KEYPOINTS}; ask in several messages")
            points = self._points(msg, len(ids), read_field)
        except ValueError as error:
            return Keypoints.refuse(ids, Status.MALFORMED, f"keypoints ({self.layout}): {error}")
        try:
            if self.coordinates != "pixel":
                points = self._raw_pixels(points, camera_model)
        except ValueError as error:
            return Keypoints.refuse(ids, Status.UNCALIBRATED, f"{self.coordinates} keypoints: {error}")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is answered NOT_FINITE
            return Keypoints(ids, points.astype(np.float32))

    def _raw_pixels(self, points: np.ndarray, camera_model: CameraModel | None) -> np.ndarray:
        if camera_model is None:
            raise ValueError("no camera_info that holds for this sensor yet")
        return camera_model.to_pixels(points, self.coordinates)

    def _points(self, msg, count: int, read_field: ReadField) -> np.ndarray:
        """The points (K, 2) float64 in the message's own coordinates. ValueError: not `count` of them."""
        normalized = self.coordinates == "normalized"
        if self.layout == "keypoint_array":
            points = points_from_msg(msg)
            if points is None:
                raise ValueError(f"id, u and v have {len(msg.id)}, {len(msg.u)} and {len(msg.v)} entries")
        elif self.layout == "point_cloud2":
            points = np.stack([read_field(msg, name) for name in ("u", "v")], axis=1)
        elif self.layout == "openvins":
            points = _values(msg)[:, :2] if normalized else _values(msg)[:, 2:4]
            # The publisher leaves unknown points at zero; a depth there would look valid and not be.
            points = np.where((points == 0).all(axis=1, keepdims=True), np.nan, points)
        else:
            first = 1 if self.layout == "vins_mono" else 2
            points = _plane(msg) if normalized else np.stack([_channel(msg, first + k) for k in (0, 1)], axis=1)
            if self.layout == "vins_fusion":
                points = np.where((_channel(msg, 1) == self.camera)[:, None], points, np.nan)
        if len(points) != count:
            raise ValueError(f"{count} ids, but {len(points)} points")
        return points.astype(np.float64)


def points_from_msg(msg) -> np.ndarray | None:
    """The points of a KeypointArray, float32 (K, 2) px, or None where its arrays are not of one length."""
    if not len(msg.id) == len(msg.u) == len(msg.v):
        return None
    return np.stack([np.frombuffer(msg.u, np.float32), np.frombuffer(msg.v, np.float32)], axis=1)


def _raw_ids(msg, layout: str, read_field: ReadField) -> np.ndarray:
    if layout == "keypoint_array":
        return np.frombuffer(msg.id, np.uint64)
    if layout == "point_cloud2":
        return read_field(msg, "id")
    return _values(msg)[:, 4] if layout == "openvins" else _channel(msg, 0)


def _ids(values: np.ndarray) -> np.ndarray:
    """Ids of any type as uint64; negative integers wrap, so that a signed reader gets them back."""
    if values.dtype.kind == "f":
        wrong = ~(np.abs(values) < 2.0**63)  # also where not finite
        if wrong.any():
            raise ValueError(f"id {values[wrong][0]} is no whole number of 64 bits")
        values = np.rint(values).astype(np.int64)
    return values.astype(np.uint64)


def cloud_field(msg, name: str) -> np.ndarray:
    """One field of all points of a PointCloud2, row by row.

    ValueError: it is missing, or lies outside the bytes that came."""
    field = next((f for f in msg.fields if f.name == name), None)
    if field is None:
        raise ValueError(f"no field {name}; its fields are {', '.join(f.name for f in msg.fields) or 'none'}")
    kind = DATATYPES.get(field.datatype)
    if name == "id" and field.datatype == UINT32 and field.count == 2:
        kind = "u8"  # as this package's own clouds hold it
    if kind is None:
        raise ValueError(f"field {name} has datatype {field.datatype}; known are 1 to {max(DATATYPES)}")
    dtype = np.dtype((">" if msg.is_bigendian else "<") + kind)
    height, width, step, data = msg.height, msg.width, msg.point_step, np.frombuffer(msg.data, np.uint8)
    if not height * width:
        return np.empty(0, dtype)
    row_step = msg.row_step if height > 1 else width * step
    needed = (height - 1) * row_step + width * step
    if field.offset + dtype.itemsize > step or row_step < width * step or needed > len(data):
        raise ValueError(
            f"{height} x {width} points of {step} bytes, rows of {row_step}, field {name} at {field.offset}: "
            f"more than the {len(data)} bytes of the message"
        )
    rows = np.ndarray((height, width), dtype, data, field.offset, (row_step, step))
    return rows.ravel().astype(dtype.newbyteorder("="))


def _channel(msg, index: int) -> np.ndarray:
    """A channel with one value a point."""
    if len(msg.channels) <= index:
        raise ValueError(f"{len(msg.channels)} channels; channel {index} is needed")
    values = np.asarray(msg.channels[index].values, np.float64)
    if len(values) != len(msg.points):
        raise ValueError(f"channel {index} has {len(values)} values for {len(msg.points)} points")
    return values


def _values(msg) -> np.ndarray:
    """The channels, one a point, of x, y, u, v, id: (K, 5)."""
    if len(msg.channels) != len(msg.points):
        raise ValueError(f"{len(msg.channels)} channels for {len(msg.points)} points; one a point is needed")
    short = [len(channel.values) for channel in msg.channels if len(channel.values) < 5]
    if short:
        raise ValueError(f"a channel has {short[0]} values; x, y, u, v, id are needed")
    return np.array([channel.values[:5] for channel in msg.channels], np.float64).reshape(-1, 5)


def _plane(msg) -> np.ndarray:
    """The points' x and y; their z must be 1."""
    points = np.array([(p.x, p.y, p.z) for p in msg.points], np.float64).reshape(-1, 3)
    wrong = points[:, 2] != 1
    if wrong.any():
        raise ValueError(f"a point has z = {points[wrong][0, 2]}; normalised points have 1")
    return points[:, :2]
