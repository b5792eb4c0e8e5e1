"""Windows: equal to their definition whatever the packets, cheap in copies, bounded, and clear about time jumps."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import event_array, packet
from reference.slow_windows import slow_windows

from eventspd_ros.events import windows as windows_module
from eventspd_ros.events.codecs import encode_evt3, make_decoder
from eventspd_ros.events.order import TIME_JUMP_NS
from eventspd_ros.events.windows import WindowSlicer

MS = 1_000_000


def stream(t_ns):
    """Events whose x tells which they are."""
    count = len(t_ns)
    return event_array(t_ns, np.arange(count) % 640, np.arange(count) // 640, np.arange(count) % 2)


def part(events, first, last):
    return event_array(events.t_ns[first:last], events.x[first:last], events.y[first:last], events.p[first:last])


def numbers(window):
    return (window.y.astype(int) * 640 + window.x).tolist()


def push_in_parts(slicer, events, cuts):
    edges = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    closed = []
    for first, last in itertools.pairwise(edges):
        closed += slicer.push(part(events, first, last))
    return closed


steps_ns = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 50), st.integers(0, 2000))


@given(
    st.lists(steps_ns, max_size=120),
    st.integers(1, 200),
    st.one_of(st.integers(1, 300), st.floats(1.0, 300.0)),
    st.lists(st.integers(0, 120), max_size=8),
    st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_windows_are_those_of_the_definition_whatever_the_packets(steps, window_ns, stride_ns, cuts, small):
    t_ns = (10**15 + np.cumsum([0, *steps])).tolist()
    events = stream(t_ns)
    # max_events as small as the fullest window and its neighbours allow: the buffer is moved often.
    span_ns = window_ns + stride_ns + 1
    densest = max(sum(t <= other < t + span_ns for other in t_ns) for t in t_ns)
    max_events = 10**6 if small == 0 else densest + small + max(1, len(t_ns) // 8)
    slicer = WindowSlicer(640, 480, window_ns, stride_ns, max_events)
    closed = push_in_parts(slicer, events, cuts)
    if slicer.windows_dropped == 0:
        expected = slow_windows(t_ns, window_ns, stride_ns)
        assert [(w.start_ns, w.end_ns, numbers(w)) for w in closed] == [row[1:] for row in expected]
        if expected:
            assert slicer.windows_empty >= expected[-1][0] - len(expected)
    for w in closed:
        assert w.end_ns - w.start_ns == window_ns
        assert w.t_ns.tolist() == [t_ns[i] for i in numbers(w)]
    assert slicer.buffer.base + slicer.buffer.begin >= 0


def test_no_event_is_copied_twice_after_decoding():
    rng = np.random.default_rng(0)
    t_ns = np.cumsum(rng.integers(0, 4000, 60_000))
    for window_ms, stride_ms, max_events in ((20, 8.333, 12_000), (20, 20, 15_000), (5, 9, 5_000)):
        slicer = WindowSlicer(640, 480, window_ms * MS, stride_ms * MS, max_events)
        decoder = make_decoder("evt3", 640, 480)
        moves, move = [], slicer.buffer.move

        def counted(places=0, slicer=slicer, moves=moves, move=move):
            first = slicer.buffer.base + slicer.buffer.begin
            moves.append((first, slicer.buffer.base + slicer.buffer.end))
            move(places)

        slicer.buffer.move = counted
        events = stream(t_ns // 1000 * 1000)  # 10,000 events in 20 ms
        previous_ns, closed = None, []
        for k in range(0, len(events), 700):
            piece = part(events, k, k + 700)
            decoder.decode_into(packet(encode_evt3(piece, previous_ns), seq=k // 700), slicer.buffer)
            previous_ns = int(piece.t_ns[-1])
            closed += slicer.close()
        assert slicer.windows_dropped == 0 and len(moves) >= 2
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(moves)), moves
        expected = slow_windows(events.t_ns.tolist()[:6000], window_ms * MS, stride_ms * MS)
        assert [(w.end_ns, numbers(w)) for w in closed[: len(expected)]] == [(e, i) for _, _, e, i in expected]


def test_windows_are_views_and_stay_valid_while_the_stream_goes_on():
    slicer = WindowSlicer(640, 480, 20, 10, 50)
    first = slicer.push(stream(np.arange(25)))
    assert all(np.shares_memory(w.t_ns, slicer.buffer.t_ns) for w in first)
    kept = [(w, w.t_ns.copy(), numbers(w)) for w in first]
    for k in range(1, 200):
        slicer.push(stream(np.arange(25 * k, 25 * k + 25)))
    for window, t_ns, which in kept:
        np.testing.assert_array_equal(window.t_ns, t_ns)
        assert numbers(window) == which


def test_a_window_is_half_open_and_closes_on_the_event_at_its_end():
    slicer = WindowSlicer(640, 480, 20, 10, 100)
    assert slicer.push(stream([100, 109])) == []
    (window,) = slicer.push(stream([110]))
    assert (window.start_ns, window.end_ns, window.t_ns.tolist()) == (90, 110, [100, 109])
    (window,) = slicer.push(stream([121]))
    assert (window.start_ns, window.end_ns, window.t_ns.tolist()) == (100, 120, [100, 109, 110])


def test_a_fractional_stride_does_not_drift():
    slicer = WindowSlicer(640, 480, 20 * MS, 1e9 / 120, 10**6)
    closed = slicer.push(stream(np.arange(0, 5_000_000_000, 500_000)))
    assert [w.end_ns for w in closed] == [round(k * 1e9 / 120) for k in range(1, len(closed) + 1)]
    assert closed[-1].end_ns == round(599 * 1e9 / 120)


def test_the_clock_closes_windows_on_a_silent_sensor():
    slicer = WindowSlicer(640, 480, 20, 10, 100)
    assert slicer.advance_to(10**9) == []
    slicer.push(stream([100, 101]))
    assert slicer.advance_to(109) == []
    (window,) = slicer.advance_to(110)
    assert window.t_ns.tolist() == [100, 101]
    (window,) = slicer.advance_to(10**18)
    assert (window.end_ns, window.t_ns.tolist()) == (120, [100, 101])
    # k goes on where the clock stands: the next window ends at the first multiple of the stride after it.
    (window,) = slicer.push(stream([10**18 + 1, 10**18 + 12]))
    assert (window.end_ns, window.t_ns.tolist()) == (10**18 + 10, [10**18 + 1])


def test_an_hour_of_silence_is_stepped_over_and_counted():
    slicer = WindowSlicer(640, 480, 20 * MS, 8.333 * MS, 1000)
    hour_ns = 3_600_000_000_000
    closed = slicer.push(stream([0, 5 * MS, hour_ns, hour_ns + 30 * MS, hour_ns + 30 * MS + 1]))
    k = [round(w.end_ns / (8.333 * MS)) for w in closed]
    assert k == [1, 2, 3, *range(k[3], k[3] + len(k) - 3)]
    assert all(w.end_ns == round(n * 8.333 * MS) for w, n in zip(closed, k, strict=True))
    assert closed[3].end_ns > hour_ns >= closed[3].end_ns - 8.333 * MS
    last_k = int((hour_ns + 30 * MS) // (8.333 * MS))
    assert slicer.windows_empty == last_k - len(closed)
    assert [len(w) for w in closed] == [2, 2, 1] + [1] * (len(k) - 3)


def test_a_storm_drops_the_oldest_windows_counts_them_and_keeps_memory_bounded():
    slicer = WindowSlicer(640, 480, 20 * MS, 10 * MS, 1000)
    places = len(slicer.buffer.t_ns)
    calm = np.arange(0, 100 * MS, MS)
    storm = np.linspace(100 * MS, 120 * MS, 20_000).astype(np.int64)
    after = np.arange(121 * MS, 300 * MS, MS)
    closed = []
    for t_ns in (calm, storm, after):
        for k in range(0, len(t_ns), 97):
            closed += slicer.push(stream(t_ns[k : k + 97]))
            assert len(slicer.buffer) <= 1000 and len(slicer.buffer.t_ns) == places
    assert slicer.windows_dropped > 0
    # Windows that were not dropped are whole.
    everything = np.concatenate((calm, storm, after))
    for w in closed:
        inside = (everything >= w.start_ns) & (everything < w.end_ns)
        np.testing.assert_array_equal(w.t_ns, everything[inside])
    ends = [w.end_ns for w in closed]
    assert ends == sorted(set(ends)) and ends[-1] == 290 * MS
    assert len(ends) + slicer.windows_dropped + slicer.windows_empty == 29


def test_a_time_jump_starts_a_new_epoch():
    slicer = WindowSlicer(640, 480, 20, 10, 1000)
    start = 10**10
    before = slicer.push(stream([start, start + 11]))
    closed = slicer.push(stream([start + 21, 50, 61, 72]))
    assert slicer.time_jumps == 1
    assert [w.epoch for w in before + closed] == [0, 0, 1, 1]
    assert [(w.end_ns, w.t_ns.tolist()) for w in closed] == [
        (start + 20, [start, start + 11]),
        (60, [50]),
        (70, [50, 61]),
    ]


def test_events_a_little_out_of_order_are_held_at_the_newest_time():
    slicer = WindowSlicer(640, 480, 100, 50, 1000)
    slicer.push(stream([1000, 1040]))
    closed = slicer.push(stream([1020, 1030, 1041, 1039, 1060]))
    assert slicer.late_events == 3 and slicer.time_jumps == 0
    assert closed[0].t_ns.tolist() == [1000, 1040, 1040, 1040, 1041, 1041]
    slicer.push(stream([1060 - TIME_JUMP_NS]))
    assert slicer.late_events == 4
    slicer.push(stream([1059 - TIME_JUMP_NS]))
    assert slicer.time_jumps == 0
    slicer.push(stream([1059 - TIME_JUMP_NS]))
    assert slicer.time_jumps == 1


def test_reset_forgets_events_and_windows():
    slicer = WindowSlicer(640, 480, 20, 10, 100)
    slicer.push(stream([1000, 1005]))
    slicer.reset()
    (window,) = slicer.push(stream([7, 18]))
    assert (window.end_ns, window.t_ns.tolist(), window.epoch) == (17, [7], 1)
    assert slicer.time_jumps == 0


@pytest.mark.parametrize("max_events", [100, 10_000])
def test_every_new_event_is_shown_once_before_its_windows(max_events):
    """Also where a part is larger than the buffer; and what is taken out is in no window."""
    seen = []

    def take_odd_ones_out(buffer, first):
        seen.extend(buffer.t_ns[first : buffer.end].tolist())
        even = buffer.t_ns[first : buffer.end][buffer.t_ns[first : buffer.end] % 2 == 0]
        buffer.t_ns[first : first + len(even)] = even
        buffer.end = first + len(even)

    slicer, t_ns = WindowSlicer(640, 480, 20, 10, max_events, take_odd_ones_out), np.arange(0, 5000)
    closed = [w for part in np.split(t_ns, [7, 8, 3000, 3001]) for w in slicer.push(stream(part))]
    assert seen == t_ns.tolist()
    assert closed and all((w.t_ns % 2 == 0).all() for w in closed)


def test_a_buffer_that_let_go_of_enough_events_starts_anew(monkeypatch):
    monkeypatch.setattr(windows_module, "RECYCLED_EVENTS", 100)
    slicer = WindowSlicer(640, 480, 20, 10, 10_000)
    arrays = slicer.buffer.t_ns
    t_ns = np.arange(0, 5000)
    closed = [w for k in range(0, 5000, 50) for w in slicer.push(stream(t_ns[k : k + 50]))]
    assert slicer.buffer.t_ns is not arrays
    assert [w.t_ns.tolist() for w in closed] == [
        list(range(max(0, end - 20), end)) for end in range(10, 10 * len(closed) + 1, 10)
    ]


def test_wrong_arguments_are_named():
    for name, arguments in (("window_ns", (0, 1, 1)), ("stride_ns", (1, 0.5, 1)), ("max_events", (1, 1, 0))):
        with pytest.raises(ValueError, match=f"{name} = "):
            WindowSlicer(640, 480, *arguments)
    with pytest.raises(ValueError, match="events of a 346x260 px sensor in a stream of 640x480 px"):
        WindowSlicer(640, 480, 20, 10).push(event_array([1], [1], [1], [1], 346, 260))


def test_a_cut_window_holds_what_a_window_that_closes_there_would_hold():
    rng = np.random.default_rng(0)
    t_ns = np.sort(rng.integers(0, 200 * MS, 5000))
    slicer = WindowSlicer(640, 480, 20 * MS, 8 * MS)
    slicer.history_ns = 50 * MS
    slicer.push(stream(t_ns))
    for end_ns in (199 * MS, 160 * MS + 123, 159 * MS):
        window = slicer.cut(end_ns)
        inside = (t_ns >= end_ns - 20 * MS) & (t_ns < end_ns)
        np.testing.assert_array_equal(window.t_ns, t_ns[inside])
        assert (window.start_ns, window.end_ns) == (end_ns - 20 * MS, end_ns)
    assert slicer.cut(100 * MS) is None, "its events were let go"
    assert slicer.cut(300 * MS) is None, "it has no events"
    slicer.reset()
    assert slicer.cut(199 * MS) is None


def test_a_history_does_not_change_the_windows_and_is_given_up_first():
    rng = np.random.default_rng(0)
    t_ns = np.sort(rng.integers(0, 400 * MS, 20_000))
    plain, keeping = WindowSlicer(640, 480, 20 * MS, 8 * MS, 3000), WindowSlicer(640, 480, 20 * MS, 8 * MS, 3000)
    keeping.history_ns = 200 * MS
    ends = [[w.end_ns for part in np.split(t_ns, 40) for w in s.push(stream(part))] for s in (plain, keeping)]
    assert ends[0] == ends[1] and keeping.windows_dropped == 0 and len(keeping.buffer) <= 3000 + 500
