"""Encodings whose times count from the packet's time base: mono, libcaer, libcaer_cmp."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.encoders import encode_libcaer, encode_libcaer_cmp, encode_mono
from reference.packets import assert_same_events, event_array, joined, packet, random_cuts, rows
from reference.slow_codecs import slow_mono
from reference.slow_order import slow_packet

from eventspd_ros.events.codecs import make_decoder

EPOCH_NS = 1_700_000_000_123_456_789
# Largest side, finest time, longest packet that the encoding holds.
FORMATS = {
    "mono": (encode_mono, 32768, 1, 2**32 - 1),
    "libcaer": (encode_libcaer, 32768, 1000, (2**31 - 1) * 1000),
    "libcaer_cmp": (encode_libcaer_cmp, 2048, 1000, (2**24 - 1) * 1000),
}


@pytest.mark.parametrize("encoding", FORMATS)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_encoding_then_decoding_is_the_identity(encoding, data):
    encode, side, tick_ns, longest_ns = FORMATS[encoding]
    decoder = make_decoder(encoding, side, side)
    for base_ns in (EPOCH_NS, EPOCH_NS - 10**12):  # the second packet owes nothing to the first
        ticks = sorted(data.draw(st.lists(st.integers(0, longest_ns // tick_ns), max_size=30)))
        count = len(ticks)
        x, y = (data.draw(st.lists(st.integers(0, side - 1), min_size=count, max_size=count)) for _ in range(2))
        p = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
        events = event_array(base_ns + np.array(ticks, np.int64) * tick_ns, x, y, p, side, side)
        payload = encode(events, base_ns)
        assert_same_events(decoder.decode(packet(payload, encoding, side, side, time_base_ns=base_ns)), events)
    stats = decoder.stats
    assert (stats.unknown_words, stats.out_of_sensor, stats.time_reversals, stats.truncated_bytes) == (0, 0, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 1300), st.integers(0, 32767), st.integers(0, 1))))
@settings(max_examples=200, deadline=None)
def test_mono_agrees_with_the_slow_decoder_on_any_words(words):
    data = b"".join((t | x << 32 | y << 48 | p << 63).to_bytes(8, "little") for t, x, y, p in words)
    decoder = make_decoder("mono", 640, 480)
    got = rows(decoder.decode(packet(data, "mono", time_base_ns=EPOCH_NS)))
    assert got == slow_packet(slow_mono(data, EPOCH_NS, 640, 480))


@pytest.mark.parametrize("encoding", ["mono", "libcaer"])
def test_a_packet_cut_anywhere_gives_the_same_events(encoding):
    rng = np.random.default_rng(2)
    t_ns = EPOCH_NS + np.sort(rng.integers(0, 10**6, 3000)) * 1000
    events = event_array(t_ns, rng.integers(0, 640, 3000), rng.integers(0, 480, 3000), rng.integers(0, 2, 3000))
    payload = np.frombuffer(FORMATS[encoding][0](events, EPOCH_NS), np.uint8)
    for mean_bytes in (3, 100):
        decoder = make_decoder(encoding, 640, 480)
        pieces = random_cuts(payload, rng, mean_bytes)
        parts = [decoder.decode(packet(piece, encoding, time_base_ns=EPOCH_NS)) for piece in pieces]
        assert_same_events(joined(parts), events)


def test_mono_time_is_held_inside_a_packet_but_not_from_packet_to_packet():
    decoder = make_decoder("mono", 640, 480)
    data = b"".join((t | 1 << 32).to_bytes(8, "little") for t in (5, 9, 7))
    for base_ns in (EPOCH_NS, EPOCH_NS - 3600 * 10**9):
        events = decoder.decode(packet(data, "mono", time_base_ns=base_ns))
        assert (events.t_ns - base_ns).tolist() == [5, 9, 9]
    assert decoder.stats.time_reversals == 2
