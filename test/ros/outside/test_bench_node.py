import json
import time
from itertools import pairwise

import numpy as np
import pytest
from eventspd_ros.msg import KeypointDepthArray

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.messages import packet_from_message
from eventspd_ros.predictor import Status
from eventspd_ros.ros.messages import ns_to_time
from eventspd_ros.ros.outside.bench_node import (
    LATE_MS,
    TICK_NS,
    Tally,
    bench_node,
    doubled,
    is_borne,
    packets_of,
    set_tick,
)


def test_packets_used_again_are_those_of_a_clock_that_goes_on():
    """Over the roll-over of evt3's 24 bits, and with a silence in between."""
    packets, decoder = packets_of(200_000, 48, 64), make_decoder("evt3", 64, 48)
    first_ns = packet_times(packets)
    for seq, tick in enumerate((4090, 4093, 4095, 4096, 4097, 5000, 8192)):
        packet = packets[seq % len(packets)]
        set_tick(packet, tick, seq, stamp_ns=10**18 + tick * TICK_NS)
        events = decoder.decode(packet_from_message(packet))
        expected = tick * TICK_NS + first_ns[seq % len(packets)]
        np.testing.assert_array_equal(events.t_ns, expected)
        assert packet.seq == seq and len(events) == round(200_000 * TICK_NS / 1e9)
    assert decoder.stats.seq_gaps == decoder.stats.unknown_words == decoder.stats.out_of_sensor == 0


def packet_times(packets) -> list[np.ndarray]:
    return [make_decoder("evt3", 64, 48).decode(packet_from_message(packet)).t_ns for packet in packets]


def answer(*status: Status) -> KeypointDepthArray:
    msg = KeypointDepthArray()
    msg.status = [int(s) for s in status]
    msg.window_end = ns_to_time(time.time_ns())
    return msg


def test_late_is_after_the_next_request_or_without_depths_or_never():
    tally, now_s = Tally(asked=5), time.monotonic()
    tally.take(answer(Status.OK, Status.OK), now_s)
    tally.take(answer(Status.OK, Status.OK), now_s - 10 * LATE_MS / 1e3)
    tally.take(answer(Status.OK, Status.STALE_CACHE), now_s)
    tally.take(answer(Status.NO_CACHE), now_s - 10 * LATE_MS / 1e3)
    assert (tally.late, tally.unanswered, tally.late_share) == (3, 1, 0.8)
    assert len(tally.answer_ms) == 4 and len(tally.window_age_ms) == 2


@pytest.mark.parametrize(("sent", "late", "borne"), [(1e6, 0.01, True), (1e6, 0.02, False), (5e5, 0.0, False)])
def test_a_rate_is_borne_where_it_was_sent_and_answered(sent, late, borne):
    assert is_borne(1e6, {"sent_events_per_second": sent, "late_share": late}) is borne


def test_rates_double():
    rates = doubled()
    assert rates[0] == 250_000 and all(b == 2 * a for a, b in pairwise(rates)) and rates[-1] > 2e7


@pytest.mark.slow
def test_the_whole_node_is_measured_over_dds():
    rates = []
    report = bench_node("minimal", (48, 64), 1, "cpu", seconds=1.0, rates=(20_000, 40_000), progress=rates.append)
    assert json.loads(json.dumps(report)) == report and rates == [20_000, 40_000]
    assert report["bench"] == "node" and report["sensor"] == "64x48" and len(report["input_sha256"]) == 64
    for row in report["rates"].values():
        assert row["requests"] >= 10 and row["unanswered"] == 0 and 0 <= row["late_share"] <= 1
        assert row["windows_encoded"] > 0 and row["answer_ms"]["best"] <= row["answer_ms"]["p99"]
        assert {"decode", "encode", "query"} <= set(row["stages_ms"])
    assert report["max_events_per_second"] in (0, 20_000, 40_000)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="repetitions = 0"):
        bench_node("minimal", (48, 64), 0)
    with pytest.raises(ValueError, match="no_such_preset"):
        bench_node("no_such_preset", (48, 64), 1)
