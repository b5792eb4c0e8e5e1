"""Encoding, then decoding, gives the same events, at the resolution of the formats (1 us)."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import assert_same_events, event_array, joined, packet, rows

from eventspd_ros.events.codecs import ENCODERS, make_decoder
from eventspd_ros.events.files import open_events

WRAP_US = {"evt3": 1 << 24, "evt2": 1 << 34}


@st.composite
def streams(draw):
    """Packets of one stream: bursts of simultaneous events in a row, small steps, silences of minutes."""
    step = st.one_of(st.just(0), st.integers(0, 20), st.integers(0, 100_000), st.integers(0, 300_000_000))
    column = st.one_of(st.integers(0, 30), st.integers(0, 2047))
    rows_ = draw(st.lists(st.tuples(step, column, st.integers(0, 3), st.integers(0, 1)), max_size=60))
    steps, x, y, p = (np.array([row[k] for row in rows_], np.int64) for k in range(4))
    # A decoder takes the first time it sees to lie before the first roll-over.
    t_us = draw(st.integers(0, (1 << 24) - 1)) + np.cumsum(steps) - steps[:1].sum()
    cuts = sorted(draw(st.lists(st.integers(0, len(rows_)), max_size=3)))
    edges = [0, *cuts, len(rows_)]
    return [event_array(t_us[a:b] * 1000, x[a:b], y[a:b], p[a:b], 2048, 2048) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("encoding", ENCODERS)
@given(parts=streams())
@settings(max_examples=300, deadline=None)
def test_encoding_then_decoding_is_the_identity(encoding, parts):
    decoder = make_decoder(encoding, 2048, 2048)
    previous_ns = None
    for seq, part in enumerate(parts):
        payload = ENCODERS[encoding](part, previous_ns)
        assert_same_events(decoder.decode(packet(payload, encoding, 2048, 2048, seq=seq)), part)
        previous_ns = int(part.t_ns[-1]) if len(part) else previous_ns
    stats = decoder.stats
    assert (stats.unknown_words, stats.startup_words, stats.out_of_sensor, stats.time_reversals) == (0, 0, 0, 0)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_decoder_can_join_at_any_packet(encoding):
    t_us = 20_000_000 + np.arange(1000) * 37
    events = event_array(t_us * 1000 + 999, np.arange(1000) % 640, np.arange(1000) % 480, t_us % 2)
    late = make_decoder(encoding, 640, 480).decode(packet(ENCODERS[encoding](events, 10**9), encoding))
    assert [row[1:] for row in rows(late)] == [row[1:] for row in rows(events)]
    np.testing.assert_array_equal(late.t_ns // 1000 % WRAP_US[encoding], t_us % WRAP_US[encoding])


def test_a_row_of_simultaneous_events_becomes_vectors():
    events = event_array([5000] * 24, range(100, 124), [7] * 24, [1] * 24)
    payload = ENCODERS["evt3"](events)
    assert len(payload) == 2 * len(["TIME_HIGH", "TIME_LOW", "ADDR_Y", "VECT_BASE_X", "VECT_12", "VECT_12"])
    assert_same_events(make_decoder("evt3", 640, 480).decode(packet(payload)), events)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_real_recording_survives(data_dir, encoding):
    source = open_events(data_dir / "event_camera_py/test_events_1")
    events = joined(list(source.chunks()))
    again = make_decoder(encoding, 640, 480).decode(packet(ENCODERS[encoding](events), encoding))
    assert_same_events(again, events)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_what_cannot_be_encoded_is_refused_in_one_line(encoding):
    encode = ENCODERS[encoding]
    assert len(encode(event_array([], [], [], []))) == 0
    for events, previous_ns, message in (
        (event_array([2000, 1000], [1, 1], [1, 1], [1, 1]), None, "time falls from 2 to 1 us at event 1; sort"),
        (event_array([-2000], [1], [1], [1]), None, "first event at -2 us lies before 0 us"),
        (event_array([2000], [1], [1], [1]), 5000, "first event at 2 us lies before 5 us"),
        (event_array([2000], [1], [1], [1], width=4096), None, "sensor 4096x480 px"),
    ):
        with pytest.raises(ValueError, match=message):
            encode(events, previous_ns)
