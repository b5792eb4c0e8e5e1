"""Images in place of events: conversion, and the node over DDS."""

import array
import time
from types import SimpleNamespace

import numpy as np
import pytest
import streams
import torch
from rclpy.serialization import serialize_message
from reference.models import small_model
from robots import Robot
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from streams import ROS_BASE_NS
from test_image_intake import HEIGHT, WIDTH, frame

from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.events.types import ImageWindow
from eventspd_ros.model.checkpoints import load_checkpoint, save_checkpoint
from eventspd_ros.predictor import Predictor, Status
from eventspd_ros.ros.images import ENCODINGS, UNNAMED, cv_bridge, frame_from_bytes, image_from_msg, image_to_msg
from eventspd_ros.ros.messages import ns_to_time
from eventspd_ros.ros.shared_model import model_for


def message(pixels: np.ndarray, encoding: str, stamp_ns: int = ROS_BASE_NS, padding: int = 0) -> Image:
    """pixels (H, W, C) of the message's own type and byte order; padding: bytes after each row."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1])
    msg.is_bigendian = int(pixels.dtype.byteorder == ">")
    msg.data = array.array("B", rows.tobytes())
    msg.header.stamp = ns_to_time(stamp_ns)
    return msg


# ---- conversion


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_rgb(encoding, order, padding):
    value_bytes, channels, places = ENCODINGS[encoding]
    kind = np.dtype(f"{order}u{value_bytes}")
    pixels = np.random.default_rng(0).integers(0, 2 ** (8 * value_bytes), (5, 6, channels)).astype(kind)
    got = image_from_msg(message(pixels, encoding, padding=padding))
    scaled = np.rint(pixels.astype(np.float64) * 255 / (2 ** (8 * value_bytes) - 1))
    assert got.dtype == np.uint8
    for channel, place in enumerate(places):
        np.testing.assert_array_equal(got[..., channel], scaled[..., place])


def test_red_is_red():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    for encoding, pixels in (("rgb8", red), ("bgr8", red[..., ::-1])):
        np.testing.assert_array_equal(image_from_msg(message(pixels, encoding)), red)


def test_the_last_row_need_not_be_padded():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    msg = message(pixels, "rgb8", padding=6)
    msg.data = msg.data[:-6]
    np.testing.assert_array_equal(image_from_msg(msg), pixels)


@pytest.mark.parametrize("field", ["height", "width", "step", "data"])
def test_a_message_that_does_not_hold_its_image_is_refused(field):
    for value in (array.array("B", [1, 2]), array.array("B")) if field == "data" else (0, 2**31):
        msg = message(np.zeros((4, 6, 3), np.uint8), "rgb8")
        setattr(msg, field, value)
        with pytest.raises(ValueError, match="bytes do not hold it"):
            image_from_msg(msg)


def test_what_only_cv_bridge_knows():
    msg = message(np.full((4, 6, 1), 90, np.uint8), "bayer_rggb8")
    if cv_bridge() is None:
        with pytest.raises(ValueError, match=r"'bayer_rggb8' needs cv_bridge, which is not installed, .*: apt install"):
            image_from_msg(msg)
    else:
        assert image_from_msg(msg).shape == (4, 6, 3)
        msg.encoding = "32FC1"
        with pytest.raises(ValueError, match="'32FC1'"):
            image_from_msg(msg)


@pytest.fixture
def without_cv_bridge(monkeypatch):
    """A function that takes it away from what follows in the test; a skip where there is none."""
    if cv_bridge() is None:
        pytest.skip("cv_bridge is not installed, or built for another NumPy (it comes with a ROS 2 from apt)")
    return lambda: monkeypatch.setattr("eventspd_ros.ros.images.cv_bridge", lambda: None)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS.keys() - set(UNNAMED)))
def test_cv_bridge_and_we_make_the_same_picture(without_cv_bridge, encoding):
    value_bytes, channels, _ = ENCODINGS[encoding]
    pixels = np.random.default_rng(0).integers(0, 2 ** (8 * value_bytes), (50, 60, channels)).astype(f"<u{value_bytes}")
    msg = message(pixels, encoding, padding=channels * value_bytes)
    through = image_from_msg(msg)
    without_cv_bridge()
    np.testing.assert_array_equal(through, image_from_msg(msg))


@pytest.mark.parametrize("encoding", ["32FC1", "rgb8"])
def test_cv_bridge_and_we_make_the_same_message(without_cv_bridge, encoding):
    rng = np.random.default_rng(0)
    colours, depth_m = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8), rng.random((5, 6), np.float32)
    asked = Header(stamp=ns_to_time(7), frame_id="optical"), colours if encoding == "rgb8" else depth_m, encoding
    through = image_to_msg(*asked)
    without_cv_bridge()
    assert through == image_to_msg(*asked)


@pytest.mark.parametrize("raw", [b"", b"\x00\x01", b"\xff" * 80])
def test_bytes_that_are_no_image(raw):
    with pytest.raises(ValueError, match=r"bytes are no Image|bytes do not hold it|needs cv_bridge|cannot make"):
        frame_from_bytes(raw)


# ---- the node


@pytest.fixture(scope="module")
def model():
    return small_model(image=True)


@pytest.fixture
def robot(ros, tmp_path, model):
    weights = tmp_path / "image.safetensors"
    save_checkpoint(model, weights)
    made = []

    def make(**parameters):
        made.append(Robot(weights=str(weights), **{"input": "image", "fx_px": 60.0} | parameters))
        return made[-1]

    yield make
    for one in made:
        one.close()


def play(bot, *numbers: int) -> None:
    """Publish images, each once the one before was taken in."""
    for number in numbers:
        seen = bot.stream.lane.encoded
        sent = frame(number)
        bot.events.publish(message(sent.image, "rgb8", sent.stamp_ns))
        streams.until(lambda seen=seen: bot.stream.lane.encoded > seen)


def test_the_node_answers_as_the_predictor_does(robot, tmp_path):
    bot = robot()
    play(bot, 0, 1)
    stamp_ns = frame(1).stamp_ns
    uv = [[5.0, 5.0], [30.25, 20.5], [np.nan, 1.0], [64.0, 1.0]]
    answer = bot.ask(uv, stamp_ns)
    predictor = Predictor(load_checkpoint(tmp_path / "image.safetensors"), HEIGHT, WIDTH, 60.0)
    predictor.encode(ImageWindow(frame(1).image, stamp_ns))
    expected = predictor.query(uv)
    np.testing.assert_array_equal(answer.status, expected.status)
    assert list(answer.status) == [Status.OK, Status.OK, Status.NOT_FINITE, Status.OUT_OF_IMAGE]
    np.testing.assert_allclose(answer.depth, expected.depth_m, rtol=1e-5)
    np.testing.assert_allclose(answer.depth_stddev, expected.depth_stddev_m, rtol=1e-5)
    assert (time_to_ns(answer.window_start), time_to_ns(answer.window_end)) == (stamp_ns, stamp_ns + 1)
    assert list(bot.ask(uv[:1], stamp_ns + 10**10).status) == [Status.STALE_CACHE]
    values = bot.diagnosed()
    assert values["images"] == "2" and values["windows_encoded"] == "2"


def test_covering_waits_for_the_image_of_its_stamp(robot):
    bot = robot(query_mode="covering", max_wait_ms=5000.0)
    play(bot, 0, 1)
    for number in (0, 1):
        assert time_to_ns(bot.ask([[5, 5]], frame(number).stamp_ns).window_start) == frame(number).stamp_ns


def test_what_is_no_picture_is_counted_and_the_next_one_is_taken(robot):
    bot = robot()
    bad = message(frame(0).image, "rgb8")
    bad.data = bad.data[:100]
    bot.events.publish(bad)
    streams.until(lambda: bot.stream.intake.packets_rejected == 1)
    assert list(bot.ask([[5, 5]], ROS_BASE_NS).status) == [Status.NO_CACHE]
    play(bot, 1)
    assert list(bot.ask([[5, 5]], frame(1).stamp_ns).status) == [Status.OK]


def test_images_that_come_too_fast_are_dropped_and_counted(robot, monkeypatch):
    bot = robot(max_waiting_windows=1)
    play(bot, 0)
    whole = bot.stream.predictor.model.encode
    monkeypatch.setattr(bot.stream.predictor.model, "encode", lambda *args: (time.sleep(0.3), whole(*args))[1])
    for number in range(1, 9):
        sent = frame(number)
        bot.stream.put_packet(serialize_message(message(sent.image, "rgb8", sent.stamp_ns)))
    streams.until(lambda: bot.stream.idle and bot.node.encoder.idle)
    stream = bot.stream
    assert stream.packets_dropped + stream.windows_dropped > 0
    assert stream.lane.encoded + stream.packets_dropped + stream.windows_dropped == 9
    assert list(bot.ask([[5, 5]], frame(8).stamp_ns).status) == [Status.OK]


def test_the_model_must_see_what_comes(tmp_path, model):
    save_checkpoint(model, tmp_path / "image.safetensors")
    values = {"device": "cpu", "weights": str(tmp_path / "image.safetensors"), "preset": "", "query_mode": "latest"}
    with pytest.raises(ValueError, match=r"input is events, but the model .*image\.safetensors sees image"):
        model_for(SimpleNamespace(**values, input="events"))
    with pytest.raises(ValueError, match="input is image, but the model minimal sees events"):
        model_for(SimpleNamespace(**values | {"weights": "", "preset": "minimal"}, input="image"))
    with pytest.raises(ValueError, match="query_mode exact cuts events at a stamp"):
        model_for(SimpleNamespace(**values | {"query_mode": "exact"}, input="image"))
    assert model_for(SimpleNamespace(**values, input="image")).device == torch.device("cpu")
