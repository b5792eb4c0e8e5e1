"""A simulated bag, read back."""

from dataclasses import replace

import numpy as np
import pytest
from rosbags.interfaces import QosDurability, QosHistory, QosReliability

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.simulation import bag as bag_module
from eventspd_ros.simulation.bag import (
    CAMERA_INFO_TOPIC,
    DEPTH_TOPIC,
    EVENTS_TOPIC,
    KEYPOINTS_TOPIC,
    ODOMETRY_TOPIC,
    write_bag,
)
from eventspd_ros.simulation.camera import PinholeCamera, rotation_from_vector
from eventspd_ros.simulation.odometry import OdometryConfig, velocity
from eventspd_ros.simulation.stream import (
    Observation,
    SimulationConfig,
    World,
    concatenate,
    simulate_recording,
    simulate_stream,
)

CONFIG = SimulationConfig(PinholeCamera(120, 90, 100.0, 101.0, 58.0, 46.0), duration_s=0.2, seed=4, max_keypoints=40)


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def bag_path(request, tmp_path_factory):
    steps = []
    path = write_bag(tmp_path_factory.mktemp("bags") / "deep" / "simulated", CONFIG, request.param, steps.append)
    assert sum(steps) == CONFIG.chunks == 50
    assert min(steps) >= 0
    return path


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def read(path, topic):
    with open_bag(path) as bag:
        return [message for _, _, message in bag.read(topic)]


def test_the_events_come_back_exactly(bag_path):
    source = open_events(bag_path)
    assert (source.encoding, source.width, source.height) == ("evt3", 120, 90)
    decoder = make_decoder(source.encoding, source.width, source.height)
    decoded = concatenate([decoder.decode(packet) for packet in source.packets()])
    expected = concatenate([chunk.events for chunk in simulate_stream(CONFIG)])
    for name in ("x", "y", "p", "t_ns"):
        np.testing.assert_array_equal(getattr(decoded, name), getattr(expected, name))


def test_keypoints_and_depth_come_back_with_equal_stamps(bag_path):
    observations = [item.message for item in simulate_recording(CONFIG) if isinstance(item.message, Observation)]
    keypoints, depth = read(bag_path, KEYPOINTS_TOPIC), read(bag_path, DEPTH_TOPIC)
    stamps = [item.stamp_ns for item in observations]
    assert [stamp_ns(message) for message in keypoints] == [stamp_ns(message) for message in depth] == stamps
    for item, points, image in zip(observations, keypoints, depth, strict=True):
        np.testing.assert_array_equal(points.id, item.keypoints.ids)
        np.testing.assert_array_equal(np.stack([points.u, points.v], 1), item.keypoints.uv_px)
        assert (points.id.dtype, points.u.dtype) == (np.uint64, np.float32)
        assert (image.encoding, image.width, image.height, image.step) == ("32FC1", 120, 90, 480)
        np.testing.assert_array_equal(image.data.view(np.float32).reshape(90, 120), item.depth_m)


def test_camera_info_holds_the_intrinsics_and_comes_before_the_first_keypoints(bag_path):
    infos = read(bag_path, CAMERA_INFO_TOPIC)
    stamps = [stamp_ns(message) for message in infos]
    assert stamps == [CONFIG.start_ns, *(stamp_ns(message) for message in read(bag_path, DEPTH_TOPIC))]
    for info in infos:
        np.testing.assert_array_equal(info.k, [100, 0, 58, 0, 101, 46, 0, 0, 1])
        np.testing.assert_array_equal(info.p, [100, 0, 58, 0, 0, 101, 46, 0, 0, 0, 1, 0])
        assert (info.width, info.height, info.distortion_model) == (120, 90, "plumb_bob")
        assert not info.d.any()


def test_messages_are_in_order_of_arrival_and_name_one_frame(bag_path):
    with open_bag(bag_path) as bag:
        types = {connection.topic: connection.msgtype for connection in bag.connections}
        messages = [(topic, t_ns, bag.deserialize(data, types[topic])) for topic, t_ns, data in bag.messages()]
    times = [t_ns for _, t_ns, _ in messages]
    assert times == sorted(times)
    for topic, _, message in messages:
        assert message.header.frame_id == ("world" if topic == ODOMETRY_TOPIC else bag_module.FRAME_ID)
    assert all(stamp_ns(message) <= t_ns for _, t_ns, message in messages)
    last_topic = None
    for topic, _, _ in messages:  # depth and camera_info are there when the keypoints ask
        assert topic != KEYPOINTS_TOPIC or last_topic == DEPTH_TOPIC
        last_topic = topic


def test_the_offered_qos_is_that_of_a_camera(bag_path):
    with open_bag(bag_path) as bag:
        qos = {c.topic: c.ext.offered_qos_profiles for c in bag.connections}
    assert set(qos) == {EVENTS_TOPIC, CAMERA_INFO_TOPIC, KEYPOINTS_TOPIC, DEPTH_TOPIC, ODOMETRY_TOPIC}
    for topic, (profile,) in qos.items():
        expected = QosReliability.BEST_EFFORT if topic == EVENTS_TOPIC else QosReliability.RELIABLE
        assert profile.reliability == expected
        assert profile.history == QosHistory.KEEP_LAST
        assert profile.durability == QosDurability.VOLATILE
    assert qos[EVENTS_TOPIC][0].depth == 1000


def test_an_interrupted_simulation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        yield next(simulate_recording(CONFIG))
        assert len(list(tmp_path.iterdir())) == 1, "it writes beside the place where the bag will be"
        raise KeyboardInterrupt

    monkeypatch.setattr(bag_module, "simulate_recording", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bag(tmp_path / "simulated", CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_existing_folders_and_unknown_storages_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"exists already; remove it"):
        write_bag(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="storage 'rosbag1'"):
        write_bag(tmp_path / "new", CONFIG, "rosbag1")
    assert list(tmp_path.iterdir()) == []


def test_the_odometry_is_the_path_at_its_stamps(bag_path):
    world, messages = World.of(CONFIG), read(bag_path, ODOMETRY_TOPIC)
    times_ns = [stamp_ns(message) - CONFIG.start_ns for message in messages]
    assert times_ns == list(range(0, 200_000_001, 5_000_000))
    for t_ns, message in zip(times_ns, messages, strict=True):
        assert (message.header.frame_id, message.child_frame_id) == ("world", bag_module.FRAME_ID)
        pose = message.pose.pose
        np.testing.assert_array_equal([getattr(pose.position, axis) for axis in "xyz"], world.pose(t_ns).position_W)
        np.testing.assert_allclose(rotation(pose.orientation), world.pose(t_ns).rotation_WC, atol=1e-9)
        twist = [
            getattr(part, axis) for part in (message.twist.twist.linear, message.twist.twist.angular) for axis in "xyz"
        ]
        np.testing.assert_array_equal(twist, velocity(world.pose, t_ns))
        assert not message.pose.covariance.any() and not message.twist.covariance.any()


def rotation(q):
    angle = 2 * np.arctan2(np.linalg.norm([q.x, q.y, q.z]), q.w)
    return rotation_from_vector(np.array([q.x, q.y, q.z]) * (angle / max(np.sin(angle / 2), 1e-12)))


def test_a_bag_has_the_errors_that_were_asked_for(tmp_path):
    errors = OdometryConfig(
        rate_hz=100, delay_ms=12, time_offset_ms=3, white_translation_m=0.1, drift_rotation_deg_per_100ms=1
    )
    world, path = World.of(CONFIG), write_bag(tmp_path / "bag", replace(CONFIG, odometry=errors))
    with open_bag(path) as bag:
        found = [(arrival_ns - CONFIG.start_ns, message) for _, arrival_ns, message in bag.read(ODOMETRY_TOPIC)]
    assert [arrival_ns for arrival_ns, _ in found] == [k * 10_000_000 + 12_000_000 for k in range(19)]
    for arrival_ns, message in found:
        assert stamp_ns(message) - CONFIG.start_ns == arrival_ns - 9_000_000
        taken_ns = arrival_ns - 12_000_000
        turned = rotation(message.pose.pose.orientation) @ world.pose(taken_ns).rotation_WC.T
        assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) == pytest.approx(taken_ns / 1e8, abs=1e-5)
        np.testing.assert_allclose(np.diag(message.pose.covariance.reshape(6, 6)), [0.01] * 3 + [0] * 3)
        np.testing.assert_allclose(np.diag(message.twist.covariance.reshape(6, 6))[3:], np.radians(10) ** 2 / 3)
    position = found[7][1].pose.pose.position
    assert 0.01 < np.linalg.norm([position.x, position.y, position.z] - world.pose(70_000_000).position_W) < 0.5
