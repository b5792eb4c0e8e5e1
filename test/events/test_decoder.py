"""What every decoder promises: real recordings to the last bit, any cuts, any bytes, loss, bad packets."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.encoders import encode_evt21, encode_mono, event_array_cdr
from reference.packets import assert_same_events, evt3_words, joined, packet, random_cuts, rows
from reference.slow_codecs import SlowEvt3, slow_evt2, slow_libcaer, slow_libcaer_cmp
from reference.slow_order import slow_packet

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs import ENCODERS, ENCODINGS, make_decoder
from eventspd_ros.events.codecs.event_array import packet_from_event_array
from eventspd_ros.events.codecs.state import MAX_EVENTS_PER_WORD
from eventspd_ros.events.files import open_events
from eventspd_ros.events.order import TIME_JUMP_NS, order_packet

RECORDINGS = {
    "event_camera_codecs/evt3_trigger": (1222326831810000, 42078718, 31656267, 41439),
    "event_camera_codecs/libcaer_rollover": (15762826572202229126, 111651612, 82801007, 181908),
}
ARRAYS = ("event_array", "event_array_be")
EPOCH_NS = 1_700_000_000_123_456_789
EVT3_BAGS = ("event_camera_py/test_events_1", "event_camera_codecs/evt3_trigger")


def decode_all(packets, width, height, encoding):
    decoder = make_decoder(encoding, width, height)
    return joined([decoder.decode(p) for p in packets]), decoder


@pytest.mark.parametrize("bag", RECORDINGS)
def test_the_reference_sums_come_out_exactly(data_dir, bag):
    source = open_events(data_dir / bag)
    events, decoder = decode_all(source.packets(), source.width, source.height, source.encoding)
    sums = tuple(int(getattr(events, c).astype(np.uint64).sum(dtype=np.uint64)) for c in ("t_ns", "x", "y", "p"))
    assert sums == RECORDINGS[bag]
    stats = decoder.stats
    assert stats.events == len(events)
    assert (stats.unknown_words, stats.startup_words, stats.time_reversals, stats.out_of_sensor) == (0, 0, 0, 0)
    assert (stats.seq_gaps, stats.restarts, stats.truncated_bytes) == (0, 0, 0)


def test_the_reference_triggers_come_out_exactly(data_dir):
    source = open_events(data_dir / "event_camera_codecs/evt3_trigger")
    decoder = make_decoder(source.encoding, source.width, source.height)
    triggers = []
    for p in source.packets():
        decoder.decode(p)
        triggers += zip(*(column.tolist() for column in vars(decoder.triggers).values()), strict=True)
    assert sum(t for t, _, _ in triggers) == 29096982000
    assert [(number, edge) for _, number, edge in triggers] == [(0, 0), (0, 1)]
    assert decoder.stats.trigger_events == 2


@pytest.mark.parametrize("bag", [*EVT3_BAGS, "event_camera_codecs/libcaer_rollover"])
def test_one_piece_packets_and_random_cuts_give_the_same_events(data_dir, bag):
    source = open_events(data_dir / bag)
    size = (source.width, source.height, source.encoding)
    packets = list(source.packets())
    if source.encoding == "libcaer":  # one time base a packet: cut inside a packet only
        packets = packets[:40]
        bases = [p.time_base_ns for p in packets]
    else:
        packets = [packet(np.concatenate([p.payload for p in packets]), source.encoding, *size[:2])]
        bases = [0]
    whole, _ = decode_all(list(source.packets())[: len(packets) if source.encoding == "libcaer" else None], *size)
    one_piece, _ = decode_all(packets, *size)
    assert_same_events(one_piece, whole)
    rng = np.random.default_rng(1)
    for mean_bytes in (3, 17, 1000):
        pieces = [
            packet(piece, source.encoding, *size[:2], time_base_ns=base)
            for p, base in zip(packets, bases, strict=True)
            for piece in random_cuts(p.payload[:200_000], rng, mean_bytes)
        ]
        cut, decoder = decode_all(pieces, *size)
        expected, _ = decode_all(
            [packet(p.payload[:200_000], source.encoding, *size[:2], time_base_ns=p.time_base_ns) for p in packets],
            *size,
        )
        assert_same_events(cut, expected)
        assert decoder.stats.truncated_bytes == 0


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
@settings(max_examples=300, deadline=None)
def test_evt3_agrees_with_the_slow_decoder_on_any_bytes_cut_anywhere(data, cuts):
    data = evt3_words((8, 7), (6, 5), (0, 3)) + data
    slow = SlowEvt3(640, 480)
    expected = slow.feed(data[: len(data) // 2 * 2])
    decoder = make_decoder("evt3", 640, 480)
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    got, triggers = [], []
    for first, last in itertools.pairwise(edges):
        got += rows(decoder.decode(packet(data[first:last])))
        triggers += zip(*(column.tolist() for column in vars(decoder.triggers).values()), strict=True)
    assert got == expected
    assert triggers == slow.triggers
    stats = decoder.stats
    assert {name: getattr(stats, name) for name in slow.counts} == slow.counts


# Addresses near and beyond the edges of the sensor, and any bits.
values = st.one_of(st.integers(0, 700), st.integers(0, 4095))


@given(st.lists(st.tuples(st.sampled_from([0, 2, 2, 3, 4, 5, 5, 6, 6, 8, 10]), values), max_size=200))
@settings(max_examples=300, deadline=None)
def test_evt3_agrees_with_the_slow_decoder_on_plausible_words(words):
    data = evt3_words((8, 1), (6, 1), (0, 2), (3, 20), *words)
    slow = SlowEvt3(640, 480)
    decoder = make_decoder("evt3", 640, 480)
    assert rows(decoder.decode(packet(data))) == slow.feed(data)
    assert {name: getattr(decoder.stats, name) for name in slow.counts} == slow.counts


@given(st.lists(st.tuples(st.sampled_from([0, 1, 1, 0, 8, 10, 3, 15]), st.integers(0, 63), values, values)))
@settings(max_examples=200, deadline=None)
def test_evt2_agrees_with_the_slow_decoder(words):
    data = np.array([c << 28 | t << 22 | x % 2048 << 11 | y % 2048 for c, t, x, y in [(8, 0, 0, 5), *words]], np.uint32)
    decoder = make_decoder("evt2", 640, 480)
    assert rows(decoder.decode(packet(data.tobytes(), "evt2"))) == slow_evt2(data.tobytes(), 640, 480)
    assert decoder.stats.unknown_words == sum(word[0] == 3 for word in words)


@given(st.lists(st.tuples(values, values, st.integers(0, 1), st.integers(-(2**31), 2**31 - 1))))
@settings(max_examples=200, deadline=None)
def test_libcaer_agrees_with_the_slow_decoder(events):
    data = b"".join(struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t_us) for x, y, p, t_us in events)
    fast = make_decoder("libcaer", 640, 480).decode(packet(data, "libcaer", time_base_ns=EPOCH_NS))
    assert rows(fast) == slow_packet(slow_libcaer(data, EPOCH_NS, 640, 480))


@given(st.lists(st.tuples(st.sampled_from([0, 1, 1, 2, 3, 3, 4, 5, 5, 7]), values), max_size=200))
@settings(max_examples=200, deadline=None)
def test_libcaer_cmp_agrees_with_the_slow_decoder(words):
    decoder = make_decoder("libcaer_cmp", 640, 480)
    for prefix in ((), ((2, 7), (4, 20))):  # the second packet does not lean on the first
        data = evt3_words(*prefix, *words)
        fast = decoder.decode(packet(data, "libcaer_cmp", time_base_ns=EPOCH_NS))
        assert rows(fast) == slow_packet(slow_libcaer_cmp(data, EPOCH_NS, 640, 480))


def test_libcaer_time_is_held_inside_a_packet_but_not_from_packet_to_packet():
    decoder = make_decoder("libcaer", 640, 480)
    data = b"".join(struct.pack("<Ii", 1 << 17, t_us) for t_us in (5, 9, 7))
    for base_ns in (EPOCH_NS, EPOCH_NS - 3600 * 10**9):
        events = decoder.decode(packet(data, "libcaer", time_base_ns=base_ns))
        assert (events.t_ns - base_ns).tolist() == [5000, 9000, 9000]
    assert decoder.stats.time_reversals == 2


def test_libcaer_cmp_times_lie_between_the_packets_time_bases(data_dir):
    source = open_events(data_dir / "event_camera_py/test_events_2/test_events_2_0.mcap")
    decoder = make_decoder(source.encoding, source.width, source.height)
    packets = list(source.packets())
    for this, following in itertools.pairwise(packets):
        events = decoder.decode(this)
        assert this.time_base_ns <= events.t_ns[0] and events.t_ns[-1] <= following.time_base_ns
        assert rows(events) == slow_libcaer_cmp(this.payload.tobytes(), this.time_base_ns, 346, 260)
    assert decoder.stats.unknown_words == decoder.stats.out_of_sensor == decoder.stats.time_reversals == 0


def test_a_full_buffer_grows_while_a_packet_is_decoded():
    words = [(8, 0), (6, 1), (0, 2), (3, 0)] + [(4, 0xFFF), (3, 0)] * 500
    for capacity in (1, MAX_EVENTS_PER_WORD, 100):
        buffer = EventBuffer(640, 480, capacity)
        decoder = make_decoder("evt3", 640, 480)
        assert decoder.decode_into(packet(evt3_words(*words)), buffer) == 6000
        events = buffer.view(buffer.begin, buffer.end)
        assert rows(events) == SlowEvt3(640, 480).feed(evt3_words(*words))
        assert decoder.first_times_ns == (1000, 1000)


def test_many_triggers_in_one_packet_are_all_kept():
    words = [(8, 0), (6, 1)] + [(10, 0x300 | k & 1) for k in range(1000)]
    decoder = make_decoder("evt3", 640, 480)
    decoder.decode(packet(evt3_words(*words)))
    triggers = decoder.triggers
    assert triggers.id.tolist() == [3] * 1000 and triggers.edge.tolist() == [0, 1] * 500
    assert triggers.t_ns.tolist() == [1000] * 1000
    decoder.decode(packet(b""))
    assert len(decoder.triggers) == 0


def event_at(high, low, x=5):
    return evt3_words((8, high), (6, low), (0, 9), (2, x))


def test_words_before_the_first_complete_time_are_dropped_and_counted():
    start = evt3_words((0, 1), (2, 2), (6, 3), (8, 4), (2, 5), (0, 6), (6, 7), (0, 8), (2, 9))
    decoder = make_decoder("evt3", 640, 480)
    assert rows(decoder.decode(packet(start))) == [((4 * 4096 + 7) * 1000, 9, 8, 0)]
    assert decoder.stats.startup_words == 5


def test_an_event_whose_row_is_not_known_is_dropped():
    decoder = make_decoder("evt3", 640, 480)
    assert rows(decoder.decode(packet(evt3_words((8, 1), (6, 1), (2, 5), (3, 5), (4, 3), (0, 2), (2, 6))))) == [
        (4097000, 6, 2, 0)
    ]
    assert decoder.stats.out_of_sensor == 3


def test_time_goes_on_over_rollovers_for_an_hour():
    decoder = make_decoder("evt3", 640, 480)
    step_us = 4096 * 1000  # 4.096 s
    for k in range(900):
        t_us = k * step_us + 17
        (row,) = rows(decoder.decode(packet(event_at((t_us >> 12) & 0xFFF, t_us & 0xFFF), seq=k)))
        assert row[0] == t_us * 1000
    assert decoder.stats.rollovers == 900 * 1000 // 4096
    assert t_us > 35 * 60e6


def test_lost_packets_are_counted_and_the_decoder_waits_for_a_complete_time():
    decoder = make_decoder("evt3", 640, 480)
    decoder.decode(packet(event_at(1, 1) + b"\x55", seq=7))
    lost = evt3_words((2, 77), (6, 20), (0, 3), (2, 78)) + event_at(1, 30, x=8) + evt3_words((2, 9))
    assert rows(decoder.decode(packet(lost, seq=10))) == [(4126000, 8, 9, 0), (4126000, 9, 9, 0)]
    stats = decoder.stats
    assert (stats.seq_gaps, stats.lost_packets, stats.startup_words, stats.truncated_bytes) == (1, 2, 4, 1)


@pytest.mark.parametrize("silence_s", [1, 10, 17, 40, 3600])
def test_header_stamps_tell_how_often_the_clock_rolled_over_while_packets_were_lost(silence_s):
    decoder = make_decoder("evt3", 640, 480)
    decoder.decode(packet(event_at(100, 1), seq=1, stamp_ns=10**18))
    before_us = 100 * 4096 + 1
    t_us = before_us + silence_s * 1_000_000
    late_ns = 10**18 + silence_s * 10**9 + 3_000_000
    later = packet(event_at((t_us >> 12) & 0xFFF, t_us & 0xFFF), seq=50, stamp_ns=late_ns)
    assert rows(decoder.decode(later))[0][0] == t_us * 1000
    assert decoder.stats.rollovers == t_us >> 24


def test_numbers_that_begin_anew_are_a_restart_and_unnumbered_packets_are_not():
    decoder = make_decoder("evt3", 640, 480)
    decoder.decode(packet(event_at(3000, 1), seq=9))
    assert rows(decoder.decode(packet(event_at(2, 1), seq=0)))[0][0] == (2 * 4096 + 1) * 1000
    assert decoder.stats.restarts == 1
    for k in range(3):
        decoder.decode(packet(event_at(2, 2 + k), seq=0))
    assert decoder.stats.restarts == 1 and decoder.stats.seq_gaps == 0


def test_reset_forgets_the_stream_but_not_the_counts():
    decoder = make_decoder("evt3", 640, 480)
    decoder.decode(packet(event_at(3000, 1) + b"\x01", seq=9))
    decoder.reset()
    assert rows(decoder.decode(packet(event_at(2, 1), seq=4)))[0][0] == (2 * 4096 + 1) * 1000
    stats = decoder.stats
    assert (stats.events, stats.packets, stats.seq_gaps, stats.restarts, stats.truncated_bytes) == (2, 2, 0, 0, 1)


def test_bad_packets_are_refused_in_one_line_and_nothing_is_lost():
    with pytest.raises(ValueError, match=r"'evt4' is not known; known are evt2, evt21, evt21_legacy, evt3"):
        make_decoder("evt4", 640, 480)
    for width, height in ((0, 480), (640, -1), (40000, 480)):
        with pytest.raises(ValueError, match="must be 1 to"):
            make_decoder("evt3", width, height)
    decoder = make_decoder("evt3", 640, 480)
    decoder.decode(packet(event_at(1, 1)[:-1], seq=1))
    with pytest.raises(ValueError, match=r"packet 2: sensor 1280x720 px, this stream's sensor is 640x480 px") as error:
        decoder.decode(packet(b"abcd", width=1280, height=720, seq=2))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="encoding 'evt2', this stream is 'evt3'"):
        decoder.decode(packet(b"abcd", "evt2", seq=2))
    # The half word from before the refused packets is still there.
    assert rows(decoder.decode(packet(event_at(1, 1)[-1:], seq=2))) == [(4097000, 5, 9, 0)]
    with pytest.raises(ValueError, match="payload is float64"):
        decoder.decode(packet(b"").__class__("evt3", 640, 480, np.zeros(3), 3))
    with pytest.raises(ValueError, match="time base -5 ns"):
        make_decoder("libcaer", 640, 480).decode(packet(b"", "libcaer", time_base_ns=-5))


WITH_OWN_TIMES = ("mono", "libcaer", "libcaer_cmp", *ARRAYS)


def fuzz(encoding, seeds, count, rng):
    """Decode `count` packets of noise and of mutated bytes of `seeds`; every promise of the decoder is checked."""
    width, height = 600, 250  # real events lie outside as well
    step = 16 if encoding in ARRAYS else 1  # or hardly an event would lie inside
    decoder = make_decoder(encoding, width, height)
    buffer = EventBuffer(width, height, 1 << 14)
    noise = rng.integers(0, 256, 1 << 20, np.uint8)
    mutable = seeds.copy()
    for k in range(count):
        pool = noise if k % 2 else mutable
        first = int(rng.integers(0, len(pool) - 256)) // step * step
        payload = pool[first : first + int(rng.integers(0, 256))]
        if k % 2 == 0 and len(payload):
            payload[int(rng.integers(0, len(payload)))] = k & 0xFF
        if k % 100_000 == 0:
            mutable[:] = seeds
        buffer.begin = buffer.end = 0
        seq = k if k % 1000 else k + 5
        n = decoder.decode_into(
            packet(payload, encoding, width, height, seq=seq, time_base_ns=1000 * k, stamp_ns=1 + 10_000 * k), buffer
        )
        if n:
            assert buffer.end == n
            assert buffer.x[:n].max() < width and buffer.y[:n].max() < height and buffer.p[:n].max() <= 1
            if encoding in WITH_OWN_TIMES:
                order_packet(buffer, 0)
            fall_ns = -np.diff(buffer.t_ns[: buffer.end])
            assert ((fall_ns <= 0) | ((fall_ns > TIME_JUMP_NS) & (encoding in WITH_OWN_TIMES))).all()
    stats = decoder.stats
    assert stats.packets == count and stats.events > count // 20 and stats.out_of_sensor > count // 4
    if encoding not in ("libcaer", "mono"):  # all bytes are events there
        assert stats.unknown_words > 0
    assert stats.seq_gaps + stats.restarts > 0
    return stats


def fuzz_seeds(data_dir, encoding):
    bag = {"libcaer": "event_camera_codecs/libcaer_rollover", "libcaer_cmp": "event_camera_py/test_events_2"}
    source = open_events(data_dir / bag.get(encoding, "event_camera_py/test_events_1"))
    if source.encoding == encoding:
        return np.concatenate([p.payload for p in source.packets()])
    events = joined(list(itertools.islice(source.chunks(), 5)))
    if encoding in ENCODERS:
        return ENCODERS[encoding](events).copy()
    if encoding in ARRAYS:
        return packet_from_event_array(event_array_cdr(events, big_endian=encoding.endswith("be"))).payload.copy()
    payload = (
        encode_mono(events, int(events.t_ns[0]))
        if encoding == "mono"
        else encode_evt21(events, encoding == "evt21_legacy")
    )
    return np.frombuffer(payload, np.uint8).copy()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_bytes_crash_a_decoder_or_break_its_promises(data_dir, encoding):
    fuzz(encoding, fuzz_seeds(data_dir, encoding), 10_000, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_million_packets_of_any_bytes_neither_crash_nor_break_a_promise(data_dir, encoding):
    fuzz(encoding, fuzz_seeds(data_dir, encoding), 1_000_000, np.random.default_rng(2))
