"""Messages that rosbags holds, to events and back; test/ros/test_messages.py holds them against those of rclpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.encoders import event_array_cdr
from reference.packets import event_array

from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.events.messages import (
    END_OF_TIME_NS,
    EVENT_ARRAYS,
    EVENT_PACKET,
    image_values,
    new_event_packet,
    new_header,
    new_image,
    new_keypoints,
    new_time,
    packet_from_message,
    packet_parser,
    time_to_ns,
)
from eventspd_ros.events.types import EventPacket

STORE = bag_typestore()
PACKET = EventPacket("libcaer", 346, 260, np.arange(7, dtype=np.uint8), 2**40, 123_456_789_012, 17 * 10**17 + 9)


def new(msgtype, /, **fields):
    return STORE.types[msgtype](**fields)


@given(st.integers(0, END_OF_TIME_NS - 1))
def test_times_survive(time_ns):
    assert time_to_ns(new_time(new, time_ns)) == time_ns


@pytest.mark.parametrize("time_ns", [-1, END_OF_TIME_NS, 2**62])
def test_times_beyond_the_message_are_clamped(time_ns):
    assert time_to_ns(new_time(new, time_ns)) == (0 if time_ns < 0 else END_OF_TIME_NS - 1)


def same_packets(a: EventPacket, b: EventPacket) -> bool:
    names = ("encoding", "width", "height", "seq", "time_base_ns", "stamp_ns")
    return all(getattr(a, n) == getattr(b, n) for n in names) and a.payload.tolist() == b.payload.tolist()


def test_a_packet_comes_back_from_its_message_and_from_its_bytes():
    message = new_event_packet(new, PACKET, "optical")
    assert message.header.frame_id == "optical"
    packet = packet_from_message(message)
    assert same_packets(packet, PACKET)
    message.events[0] = 99
    assert packet.payload[0] == 99, "its bytes are not copied"
    message.events[0] = 0
    data = bytes(STORE.serialize_cdr(message, EVENT_PACKET))
    assert same_packets(packet_parser(EVENT_PACKET, STORE.deserialize_cdr)(data), PACKET)
    empty = EventPacket("evt3", 8, 8, np.empty(0, np.uint8))
    assert same_packets(packet_from_message(new_event_packet(new, empty)), empty)


@pytest.mark.parametrize("msgtype", EVENT_ARRAYS)
def test_an_event_array_is_never_made_an_object(msgtype):
    events = event_array(np.array([5000]), np.array([3]), np.array([2]), np.array([1]), 346, 260)
    data = event_array_cdr(events, 7, package=msgtype.partition("/")[0])
    packet = packet_parser(msgtype, None)(data)
    assert (packet.width, packet.height, packet.stamp_ns) == (346, 260, 7)


def test_an_image_holds_its_rows_in_little_endian():
    pixels = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    image = new_image(new, new_header(new, 5, "optical"), pixels, "32FC1")
    assert (image.height, image.width, image.step, image.is_bigendian, image.encoding) == (3, 2, 8, 0, "32FC1")
    np.testing.assert_array_equal(np.frombuffer(image.data, "<f4").reshape(3, 2), pixels)
    assert (image.header.frame_id, time_to_ns(image.header.stamp)) == ("optical", 5)
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image = new_image(new, new_header(new, 0), colours, "rgb8")
    assert image.step == 12 and image.data.tolist() == list(range(24))


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<u2", "u1"])
def test_the_values_of_an_image_come_back_from_rows_of_any_length_and_order(kind, padding):
    values = np.arange(24).astype(kind).reshape(3, 4, 2)
    rows = np.pad(values.view(np.uint8).reshape(3, -1), ((0, 0), (0, padding)))
    image = new_image(new, new_header(new, 0), values, "some")
    image.data, image.step, image.is_bigendian = rows.ravel(), rows.shape[1], int(kind[0] == ">")
    np.testing.assert_array_equal(image_values(image, kind[-2:], 2), values)
    image.data = image.data[: len(image.data) - padding]  # nothing need pad the last row
    np.testing.assert_array_equal(image_values(image, kind[-2:], 2), values)
    image.data = image.data[:-1]
    with pytest.raises(ValueError, match=f"^some image of 4x3 px, step {rows.shape[1]}: its .* bytes do not hold it$"):
        image_values(image, kind[-2:], 2)


def test_keypoints_are_ids_and_columns():
    message = new_keypoints(new, new_header(new, 5), np.array([9, 2**63], np.uint64), np.array([[1.5, 2.5], [3, 4]]))
    assert message.id.tolist() == [9, 2**63] and message.id.dtype == np.uint64
    assert (message.u.tolist(), message.v.tolist()) == ([1.5, 3.0], [2.5, 4.0])
    assert message.u.dtype == message.v.dtype == np.float32
    assert len(new_keypoints(new, new_header(new, 5), [], np.empty((0, 2))).u) == 0
