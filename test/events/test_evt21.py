"""EVT2.1 in both orders of its halves: what cameras send comes back, against a slow decoder and by its format table."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.encoders import encode_evt21
from reference.packets import assert_same_events, event_array, joined, packet, random_cuts, rows
from reference.slow_codecs import slow_evt21

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.files import open_events

ORDERS = {"evt21": False, "evt21_legacy": True}
orders = pytest.mark.parametrize("encoding, upper_first", ORDERS.items())


@st.composite
def streams(draw):
    """Packets of one stream: bursts in a row, small steps, silences of minutes, over the roll-over at 2**34 us."""
    step = st.one_of(st.just(0), st.just(0), st.integers(0, 100), st.integers(0, 300_000_000))
    column = st.one_of(st.integers(0, 40), st.integers(0, 2047))
    rows_ = draw(st.lists(st.tuples(step, column, st.integers(0, 1), st.integers(0, 1)), max_size=60))
    steps, x, y, p = (np.array([row[k] for row in rows_], np.int64) for k in range(4))
    t_us = draw(st.integers((1 << 34) - 10**9, (1 << 34) - 1)) + np.cumsum(steps) - steps[:1].sum()
    cuts = sorted(draw(st.lists(st.integers(0, len(rows_)), max_size=3)))
    edges = [0, *cuts, len(rows_)]
    return [event_array(t_us[a:b] * 1000, x[a:b], y[a:b], p[a:b], 2048, 2048) for a, b in itertools.pairwise(edges)]


@orders
@given(parts=streams(), bytes_cut=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_encoding_then_decoding_is_the_identity_wherever_packets_are_cut(encoding, upper_first, parts, bytes_cut):
    decoder = make_decoder(encoding, 2048, 2048)
    whole, previous_us = b"", None
    for part in parts:
        whole += encode_evt21(part, upper_first, previous_us)
        previous_us = int(part.t_ns[-1]) // 1000 if len(part) else previous_us
    cut = max(0, len(whole) // 2 - bytes_cut)
    pieces = [decoder.decode(packet(piece, encoding, 2048, 2048)) for piece in (whole[:cut], whole[cut:])]
    assert_same_events(joined(pieces), joined(parts))
    stats = decoder.stats
    assert (stats.unknown_words, stats.startup_words, stats.out_of_sensor, stats.time_reversals) == (0, 0, 0, 0)


values = st.one_of(st.integers(0, 700), st.integers(0, 2047))
masks = st.one_of(st.just(1), st.integers(0, 2**32 - 1), st.just(0), st.just(1 << 31))


codes = st.sampled_from([0, 1, 1, 0, 8, 10, 3, 15])


@orders
@given(words=st.lists(st.tuples(codes, st.integers(0, 63), values, values, masks)))
@settings(max_examples=200, deadline=None)
def test_any_words_decode_as_the_slow_decoder_says(encoding, upper_first, words):
    heads = [(c << 28 | t << 22 | x << 11 | y, mask) for c, t, x, y, mask in [(8, 0, 0, 5, 0), *words]]
    data = b"".join(struct.pack("<II", *(word if upper_first else word[::-1])) for word in heads)
    decoder = make_decoder(encoding, 640, 480)
    assert rows(decoder.decode(packet(data, encoding))) == slow_evt21(data, 640, 480, upper_first)
    assert decoder.stats.unknown_words == sum(word[0] == 3 for word in words)
    assert decoder.stats.trigger_events == sum(word[0] == 10 for word in words)


def test_the_bytes_of_the_format_table():
    """Prophesee's page: the word 0x0102030405060708 travels as 08 07 … 01 (GenX320) or 04 03 02 01 08 07 06 05
    (IMX636); the fields of its upper half are type 28-31, time 22-27, x 11-21, y 0-10."""
    time_high = (8 << 60 | 3 << 32).to_bytes(8, "little")
    word = (1 << 60 | 20 << 54 | 10 << 43 | 6 << 32 | 1 << 14 | 1 << 10 | 1 << 4).to_bytes(8, "little")
    trigger = (10 << 60 | 21 << 54 | 3 << 40 | 1 << 32).to_bytes(8, "little")
    stream = time_high + word + trigger
    expected = [((3 * 64 + 20) * 1000, 10 + bit, 6, 1) for bit in (4, 10, 14)]
    swapped = b"".join(stream[i + 4 : i + 8] + stream[i : i + 4] for i in range(0, len(stream), 8))
    for encoding, data in (("evt21", stream), ("evt21_legacy", swapped)):
        decoder = make_decoder(encoding, 640, 480)
        assert rows(decoder.decode(packet(data, encoding))) == expected
        triggers = decoder.triggers
        assert (triggers.t_ns.tolist(), triggers.id.tolist(), triggers.edge.tolist()) == ([213_000], [3], [1])


@orders
def test_events_before_the_first_time_are_dropped_and_after_lost_packets_too(encoding, upper_first):
    def words(*heads):
        return b"".join(struct.pack("<II", *((h, 1) if upper_first else (1, h))) for h in heads)

    decoder = make_decoder(encoding, 640, 480)
    event, time_high = 1 << 28 | 7 << 11 | 9, 8 << 28 | 5
    assert rows(decoder.decode(packet(words(event, time_high, event), encoding, seq=1))) == [(320_000, 7, 9, 1)]
    assert rows(decoder.decode(packet(words(event), encoding, seq=5))) == []
    assert (decoder.stats.startup_words, decoder.stats.lost_packets) == (2, 3)


@orders
def test_a_real_recording_survives_in_packets_of_any_size(data_dir, encoding, upper_first):
    source = open_events(data_dir / "event_camera_py/test_events_1")
    events = joined(list(itertools.islice(source.chunks(), 40)))
    payload = np.frombuffer(encode_evt21(events, upper_first), np.uint8)
    decoder = make_decoder(encoding, 640, 480)
    pieces = random_cuts(payload, np.random.default_rng(1), 100)
    assert_same_events(joined([decoder.decode(packet(piece, encoding)) for piece in pieces]), events)


@pytest.mark.parametrize(
    "header, encoding",
    [
        ("% format EVT21;height=480;width=640;endianness=legacy\n% end\n", "evt21_legacy"),
        ("% endianness legacy\n% format EVT21;height=480;width=640\n% end\n", "evt21_legacy"),
        ("% endianness legacy\n% format EVT21;endianness=little\n% geometry 640x480\n% end\n", "evt21"),
        ("% evt 2.1\n% geometry 640x480\n% system_ID 49\n% end\n", "evt21_legacy"),
        ("% evt 2.1\n% geometry 640x480\n% system_ID 64\n% end\n", "evt21"),
        ("% evt 2.1\n% geometry 640x480\n% end\n", "evt21"),
    ],
)
def test_the_header_of_a_recording_tells_the_order(tmp_path, header, encoding):
    events = event_array([64_000, 70_000], [1, 2], [3, 4], [0, 1])
    path = tmp_path / "a.raw"
    path.write_bytes(header.encode() + encode_evt21(events, ORDERS[encoding]))
    source = open_events(path)
    assert source.encoding == encoding
    assert_same_events(joined(list(source.chunks())), events)
