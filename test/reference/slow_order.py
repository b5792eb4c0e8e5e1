"""Times put in order by definition, one event after another. The oracle of events/order.py."""

from __future__ import annotations

JUMP_NS, STRAY_NS = 100_000_000, 5_000_000


def slow_order(events):
    """([[(t_ns, …)] of every epoch], strays, late ones, the last event where another one must tell what it is).

    events: [(t_ns, …)] as they came."""
    epochs, strays, late = [[]], 0, 0
    for index, event in enumerate(events):
        after_ns = events[index + 1][0] if index + 1 < len(events) else None
        if epochs[-1] and event[0] < epochs[-1][-1][0] - JUMP_NS:
            if after_ns is None:
                return epochs, strays, late, event
            if after_ns >= epochs[-1][-1][0] - JUMP_NS:
                strays += 1
                continue
            epochs.append([])
        newest_ns = epochs[-1][-1][0] if epochs[-1] else None
        if newest_ns is None or event[0] > newest_ns + STRAY_NS:
            if after_ns is None:
                return epochs, strays, late, event
            if after_ns is not None and after_ns < event[0] - STRAY_NS:
                strays += 1
                continue
        late += newest_ns is not None and event[0] < newest_ns
        epochs[-1].append((event[0] if newest_ns is None else max(event[0], newest_ns), *event[1:]))
    return epochs, strays, late, None


def slow_packet(events):
    """[(t_ns, …)] of one packet that stands alone: its last event is a stray where it lies far behind."""
    epochs, _, _, last = slow_order(events)
    kept = last is not None and (not epochs[-1] or last[0] > epochs[-1][-1][0])
    return [event for epoch in epochs for event in epoch] + [last] * kept
