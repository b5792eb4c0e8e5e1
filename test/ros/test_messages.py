"""rclpy's messages: what is in them is what rosbags' hold, and bytes that are none are refused."""

import array

import numpy as np
import pytest
from event_camera_msgs.msg import EventPacket as EventPacketMsg
from eventspd_ros.msg import KeypointDepthArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo

from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.events.messages import (
    EVENT_PACKET,
    EVENT_TYPES,
    IMAGE,
    KEYPOINT_ARRAY,
    KEYPOINT_DEPTH_ARRAY,
    POINT_CLOUD2,
    new_event_packet,
    new_header,
    new_image,
    new_keypoints,
    packet_from_message,
)
from eventspd_ros.events.types import EventPacket
from eventspd_ros.inputs.answers import new_answer
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.point_cloud import keypoint_points, new_point_cloud, optical_header
from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.predictor import Answer, Status
from eventspd_ros.ros.messages import event_input, new_message, ns_to_time

STORE = bag_typestore()


def test_status_constants_are_those_of_the_message():
    constants = {name: getattr(KeypointDepthArray, name) for name in Status.__members__}
    assert constants == {name: member.value for name, member in Status.__members__.items()}
    text = [line.split()[1] for line in KeypointDepthArray.__doc__.splitlines() if line.startswith("uint8 ")]
    assert set(text) <= set(Status.__members__) | set(Basis.__members__)
    assert all(getattr(KeypointDepthArray, basis.name) == basis for basis in Basis if basis)


def all_messages(new) -> dict[str, object]:
    """One of each kind that is made here."""
    header = new_header(new, 1_234_567_890_123_456_789, "optical")
    uv_px = np.array([[1.5, 2.5], [3.5, 40.0], [9.0, np.nan]])
    keypoints = new_keypoints(new, header, np.array([7, 2**63, 1], np.uint64), uv_px)
    depth_m, basis = np.array([2.0, 3.0, np.nan], np.float32), np.array([3, 1, 0], np.uint8)
    answer = Answer(depth_m, depth_m / 8, np.array([0, 0, 1], np.uint8), 0, 0, basis, 0.125)
    answer = new_answer(new, keypoints, answer, (5, 20_000_005))
    info = CameraInfo(width=64, height=48, k=[60.0, 0.0, 31.0, 0.0, 61.0, 24.0, 0.0, 0.0, 1.0])
    lens = CameraModel.from_info(info, 64, 48)
    return {
        EVENT_PACKET: new_event_packet(new, EventPacket("evt3", 346, 260, np.arange(9, dtype=np.uint8), 5, 6, 7), "o"),
        IMAGE: new_image(new, header, np.arange(24, dtype=np.uint8).reshape(2, 4, 3), "rgb8"),
        KEYPOINT_ARRAY: keypoints,
        KEYPOINT_DEPTH_ARRAY: answer,
        POINT_CLOUD2: new_point_cloud(new, optical_header(new, answer, lens), keypoint_points(answer, lens, 0.5)),
    }


def test_rclpy_and_rosbags_write_the_same_message():
    ours, theirs = all_messages(new_message), all_messages(lambda msgtype, **fields: STORE.types[msgtype](**fields))
    for name, message in ours.items():
        read = STORE.deserialize_cdr(serialize_message(message), name)  # what pads it has no meaning
        assert bytes(STORE.serialize_cdr(read, name)) == bytes(STORE.serialize_cdr(theirs[name], name)), name


def test_packet_bytes_are_not_copied():
    msg = EventPacketMsg(events=array.array("B", [1, 2, 3]))
    packet = packet_from_message(msg)
    msg.events[0] = 9
    assert packet.payload.tolist() == [9, 2, 3]


@pytest.mark.parametrize("time_ns", [-1, 2**31 * 10**9, 2**62])
def test_times_beyond_the_message_are_clamped(time_ns):
    stamp = ns_to_time(time_ns)
    assert (stamp.sec, stamp.nanosec) == ((0, 0) if time_ns < 0 else (2**31 - 1, 10**9 - 1))


def test_a_serialized_packet_is_parsed_and_other_bytes_are_refused_in_one_line():
    msg = EventPacketMsg(height=260, width=346, seq=7, encoding="evt3", events=array.array("B", [1, 2, 3]))
    packet = event_input(EVENT_TYPES[0]).parse(serialize_message(msg))
    assert (packet.height, packet.width, packet.seq, packet.payload.tolist()) == (260, 346, 7, [1, 2, 3])
    for raw in (b"", b"\0\1\0\0" + b"\xff" * 30):
        with pytest.raises(ValueError, match=f"^{len(raw)} bytes are no EventPacket .*; drop the message$"):
            event_input(EVENT_TYPES[0]).parse(raw)
