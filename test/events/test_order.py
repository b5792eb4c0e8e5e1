"""One bad time costs one event, wherever it stands and however the events are cut; time that fell is time that fell."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.encoders import encode_libcaer, encode_mono
from reference.packets import event_array, packet, rows
from reference.slow_order import slow_order, slow_packet

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.order import STRAY_NS, order_packet
from eventspd_ros.events.windows import WindowSlicer

MS = 1_000_000
steps = st.sampled_from([0, 1, 1, 1, 2, 4, 5, 6, 20, 99, 101, 999, -1, -4, -6, -99, -101, -999])


def numbered(t_ns):
    return event_array(t_ns, np.arange(len(t_ns)), [0] * len(t_ns), [1] * len(t_ns))


@given(st.lists(steps, max_size=30), st.lists(st.integers(0, 31), max_size=5))
@settings(max_examples=300, deadline=None)
def test_the_order_is_that_of_the_definition_however_the_events_are_cut(steps_ms, cuts):
    events = numbered([10**15 + MS * t for t in itertools.accumulate([0, *steps_ms])])
    told = [[]]
    slicer = WindowSlicer(640, 480, 20 * MS, 8 * MS, on_sorted=lambda buffer, first, last: tell(buffer, first, last))

    def tell(buffer, first, last):
        while len(told) <= slicer.epoch:
            told.append([])
        told[slicer.epoch] += rows(buffer.view(first, last))

    edges = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for first, last in itertools.pairwise(edges):
        slicer.push(event_array(*(column[first:last] for column in (events.t_ns, events.x, events.y, events.p))))
    epochs, strays, late, waiting = slow_order(rows(events))
    assert (slicer.stray_events, slicer.late_events, slicer.time_jumps) == (strays, late, len(epochs) - 1)
    assert (told + [[]] * len(epochs))[len(epochs) - 1] == epochs[-1]  # what came with a fall is not told
    assert slicer.buffer.end - slicer._stop == (waiting is not None)
    buffer = EventBuffer(640, 480, 10)
    buffer.append(events)
    order_packet(buffer, 0)
    assert rows(buffer.view(0, buffer.end)) == slow_packet(rows(events))


def windows_of(parts):
    slicer = WindowSlicer(640, 480, 20 * MS, 8 * MS)
    windows = [window for part in parts for window in slicer.push(part)]
    return slicer, [(w.end_ns, w.epoch, sorted(zip(w.t_ns.tolist(), w.x.tolist(), strict=True))) for w in windows]


@pytest.mark.parametrize("off_ms", [-999, -300, 8, 50, 300, 999, 100_000])
@pytest.mark.parametrize("at", [100, 103, 149], ids=["first of a part", "within it", "last of it"])
def test_one_event_of_a_wrong_time_costs_itself(off_ms, at):
    t_ns = 10**15 + np.arange(1000) * MS // 4
    good, spoiled = numbered(np.delete(t_ns, at)), numbered(t_ns)
    good.x[at:] += 1
    spoiled.t_ns[at] += off_ms * MS

    def parts(events, moved):
        edges = [0, *range(50, 1000, 50)]
        edges = [edge - (moved and edge > at) for edge in edges] + [len(events)]
        columns = (events.t_ns, events.x, events.y, events.p)
        return [event_array(*(c[a:b] for c in columns)) for a, b in itertools.pairwise(edges)]

    slicer, windows = windows_of(parts(spoiled, moved=False))
    expected = windows_of(parts(good, moved=True))[1]
    assert windows == expected and len(windows) == 31
    assert (slicer.stray_events, slicer.time_jumps, slicer.late_events) == (1, 0, 0)


def test_an_event_after_a_silence_is_taken_with_the_next_or_when_the_clock_comes_by():
    slicer = WindowSlicer(640, 480, 20 * MS, 8 * MS)
    slicer.push(numbered([0, 1 * MS]))
    assert slicer.push(numbered([500 * MS])) == [] and slicer.newest_ns == 1 * MS
    assert slicer.cut(505 * MS) is None
    assert [window.end_ns for window in slicer.push(numbered([501 * MS]))] == [8 * MS, 16 * MS]
    assert slicer.newest_ns == 501 * MS and slicer.stray_events == 0
    slicer.push(numbered([900 * MS]))
    assert slicer.newest_ns == 501 * MS
    slicer.advance_to(900 * MS - STRAY_NS)
    assert slicer.newest_ns == 900 * MS
    assert [window.t_ns.tolist() for window in slicer.advance_to(904 * MS)] == [[900 * MS]]


def test_a_clock_that_has_not_come_by_lets_nothing_pass():
    slicer = WindowSlicer(640, 480, 20 * MS, 8 * MS)
    slicer.push(numbered([0, 1 * MS]))
    slicer.push(numbered([900 * MS]))
    slicer.advance_to(100 * MS)
    slicer.push(numbered([101 * MS, 102 * MS]))
    assert (slicer.newest_ns, slicer.stray_events, slicer.time_jumps) == (102 * MS, 1, 0)


@pytest.mark.parametrize(("encoding", "encode"), [("mono", encode_mono), ("libcaer", encode_libcaer)])
def test_what_a_message_says_after_a_wrong_time_is_not_held_at_it(encoding, encode):
    base_ns, t_ns = 10**18, 10**18 + np.arange(100) * MS // 10
    spoiled = t_ns.copy()
    spoiled[40] += 999 * MS
    events = numbered(spoiled)
    decoder = make_decoder(encoding, 640, 480)
    got = decoder.decode(packet(encode(events, base_ns), encoding, time_base_ns=base_ns))
    assert got.t_ns.tolist() == np.delete(t_ns, 40).tolist() and got.x.tolist() == [*range(40), *range(41, 100)]
    assert decoder.stats.stray_events == 1
