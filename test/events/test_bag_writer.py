"""Bags that are written here, read back."""

import numpy as np
import pytest

from eventspd_ros.events.files.bag_writer import STORAGES, new_bag
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.events.messages import EVENT_PACKET, KEYPOINT_ARRAY, new_event_packet, new_header, new_keypoints
from eventspd_ros.events.types import EventPacket


@pytest.mark.parametrize("storage", STORAGES)
def test_messages_come_back_in_order_under_their_topics(tmp_path, storage):
    packet = EventPacket("evt3", 64, 48, np.arange(4, dtype=np.uint8), seq=3, stamp_ns=10**18)
    with new_bag(tmp_path / "deep" / "bag", storage) as bag:
        bag.add_topic("/events", EVENT_PACKET)
        bag.add_topic("/keypoints", KEYPOINT_ARRAY)
        bag.write("/events", 10**18, new_event_packet(bag.new, packet))
        bag.write("/keypoints", 10**18 + 1, new_keypoints(bag.new, new_header(bag.new, 7), [5], np.array([[1, 2]])))
        assert not (tmp_path / "deep" / "bag").exists(), "it appears when it is whole"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bag"]
    with open_bag(tmp_path / "deep" / "bag") as bag:
        assert {c.topic: c.msgtype for c in bag.connections} == {"/events": EVENT_PACKET, "/keypoints": KEYPOINT_ARRAY}
        assert [(topic, time_ns) for topic, time_ns, _ in bag.messages()] == [
            ("/events", 10**18),
            ("/keypoints", 10**18 + 1),
        ]
        ((_, _, message),) = bag.read("/events")
        assert (message.seq, message.events.tolist()) == (3, [0, 1, 2, 3])
        ((_, _, message),) = bag.read("/keypoints")
        assert (message.id.tolist(), message.u.tolist(), message.v.tolist()) == ([5], [1.0], [2.0])


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_bag(tmp_path / "bag") as bag:
        bag.add_topic("/events", EVENT_PACKET)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="exists already; remove it or name another folder"), new_bag(tmp_path):
        pass
    with pytest.raises(ValueError, match="storage 'zip': must be one of mcap, sqlite3"), new_bag(tmp_path / "b", "zip"):
        pass
