"""dvs_msgs and prophesee_event_msgs EventArray from its bytes; rosbags and, where it is built, ROS write them."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.encoders import event_array_cdr, event_array_store
from reference.packets import assert_same_events, event_array, joined, packet, rows
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.codecs.event_array import packet_from_event_array
from eventspd_ros.events.codecs.state import MAX_EVENTS_PER_WORD
from eventspd_ros.events.files import open_events

EPOCH_NS = 1_700_000_000_123_456_789
PACKAGES = ("dvs_msgs", "prophesee_event_msgs")


def decode(cdr, capacity=None):
    parsed = packet_from_event_array(cdr)
    decoder = make_decoder(parsed.encoding, parsed.width, parsed.height)
    buffer = EventBuffer(parsed.width, parsed.height, capacity or len(parsed.payload) + 1)
    decoder.decode_into(parsed, buffer)
    return buffer.view(buffer.begin, buffer.end), decoder


@st.composite
def events_of_a_message(draw):
    rows_ = draw(
        st.lists(st.tuples(*(st.integers(0, high) for high in (2**40, 345, 259, 1))), max_size=MAX_EVENTS_PER_WORD + 9)
    )
    t, x, y, p = (np.array([row[k] for row in rows_], np.int64) for k in range(4))
    return event_array(EPOCH_NS + np.sort(t), x, y, p, 346, 260)


@given(
    events=events_of_a_message(),
    big_endian=st.booleans(),
    frame_id=st.text(max_size=9),
    package=st.sampled_from(PACKAGES),
    capacity=st.integers(1, 60),
)
@settings(max_examples=200, deadline=None)
def test_what_rosbags_serializes_comes_back(events, big_endian, frame_id, package, capacity):
    cdr = event_array_cdr(events, EPOCH_NS, frame_id, big_endian, package)
    parsed = packet_from_event_array(cdr)
    assert (parsed.width, parsed.height, parsed.stamp_ns, parsed.seq) == (346, 260, EPOCH_NS, 0)
    got, decoder = decode(cdr, capacity)
    assert_same_events(got, events)
    stats = decoder.stats
    assert (stats.unknown_words, stats.out_of_sensor, stats.time_reversals, stats.truncated_bytes) == (0, 0, 0, 0)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_ros_serializes_comes_back(package):
    module = pytest.importorskip(f"{package}.msg", reason=f"{package} is not built; run make")
    from builtin_interfaces.msg import Time
    from rclpy.serialization import serialize_message

    message = module.EventArray(height=260, width=346)
    message.header.frame_id, message.header.stamp = "dvs", Time(sec=17, nanosec=5)
    message.events = [module.Event(x=k, y=2 * k, ts=Time(sec=17, nanosec=k), polarity=k % 2 == 1) for k in range(100)]
    events, _ = decode(serialize_message(message))
    assert rows(events) == [(17 * 10**9 + k, k, 2 * k, k % 2) for k in range(100)]


@given(
    events=events_of_a_message(),
    big_endian=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    length=st.integers(0, 700),
)
@settings(max_examples=300, deadline=None)
def test_damaged_messages_are_refused_in_one_line_or_decoded_within_the_sensor(events, big_endian, changes, length):
    data = bytearray(event_array_cdr(events, EPOCH_NS, "camera", big_endian)[:length])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    try:
        parsed = packet_from_event_array(data)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert len(parsed.payload) <= len(data)
    got = make_decoder(parsed.encoding, 346, 260).decode(packet(parsed.payload, parsed.encoding, 346, 260))
    assert len(got) <= len(data) // 13
    assert not len(got) or (got.x.max() < 346 and got.y.max() < 260 and (np.diff(got.t_ns) >= 0).all())


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_bytes_crash_the_parser(data):
    try:
        packet_from_event_array(data)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_length_beyond_the_bytes_is_refused_before_anything_is_allocated():
    cdr = bytearray(event_array_cdr(event_array([EPOCH_NS], [1], [2], [1], 346, 260)))
    at = cdr.index(struct.pack("<III", 260, 346, 1)) + 8
    cdr[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match=r"says 4294967295 events, 68719476717 bytes, but 1\d bytes follow; drop"):
        packet_from_event_array(cdr)
    for bad, said in (
        (b"", "beginning with nothing: not plain CDR"),
        (b"\0\7\0\0" + bytes(40), "beginning with 0007: not plain CDR"),
        (cdr[:20], "cut off before its events"),
        (bytes(cdr[:12]) + b"\xff\xff\xff\xff" + bytes(9), "cut off before its events"),
    ):
        with pytest.raises(ValueError, match=said):
            packet_from_event_array(bad)


def test_bytes_behind_the_last_event_are_counted_where_the_parser_did_not_cut_them():
    payload = packet_from_event_array(event_array_cdr(event_array([5, 6], [1, 2], [3, 4], [0, 1]))).payload
    for extra, length in ((0, 29), (1, 1), (1, 28), (1, 12)):
        decoder = make_decoder("event_array", 640, 480)
        got = decoder.decode(packet(payload[:length], "event_array"))
        assert rows(got) == [(5, 1, 3, 0), (6, 2, 4, 1)][: (length + 3) // 16]
        assert decoder.stats.unknown_words == extra and decoder.stats.truncated_bytes == 0


def test_time_is_held_inside_a_message_but_not_from_message_to_message():
    decoder = make_decoder("event_array", 640, 480)
    for second in (9, 3):
        times = [second * 10**9 + k for k in (5, 9, 7)]
        parsed = packet_from_event_array(event_array_cdr(event_array(times, [1] * 3, [1] * 3, [1] * 3)))
        assert decoder.decode(parsed).t_ns.tolist() == [times[0], times[1], times[1]]
    assert decoder.stats.time_reversals == 2


@pytest.mark.parametrize("package", PACKAGES)
def test_a_bag_of_event_arrays_is_a_recording_like_any_other(tmp_path, package):
    msgtype = f"{package}/msg/EventArray"
    parts = [event_array(EPOCH_NS + 10**6 * np.arange(k, k + 50), [k] * 50, [2] * 50, [1] * 50) for k in (0, 50, 100)]
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/dvs/events", msgtype, typestore=event_array_store(package))
        for k, part in enumerate(parts):
            writer.write(connection, 10**18 + k, event_array_cdr(part, EPOCH_NS + k, "dvs", package=package))
    source = open_events(tmp_path / "bag")
    assert (source.encoding, source.width, source.height, source.chunk_count) == ("event_array", 640, 480, 3)
    assert_same_events(joined(list(source.chunks())), joined(parts))
    assert [p.stamp_ns for p in source.packets()] == [EPOCH_NS, EPOCH_NS + 1, EPOCH_NS + 2]


def test_a_bag_with_a_damaged_event_array_says_so_with_its_name(tmp_path):
    good = event_array_cdr(event_array([EPOCH_NS], [1], [2], [1]))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/dvs/events", "dvs_msgs/msg/EventArray", typestore=event_array_store())
        writer.write(connection, 10**18, good)
        writer.write(connection, 10**18 + 1, good[:-6])
    packets = open_events(tmp_path / "bag").packets()
    assert len(next(packets).payload) == 13
    with pytest.raises(ValueError, match=r"bag: topic /dvs/events: event array says 1 events, 13 bytes, but"):
        next(packets)
