"""Signed event slices against their slow twin, in packets cut at random, and what looks see."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.slow_motion import SlowSlices

from eventspd_ros.motion.slices import LATE_NS, LEVELS, MARGIN, SLICE_NS, SLICES, SPANS_NS, EventSlices

SIZES = [(17, 33), (5, 4), (1, 1), (24, 32)]  # H, W
LATE_SLICES = LATE_NS // SLICE_NS
WHOLE = int(SPANS_NS[-1]) + LATE_NS  # of which anything is kept


def events(rng, count, height, width, start_ns, span_ns):
    t_ns = start_ns + np.sort(rng.integers(0, span_ns, count))
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    return x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, count).astype(np.uint8), t_ns


def pictures(slices, look, level, j):
    """The slice as (H, W) and as half-size pictures; around both there is nothing."""
    h, w = slices.height, slices.width
    found = []
    for flat, at, stride, size in (
        (look.full, look.full_at, slices.stride, (h, w)),
        (look.half, look.half_at, slices.half_stride, (-(-h // 2), -(-w // 2))),
    ):
        begin = int(at[level, j])
        whole = flat[begin : begin + (size[0] + 2 * MARGIN) * stride].reshape(-1, stride)
        inner = whole[MARGIN:-MARGIN, MARGIN:-MARGIN]
        assert inner.shape == size and np.abs(whole, dtype=np.int64).sum() == np.abs(inner, dtype=np.int64).sum()
        found.append(inner)
    return found


def assert_same(slices, twin, until_ns=None):
    look, expected = slices.look(until_ns), twin.look(until_ns)
    assert (look is None) == (expected is None)
    if look is None:
        return
    for level, indices in enumerate(expected):
        known = [twin.known(level, index) for index in indices]
        assert look.known[level].tolist() == known
        assert look.middle_ns[level].tolist() == [(2 * i + 1) * (SLICE_NS << level) // 2 for i in indices]
        for j, index in enumerate(indices):
            if known[j]:
                full, half = pictures(slices, look, level, j)
                np.testing.assert_array_equal(full, twin.counts(level, index, half=False))
                np.testing.assert_array_equal(half, twin.counts(level, index, half=True))


def both(height, width, pixel_map=None):
    return EventSlices(height, width, pixel_map), SlowSlices(height, width, pixel_map)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(SIZES),
    st.lists(
        st.tuples(st.sampled_from([0, 1, 40, 300]), st.integers(1, 60), st.sampled_from([0, 0, 1, 30, 200, 5000])),
        min_size=1,
        max_size=6,
    ),
    st.integers(-(10**10), 10**10),
    st.integers(0, LATE_SLICES + 2),
)
def test_slices_are_the_twin_s_whatever_the_packets(seed, size, packets, start_ns, late):
    """packets: events in each, the slices they span, and those of silence after it."""
    rng, (slices, twin) = np.random.default_rng(seed), both(*size)
    t_ns = start_ns
    for count, span, silence in packets:
        packet = events(rng, count, *size, t_ns, span * SLICE_NS)
        slices.add(*packet)
        twin.add(*packet)
        t_ns += (span + silence) * SLICE_NS
        if rng.random() < 0.3:
            slices.advance_to(t_ns)
            twin.advance_to(t_ns)
    assert_same(slices, twin)
    if twin.newest is not None:
        assert_same(slices, twin, (twin.newest - late) * SLICE_NS)
        assert_same(slices, twin, t_ns)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3000), max_size=12))
def test_how_a_stream_is_cut_into_packets_changes_nothing(seed, cuts):
    rng = np.random.default_rng(seed)
    stream = events(rng, 3000, 17, 33, int(rng.integers(10**12)), WHOLE)
    whole, cut = EventSlices(17, 33), EventSlices(17, 33)
    whole.add(*stream)
    for packet in zip(*[np.split(column, sorted(cuts)) for column in stream], strict=True):
        cut.add(*packet)
    for a, b in ((whole._full, cut._full), (whole._half, cut._half), (whole._state, cut._state)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("phase", range(0, 16, 3))
@pytest.mark.parametrize("silence", [1, 39, 170, 176, 185, 191, 192, 193, 10_000, 10**9])
def test_after_a_silence_late_looks_see_nothing_of_what_was_before_it(phase, silence):
    """Every slot was filled before, and the first event after the silence falls into any slice of the longest."""
    slices, twin = both(5, 4)
    rng = np.random.default_rng(phase)
    start = 16_000 * SLICE_NS
    before = events(rng, 3000, 5, 4, start, WHOLE + phase * SLICE_NS)
    after = events(rng, 5, 5, 4, start + WHOLE + (phase + silence) * SLICE_NS, 2 * SLICE_NS)
    for packet in (before, after):
        slices.add(*packet)
        twin.add(*packet)
    for late in (0, 1, 7, 16, LATE_SLICES - 1, LATE_SLICES, LATE_SLICES + 1):
        assert_same(slices, twin, (twin.newest - late) * SLICE_NS)


def test_a_look_beyond_what_is_kept_is_none():
    slices = EventSlices(3, 3)
    assert slices.look() is None and slices.look(0) is None
    slices.add(*events(np.random.default_rng(0), 1000, 3, 3, 0, 10**9))
    end_ns = 10**9 // SLICE_NS * SLICE_NS
    slices.advance_to(end_ns)
    assert slices.look(end_ns - LATE_NS) is not None
    assert slices.look(end_ns - LATE_NS - 1) is None  # in the slice before
    for until_ns in (end_ns - 1, end_ns - SLICE_NS):
        assert slices.look(until_ns).middle_ns[0, -1] == end_ns - SLICE_NS - SLICE_NS // 2


def test_a_slice_is_complete_when_time_has_passed_it_without_an_event():
    slices, twin = both(4, 4)
    slices.advance_to(5)  # before the first event there is nothing to complete
    assert slices.look() is None
    packet = events(np.random.default_rng(1), 50, 4, 4, 0, SLICE_NS)
    slices.add(*packet)
    twin.add(*packet)
    slices.advance_to(SLICE_NS - 1)
    assert_same(slices, twin)
    for t_ns in (SLICE_NS, SLICE_NS // 2, 16 * SLICE_NS):  # and time does not fall
        slices.advance_to(t_ns)
        twin.advance_to(t_ns)
        assert_same(slices, twin)
    assert slices.look().middle_ns[-1, -1] == 8 * SLICE_NS


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(1, LATE_SLICES))
def test_what_is_seen_until_a_time_does_not_depend_on_what_comes_after_it(seed, silence, later):
    """A look until a time, at once and after later events."""
    rng = np.random.default_rng(seed)
    until_ns = 200 * SLICE_NS
    past = events(rng, 2000, 5, 4, 0, (200 - silence) * SLICE_NS)
    future = events(rng, 500, 5, 4, until_ns, later * SLICE_NS)
    early, late = EventSlices(5, 4), EventSlices(5, 4)
    early.add(*past)
    late.add(*past)
    late.add(*future)
    a, b = early.look(until_ns), late.look(until_ns)
    np.testing.assert_array_equal(a.middle_ns, b.middle_ns)
    np.testing.assert_array_equal(a.known, b.known)
    for level in range(LEVELS):
        for j in range(SLICES):
            for one, other in zip(pictures(early, a, level, j), pictures(late, b, level, j), strict=True):
                np.testing.assert_array_equal(one, other)


def test_slices_before_the_first_event_s_are_not_known():
    """The first event is in slice 100; of each level the first whole slice begins with it or after it."""
    slices = EventSlices(2, 2)
    one = np.zeros(1, np.uint16)
    slices.add(one, one, one, np.array([100 * SLICE_NS + 7]))
    look = slices.look(130 * SLICE_NS)
    begins = (look.middle_ns - (SPANS_NS // SLICES // 2)[:, None]) // SLICE_NS
    np.testing.assert_array_equal(look.known, begins >= 100)
    assert look.known[0].all() and not look.known[2:].all(axis=1).any() and look.known.any(axis=1).all()


def test_an_event_behind_the_newest_slice_counts_in_it():
    slices, twin = both(4, 6)
    rng = np.random.default_rng(2)
    x, y, p, t_ns = events(rng, 4000, 4, 6, 10**9, WHOLE)
    t_ns = t_ns - rng.integers(0, 3 * SLICE_NS, len(t_ns))
    for packet in zip(*[np.array_split(column, 7) for column in (x, y, p, t_ns)], strict=True):
        slices.add(*packet)
        twin.add(*packet)
    for late in (0, 5, LATE_SLICES):
        assert_same(slices, twin, (twin.newest - late) * SLICE_NS)


def test_after_a_restart_nothing_is_left_and_time_may_be_any():
    slices = EventSlices(17, 33)
    rng = np.random.default_rng(3)
    slices.add(*events(rng, 5000, 17, 33, 10**12, WHOLE))
    for start_ns in (0, 10**12 + 5 * SLICE_NS, -(10**11)):
        slices.restart()
        assert slices.look() is None and slices.look(10**12) is None
        twin, packet = SlowSlices(17, 33), events(rng, 300, 17, 33, start_ns, 30 * SLICE_NS)
        slices.add(*packet)
        twin.add(*packet)
        assert_same(slices, twin, twin.newest * SLICE_NS)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_events_count_at_the_undistorted_pixel_and_outside_it_nowhere(seed):
    rng = np.random.default_rng(seed)
    pixel_map = rng.integers(-3, 40, (17, 33, 2))
    pixel_map[0, 0], pixel_map[1, 1] = (-1, -1), (1 << 20, 1 << 20)
    slices, twin = both(17, 33, pixel_map)
    packet = events(rng, 2000, 17, 33, 0, 40 * SLICE_NS)
    slices.add(*packet)
    twin.add(*packet)
    assert_same(slices, twin, 40 * SLICE_NS)


@pytest.mark.parametrize("sign", [0, 1])
def test_counts_stay_at_their_limits_and_come_back_from_there(sign):
    """300 of one sign and 20 of the other in each finest slice, at one pixel: 107 or −108, and limits above."""
    slices, twin = both(3, 3)
    p = np.tile(np.repeat([sign, 1 - sign], [300, 20]), 16)
    where = np.ones(len(p), np.uint16)
    packet = where, where, p, np.repeat(np.arange(16) * SLICE_NS, 320)
    slices.add(*packet)
    twin.add(*packet)
    slices.advance_to(16 * SLICE_NS)
    twin.advance_to(16 * SLICE_NS)
    assert_same(slices, twin, 16 * SLICE_NS)
    look = slices.look(16 * SLICE_NS)
    found = [pictures(slices, look, level, SLICES - 1)[0][1, 1] for level in range(LEVELS)]
    assert found == ([107, 127, 127, 127, 127] if sign else [-108, -128, -128, -128, -128])


def test_memory_does_not_grow():
    slices = EventSlices(17, 33)
    full, half = slices._full, slices._half
    for i in range(200):
        slices.add(*events(np.random.default_rng(i), 500, 17, 33, i * 50_000_000, 50_000_000))
    assert slices._full is full and slices._half is half
    assert full.nbytes + half.nbytes < 200 * (17 + 2 * MARGIN) * (33 + 2 * MARGIN)


def test_one_thread_adds_while_another_looks():
    """Each finest slice has as many events as its index tells. Whoever looks with the lock held sees them so, however
    long that takes: a packet here overwrites all slots."""
    slices, looks, packet = EventSlices(1, 1), 0, 120
    slices.add(*[np.zeros(1, np.uint16)] * 3, np.array([0]))

    def fill():
        for first in range(1, 100 * packet, packet):
            index = np.repeat(np.arange(first, first + packet), 1 + np.arange(first, first + packet) % 100)
            where = np.zeros(len(index), np.uint16)
            slices.add(where, where, where + 1, index * SLICE_NS)
            time.sleep(1e-4)  # else this thread may hold the lock again before the other is awake

    thread = threading.Thread(target=fill)
    thread.start()
    while thread.is_alive():
        with slices.lock:
            look = slices.look()
            time.sleep(1e-3)
            if look.known[0].all():
                counts = [int(pictures(slices, look, 0, j)[0][0, 0]) for j in range(SLICES)]
                index = look.middle_ns[0] // SLICE_NS
                np.testing.assert_array_equal(counts, np.where(index, 1 + index % 100, -1))
                looks += 1
        time.sleep(1e-4)
    thread.join()
    assert looks > 3 and slices.look().middle_ns[0, -1] == 100 * packet * SLICE_NS - SLICE_NS // 2


def test_a_copied_look_stays_what_it_was_while_events_are_added():
    height, width = 24, 32
    slices, rng = EventSlices(height, width), np.random.default_rng(0)
    slices.add(*events(rng, 4000, height, width, 0, WHOLE))
    with slices.lock:
        look = slices.look()
        copy = look.copied(slices)
    wanted = {(i, j): pictures(slices, look, i, j) for i in range(LEVELS) for j in range(SLICES) if look.known[i, j]}
    wanted = {at: [picture.copy() for picture in found] for at, found in wanted.items()}
    slices.add(*events(rng, 40_000, height, width, WHOLE, 3 * WHOLE))
    for (level, j), found in wanted.items():
        for one, other in zip(pictures(slices, copy, level, j), found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(wanted) > LEVELS and copy.middle_ns is look.middle_ns and copy.known is look.known
