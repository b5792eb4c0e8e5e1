"""Point clouds of rclpy, through sensor_msgs_py where it is installed (a ROS 2 from wheels has none) and can."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from eventspd_ros.inputs.keypoints import cloud_field
from eventspd_ros.inputs.point_cloud import new_point_cloud, point_fields
from eventspd_ros.ros.messages import new_message


@cache
def sensor_msgs_py() -> ModuleType | None:
    """Its point_cloud2."""
    try:
        from sensor_msgs_py import point_cloud2
    except ImportError:
        return None
    return point_cloud2


def cloud_to_msg(header: Header, points: np.ndarray) -> PointCloud2:
    """A cloud of POINTs or POINTs with covariance, of inputs/point_cloud.py."""
    library = sensor_msgs_py()
    if library is None:
        return new_point_cloud(new_message, header, points)
    fields = point_fields(new_message, points.dtype)
    cloud = library.create_cloud(header, fields, points.view(library.dtype_from_fields(fields)))
    cloud.is_dense = True
    return cloud


def read_field(msg: PointCloud2, name: str) -> np.ndarray:
    """As cloud_field().

    sensor_msgs_py overlooks what pads rows, turns the bytes of a big-endian cloud around in the message itself, and
    counts up to any count that a message claims; such clouds are not for it.
    """
    library = sensor_msgs_py()
    is_plain = not msg.is_bigendian and (msg.height <= 1 or msg.row_step == msg.width * msg.point_step)
    if library is not None and is_plain and all(field.count == 1 for field in msg.fields):
        try:
            return np.array(library.read_points(msg, [name])[name])
        except Exception:  # a type it does not know, or a damaged cloud, of which cloud_field() says what is wrong
            pass
    return cloud_field(msg, name)
