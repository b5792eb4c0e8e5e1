"""What front-ends publish, in every layout, type and byte order; and what no front-end should publish."""

import array

import numpy as np
import pytest
from eventspd_ros.msg import KeypointArray
from geometry_msgs.msg import Point32
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, ChannelFloat32, PointCloud, PointCloud2, PointField

from eventspd_ros.events.messages import new_keypoints
from eventspd_ros.inputs import keypoints as keypoint_inputs
from eventspd_ros.inputs.answers import new_answer
from eventspd_ros.inputs.camera_model import COORDINATES, CameraModel
from eventspd_ros.inputs.keypoints import DATATYPES, LAYOUTS, KeypointSource
from eventspd_ros.predictor import Answer, Status
from eventspd_ros.ros.messages import message_class, new_message

W, H = 640, 480
INFO = CameraInfo(
    width=W,
    height=H,
    distortion_model="plumb_bob",
    d=[-0.3, 0.1, 1e-3, 1e-3, 0.0],
    k=[420.0, 0, 320, 0, 420, 240, 0, 0, 1],
    r=np.eye(3).ravel(),
    p=[400.0, 0, 320, 0, 0, 400, 240, 0, 0, 0, 1, 0],
)
CAMERA = CameraModel.from_info(INFO, W, H)


def cloud2(columns, fields, point_step, big_endian=False, height=1, row_padding=0) -> PointCloud2:
    """fields: name → (offset, datatype); columns: name → values. Bytes between the fields are noise."""
    count = len(next(iter(columns.values())))
    width = count // height
    data = np.random.default_rng(0).integers(0, 256, (height, width * point_step + row_padding), np.uint8)
    for name, values in columns.items():
        offset, datatype = fields[name]
        dtype = np.dtype((">" if big_endian else "<") + DATATYPES[datatype])
        raw = np.asarray(values).astype(dtype).view(np.uint8).reshape(height, width, dtype.itemsize)
        points = data[:, : width * point_step].reshape(height, width, point_step)
        points[:, :, offset : offset + dtype.itemsize] = raw
    listed = [PointField(name=name, offset=o, datatype=kind, count=1) for name, (o, kind) in fields.items()]
    return PointCloud2(
        height=height,
        width=width,
        fields=listed,
        is_bigendian=big_endian,
        point_step=point_step,
        row_step=width * point_step + row_padding,
        data=array.array("B", data.tobytes()),
    )


@st.composite
def any_cloud2(draw):
    """A cloud of whole numbers that every datatype holds, its fields anywhere in a point."""
    height = draw(st.integers(1, 3))
    count = height * draw(st.integers(0, 5))
    columns = {n: draw(st.lists(st.integers(0, 127), min_size=count, max_size=count)) for n in ("v", "id", "u")}
    place, fields = 0, {}
    for name in draw(st.permutations(("u", "v", "id", "x"))):
        kind = draw(st.sampled_from(sorted(DATATYPES)))
        place += draw(st.integers(0, 3))
        fields[name] = (place, kind)
        place += np.dtype(DATATYPES[kind]).itemsize
    step = place + draw(st.integers(0, 5))
    return columns, cloud2(columns, fields, step, draw(st.booleans()), height, draw(st.integers(0, 7)))


@given(any_cloud2())
@settings(max_examples=200, deadline=None)
def test_a_point_cloud2_of_any_types_step_and_byte_order(made):
    columns, cloud = made
    keypoints = KeypointSource("point_cloud2").read(cloud, None)
    assert keypoints.refusal is None, keypoints.reason
    assert keypoints.id.tolist() == columns["id"] and keypoints.id.dtype == np.uint64
    assert keypoints.uv_px.tolist() == [[float(u), float(v)] for u, v in zip(columns["u"], columns["v"], strict=True)]


def test_ids_of_64_bits_and_negative_ones_survive():
    fields = {"u": (0, 8), "v": (8, 7), "id": (12, 10)}
    big = [2**64 - 1, 2**53 + 1]
    cloud = cloud2({"u": [1.25, np.nan], "v": [2, 3], "id": np.array(big, np.uint64)}, fields, 20)
    assert KeypointSource("point_cloud2").read(cloud, None).id.tolist() == big
    cloud.fields[2].datatype, cloud.fields[2].count = PointField.UINT32, 2  # as our own point clouds have it
    keypoints = KeypointSource("point_cloud2").read(cloud, None)
    assert keypoints.id.tolist() == big
    np.testing.assert_array_equal(keypoints.uv_px, np.array([[1.25, 2], [np.nan, 3]], np.float32))
    fields["id"] = (12, 5)
    cloud = cloud2({"u": [1], "v": [2], "id": [-1]}, fields, 20)
    assert KeypointSource("point_cloud2").read(cloud, None).id.astype(np.int64).tolist() == [-1]


def channels(*columns) -> list[ChannelFloat32]:
    return [ChannelFloat32(values=array.array("f", column)) for column in columns]


def vins_mono(ids, uv, xy) -> PointCloud:
    points = [Point32(x=float(x), y=float(y), z=1.0) for x, y in xy]
    speed = [0.5] * len(ids)
    return PointCloud(points=points, channels=channels(ids, *np.reshape(uv, (-1, 2)).T, speed, speed))


def vins_fusion(ids, uv, xy, cameras=None) -> PointCloud:
    message = vins_mono(ids, uv, xy)
    message.channels = [message.channels[0], *channels(cameras or [0] * len(ids)), *message.channels[1:]]
    return message


def openvins(ids, uv, xy) -> PointCloud:
    points = [Point32(x=1.0, y=2.0, z=3.0) for _ in ids]  # places in the world
    return PointCloud(points=points, channels=channels(*((*n, *p, i) for n, p, i in zip(xy, uv, ids, strict=True))))


MAKERS = {"vins_mono": vins_mono, "vins_fusion": vins_fusion, "openvins": openvins}
IDS, UV = [7, 2**23, 0], [[100.0, 50.5], [320.0, 240.5], [600.0, 400.0]]


@pytest.mark.parametrize("layout", MAKERS)
def test_front_ends_give_the_same_points_in_pixels_and_normalized(layout):
    message = MAKERS[layout](IDS, UV, CAMERA.rays(UV))
    for coordinates in ("pixel", "normalized"):
        keypoints = KeypointSource(layout, coordinates).read(message, CAMERA)
        assert keypoints.refusal is None and keypoints.id.tolist() == IDS
        assert np.abs(keypoints.uv_px - UV).max() < 1e-3


@pytest.mark.parametrize("layout", ["keypoint_array", "point_cloud2"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_u_and_v_are_in_the_coordinates_named(layout, coordinates):
    rays = CAMERA.rays(UV)
    points = {"pixel": np.array(UV), "normalized": rays, "rectified": rays * 400 + (320, 240)}[coordinates]
    u, v = points.T
    if layout == "keypoint_array":
        message = KeypointArray(id=array.array("Q", IDS), u=array.array("f", u), v=array.array("f", v))
    else:
        message = cloud2({"u": u, "v": v, "id": IDS}, {"u": (0, 8), "v": (8, 8), "id": (16, 7)}, 24)
    keypoints = KeypointSource(layout, coordinates).read(message, CAMERA)
    assert keypoints.id.tolist() == IDS and np.abs(keypoints.uv_px - UV).max() < 1e-3


def test_points_of_another_camera_have_no_place_here():
    message = vins_fusion([5, 5, 6], UV, CAMERA.rays(UV), cameras=[0, 1, 1])
    left, right = (KeypointSource("vins_fusion", camera=camera).read(message, None) for camera in (0, 1))
    assert left.id.tolist() == right.id.tolist() == [5, 5, 6]
    assert np.isnan(left.uv_px).any(axis=1).tolist() == [False, True, True]
    assert np.isnan(right.uv_px).any(axis=1).tolist() == [True, False, False]


def test_what_openvins_does_not_know_is_zero_and_becomes_no_point():
    message = openvins([1, 2], [[0.0, 0.0], [4.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]])
    assert np.isnan(KeypointSource("openvins").read(message, None).uv_px).any(axis=1).tolist() == [True, False]
    assert np.isnan(KeypointSource("openvins", "normalized").read(message, CAMERA).uv_px).all()


def test_without_camera_info_converted_points_are_uncalibrated():
    message = vins_mono(IDS, UV, CAMERA.rays(UV))
    keypoints = KeypointSource("vins_mono", "normalized").read(message, None)
    assert keypoints.refusal == Status.UNCALIBRATED and keypoints.id.tolist() == IDS
    assert "no camera_info" in keypoints.reason and np.isnan(keypoints.uv_px).all()
    flat = CameraModel.from_info(CameraInfo(width=W, height=H, k=INFO.k), W, H)
    keypoints = KeypointSource("vins_mono", "rectified").read(message, flat)
    assert keypoints.refusal == Status.UNCALIBRATED and "p has no focal length" in keypoints.reason


GOOD2 = {"u": (0, 7), "v": (4, 7), "id": (8, 6)}


def damaged_cloud2(**changes) -> PointCloud2:
    cloud = cloud2({"u": [1, 2], "v": [3, 4], "id": [5, 6]}, GOOD2, 12)
    for name, value in changes.items():
        setattr(cloud, name, value)
    return cloud


def without(message, *names) -> PointCloud2:
    message.fields = [field for field in message.fields if field.name not in names]
    return message


def with_kind(name, **changes) -> PointCloud2:
    message = damaged_cloud2()
    field = next(field for field in message.fields if field.name == name)
    for attribute, value in changes.items():
        setattr(field, attribute, value)
    return message


def short_channel(index) -> PointCloud:
    message = vins_mono(IDS, UV, UV)
    message.channels[index].values = message.channels[index].values[:-1]
    return message


@pytest.mark.parametrize(
    ("layout", "message", "ids", "said"),
    [
        ("keypoint_array", KeypointArray(id=[1, 2, 3], u=[1.0], v=[1.0, 2.0]), [1, 2, 3], "have 3, 1 and 2 entries"),
        ("point_cloud2", without(damaged_cloud2(), "v"), [5, 6], "no field v; its fields are u, id"),
        ("point_cloud2", without(damaged_cloud2(), "u", "v", "id"), [], "no field id; its fields are none"),
        ("point_cloud2", with_kind("u", datatype=99), [5, 6], "field u has datatype 99"),
        ("point_cloud2", with_kind("v", offset=9), [5, 6], "field v at 9"),
        ("point_cloud2", damaged_cloud2(width=2**32 - 1, height=2**32 - 1), [], "more than the 24 bytes"),
        ("point_cloud2", damaged_cloud2(point_step=2**32 - 1), [], "more than the 24 bytes"),
        ("point_cloud2", damaged_cloud2(width=1, height=2, row_step=0), [], "rows of 0"),
        ("point_cloud2", damaged_cloud2(point_step=0), [], "2 points of 0 bytes"),
        ("point_cloud2", damaged_cloud2(data=array.array("B")), [], "more than the 0 bytes"),
        ("vins_mono", PointCloud(), [], "0 channels; channel 0 is needed"),
        ("vins_mono", PointCloud(channels=channels([])), [], "1 channels; channel 1 is needed"),
        ("vins_mono", short_channel(0), [], "channel 0 has 2 values for 3 points"),
        ("vins_mono", short_channel(2), IDS, "channel 2 has 2 values for 3 points"),
        ("vins_mono", vins_mono([np.nan, 1, 2], UV, UV), [], "id nan is no whole number"),
        ("vins_fusion", PointCloud(channels=channels([], [], [])), [], "3 channels; channel 3 is needed"),
        ("openvins", PointCloud(points=[Point32()]), [], "0 channels for 1 points"),
        ("openvins", PointCloud(points=[Point32()], channels=channels([1.0] * 4)), [], "a channel has 4 values"),
        ("openvins", openvins([1e30], [[1, 2]], [[0, 0]]), [], "is no whole number"),
    ],
)
def test_what_cannot_be_read_is_malformed_with_a_reason_in_one_line(layout, message, ids, said):
    keypoints = KeypointSource(layout).read(message, CAMERA)
    assert keypoints.refusal == Status.MALFORMED and said in keypoints.reason and "\n" not in keypoints.reason
    assert keypoints.id.tolist() == ids and keypoints.uv_px.shape == (len(ids), 2)
    request = new_keypoints(new_message, message.header, keypoints.id, keypoints.uv_px)
    answer = new_answer(new_message, request, Answer.refused(len(ids), keypoints.refusal), (0, 0))
    assert list(answer.id) == ids and list(answer.status) == [Status.MALFORMED] * len(ids)
    assert [len(column) for column in (answer.u, answer.v, answer.depth, answer.depth_stddev)] == [len(ids)] * 4


def test_normalized_points_have_z_1():
    message = vins_mono(IDS, UV, UV)
    message.points[1].z = 2.0
    assert "z = 2.0" in KeypointSource("vins_mono", "normalized").read(message, CAMERA).reason
    assert KeypointSource("vins_mono").read(message, CAMERA).refusal is None, "pixels need no points"


def test_more_points_than_may_be_asked_are_refused(monkeypatch):
    monkeypatch.setattr(keypoint_inputs, "MAX_KEYPOINTS", 2)
    keypoints = KeypointSource("vins_mono").read(vins_mono(IDS, UV, UV), None)
    assert keypoints.refusal == Status.MALFORMED and "3 points, more than 2" in keypoints.reason
    assert keypoints.id.tolist() == IDS


sizes = st.one_of(st.integers(0, 6), st.integers(0, 2**32 - 1))


@given(
    coordinates=st.sampled_from(COORDINATES),
    shape=st.tuples(sizes, sizes, sizes, sizes),
    fields=st.lists(st.tuples(st.sampled_from(["u", "v", "id", "x"]), sizes, st.integers(0, 12), sizes), max_size=6),
    data=st.binary(max_size=100),
    big_endian=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_no_point_cloud2_raises(coordinates, shape, fields, data, big_endian):
    height, width, point_step, row_step = shape
    message = PointCloud2(height=height, width=width, point_step=point_step, row_step=row_step)
    message.fields = [PointField(name=n, offset=o, datatype=kind, count=c) for n, o, kind, c in fields]
    message.is_bigendian, message.data = big_endian, array.array("B", data)
    assert_bounded(KeypointSource("point_cloud2", coordinates).read(message, CAMERA), len(data))


floats = st.lists(st.floats(width=32), max_size=7)


@given(
    layout=st.sampled_from(sorted(MAKERS)),
    coordinates=st.sampled_from(COORDINATES),
    columns=st.lists(floats, max_size=7),
    points=st.integers(0, 7),
    z=st.floats(width=32),
)
@settings(max_examples=150, deadline=None)
def test_no_point_cloud_raises(layout, coordinates, columns, points, z):
    message = PointCloud(points=[Point32(x=z, y=z, z=1.0)] * points, channels=channels(*columns))
    assert_bounded(KeypointSource(layout, coordinates).read(message, CAMERA), 100)


def assert_bounded(keypoints, most):
    assert len(keypoints.id) <= most and keypoints.uv_px.shape == (len(keypoints.id), 2)
    assert keypoints.uv_px.dtype == np.float32 and keypoints.id.dtype == np.uint64
    assert (keypoints.refusal is None) == (keypoints.reason == "") and "\n" not in keypoints.reason


def test_sources_that_are_not_known_are_named():
    with pytest.raises(ValueError, match=r"layout 'orb_slam' is not known; known are keypoint_array, point_cloud2"):
        KeypointSource("orb_slam")
    with pytest.raises(ValueError, match="coordinates 'metres' is not known; known are pixel, rectified, normalized"):
        KeypointSource(coordinates="metres")
    assert [message_class(KeypointSource(layout).message_type).__name__ for layout in LAYOUTS] == [
        *("KeypointArray", "PointCloud2"),
        *["PointCloud"] * 3,
    ]
