import threading
import time

import numpy as np
import pytest
from streams import HEIGHT, ROS_BASE_NS, WIDTH, Running, make_packets, until

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.windows import window_slicer
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import RECENT_CACHES, Predictor, QueryMode, Status
from eventspd_ros.ros.stream import StreamSettings

POINTS = [[10.0, 10.0], [50.0, 30.0]]
PATIENT = StreamSettings(max_wait_ms=20_000.0)
HASTY = StreamSettings(max_wait_ms=1.0)
MODEL = build_model("eventspd_lite")
PACKETS = make_packets(30)


def stamp_of(end_ns: int) -> int:
    """The stamp of points observed at a sensor time; the clocks differ by a constant here."""
    return end_ns + ROS_BASE_NS


def offline(mode: QueryMode, t_ns: int):
    """What a program without threads answers for points observed at t_ns: (answer, cache)."""
    one = Predictor(MODEL, HEIGHT, WIDTH, 60.0, allow_untrained=True, mode=mode)
    decoder, slicer = make_decoder("evt3", WIDTH, HEIGHT), window_slicer(MODEL.config, HEIGHT, WIDTH)
    slicer.history_ns = one.history_ns
    for packet in PACKETS:
        for window in slicer.push(decoder.decode(packet)):
            if mode == QueryMode.EXACT and window.end_ns > t_ns:
                break
            cache = one.encode(window)
            if mode == QueryMode.COVERING and cache.end_ns > t_ns:
                return one.query(POINTS, t_ns, cache)
    return one.query(POINTS, t_ns, one.encode(slicer.cut(t_ns), exact=True))


@pytest.mark.parametrize("mode", [QueryMode.COVERING, QueryMode.EXACT])
@pytest.mark.parametrize("when_ns", [1_050_000_000, 1_061_234_567])
@pytest.mark.parametrize("late", [False, True], ids=["asked-before", "asked-after"])
def test_live_answers_are_those_of_a_program_without_threads(mode, when_ns, late):
    expected = offline(mode, when_ns)
    with Running(model=MODEL, settings=PATIENT, mode=mode) as running:
        first = int(when_ns - 1_000_000_000) // 4_000_000  # the packet in which the points are observed
        running.play(PACKETS[:first])
        if late:
            running.play(PACKETS[first : first + 8])
        running.request(POINTS, stamp_of(when_ns))
        for packet in PACKETS[first + (8 if late else 0) :]:
            running.stream.put_packet(packet)
        until(lambda: running.answers)
        answer = running.answers[0][1]
    assert answer.window_end_ns == expected.window_end_ns
    assert answer.status.tolist() == [Status.OK] * 2
    np.testing.assert_allclose(answer.depth_m, expected.depth_m, rtol=1e-4)
    if mode == QueryMode.EXACT:
        assert answer.window_end_ns == pytest.approx(when_ns, abs=1000)  # the clock filter's rest
    else:
        assert 0 < answer.window_end_ns - when_ns <= 8_333_000


def test_an_exact_window_neither_advances_the_memory_nor_becomes_the_newest():
    with Running(model=MODEL, settings=PATIENT, mode="exact") as running:
        running.play(PACKETS)
        predictor = running.stream.predictor
        before = (predictor.cache, predictor.state)
        running.ask(POINTS, PACKETS[20].stamp_ns)
        assert (predictor.cache, predictor.state) == before
        assert running.stream.lane.encoded == len(running.answers) + running.stream.intake._slicer._k - 1


@pytest.mark.parametrize("mode", ["covering", "exact"])
def test_a_window_that_does_not_come_in_time_leaves_it_to_the_newest(mode):
    with Running(model=MODEL, settings=HASTY, mode=mode) as running:
        running.play(PACKETS)
        answer, _ = running.ask(POINTS, PACKETS[-1].stamp_ns + 50_000_000)
        assert answer.window_end_ns == running.stream.predictor.cache.end_ns
        assert answer.status.tolist() == [Status.OK] * 2
        assert running.stream.cache_wait.expired == 1
        answer, _ = running.ask(POINTS, PACKETS[-1].stamp_ns + 500_000_000)
        assert answer.status.tolist() == [Status.STALE_CACHE] * 2


def test_an_exact_window_whose_events_are_gone_does_not_wait():
    with Running(model=MODEL, settings=PATIENT, mode="exact", max_cache_age_ms=20.0) as running:
        running.play(PACKETS)
        start = time.monotonic()
        answer, _ = running.ask(POINTS, PACKETS[5].stamp_ns)
        assert time.monotonic() - start < 10 and answer.status.tolist() == [Status.STALE_CACHE] * 2


def test_a_silent_sensor_lets_exact_windows_close_by_the_clock():
    with Running(model=MODEL, settings=PATIENT, mode="exact") as running:
        running.play(PACKETS)
        stamp_ns = PACKETS[-1].stamp_ns + 10_000_000
        running.request(POINTS, stamp_ns)
        running.stream.put_time(stamp_ns + 100_000_000)
        until(lambda: running.answers)
        assert running.answers[0][1].window_end_ns == pytest.approx(stamp_ns - ROS_BASE_NS, abs=1000)


@pytest.mark.parametrize("mode", ["covering", "exact"])
@pytest.mark.parametrize("end", ["reset", "close"])
def test_waiting_requests_are_answered_in_order_at_a_reset_and_at_the_end(mode, end):
    running = Running(model=MODEL, settings=PATIENT, mode=mode)
    running.play(PACKETS)
    for k in range(20):
        running.request(POINTS, PACKETS[-1].stamp_ns + 10**9, message=k)
    time.sleep(0.05)
    assert not running.answers
    if end == "reset":
        running.stream.reset()
        until(lambda: len(running.answers) == 20)
    running.close()
    assert [message for message, _, _ in running.answers] == list(range(20))
    assert end == "close" or running.stream.cache_wait.expired <= 2, "only those that a reset met have waited"


def test_answers_keep_their_order_while_windows_come_and_go():
    with Running(model=MODEL, settings=StreamSettings(max_wait_ms=30.0, max_requests=10), mode="covering") as running:

        def camera():
            for packet in PACKETS:
                running.stream.put_packet(packet)
                time.sleep(0.002)

        thread = threading.Thread(target=camera)
        thread.start()
        for k in range(100):
            running.request(POINTS, PACKETS[0].stamp_ns + k * 1_200_000, message=k)
            if k == 50:
                running.stream.reset()
            time.sleep(0.001)
        thread.join()
        until(lambda: len(running.answers) == 100)
    assert [message for message, _, _ in running.answers] == list(range(100))


def test_latest_answers_a_late_request_from_the_window_of_its_time():
    with Running(model=MODEL) as running:
        running.play(PACKETS)
        ends_ns = [cache.end_ns for cache in running.stream.predictor._caches]
        for end_ns in reversed(ends_ns):
            running.request(POINTS, stamp_of(end_ns + 1_000_000))
        until(lambda: len(running.answers) == len(ends_ns))
        assert 8 < len(ends_ns) <= RECENT_CACHES
        assert [answer.window_end_ns for _, answer, *_ in running.answers] == ends_ns[::-1]
