import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from streams import HEIGHT, ROS_BASE_NS, WIDTH, Running, make_packets, until

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.windows import window_slicer
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import Predictor, Status
from eventspd_ros.ros.diagnostics import lost_before_the_node
from eventspd_ros.ros.queues import WorkQueue
from eventspd_ros.ros.stream import StreamSettings

INSIDE = [[10.0, 10.0], [0.0, 0.0], [WIDTH - 0.6, HEIGHT - 0.6]]


def now_ns(packets) -> int:
    return packets[-1].stamp_ns


def test_depths_are_those_of_the_predictor_alone():
    packets = make_packets(30)
    with Running() as running:
        running.play(packets)
        answer, window_ns = running.ask(INSIDE, now_ns(packets))
        model = running.model
    alone = Predictor(model, HEIGHT, WIDTH, 60.0, allow_untrained=True)
    decoder, slicer = make_decoder("evt3", WIDTH, HEIGHT), window_slicer(model.config, HEIGHT, WIDTH)
    for packet in packets:
        for window in slicer.push(decoder.decode(packet)):
            alone.encode(window)
    expected = alone.query(INSIDE)
    assert answer.status.tolist() == [Status.OK] * 3
    assert (answer.window_start_ns, answer.window_end_ns) == (expected.window_start_ns, expected.window_end_ns)
    np.testing.assert_allclose(answer.depth_m, expected.depth_m, rtol=1e-5)
    np.testing.assert_allclose(answer.depth_stddev_m, expected.depth_stddev_m, rtol=1e-5)
    assert (answer.window_start_ns, answer.window_end_ns) == (expected.window_start_ns, expected.window_end_ns)
    # The sensor's clock and the host's differ by a constant here.
    assert abs(window_ns[1] - ROS_BASE_NS - answer.window_end_ns) < 1_000
    assert window_ns[1] - window_ns[0] == 20_000_000


def test_each_point_says_what_is_wrong_with_it():
    points = [[np.nan, 1], [1, np.inf], [-0.6, 1], [WIDTH - 0.5, 1], [1, HEIGHT], [1e9, 1], [5, 5]]
    packets = make_packets(10)
    with Running() as running:
        running.play(packets)
        answer, _ = running.ask(points, now_ns(packets))
    wrong = [Status.NOT_FINITE] * 2 + [Status.OUT_OF_IMAGE] * 4
    assert answer.status.tolist() == [*wrong, Status.OK]
    assert np.isnan(answer.depth_m[:-1]).all() and np.isnan(answer.depth_stddev_m[:-1]).all()
    assert answer.depth_m[-1] > 0 and answer.depth_stddev_m[-1] > 0


def test_reasons_that_concern_the_whole_answer():
    packets = make_packets(10)
    with Running() as running:
        assert running.ask(INSIDE, now_ns(packets))[0].status.tolist() == [Status.NO_CACHE] * 3
        running.play(packets)
        for shift_ns in (-1_000_000_000, 1_000_000_000):
            assert running.ask(INSIDE, now_ns(packets) + shift_ns)[0].status.tolist() == [Status.STALE_CACHE] * 3
        assert running.ask(None, now_ns(packets))[0].status.tolist() == [Status.MALFORMED] * 3
        assert running.ask([], now_ns(packets))[0].status.tolist() == []
        running.stream.reset()
        running.play(packets[:1])
        assert running.ask(INSIDE, now_ns(packets))[0].status.tolist() == [Status.NO_CACHE] * 3
    with Running(allow_untrained=False) as running:
        running.play(packets)
        assert running.ask(INSIDE, now_ns(packets))[0].status.tolist() == [Status.UNTRAINED] * 3
    with Running(fx_px=None) as running:
        running.play(packets)
        assert running.ask(INSIDE, now_ns(packets))[0].status.tolist() == [Status.UNCALIBRATED] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoding": "evt9"}, "evt9"),
        ({"width": 0}, "0"),
        ({"width": 100_000, "height": 100_000}, "100000"),
        ({"encoding": ""}, "''"),
    ],
)
def test_a_bad_packet_is_named_and_nothing_is_lost(change, said):
    packets = make_packets(20)
    bad = replace(packets[10], **change)
    with Running() as running:
        running.play(packets[:10] + [bad] + packets[10:])
        answer, _ = running.ask(INSIDE, now_ns(packets))
        assert running.stream.intake.packets_rejected == 1
        lines = [line for line in running.log.lines if said in line]
        assert len(lines) == 1 and "\n" not in lines[0]
        assert answer.status.tolist() == [Status.OK] * 3
        assert running.stream.intake.decoder.stats.packets == 20


def test_another_sensor_resets_the_stream():
    small, large = make_packets(10), make_packets(10, width=2 * WIDTH)
    with Running() as running:
        running.play(small)
        running.play(large)
        answer, _ = running.ask([[WIDTH + 5.0, 5.0]], now_ns(large))
        assert answer.status.tolist() == [Status.OK]
        assert any("64x48" in line and "128x48" in line for line in running.log.lines)


def test_a_recording_that_starts_again_starts_a_new_stream():
    packets = make_packets(20)
    with Running() as running:
        running.play(packets)
        again = [replace(p, seq=p.seq, stamp_ns=p.stamp_ns + 10**9) for p in packets[:8]]
        running.play(again[:1])
        answer, _ = running.ask(INSIDE, again[0].stamp_ns)
        assert answer.status.tolist() == [Status.NO_CACHE] * 3, "forgotten before the first new window"
        running.play(again[1:])
        answer, window_ns = running.ask(INSIDE, packets[7].stamp_ns + 10**9)
        assert answer.status.tolist() == [Status.OK] * 3
        assert abs(window_ns[1] - packets[7].stamp_ns - 10**9) < 20_000_000


def test_a_busy_encoder_drops_the_oldest_window_and_counts_it():
    packets = make_packets(200)
    with Running(max_windows=1) as running:
        slow = threading.Event()
        encode = running.model.encode

        def slow_encode(windows, states):
            slow.wait(0.3)
            return encode(windows, states)

        running.model.encode = slow_encode
        running.play(packets)
        slow.set()
        answer, _ = running.ask(INSIDE, now_ns(packets))
        stream = running.stream
        closed = len(packets) * 4_000_000 // 8_333_000
        assert stream.windows_dropped > 0
        assert abs(stream.windows_dropped + stream.lane.encoded - closed) <= 2
        assert answer.window_end_ns > packets[-1].stamp_ns - ROS_BASE_NS - 20_000_000, "answers are never silently old"


def test_packets_that_waited_too_long_go_with_all_behind_them_and_are_one_gap():
    packets = make_packets(60)
    with Running(settings=StreamSettings(max_packet_age_ms=150.0)) as running:
        running.play(packets[:10])
        take, gate = running.stream.intake.take, threading.Event()
        running.stream.intake.take = lambda *given: (gate.wait(10), take(*given))[1]
        for packet in packets[10:40]:
            running.stream.put_packet(packet)
        time.sleep(0.3)
        gate.set()
        running.settle()
        running.play(packets[40:])
        stats = running.stream.intake.decoder.stats
        assert running.stream.packets_dropped == 29 and stats.packets == 31
        assert (stats.seq_gaps, stats.lost_packets) == (1, 29)
        assert lost_before_the_node(running.stream) == 0, "the stream itself let them go"
        assert running.ask(INSIDE, now_ns(packets))[0].status.tolist() == [Status.OK] * 3


def test_too_many_requests_are_answered_in_order_and_overloaded():
    with Running(settings=StreamSettings(max_requests=5)) as running:
        gate = threading.Event()
        publish = running.stream.desk._publish
        running.stream.desk._publish = lambda *a: (gate.wait(10), publish(*a))
        threading.Timer(0.3, gate.set).start()
        for k in range(20):
            running.request([[0, 0]] * 2, 0, message=k)
        until(lambda: len(running.answers) == 20)
    assert [message for message, _, _ in running.answers] == list(range(20))
    assert {status for _, answer, _ in running.answers for status in answer.status} <= {
        Status.NO_CACHE,
        Status.OVERLOADED,
    }


def test_closing_answers_what_waits():
    running = Running()
    for k in range(50):
        running.request([[0, 0]], 0, message=k)
    running.close()
    running.request([[0, 0]], 0, message=50)
    assert [message for message, _, _ in running.answers] == list(range(51))


def test_a_request_is_answered_even_when_the_model_fails():
    packets = make_packets(10)
    with Running() as running:
        running.play(packets)
        running.model.decode = lambda *a: (_ for _ in ()).throw(RuntimeError("out of memory"))
        answer, _ = running.ask(INSIDE, now_ns(packets))
        assert answer.status.tolist() == [Status.NO_CACHE] * 3
        assert any("out of memory" in line for line in running.log.lines)


def test_depths_that_are_no_depths_are_not_ok():
    packets = make_packets(10)
    with Running() as running:
        running.play(packets)
        decode = running.model.decode

        def spoiled(cache, points):
            depth, stddev = decode(cache, points)
            depth[0], stddev[1] = float("nan"), float("inf")
            return depth, stddev

        running.model.decode = spoiled
        answer, _ = running.ask(INSIDE, now_ns(packets))
        assert answer.status.tolist() == [Status.NOT_FINITE, Status.NOT_FINITE, Status.OK]
        assert np.isnan(answer.depth_m[:2]).all() and np.isnan(answer.depth_stddev_m[:2]).all()


def test_a_silent_sensor_closes_its_last_window_when_the_clock_says_so():
    packets = make_packets(10)
    with Running() as running:
        running.play(packets)
        before = running.stream.predictor.cache.end_ns
        running.stream.put_time(now_ns(packets) + 40_000_000)  # a packet may still come
        time.sleep(0.1)
        assert running.stream.predictor.cache.end_ns == before
        running.stream.put_time(now_ns(packets) + 100_000_000)
        time.sleep(0.3)
        assert running.stream.predictor.cache.end_ns > before


@pytest.mark.parametrize("stamp_ns", [lambda p: 0, lambda p: p.stamp_ns - ROS_BASE_NS], ids=["zero", "sensor time"])
def test_stamps_of_another_clock_are_said_once(stamp_ns):
    packets = [replace(p, stamp_ns=stamp_ns(p)) for p in make_packets(10)]
    with Running() as running:
        running.play(packets)
        for k in range(20):
            answer, _ = running.ask(INSIDE, ROS_BASE_NS + k * 10_000_000)
            assert answer.status.tolist() == [Status.STALE_CACHE] * 3
        (line,) = running.log.lines
    assert line.startswith("events and keypoints are of different clocks: events are stamped ") and "1700000000" in line


def test_a_request_from_a_bags_other_place_is_of_no_other_clock():
    packets = make_packets(10)
    with Running() as running:
        running.play(packets)
        for _ in range(4):
            for stamp_ns in [now_ns(packets) + 60 * 10**9] * 4 + [now_ns(packets)]:
                running.ask(INSIDE, stamp_ns)
        running.stream._clocks.heard(now_ns(packets), time.monotonic() - 60.0)  # silent for a minute
        for _ in range(20):
            answer, _ = running.ask(INSIDE, now_ns(packets) + 60 * 10**9)
            assert answer.status.tolist() == [Status.STALE_CACHE] * 3
        assert running.log.lines == []


def test_queue_lets_the_oldest_go():
    queue = WorkQueue(3)
    for k in range(5):
        queue.put(k)
    assert [queue.get() for _ in range(3)] == [2, 3, 4] and queue.dropped == 2
    queue.put(6)
    queue.close()
    queue.put(7)
    assert queue.get() is None


def test_queue_counts_work_alone_and_keeps_the_rest_while_work_waits():
    queue = WorkQueue(2, lambda item: item > 0)
    for item in (-1, 1, 2, 3):
        queue.put(item)
    assert queue.dropped == 2 and [queue.get(), queue.get()] == [-1, 3]
    for item in (-1, -2, -3):
        queue.put(item)
    assert queue.dropped == 2 and [queue.get(), queue.get()] == [-2, -3]


def test_the_model_is_built_with_random_weights():
    assert build_model("minimal").trained is False
