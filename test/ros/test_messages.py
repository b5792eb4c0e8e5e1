import array

import numpy as np
import pytest
from event_camera_msgs.msg import EventPacket
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message

from eventspd_ros.inputs.keypoints import points_from_msg
from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.predictor import Answer, Status
from eventspd_ros.ros.messages import (
    EVENT_TYPES,
    answer_to_msg,
    event_input,
    ns_to_time,
    packet_from_msg,
    time_to_ns,
)


def test_status_constants_are_those_of_the_message():
    constants = {name: getattr(KeypointDepthArray, name) for name in Status.__members__}
    assert constants == {name: member.value for name, member in Status.__members__.items()}
    text = [line.split()[1] for line in KeypointDepthArray.__doc__.splitlines() if line.startswith("uint8 ")]
    assert set(text) <= set(Status.__members__) | set(Basis.__members__)
    assert all(getattr(KeypointDepthArray, basis.name) == basis for basis in Basis if basis)


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_times_survive(time_ns):
    assert time_to_ns(ns_to_time(time_ns)) == time_ns


@pytest.mark.parametrize("time_ns", [-1, 2**31 * 10**9, 2**62])
def test_times_beyond_the_message_are_clamped(time_ns):
    assert time_to_ns(ns_to_time(time_ns)) == (0 if time_ns < 0 else 2**31 * 10**9 - 1)


def test_packet_bytes_are_not_copied():
    msg = EventPacket(height=260, width=346, seq=7, time_base=11, encoding="evt3", events=array.array("B", [1, 2, 3]))
    msg.header.stamp = ns_to_time(5_000_000_123)
    packet = packet_from_msg(msg)
    assert (packet.height, packet.width, packet.seq, packet.time_base_ns, packet.encoding) == (260, 346, 7, 11, "evt3")
    assert packet.stamp_ns == 5_000_000_123
    msg.events[0] = 9
    assert packet.payload.tolist() == [9, 2, 3]


def test_a_serialized_packet_is_parsed_and_other_bytes_are_refused_in_one_line():
    msg = EventPacket(height=260, width=346, seq=7, encoding="evt3", events=array.array("B", [1, 2, 3]))
    packet = event_input(EVENT_TYPES[0]).parse(serialize_message(msg))
    assert (packet.height, packet.width, packet.seq, packet.payload.tolist()) == (260, 346, 7, [1, 2, 3])
    for raw in (b"", b"\0\1\0\0" + b"\xff" * 30):
        with pytest.raises(ValueError, match=f"^{len(raw)} bytes are no EventPacket .*; drop the message$"):
            event_input(EVENT_TYPES[0]).parse(raw)


def keypoints(ids, u, v) -> KeypointArray:
    msg = KeypointArray(id=array.array("Q", ids), u=array.array("f", u), v=array.array("f", v))
    msg.header.frame_id = "camera_optical"
    msg.header.stamp = ns_to_time(1_234_567_890_123)
    return msg


def test_points_keep_order_and_value():
    points = points_from_msg(keypoints([3, 1], [0.5, float("nan")], [2.0, 4.0]))
    np.testing.assert_array_equal(points, np.array([[0.5, 2.0], [np.nan, 4.0]], np.float32))


def test_points_of_an_empty_request():
    assert points_from_msg(keypoints([], [], [])).shape == (0, 2)


@pytest.mark.parametrize("lengths", [(2, 1, 1), (1, 2, 1), (1, 1, 0)])
def test_arrays_of_unequal_length_are_malformed(lengths):
    ids, u, v = ([1] * lengths[0], [1.0] * lengths[1], [1.0] * lengths[2])
    request = keypoints(ids, u, v)
    assert points_from_msg(request) is None
    msg = answer_to_msg(request, Answer.refused(len(ids), Status.MALFORMED), (0, 0))
    columns = (msg.id, msg.u, msg.v, msg.depth, msg.depth_stddev, msg.status, msg.basis)
    assert [len(column) for column in columns] == [lengths[0]] * 7 and np.isnan(msg.log_scale_stddev)
    assert list(msg.status) == [Status.MALFORMED] * lengths[0]


def test_an_answer_carries_the_request_header_ids_and_points():
    request = keypoints([2**63, 5], [1.5, 2.5], [3.5, 4.5])
    answer = Answer(
        depth_m=np.array([2.0, np.nan], np.float32),
        depth_stddev_m=np.array([0.25, np.nan], np.float32),
        status=np.array([0, 2], np.uint8),
        window_start_ns=0,
        window_end_ns=0,
        basis=np.array([3, 0], np.uint8),
        log_scale_stddev=0.125,
    )
    msg = answer_to_msg(request, answer, (10**9, 2 * 10**9))
    assert msg.header == request.header
    assert list(msg.id) == [2**63, 5] and list(msg.u) == [1.5, 2.5] and list(msg.v) == [3.5, 4.5]
    np.testing.assert_array_equal(np.array(msg.depth), answer.depth_m.astype(float))
    np.testing.assert_array_equal(np.array(msg.depth_stddev), answer.depth_stddev_m.astype(float))
    assert list(msg.status) == [0, 2] and list(msg.basis) == [3, 0] and msg.log_scale_stddev == 0.125
    assert (time_to_ns(msg.window_start), time_to_ns(msg.window_end)) == (10**9, 2 * 10**9)
