import threading
import time
from functools import partial

import numpy as np
import pytest
import streams
import torch
from streams import HEIGHT, WIDTH, Log, make_packets

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.windows import window_slicer
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import RECENT_CACHES, Predictor
from eventspd_ros.ros.encoder import BEHIND_S, MAX_FAILURES, EncoderThread
from eventspd_ros.ros.latency import Latencies
from eventspd_ros.ros.workers import Reporter


@pytest.fixture(scope="module")
def model():
    return build_model("eventspd_lite")


def windows_of(predictor, width=WIDTH, seed=1, count=15):
    decoder, slicer = make_decoder("evt3", width, HEIGHT), window_slicer(predictor.model.config, HEIGHT, width)
    packets = make_packets(count, width=width, seed=seed)
    return [window for packet in packets for window in slicer.push(decoder.decode(packet))]


def predictor_of(model, width=WIDTH):
    return Predictor(model, HEIGHT, width, 60.0, allow_untrained=True)


def encoder_of(faults, log=None, max_windows=100):
    return EncoderThread(max_windows, Reporter(log or Log()), faults.append)


def wait_until_idle(encoder):
    deadline = time.monotonic() + 30
    while not encoder.idle:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_windows_due_together_are_one_batch_and_each_as_if_alone(model):
    alone = [predictor_of(model) for _ in range(2)]
    together = [predictor_of(model) for _ in range(2)]
    windows = [windows_of(p, seed=k) for k, p in enumerate(alone)]
    for own, predictor in zip(windows, alone, strict=True):
        for window in own:
            predictor.encode(window)
    faults = []
    encoder = encoder_of(faults)
    lanes = [encoder.lane(Latencies(), lambda: None) for _ in together]
    for pair in zip(*windows, strict=True):  # before the thread runs: both wait when it falls free
        for lane, predictor, window in zip(lanes, together, pair, strict=True):
            lane.put(predictor.job(window))
    encoder.start()
    wait_until_idle(encoder)
    assert encoder.close() and not faults
    assert encoder.batches == len(windows[0]) and [lane.encoded for lane in lanes] == [len(w) for w in windows]
    for one, other in zip(alone, together, strict=True):
        expected, found = one.query([[5, 5], [60, 40]]), other.query([[5, 5], [60, 40]])
        assert expected.window_end_ns == found.window_end_ns
        np.testing.assert_allclose(found.depth_m, expected.depth_m, rtol=1e-5)


def test_sensors_of_two_sizes_take_turns(model):
    encoder = encoder_of([])
    predictors = [predictor_of(model, width) for width in (WIDTH, 2 * WIDTH)]
    turns = []
    lanes = [encoder.lane(Latencies(), partial(turns.append, predictor.width)) for predictor in predictors]
    for lane, predictor in zip(lanes, predictors, strict=True):
        for window in windows_of(predictor, predictor.width)[:3]:
            lane.put(predictor.job(window))
    encoder.start()
    wait_until_idle(encoder)
    assert encoder.close() and [lane.encoded for lane in lanes] == [3, 3] and encoder.batches == 6
    assert turns == 3 * [WIDTH, 2 * WIDTH]


def test_a_full_lane_lets_its_oldest_window_go_and_keeps_the_newest_exact_one(model):
    encoder, predictor = encoder_of([], max_windows=2), predictor_of(model)
    lane = encoder.lane(Latencies(), lambda: None)
    windows = windows_of(predictor)
    lane.put(predictor.job(windows[0], exact=True))
    for window in windows[1:5]:
        lane.put(predictor.job(window))
    assert lane.dropped == 2 and [job.window for job, _ in lane.waiting] == [windows[0], *windows[3:5]]
    lane.put(predictor.job(windows[5], exact=True))
    assert lane.dropped == 3 and [job.window for job, _ in lane.waiting] == windows[3:6]


def encoded_of(encoder, lane):
    """The windows that the encoder encodes of those that wait, in order."""
    keep, found = lane.keep, []
    lane.keep = lambda window: (found.append(window), keep(window))
    encoder.start()
    wait_until_idle(encoder)
    assert encoder.close()
    return found


def test_a_burst_that_fits_loses_nothing_and_an_encoder_that_falls_behind_takes_the_newest(model):
    windows = windows_of(predictor_of(model))
    for count, expected in ((2, windows[:2]), (3, windows[2:3])):
        encoder, predictor = encoder_of([], max_windows=2), predictor_of(model)
        lane = encoder.lane(Latencies(), lambda: None)
        for window in windows[:count]:
            lane.put(predictor.job(window))
        assert encoded_of(encoder, lane) == expected and lane.dropped == count - len(expected)


def test_an_exact_window_is_encoded_however_far_the_encoder_is_behind(model):
    encoder, predictor = encoder_of([], max_windows=2), predictor_of(model)
    lane, windows = encoder.lane(Latencies(), lambda: None), windows_of(predictor)
    lane.put(predictor.job(windows[0], exact=True))
    for window in windows[1:5]:
        lane.put(predictor.job(window))
    assert encoded_of(encoder, lane) == [windows[0], windows[4]] and lane.dropped == 3


def test_some_time_after_it_was_full_a_lane_is_encoded_in_order_again(model):
    encoder, predictor = encoder_of([], max_windows=2), predictor_of(model)
    lane, windows = encoder.lane(Latencies(), lambda: None), windows_of(predictor)
    for window in windows[:3]:
        lane.put(predictor.job(window))
    lane.full_s -= 2 * BEHIND_S
    assert encoded_of(encoder, lane) == windows[1:3]


def test_the_newest_windows_are_kept_while_someone_asks_for_them(model):
    encoder, predictor, wanted = encoder_of([]), predictor_of(model), [True]
    lane = encoder.lane(Latencies(), lambda: None, lambda: bool(wanted))
    windows = windows_of(predictor, count=50)[: RECENT_CACHES + 2]
    encoder.start()
    for window in windows:
        lane.put(predictor.job(window))
        wait_until_idle(encoder)
    newest = windows[-RECENT_CACHES:]
    assert len(windows) > RECENT_CACHES and all(lane.window_ending(w.end_ns) is w for w in newest)
    assert lane.window_ending(windows[1].end_ns) is None and lane.window_ending(0) is None
    wanted.clear()
    lane.put(predictor.job(windows[-1]))
    wait_until_idle(encoder)
    assert encoder.close() and lane.window_ending(windows[-1].end_ns) is None


def test_windows_of_before_a_reset_are_void(model):
    encoder, predictor = encoder_of([]), predictor_of(model)
    lane = encoder.lane(Latencies(), lambda: None)
    for window in windows_of(predictor)[:4]:
        lane.put(predictor.job(window))
    predictor.forget()
    encoder.start()
    wait_until_idle(encoder)
    assert encoder.close() and lane.void == 4 and lane.encoded == 0 and predictor.cache is None


def test_a_model_that_fails_once_loses_one_window():
    packets = make_packets(20)
    with streams.Running() as running:
        encode, failures = running.model.encode, [1]

        def once(windows, states):
            if failures:
                failures.pop()
                raise RuntimeError("CUDA error: an illegal memory access")
            return encode(windows, states)

        running.model.encode = once
        running.play(packets)
        assert running.stream.lane.failed == 1 and running.stream.lane.encoded >= 7 and not running.faults
        assert running.ask([[5, 5]], packets[-1].stamp_ns)[0].status.tolist() == [0]
        assert any("illegal memory" in line for line in running.log.lines)


def test_a_model_that_always_fails_is_a_fault_with_a_reason():
    with streams.Running() as running:
        running.model.encode = lambda *a: (_ for _ in ()).throw(RuntimeError("out of\nmemory"))
        running.play(make_packets(60))
        (reason,) = running.faults
        assert f"{MAX_FAILURES} times" in reason and "out of" in reason


def test_one_streams_fault_is_not_the_others(model):
    encoder = encoder_of([])
    good, bad = predictor_of(model), predictor_of(model)
    lanes = [encoder.lane(Latencies(), lambda: None) for _ in range(2)]
    window = windows_of(good)[0]
    bad.state.memory = torch.zeros(1, 3, 1, 1)
    for lane, predictor in zip(lanes, (good, bad), strict=True):
        lane.put(predictor.job(window))
    encoder.start()
    wait_until_idle(encoder)
    assert encoder.close() and (lanes[0].encoded, lanes[1].failed) == (1, 1) and good.cache is not None


def test_a_thread_that_dies_is_a_fault(model):
    faults = []
    encoder, predictor = encoder_of(faults), predictor_of(model)
    lane = encoder.lane(Latencies(), lambda: (_ for _ in ()).throw(SystemExit("killed")))
    lane.put(predictor.job(windows_of(predictor)[0]))
    encoder.start()
    assert encoder._worker.join()
    assert len(faults) == 1 and "encoder died" in faults[0] and "killed" in faults[0]


def test_no_thread_is_left_behind(model):
    before = threading.active_count()
    with streams.Running() as running:
        running.play(make_packets(5))
    assert threading.active_count() == before
