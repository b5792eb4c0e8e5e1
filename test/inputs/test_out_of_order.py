"""One event of a wrong time, a packet that comes twice or late: each costs itself, and nothing begins anew."""

from dataclasses import replace

import numpy as np
import pytest
from intakes import Taken, as_libcaer
from streams import make_packets

from eventspd_ros.events.hot_pixels import HotPixelFilter


def windows_of(packets):
    one = Taken()
    windows = one.take(packets)
    return one, [(w.end_ns, w.epoch, w.t_ns.tolist(), w.x.tolist()) for w in windows]


def with_times(packet, moved):
    """A packet as_libcaer() whose events of these indices have times moved by so many s."""
    words = packet.payload.copy().view(np.int32).reshape(-1, 2)
    for index, by_s in moved.items():
        words[index, 1] += round(by_s * 1e6)
    return replace(packet, payload=words.reshape(-1).view(np.uint8))


def without(packet, index):
    index %= len(packet.payload) // 8
    return replace(packet, payload=np.delete(packet.payload.reshape(-1, 8), index, 0).reshape(-1))


@pytest.mark.parametrize("by_s", [-50.0, -0.999, -0.3, 0.008, 0.05, 0.999, 50.0])
@pytest.mark.parametrize("index", [0, 1, 200, -1])
def test_one_event_of_a_wrong_time_costs_itself(index, by_s):
    good = [as_libcaer(p) for p in make_packets(60)]
    bad = [*good[:30], with_times(good[30], {index: by_s}), *good[31:]]
    one, windows = windows_of(bad)
    expected = windows_of([*good[:30], without(good[30], index), *good[31:]])[1]
    assert windows == expected and len(windows) >= 27
    assert one.causes == {} and one.intake.clock.resets == 0 and one.intake.events_out_of_order == (0, 1)


def test_a_wrong_time_that_comes_alone_costs_itself_and_a_leap_does_not_pass_for_one():
    """A camera at rest: an event a packet, 40 ms apart."""
    packets = []
    for k in range(60):
        p = as_libcaer(make_packets(1)[0])
        stamp_ns, event = p.stamp_ns + 40_000_000 * k, p.payload[:8]
        packets.append(with_times(replace(p, payload=event, stamp_ns=stamp_ns), {0: 0.04 * k}))
    one, windows = windows_of([*packets[:30], with_times(packets[30], {0: 7.0}), *packets[31:]])
    assert one.causes == {} and one.intake.clock.resets == 0 and one.intake.events_out_of_order == (0, 1)
    assert windows == windows_of(packets[:30] + packets[31:])[1]
    one, windows = windows_of([*packets[:30], *(with_times(p, {0: 7.0}) for p in packets[30:])])
    assert one.causes == {"sensor_leapt": 1} and {epoch for _, epoch, *_ in windows[-20:]} == {2}


@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("by_s", [-50.0, 50.0])
def test_one_event_of_a_wrong_time_does_not_end_the_learning_of_hot_pixels(index, by_s):
    packets = [as_libcaer(p) for p in make_packets(60)]
    one = Taken(lambda height, width: HotPixelFilter(np.zeros((height, width), bool), learn_s=0.2))
    one.take([with_times(packets[0], {index: by_s}), *packets[1:40]])
    assert one.intake.filter.learning
    one.take(packets[40:])
    assert not one.intake.filter.learning


@pytest.mark.parametrize("lag", [0, 1, 5, 40], ids=lambda lag: f"{lag} packets behind")
@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "unnumbered"])
def test_a_second_publisher_of_the_same_packets_changes_nothing(lag, numbered):
    packets = make_packets(120) if numbered else [as_libcaer(p) for p in make_packets(120)]
    twice = [p for k in range(120) for p in (packets[k], *([packets[k - lag]] if k >= lag else []))]
    one, windows = windows_of(twice)
    far = lag == 40  # so far behind that the first may be a bag that loops
    assert one.causes == ({"restart" if numbered else "time_fell": 1} if far else {})
    assert one.intake.packets_out_of_turn == 120 - lag - far
    assert far or windows == windows_of(packets)[1]
    lines = [line for line in one.log.lines if "left out, as" in line]
    assert len(lines) == 1 and "several nodes publish on this topic" in lines[0]


def test_a_swapped_pair_costs_one_packet():
    packets = make_packets(40)
    one, windows = windows_of([*packets[:20], packets[21], packets[20], *packets[22:]])
    assert one.causes == {} and one.intake.packets_out_of_turn == 1
    assert windows == windows_of(packets[:20] + packets[21:])[1]


def test_packets_that_are_all_stamped_zero_are_in_turn():
    packets = [replace(p, stamp_ns=0) for p in make_packets(40)]
    one, _ = windows_of(packets)
    assert one.causes == {} and one.intake.packets_out_of_turn == 0
    one = Taken()
    one.take(packets + packets)
    assert one.causes == {"restart": 1} and one.intake.packets_out_of_turn == 7
