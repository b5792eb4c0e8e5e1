"""Time and its accidents: the stream begins anew exactly when it must, and every cause is counted."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from intakes import CONFIG, Taken, all_of, as_libcaer, decoded
from reference.slow_cells import slow_cells
from streams import HEIGHT, PACKET_NS, WIDTH, make_packets

import eventspd_ros.inputs.event_intake as event_intake
from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.hot_pixels import HotPixelFilter
from eventspd_ros.events.types import EventArray
from eventspd_ros.model.config import PitchConfig

S = 1_000_000_000


def at(packets, sensor_s=0.0, host_s=0.0, seq=None, seq_by=0):
    """The packets with sensor times, stamps and numbers moved."""
    moved = []
    for k, p in enumerate(packets):
        events = decoded(p)
        shifted = replace(events, t_ns=events.t_ns + round(sensor_s * S))
        number = p.seq + seq_by if seq is None else seq + k
        payload = np.asarray(encode_evt3(shifted))
        moved.append(replace(p, payload=payload, stamp_ns=p.stamp_ns + round(host_s * S), seq=number))
    return moved


def test_a_calm_stream_never_begins_anew():
    one, packets = Taken(), make_packets(40)
    windows = one.take(packets)
    assert one.causes == {} and len(windows) >= 17 and one.intake.packets_rejected == 0


def test_a_restarted_driver_begins_anew_with_its_own_clock():
    one, packets = Taken(), make_packets(20)
    one.take(packets)
    after = at(packets, sensor_s=-0.9, host_s=5.0)
    windows = one.take(after)
    assert one.causes == {"restart": 1}
    assert windows[0].end_ns < int(decoded(after[4]).t_ns[0])
    assert one.intake.clock.to_ros(windows[-1].end_ns) == pytest.approx(after[-1].stamp_ns, abs=20_000_000)


def test_a_bag_loop_begins_anew_once():
    one, packets = Taken(), make_packets(20)
    for _ in range(3):
        one.take(packets)
        one.intake.ros_clock_fell(packets[0].stamp_ns + 19 * PACKET_NS)  # comes after the packets: nothing more to do
    assert one.causes == {"restart": 2}


def test_a_clock_that_falls_before_its_packets_come_begins_anew_once():
    one, packets = Taken(), make_packets(100)
    one.take(packets)
    one.intake.ros_clock_fell(packets[0].stamp_ns)
    assert one.causes == {"ros_clock_fell": 1} and len(one.begun) == 2
    one.take(packets)
    assert one.causes == {"ros_clock_fell": 1} and len(one.begun) == 2


def test_unnumbered_packets_show_a_loop_by_their_times():
    one, packets = Taken(), [replace(p, seq=0) for p in make_packets(100)]
    one.take(packets)
    one.take(packets)
    assert one.causes == {"sensor_leapt": 1}  # evt3: time that falls looks like a roll-over


def test_time_that_falls_in_an_encoding_without_roll_over_begins_anew():
    one, packets = Taken(), [as_libcaer(p) for p in make_packets(100)]
    before = one.take(packets)
    after = one.take(packets)
    assert one.causes == {"time_fell": 1}
    assert {w.epoch for w in before} == {1} and {w.epoch for w in after} == {2} and len(one.begun) == 2


def test_windows_of_before_a_time_that_fell_are_not_handed_on():
    """They close with the packet that shows it where one before, which held their events, could not be decoded."""
    packets = [as_libcaer(p) for p in make_packets(100)]
    for count in (1, 12):
        one = Taken()
        one.take(packets[:1])
        one.intake._slicer.buffer.append(decoded(packets[-1]))
        windows = one.take(packets[1 : count + 1])
        assert one.causes == {"time_fell": 1} and bool(windows) == (count == 12)
        assert {window.epoch for window in windows} <= {2}


@pytest.mark.parametrize(
    ("cause", "begin_anew", "moved"),
    [
        ("requested", lambda intake: intake.forget("requested"), {}),
        ("ros_clock_fell", lambda intake: intake.ros_clock_fell(0), {}),
        ("restart", lambda intake: None, {"host_s": 5.0}),
        ("gap", lambda intake: None, {"sensor_s": 9.0, "host_s": 9.0, "seq_by": 100}),
        ("sensor_leapt", lambda intake: None, {"sensor_s": 9.0, "seq_by": 20}),
    ],
)
def test_every_cause_is_another_epoch_ahead_of_its_windows(cause, begin_anew, moved):
    one, packets = Taken(), make_packets(20)
    before = one.take(packets)
    begin_anew(one.intake)
    after = one.take(at(packets, **moved))
    assert one.causes == {cause: 1} and one.begun == [(HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, 2)]
    assert {w.epoch for w in before} == {1} and {w.epoch for w in after} == {2} and len(after) >= 7


def test_sensor_time_that_leaps_ahead_of_the_stamps_begins_anew():
    one, packets = Taken(), make_packets(40)
    one.take(packets[:20])
    windows = one.take(at(packets[20:], sensor_s=7.0))
    assert one.causes == {"sensor_leapt": 1} and len(windows) >= 6
    assert one.intake.clock.to_ros(windows[-1].end_ns) == pytest.approx(packets[-1].stamp_ns, abs=20_000_000)


def test_a_seek_forward_in_a_bag_begins_anew_and_counts_what_is_missing():
    one, packets = Taken(), make_packets(40)
    one.take(packets[:20])
    windows = one.take(at(packets[20:], sensor_s=100.0, host_s=100.0, seq_by=25_000))
    assert one.causes == {"gap": 1} and len(windows) >= 6
    assert one.intake.decoder.stats.lost_packets == 25_000


@pytest.mark.parametrize("seq", [None, 0], ids=["numbered", "unnumbered"])
def test_a_silence_keeps_the_scene(seq):
    one, packets = Taken(), make_packets(40)
    numbered = packets if seq is None else [replace(p, seq=0) for p in packets]
    one.take(numbered[:20])
    moved = at(packets[20:], sensor_s=10.0, host_s=10.0)
    windows = one.take(moved if seq is None else [replace(p, seq=0) for p in moved])
    assert one.causes == {} and len(windows) >= 6


def test_a_short_gap_keeps_the_scene_and_counts_what_is_missing():
    one, packets = Taken(), make_packets(60)
    one.take(packets[:20] + packets[30:])
    assert one.causes == {}
    assert (one.intake.decoder.stats.seq_gaps, one.intake.decoder.stats.lost_packets) == (1, 10)


def test_a_roll_over_of_the_sensors_clock_keeps_the_scene():
    one, packets = Taken(), at(make_packets(100), sensor_s=16.777216 - 1.2)
    windows = one.take(packets)
    assert one.intake.decoder.stats.rollovers == 1 and one.causes == {}
    ends = [window.end_ns for window in windows]
    assert np.diff(ends) == pytest.approx(8_333_000, abs=1) and len(ends) >= 45


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_step_of_the_hosts_clock_moves_only_the_clock(step_s):
    one, packets = Taken(), make_packets(40)
    one.take(packets[:20])
    offset_ns = one.intake.offset_ns
    one.take(at(packets[20:], host_s=step_s))
    assert one.causes == {} and one.intake.clock.resets == 1
    assert one.intake.offset_ns - offset_ns == pytest.approx(step_s * S, abs=1_000_000)


def test_one_odd_packet_is_not_another_sensor_three_are():
    one, packets = Taken(), make_packets(20)
    other = make_packets(10, width=2 * WIDTH)
    one.take(packets[:10] + other[:2] + packets[10:15] + other[2:3] + packets[15:])
    assert one.causes == {} and one.intake.packets_rejected == 3
    windows = one.take(other)
    assert one.causes == {"sensor": 1} and windows[0].width == 2 * WIDTH


def test_an_expected_sensor_is_not_replaced_by_one_odd_first_packet():
    one, packets = Taken(), make_packets(10)
    one.intake.begin(HEIGHT, WIDTH)
    one.take([replace(packets[0], width=4000, height=3000), *packets])
    assert {begun[:2] for begun in one.begun} == {(HEIGHT, WIDTH)}
    assert one.intake.packets_rejected == 1


def test_a_sensor_that_is_refused_leaves_all_as_it_was():
    def refuse(height, width, epoch):
        if width > WIDTH:
            raise ValueError(f"no room for {width}x{height} px")

    one, packets = Taken(), make_packets(40)
    one.intake._on_begin = refuse
    one.intake.take(packets[0])
    before = one.intake.epoch, one.intake.decoder, one.intake.offset_ns
    for packet in make_packets(6, width=2 * WIDTH):
        one.intake.take(packet)
    assert (one.intake.epoch, one.intake.decoder, one.intake.offset_ns) == before and one.causes == {}
    assert one.intake.packets_rejected == 6 and "no room for 128x48 px" in one.intake.last_error
    assert len(one.intake.take(packets[1]) + [w for p in packets[2:] for w in one.intake.take(p)]) > 10


def silence_of(one, packets, lag_ns):
    """The windows of packets that come lag_ns after their stamps, with the clock told 1 ms after each of them."""
    windows = []
    for packet in packets:
        windows += one.intake.take(packet, packet.stamp_ns + lag_ns)
        windows += one.intake.close_silent(packet.stamp_ns + lag_ns + 1_000_000)
    return windows


@pytest.mark.parametrize("lag_ms", [-300, 0, 30, 80, 300, 900, 3000])
def test_packets_that_come_late_are_no_silence(lag_ms):
    packets, lag_ns = make_packets(60), lag_ms * 1_000_000
    expected, one = Taken().take(packets), Taken()
    windows = silence_of(one, packets, lag_ns)
    assert [(w.end_ns, len(w)) for w in windows] == [(w.end_ns, len(w)) for w in expected] and len(windows) > 20
    # When none comes any longer, what they brought is closed, unless their clock is another one.
    after_ns = packets[-1].stamp_ns + max(lag_ns, 0) + 90_000_000
    rest = one.intake.close_silent(after_ns)
    assert len(rest) == (0 if lag_ms > 1000 else 3) and one.intake.has_reached(windows[-1].end_ns)


def test_packets_without_events_are_silence():
    one, packets = Taken(), make_packets(20)
    one.take(packets)
    nothing = EventArray(*(np.zeros(0, t) for t in ("u2", "u2", "u1", "i8")), WIDTH, HEIGHT)
    last, rest = packets[-1], []
    for k in range(1, 26):
        empty = replace(last, payload=np.asarray(encode_evt3(nothing)), seq=last.seq + k)
        rest += silence_of(one, [replace(empty, stamp_ns=last.stamp_ns + k * PACKET_NS)], 0)
    assert one.causes == {} and len(rest) >= 2 and rest[-1].end_ns > int(decoded(last).t_ns[-1])


def test_hot_pixels_of_another_sensor_leave_all_as_it_was():
    """Three packets that claim another sensor: its filter cannot be made, and the old one must not meet its events."""

    def make_filter(height, width):
        if (height, width) != (HEIGHT, WIDTH):
            raise ValueError(f"hot.txt: pixel 63 47 lies outside the sensor of {width}x{height} px")
        return HotPixelFilter(np.zeros((height, width), bool), learn_s=1.0)

    one, packets = Taken(make_filter), make_packets(40)
    one.take(packets[:10])
    before = one.intake.epoch, one.intake.filter, one.intake.decoder
    one.take(make_packets(6, width=2 * WIDTH))
    assert (one.intake.epoch, one.intake.filter, one.intake.decoder) == before and one.causes == {}
    assert one.intake.packets_rejected == 6 and "outside the sensor of 128x48" in one.intake.last_error
    assert len(one.take(packets[10:])) > 10
    # The first sensor of all: no packet passes unfiltered.
    first = Taken(make_filter)
    assert first.take(make_packets(20, width=2 * WIDTH)) == [] and not first.begun
    assert first.intake.packets_rejected == 20


def test_hot_pixels_never_reach_a_window():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, :10] = True
    one = Taken(lambda height, width: HotPixelFilter(mask))
    windows = one.take(make_packets(20))
    assert all((window.x >= 10).all() for window in windows) and len(windows) >= 7
    assert one.intake.filter.events_removed > 20 * 400 * 10 / WIDTH / 2


def test_a_frame_of_events_of_hot_pixels_alone_is_no_window():
    one = Taken(lambda height, width: HotPixelFilter(np.ones((height, width), bool)))
    assert one.take(make_packets(20)) == [] and one.intake.filter.events_removed == 8000


def test_events_of_a_rejected_payload_do_not_begin_anything():
    one = Taken()
    empty = EventArray(*(np.zeros(0, t) for t in ("u2", "u2", "u1", "i8")), WIDTH, HEIGHT)
    packet = replace(make_packets(1)[0], payload=np.asarray(encode_evt3(empty)))
    assert one.take([packet] * 3) == [] and one.intake.offset_ns is None


class Listener:
    """What was told, by epoch; beginnings come first."""

    def __init__(self, taken):
        self.taken, self.events, self.silent_until_ns = taken, {}, None
        taken.intake.listener = self

    def add(self, x, y, p, t_ns):
        assert len({len(x), len(y), len(p), len(t_ns)}) == 1 and len(t_ns)
        assert (np.diff(t_ns) >= 0).all(), "out of order"
        assert self.taken.begun[-1][2] == self.taken.intake.epoch, "told ahead of on_begin"
        self.events.setdefault(self.taken.intake.epoch, []).append(np.stack((t_ns, x, y, p), axis=1))

    def advance_to(self, t_ns):
        self.silent_until_ns = t_ns

    def of(self, epoch):
        return np.concatenate(self.events[epoch])


def test_a_listener_is_told_every_event_once_ahead_of_its_windows():
    one, packets = Taken(), make_packets(40)
    listener = Listener(one)
    for packet in packets:
        for window in one.intake.take(packet):
            assert listener.of(1)[-1, 0] >= window.end_ns
    np.testing.assert_array_equal(listener.of(1), all_of(packets))


def test_windows_of_cells_follow_hot_pixels_and_a_listener_is_told_the_pixels():
    """The sensor's 2×2 pixels are a cell: a hot one of them must not make it fire."""
    config = replace(CONFIG, pitch=PitchConfig(columns=WIDTH // 2))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[::2, ::2] = True
    one, packets = Taken(lambda height, width: HotPixelFilter(mask), config), make_packets(40)
    listener = Listener(one)
    windows = one.take(packets)
    told = all_of(packets)
    told = told[(told[:, 1] % 2 > 0) | (told[:, 2] % 2 > 0)]
    np.testing.assert_array_equal(listener.of(1), told)
    cells = np.array(slow_cells(told.tolist(), 2))
    assert len(windows) > 10 and sum(map(len, windows)) > 0
    for window in windows:
        inside = cells[(cells[:, 0] >= window.start_ns) & (cells[:, 0] < window.end_ns)]
        np.testing.assert_array_equal(np.stack((window.t_ns, window.x, window.y, window.p), axis=1), inside)


def test_a_listener_is_told_no_hot_pixel():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, :10] = True
    one, packets = Taken(lambda height, width: HotPixelFilter(mask)), make_packets(20)
    listener, expected = Listener(one), all_of(packets)
    one.take(packets)
    np.testing.assert_array_equal(listener.of(1), expected[expected[:, 1] >= 10])


def test_a_listener_is_told_all_of_a_storm_though_windows_drop(monkeypatch):
    monkeypatch.setattr(event_intake, "window_slicer", partial(event_intake.window_slicer, max_events=1000))
    one, packets = Taken(), make_packets(40)
    listener = Listener(one)
    one.take(packets)
    assert one.intake.windows_dropped
    np.testing.assert_array_equal(listener.of(1), all_of(packets))


def test_a_fall_of_time_among_new_events_parts_two_epochs_for_the_listener():
    """As in test_windows_of_before_a_time_that_fell_are_not_handed_on."""
    packets, one = [as_libcaer(p) for p in make_packets(100)], Taken()
    listener = Listener(one)
    one.take(packets[:10])
    one.intake._slicer.buffer.append(decoded(packets[-1]))
    one.take([replace(p, stamp_ns=p.stamp_ns + S) for p in packets[:12]])
    assert one.causes == {"time_fell": 1}
    np.testing.assert_array_equal(listener.of(1), all_of(packets[:10]))
    np.testing.assert_array_equal(listener.of(2), all_of(packets[:12]))


def test_events_that_came_late_are_told_at_the_newest_time():
    one, packets = Taken(), [as_libcaer(p) for p in make_packets(12)]
    listener = Listener(one)
    late = replace(packets[9], stamp_ns=packets[10].stamp_ns + 1)
    one.take([*packets[:9], packets[10], late, packets[11]])
    assert one.causes == {} and len(listener.of(1)) == len(all_of(packets))


def test_a_listener_is_told_how_far_a_silent_sensors_time_is_known():
    one, packets = Taken(), make_packets(20)
    listener = Listener(one)
    one.take(packets)
    assert listener.silent_until_ns is None
    windows = one.intake.close_silent(packets[-1].stamp_ns + 100_000_000)
    assert listener.silent_until_ns >= windows[-1].end_ns and one.intake.has_reached(listener.silent_until_ns)


def test_a_packet_of_more_events_than_may_be_held_does_not_grow_the_buffer(monkeypatch):
    slicer = partial(event_intake.window_slicer, max_events=100_000)
    monkeypatch.setattr(event_intake, "window_slicer", slicer)
    one, packet = Taken(), make_packets(1)[0]
    base = np.array([3 << 12], np.uint16)  # VECT_BASE_X 0, then VECT_12 of twelve events each, again and again
    bomb = np.tile(np.concatenate((base, np.full(4, 4 << 12 | 0xFFF, np.uint16))), 20_000).view(np.uint8)
    one.take([replace(packet, payload=np.concatenate((packet.payload, bomb)))])
    buffer = one.intake._slicer.buffer
    assert one.intake.decoder.stats.events > 900_000 and len(buffer.t_ns) < 250_000
