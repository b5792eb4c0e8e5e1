"""What goes wrong on a robot: the node answers every request all the same, and is well again afterwards."""

import array
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import streams
from event_camera_msgs.msg import EventPacket as EventPacketMsg
from eventspd_ros.msg import KeypointArray
from robots import Robot
from streams import Running, make_packets, until
from test_event_intake import at

from eventspd_ros.predictor import Status
from eventspd_ros.ros.messages import EVENTS_QOS, ns_to_time
from eventspd_ros.ros.stream import StreamSettings

POINTS = [[10.0, 10.0], [50.0, 30.0]]


@pytest.fixture
def bot(ros):
    one = Robot(fx_px=60.0, allow_untrained=True)
    yield one
    one.close()


def test_a_driver_that_is_killed_and_started_again(bot):
    packets = make_packets(20)
    bot.play(packets)
    assert list(bot.ask(POINTS, packets[-1].stamp_ns).status) == [Status.OK] * 2
    bot.client.destroy_publisher(bot.events)
    later = at(make_packets(20, seed=2), host_s=3.0)
    assert list(bot.ask(POINTS, later[0].stamp_ns).status) == [Status.STALE_CACHE] * 2
    bot.events = bot.client.create_publisher(EventPacketMsg, "/events", EVENTS_QOS)
    until(bot.events.get_subscription_count)
    bot.play(later)
    until(lambda: bot.stream.intake.decoder.stats.packets == 40 and bot.stream.idle)
    assert list(bot.ask(POINTS, later[-1].stamp_ns).status) == [Status.OK] * 2
    assert bot.stream.intake.resets == {"restart": 1}


def test_keypoints_at_a_thousand_a_second_are_answered_in_order(bot):
    packets = make_packets(20)
    bot.play(packets)
    for k in range(300):
        msg = KeypointArray(id=array.array("Q", [k]), u=array.array("f", [5.0]), v=array.array("f", [5.0]))
        msg.header.stamp = ns_to_time(packets[-1].stamp_ns)
        bot.keypoints.publish(msg)
        time.sleep(0.001)
    until(lambda: len(bot.answers) == 300)
    assert [answer.id[0] for answer in bot.answers] == list(range(300))
    assert {answer.status[0] for answer in bot.answers} <= {Status.OK, Status.OVERLOADED}


def test_a_request_of_fifty_thousand_keypoints(bot):
    packets = make_packets(10)
    bot.play(packets)
    rng = np.random.default_rng(0)
    uv = np.stack([rng.uniform(0, 63, 50_000), rng.uniform(0, 47, 50_000)], axis=1)
    answer = bot.ask(uv, packets[-1].stamp_ns)
    assert len(answer.depth) == 50_000 and set(answer.status) == {Status.OK}
    assert list(answer.id[:3]) == [0, 1, 2] and list(bot.ask(POINTS, packets[-1].stamp_ns).status) == [Status.OK] * 2


def malformed(packet, chance: random.Random):
    """A packet that no camera sends."""
    noise = np.frombuffer(chance.randbytes(chance.randrange(4000)), np.uint8)
    return chance.choice(
        [
            replace(packet, payload=noise),
            replace(packet, payload=packet.payload[: chance.randrange(len(packet.payload))]),
            replace(packet, encoding=chance.choice(["", "evt9", "mono8", "é" * 5000])),
            replace(packet, width=chance.choice([0, 1, 2**32 - 1]), height=chance.choice([0, 7, 2**32 - 1])),
            replace(packet, encoding="libcaer", time_base_ns=2**63),
            replace(packet, seq=2**64 - 1),
            replace(packet, stamp_ns=chance.choice([0, 2**61])),
        ]
    )


def test_one_packet_in_ten_malformed():
    chance, packets = random.Random(5), make_packets(200)
    mixed = [malformed(p, chance) if chance.random() < 0.1 else p for p in packets]
    with Running() as running:
        for k, packet in enumerate(mixed):
            running.stream.put_packet(packet)
            if k % 10 == 0:
                running.request(POINTS, packets[k].stamp_ns, message=k)
        running.settle()
        until(lambda: len(running.answers) == 20)
        assert [message for message, _, _ in running.answers] == list(range(0, 200, 10))
        assert not running.faults and all(len(line) < 500 and "\n" not in line for line in running.log.lines)
        well = at(make_packets(30, seed=2), host_s=10.0, seq=500)
        running.play(well)
        assert running.ask(POINTS, well[-1].stamp_ns)[0].status.tolist() == [Status.OK] * 2


def test_bytes_that_are_no_message_are_rejected(bot):
    for raw in (b"", b"\x00\x01\x00\x00", bytes(range(256)) * 4):
        bot.stream.put_packet(raw)
    until(lambda: bot.stream.intake.packets_rejected + (bot.stream.intake.decoder is not None) >= 3)
    packets = make_packets(10)
    bot.play(packets)
    assert list(bot.ask(POINTS, packets[-1].stamp_ns).status) == [Status.OK] * 2


def test_a_camera_that_is_silent_for_ten_seconds():
    packets = make_packets(40)
    after = at(packets[20:], sensor_s=10.0, host_s=10.0)
    with Running() as running:
        running.play(packets[:20])
        memory = running.stream.predictor.resets
        for second in range(1, 11):
            now_ns = packets[19].stamp_ns + second * 10**9
            running.stream.put_time(now_ns)
            assert running.ask(POINTS, now_ns)[0].status.tolist() == [Status.STALE_CACHE] * 2
        running.play(after)
        assert running.ask(POINTS, after[-1].stamp_ns)[0].status.tolist() == [Status.OK] * 2
        assert running.stream.predictor.resets == memory, "a silence is not another scene"


def test_a_machine_that_cannot_keep_up_drops_and_stays_fresh():
    """20 million events a second in packets of 4 ms, for an encoder that takes 50 ms a window of 8.3 ms."""
    packets = make_packets(50, events_per_packet=80_000)
    with Running(max_windows=2, settings=StreamSettings(max_packets=50)) as running:
        encode, lane = running.model.encode, running.stream.lane

        def slow(windows, states):
            time.sleep(0.05)
            return encode(windows, states)

        running.model.encode = slow
        sizes = set()
        for k, packet in enumerate(packets):
            running.stream.put_packet(packet)
            time.sleep(0.004)
            if k % 10 == 9:
                running.request(POINTS, packet.stamp_ns, message=packet.stamp_ns)
                assert len(lane.waiting) <= 2
                sizes.add(len(running.stream.intake._slicer.buffer.t_ns) if running.stream.predictor else 0)
        running.settle()
        until(lambda: len(running.answers) == 5)
        slicer = running.stream.intake._slicer
        assert lane.dropped > 5 and running.stream.intake.decoder.stats.packets + running.stream.packets_dropped == 50
        assert len(sizes - {0}) == 1 and len(slicer.buffer) <= slicer.max_events, "the event buffer does not grow"
        for stamp_ns, answer, window_ns in running.answers:
            fresh = abs(window_ns[1] - stamp_ns) <= 200_000_000
            assert set(answer.status) <= ({Status.OK} if fresh else {Status.STALE_CACHE, Status.NO_CACHE})
        last = running.stream.predictor.cache.end_ns
        assert packets[-1].stamp_ns - streams.ROS_BASE_NS - last < 20_000_000, "the newest window was never dropped"
