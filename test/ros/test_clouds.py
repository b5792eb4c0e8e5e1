"""Clouds through sensor_msgs_py, where it is installed, and without it: the same, whatever the cloud."""

import array
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from eventspd_ros.inputs.keypoints import DATATYPES, cloud_field
from eventspd_ros.inputs.point_cloud import POINT, POINT_WITH_COVARIANCE, new_point_cloud
from eventspd_ros.ros.clouds import cloud_to_msg, read_field, sensor_msgs_py
from eventspd_ros.ros.messages import new_message, ns_to_time

needs_sensor_msgs_py = pytest.mark.skipif(
    sensor_msgs_py() is None, reason="sensor_msgs_py is not installed (it comes with a ROS 2 from apt)"
)


def some_points(kind: np.dtype, count: int = 5) -> np.ndarray:
    points = np.zeros(count, kind)
    for number, name in enumerate(kind.names):
        points[name] = np.arange(count) + 10 * number
    return points


@needs_sensor_msgs_py
@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("kind", [POINT, POINT_WITH_COVARIANCE], ids=["points", "covariance"])
def test_sensor_msgs_py_and_we_make_the_same_cloud(kind, count):
    points, header = some_points(kind, count), Header(stamp=ns_to_time(7), frame_id="optical")
    assert cloud_to_msg(header, points) == new_point_cloud(new_message, header, points)


@needs_sensor_msgs_py
def test_sensor_msgs_py_reads_our_cloud():
    points = some_points(POINT)
    points["id"][0] = 2**40 + 3
    read = sensor_msgs_py().read_points(new_point_cloud(new_message, Header(), points))
    np.testing.assert_array_equal(read["z"], points["z"])
    assert (int(read["id_0"][0]), int(read["id_1"][0])) == (3, 2**8)


@dataclass
class Outcome:
    """A field's values, or what was said of it."""

    values: list
    kind: str
    said: str

    @classmethod
    def of(cls, read, msg, name):
        try:
            values = read(msg, name)
        except ValueError as error:
            return cls([], "", str(error))
        return cls(np.nan_to_num(values.astype(np.float64)).tolist(), values.dtype.name, "")


def small_cloud(padding: int = 0, big: bool = False) -> PointCloud2:
    """Two rows of two points with a field of every type, and bytes after each row."""
    kinds = [f"{'>' if big else '<'}{kind}" for kind in DATATYPES.values()]
    dtype = np.dtype({"names": [f"f{n}" for n in DATATYPES], "formats": kinds})
    points = np.zeros((2, 2), dtype)
    for number, name in enumerate(dtype.names):
        points[name] = [[1, 2], [3, number]]
    fields = [
        PointField(name=f"f{n}", offset=dtype.fields[f"f{n}"][1], datatype=min(n, 8), count=1)
        for n in DATATYPES
        if n <= 8
    ]
    rows = points.view(np.uint8).reshape(2, -1)
    data = array.array("B", np.pad(rows, ((0, 0), (0, padding))).tobytes())
    size = dtype.itemsize
    return PointCloud2(
        height=2, width=2, fields=fields, point_step=size, row_step=2 * size + padding, data=data, is_bigendian=big
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
def test_fields_of_every_type_and_order_are_read_alike_and_twice(padding, big):
    msg = small_cloud(padding, big)
    for _ in range(2):  # nothing is changed in the message
        for number, name in enumerate(f"f{n}" for n in DATATYPES if n <= 8):
            assert read_field(msg, name).tolist() == [1, 2, 3, number]
            assert Outcome.of(read_field, msg, name) == Outcome.of(cloud_field, msg, name)


sizes = st.one_of(st.integers(0, 6), st.integers(0, 2**32 - 1))


@given(
    shape=st.tuples(sizes, sizes, sizes, sizes),
    fields=st.lists(st.tuples(st.sampled_from(["u", "id"]), sizes, st.integers(0, 12), sizes), max_size=4),
    data=st.binary(max_size=100),
    big_endian=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_read_alike_or_refused_alike(shape, fields, data, big_endian):
    height, width, point_step, row_step = shape
    msg = PointCloud2(height=height, width=width, point_step=point_step, row_step=row_step)
    msg.fields = [PointField(name=n, offset=o, datatype=kind, count=c) for n, o, kind, c in fields]
    msg.is_bigendian, msg.data = big_endian, array.array("B", data)
    for name in ("u", "id"):
        assert Outcome.of(read_field, msg, name) == Outcome.of(cloud_field, msg, name)
