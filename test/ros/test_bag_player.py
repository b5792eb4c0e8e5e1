import time

import numpy as np
import pytest
import streams
from event_camera_msgs.msg import EventPacket as EventPacketMsg
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg
from rosgraph_msgs.msg import Clock
from spinning import Spinner

from eventspd_ros.events.files.compressed import zstd
from eventspd_ros.events.files.rosbag import bag_typestore, open_bag
from eventspd_ros.events.messages import EVENT_PACKET, new_event_packet, time_to_ns
from eventspd_ros.ros.bag_player import BagPlayer
from eventspd_ros.ros.messages import EVENTS_QOS, message_class

NEVER = QosTime(2147483647, 4294967295)
BEST_EFFORT = Qos(
    QosHistory.KEEP_LAST,
    1000,
    QosReliability.BEST_EFFORT,
    QosDurability.VOLATILE,
    NEVER,
    NEVER,
    QosLiveliness.AUTOMATIC,
    NEVER,
    False,
)


@pytest.fixture(scope="module", params=[StoragePlugin.SQLITE3, StoragePlugin.MCAP], ids=["sqlite3", "mcap"])
def bag(request, tmp_path_factory):
    """Event packets recorded best effort, and a type that nobody has installed."""
    path = tmp_path_factory.mktemp("bags") / "bag"
    store = bag_typestore()
    store.register(get_types_from_msg("int32 value", "nobody_msgs/msg/Strange"))
    with Writer(path, version=9, storage_plugin=request.param) as writer:
        events = writer.add_connection(
            "/camera/events", EVENT_PACKET, typestore=store, offered_qos_profiles=[BEST_EFFORT]
        )
        strange = writer.add_connection("/strange", "nobody_msgs/msg/Strange", typestore=store)
        for p in streams.make_packets(50):
            message = new_event_packet(lambda kind, **fields: store.types[kind](**fields), p, "optical")
            writer.write(events, p.stamp_ns, store.serialize_cdr(message, EVENT_PACKET))
            strange_bytes = store.serialize_cdr(store.types["nobody_msgs/msg/Strange"](1), "nobody_msgs/msg/Strange")
            writer.write(strange, p.stamp_ns, strange_bytes)
    return path


class Listener:
    def __init__(self):
        self.node = Node("listener")
        self.packets, self.clocks, self.arrivals = [], [], []
        self.node.create_subscription(EventPacketMsg, "/camera/events", self.on_packet, EVENTS_QOS)
        self.node.create_subscription(Clock, "/clock", lambda m: self.clocks.append(time_to_ns(m.clock)), 1000)
        self.spinner = Spinner(self.node)

    def on_packet(self, msg):
        self.packets.append(msg)
        self.arrivals.append(time.monotonic())

    def close(self):
        self.spinner.close()
        self.node.destroy_node()


def player(path, **parameters):
    values = {"bag": str(path), "wait_for": ["/camera/events", "/clock"], **parameters}
    return BagPlayer(parameter_overrides=[RosParameter(name, value=value) for name, value in values.items()])


def test_messages_arrive_as_recorded_with_clock_and_rate(ros, bag):
    listener = Listener()
    played = player(bag, rate=0.5)
    assert played.play() == 50
    deadline = time.monotonic() + 5
    while len(listener.packets) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    (info,) = played.get_publishers_info_by_topic("/camera/events")
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert played.get_publishers_info_by_topic("/strange") == []
    played.destroy_node()
    listener.close()
    sent = streams.make_packets(50)
    assert [m.seq for m in listener.packets] == [p.seq for p in sent]
    for message, packet in zip(listener.packets, sent, strict=True):
        np.testing.assert_array_equal(np.frombuffer(message.events, np.uint8), packet.payload)
        assert time_to_ns(message.header.stamp) == packet.stamp_ns and message.header.frame_id == "optical"
    recorded_s = (sent[-1].stamp_ns - sent[0].stamp_ns) / 1e9
    assert listener.arrivals[-1] - listener.arrivals[0] == pytest.approx(recorded_s / 0.5, abs=0.1)
    assert listener.clocks == sorted(listener.clocks) and len(listener.clocks) >= 20
    assert sent[0].stamp_ns <= listener.clocks[0] and listener.clocks[-1] <= sent[-1].stamp_ns


def test_a_type_that_is_not_installed_is_named(ros, bag, capfd):
    one = player(bag)
    one.destroy_node()
    written = capfd.readouterr()
    lines = [line for line in (written.out + written.err).splitlines() if "nobody_msgs/msg/Strange" in line]
    assert len(lines) == 1 and "/strange" in lines[0]


def test_a_recorded_clock_stays_in_the_bag(ros, bag, tmp_path, capfd):
    """A simulator's, here an hour behind: whoever listens must hear one time."""
    store = bag_typestore()
    kind, time_kind = store.types["rosgraph_msgs/msg/Clock"], store.types["builtin_interfaces/msg/Time"]
    with Reader(bag) as reader, Writer(tmp_path / "sim", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        clock = writer.add_connection("/clock", "rosgraph_msgs/msg/Clock", typestore=store)
        events = writer.add_connection("/camera/events", EVENT_PACKET, typestore=store)
        for connection, time_ns, data in reader.messages():
            if connection.topic == "/camera/events":
                stamp = time_kind(*divmod(time_ns - 3600 * 10**9, 10**9))
                writer.write(clock, time_ns, store.serialize_cdr(kind(stamp), "rosgraph_msgs/msg/Clock"))
                writer.write(events, time_ns, data)
    listener = Listener()
    played = player(tmp_path / "sim", rate=2.0)
    assert len(played.get_publishers_info_by_topic("/clock")) == 1
    assert played.play() == 50
    played.destroy_node()
    listener.close()
    first_ns, last_ns = (streams.make_packets(50)[k].stamp_ns for k in (0, -1))
    assert listener.clocks and all(first_ns <= t_ns <= last_ns for t_ns in listener.clocks)
    written = capfd.readouterr()
    assert (written.out + written.err).count("/clock of the bag is left out") == 1


def test_message_class():
    assert message_class("event_camera_msgs/msg/EventPacket") is EventPacketMsg
    assert message_class("event_camera_msgs/msg/Nothing") is None
    assert message_class("nobody_msgs/msg/Strange") is None


@pytest.mark.parametrize("path", ["", "/no/such/bag"])
def test_a_missing_bag_is_one_line(ros, path):
    with pytest.raises(ValueError) as error:
        player(path)
    assert (path or "bag") in str(error.value) and "\n" not in str(error.value)


def test_a_truncated_bag_is_one_line(ros, bag, tmp_path):
    for file in bag.iterdir():
        whole = file.read_bytes()
        cut = len(whole) if file.suffix == ".yaml" else len(whole) // 2
        (tmp_path / file.name).write_bytes(whole[:cut])
    with pytest.raises(ValueError) as error:
        one = player(tmp_path, wait_for=[""])
        one.play()
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_compressed_messages_are_never_published_as_they_are(ros, bag, tmp_path):
    """Without metadata, as a killed recorder leaves them; one of them is damaged."""
    with open_bag(bag) as whole:
        sent = list(whole.messages(["/camera/events"]))
    damaged = bytearray(zstd.compress(sent[7][2]))
    damaged[4] ^= 0xFF
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        events = writer.add_connection("/camera/events", EVENT_PACKET, typestore=bag_typestore())
        for k, (_, time_ns, data) in enumerate(sent):
            writer.write(events, time_ns, bytes(damaged) if k == 7 else zstd.compress(data))
    (tmp_path / "bag" / "metadata.yaml").unlink()
    listener = Listener()
    played = player(tmp_path / "bag")
    with pytest.raises(ValueError, match="1 of 50 messages of /camera/events are damaged or missing; 49 messages"):
        played.play()
    deadline = time.monotonic() + 5
    while len(listener.packets) < 49 and time.monotonic() < deadline:
        time.sleep(0.01)
    played.destroy_node()
    listener.close()
    packets = [packet for k, packet in enumerate(streams.make_packets(50)) if k != 7]
    for message, packet in zip(listener.packets, packets, strict=True):
        assert bytes(message.events) == packet.payload.tobytes() and message.seq == packet.seq


def test_topics_nobody_listens_to_are_named(ros, bag):
    with pytest.raises(ValueError, match="/camera/events"):
        player(bag, wait_s=0.2).play()


def test_nothing_to_play_is_named(ros, bag):
    with pytest.raises(ValueError, match="/strange"):
        player(bag, topics=["/strange"])
