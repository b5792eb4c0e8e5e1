"""Events cut into half-open windows of fixed length and stride, whatever the size of the packets they came in.

Window k = 1, 2, … ends at t_first + round(k * stride) and reaches window_ns back; it closes on the first event at or
past its end, or when the clock says so on a silent sensor. Windows are views of the buffer the decoder wrote into.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.codecs.state import MAX_EVENTS_PER_WORD
from eventspd_ros.events.order import BEFORE_ALL_NS, FELL, OPEN, put_in_order
from eventspd_ros.events.pitch import CellSums, pixel_pitch
from eventspd_ros.events.support import SupportFilter, support_filter
from eventspd_ros.events.types import EventArray, EventWindow, PixelPitch
from eventspd_ros.nanoseconds import NS_PER_MS

# A buffer starts anew once that many events passed through: it touches 13 bytes of memory for each.
RECYCLED_EVENTS = 1 << 16
# Events that a model's overlapping windows may hold at once: 8 M events are 104 MB, 20 ms of 400 M events a second.
MAX_HELD_EVENTS = 8_000_000


class WindowSlicer:
    """Cuts one sensor's stream into windows.

    push() takes events in arrays; or let a decoder write into `buffer` (decoder.decode_into(packet, slicer.buffer)) and
    call close(). Both return the windows that closed, oldest first. After decoding, an event is copied at most once.

    time_jumps: times that sensor time fell by more than 100 ms; the slicer then starts anew, in the next `epoch`.
    late_events: events that ran backwards by less and were set to the newest time. stray_events: taken out, as their
    time was far from that of those on both sides (order.py). An event that may be one waits for the next to tell.
    windows_empty: windows without an event, which are not returned. windows_dropped: windows given up, oldest first,
    because the events of windows still open exceeded max_events.
    history_ns: how long events are held beyond what open windows need, for cut(); given up first where they are many.
    """

    def __init__(
        self,
        width: int,
        height: int,
        window_ns: int,
        stride_ns: float,
        max_events: int = 2_000_000,
        on_new: Callable[[EventBuffer, int], object] = lambda buffer, first: None,
        on_sorted: Callable[[EventBuffer, int, int], object] = lambda buffer, first, last: None,
        pitch: PixelPitch | None = None,
        support: SupportFilter | None = None,
    ):
        """window_ns, stride_ns: in ns; a stride below, at or above the window length. max_events: held at most.
        on_new(buffer, first): called once for the events buffer[first:end], before any window of them is cut; it may
        take some out and lower buffer.end. on_sorted(buffer, first, last): called once for the events
        buffer[first:last] when their times no longer fall, less those of before where sensor time fell; ahead of the
        windows, too. support: leaves out events of the windows (support.py). pitch: of the windows, whose events then
        are those of cells (pitch.py), of what the filter lets through. With either all else is as without it."""
        for name, value in (("window_ns", window_ns), ("stride_ns", stride_ns), ("max_events", max_events)):
            if not 1 <= value < 2**53:
                raise ValueError(f"{name} = {value}: must be at least 1")
        self.width, self.height = width, height
        self.window_ns, self.stride_ns, self.max_events = int(window_ns), stride_ns, int(max_events)
        # Twice max_events: what is moved can be held until max_events more arrived, and is given up then at the latest.
        capacity = 2 * self.max_events + MAX_EVENTS_PER_WORD
        self.buffer = EventBuffer(width, height, capacity, before_moving=self._make_room)
        self.windows_dropped = self.windows_empty = self.time_jumps = self.late_events = self.stray_events = 0
        self.history_ns = 0
        self.epoch = -1  # the first stream is of epoch 0
        self._on_new, self._on_sorted = on_new, on_sorted
        self.support, self._pitch = support, pitch
        cells = None if pitch is None else CellSums(pitch)
        self._sieves = [sieve for sieve in (support, cells) if sieve is not None]
        self._closed: list[EventWindow] = []
        self.reset()

    def reset(self) -> None:
        """Forget all events and windows; the next event is the first of a new stream, in the next `epoch`. Counters
        go on."""
        self._closed.clear()
        self._start_anew(self.buffer.end)
        self._shown = self._examined = self.buffer.base + self.buffer.end

    def _start_anew(self, index: int) -> None:
        self.epoch += 1
        self.buffer.begin = index
        self._first_ns: int | None = None
        self._newest_ns = self._told_ns = self._gone_before_ns = BEFORE_ALL_NS
        self._k = 1
        for sieve in self._sieves:
            sieve.restart()

    @property
    def newest_ns(self) -> int | None:
        """Sensor time of the newest event, None before the first."""
        return None if self._first_ns is None else self._newest_ns

    def push(self, events: EventArray) -> list[EventWindow]:
        """Add events; returns the windows they close. ValueError: events of another sensor."""
        if (events.width, events.height) != (self.width, self.height):
            raise ValueError(
                f"events of a {events.width}x{events.height} px sensor in a stream of {self.width}x{self.height} px; "
                "make a slicer for each sensor"
            )
        taken, buffer = 0, self.buffer
        while taken < len(events):
            buffer.reserve(1)
            last = min(taken + buffer.free, len(events))
            buffer.append(events, taken, last)
            taken = last
        return self.close()

    def close(self) -> list[EventWindow]:
        """The windows that closed since the last call, with the events written into `buffer` meanwhile."""
        self._make_room()
        closed, self._closed = self._closed, []
        buffer = self.buffer
        if buffer.begin >= max(RECYCLED_EVENTS, buffer.copied, 4 * len(buffer)):
            buffer.move()
        return closed

    def advance_to(self, t_ns: int) -> list[EventWindow]:
        """Close every window that ends at or before t_ns (sensor clock), also without an event past its end."""
        self._told_ns = t_ns
        self._examine()
        if self._first_ns is not None:
            self._close_until(t_ns, self._stop)
        return self.close()

    def cut(self, end_ns: int) -> EventWindow | None:
        """The window that ends at end_ns (sensor clock), of the events held, whatever windows close when.

        None where events of it were let go, or where it has none. Wait until newest_ns >= end_ns: later events count.
        """
        self._examine()
        if self._first_ns is None or end_ns - self.window_ns < self._gone_before_ns:
            return None
        buffer = self.buffer
        times = buffer.t_ns[buffer.begin : self._stop]
        first, last = (buffer.begin + np.searchsorted(times, (end_ns - self.window_ns, end_ns))).tolist()
        return self._window(first, last, end_ns) if last > first else None

    def _make_room(self) -> None:
        """Close what has ended; then, as long as open windows hold too many events, give up the oldest."""
        self._examine()
        if len(self.buffer) <= self.max_events:
            return
        self._release(self._stop)
        while len(self.buffer) > self.max_events:
            self._k += 1
            self.windows_dropped += 1
            self._release(self._stop)

    @property
    def _stop(self) -> int:
        """Where the events that were examined end: behind them is one that may be a stray, or what has just come."""
        return self._examined - self.buffer.base

    def _examine(self) -> None:
        """Walk over the events written since the last call: put times in order, see that they do not fall, close
        windows."""
        buffer, index, why = self.buffer, self._stop, None
        if self._shown < buffer.base + buffer.end:
            self._on_new(buffer, self._shown - buffer.base)
        while index < buffer.end and why != OPEN:
            last, why = self._put_in_order(index)
            if last > index:
                if why != FELL:
                    self._on_sorted(buffer, index, last)
                for sieve in self._sieves:
                    last = sieve.sift(buffer, index, last)
                self._close_until(self._newest_ns, last)
            if why == FELL:
                self.time_jumps += 1
                self._start_anew(last)
            index = last
        self._examined, self._shown = buffer.base + index, buffer.base + buffer.end

    def _put_in_order(self, first: int) -> tuple[int, int]:
        """Where the events from index `first` on whose times are in order now end, and why they do."""
        buffer = self.buffer
        last, buffer.end, why, self._newest_ns, strays, late = put_in_order(
            buffer.x, buffer.y, buffer.p, buffer.t_ns, first, buffer.end, self._newest_ns, self._told_ns
        )
        self.stray_events += strays
        self.late_events += late
        if self._first_ns is None and last > first:
            self._first_ns = int(buffer.t_ns[first])
        return last, why

    def _close_until(self, t_ns: int, stop: int) -> None:
        """Close the windows that end at or before t_ns, from the events before index `stop`."""
        buffer = self.buffer
        while (end_ns := self._end_ns(self._k)) <= t_ns:
            times = buffer.t_ns[buffer.begin : stop]
            first, last = (buffer.begin + np.searchsorted(times, (end_ns - self.window_ns, end_ns))).tolist()
            if last > first:
                self._closed.append(self._window(first, last, end_ns))
                self._k += 1
            else:
                # A long silence is a long row of empty windows: step over them at once.
                next_k = self._first_k_after(int(buffer.t_ns[last]) if last < stop else t_ns)
                self.windows_empty += next_k - self._k
                self._k = next_k
            self._release(stop, self.history_ns)

    def _release(self, stop: int, history_ns: int = 0) -> None:
        """Let go of the events that no window from k on needs, and that are older than the history."""
        buffer = self.buffer
        start_ns = self._end_ns(self._k) - self.window_ns - history_ns
        self._gone_before_ns = max(self._gone_before_ns, start_ns)
        buffer.begin += int(np.searchsorted(buffer.t_ns[buffer.begin : stop], start_ns))

    def _window(self, first: int, last: int, end_ns: int) -> EventWindow:
        e, pitch = self.buffer.view(first, last), self._pitch
        height, width = (self.height, self.width) if pitch is None else (pitch.height, pitch.width)
        start_ns = end_ns - self.window_ns
        return EventWindow(e.x, e.y, e.p, e.t_ns, width, height, start_ns, end_ns, self.epoch, pitch)

    def _end_ns(self, k: int) -> int:
        assert self._first_ns is not None, "windows count from the first event"
        return self._first_ns + round(k * self.stride_ns)

    def _first_k_after(self, t_ns: int) -> int:
        """The first window that ends after t_ns."""
        k = max(1, int((t_ns - self._end_ns(0)) / self.stride_ns))
        while self._end_ns(k) <= t_ns:
            k += 1
        while k > 1 and self._end_ns(k - 1) > t_ns:
            k -= 1
        return k


def window_slicer(
    config, height: int, width: int, max_events: int = MAX_HELD_EVENTS, support_filter_ms: float = 0.0, **options
) -> WindowSlicer:
    """For the windows that a model was made for: config is its ModelConfig. support_filter_ms: how long before an event
    a pixel next to it must have fired (support.py); 0: all pass. options: of WindowSlicer."""
    window_ns, stride_ns = round(config.window_ms * NS_PER_MS), config.stride_ms * NS_PER_MS
    pitch = pixel_pitch(config, height, width)
    support = support_filter(height, width, support_filter_ms)
    return WindowSlicer(width, height, window_ns, stride_ns, max_events, pitch=pitch, support=support, **options)
