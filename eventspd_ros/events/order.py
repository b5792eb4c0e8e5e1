"""Times put in order: a little late ones are held, a stray one costs itself, time that fell is for the caller."""

from __future__ import annotations

from numba import njit

from eventspd_ros.events.buffer import EventBuffer

# Time that falls by more is a bag loop or a sensor's restart; by less, packets out of order.
TIME_JUMP_NS = 100_000_000
# An event that far ahead of those on both sides is a stray: what comes after it would be held at its time.
STRAY_NS = 5_000_000
BEFORE_ALL_NS = -(2**63)
_LATEST_NS = 2**62

# Why put_in_order() ended: all are in order; from the next event on time fell; what the next one is, another must tell.
DONE, FELL, OPEN = 0, 1, 2


@njit(nogil=True, cache=True)
def put_in_order(x, y, p, t_ns, first, last, newest_ns, told_ns):
    """Put the times of the events [first:last) in order, in place, behind others of which the newest is of newest_ns
    (BEFORE_ALL_NS: there are none) and after which the clock said told_ns.

    A single event over TIME_JUMP_NS behind, or over STRAY_NS ahead of the one before and of the one after, is taken
    out; two in a row that far behind are time that fell. What is behind by less is held at the newest time.
    Returns (where those in order end, where all end, why it ended there, newest time, strays, late ones).
    """
    i = end = first
    strays = late = 0
    why = DONE
    while i < last:
        time_ns = t_ns[i]
        if end == i and newest_ns <= time_ns <= newest_ns + STRAY_NS:  # as nearly all are
            newest_ns = time_ns
            i += 1
            end += 1
            continue
        is_last = i + 1 == last
        if newest_ns == BEFORE_ALL_NS:
            if is_last and time_ns > told_ns + STRAY_NS:
                why = OPEN
                break
            stray = not is_last and t_ns[i + 1] < time_ns - STRAY_NS
        elif time_ns < newest_ns - TIME_JUMP_NS:
            if is_last:
                why = OPEN
                break
            stray = t_ns[i + 1] >= newest_ns - TIME_JUMP_NS
            if not stray:
                why = FELL
                break
        elif time_ns > newest_ns + STRAY_NS:  # after a silence
            if is_last and time_ns > told_ns + STRAY_NS:
                why = OPEN
                break
            stray = not is_last and t_ns[i + 1] < time_ns - STRAY_NS
        else:
            stray = False
        i += 1
        if stray:
            strays += 1
            continue
        if time_ns < newest_ns:
            time_ns = newest_ns
            late += 1
        newest_ns = time_ns
        if end < i - 1:
            x[end], y[end], p[end] = x[i - 1], y[i - 1], p[i - 1]
        t_ns[end] = time_ns
        end += 1
    rest = end
    if end < i:  # what is behind moves up
        for k in range(i, last):
            x[rest], y[rest], p[rest], t_ns[rest] = x[k], y[k], p[k], t_ns[k]
            rest += 1
    else:
        rest = last
    return end, rest, why, newest_ns, strays, late


def order_packet(buffer: EventBuffer, first: int) -> int:
    """Put the events buffer[first:end] in order, which are a packet's and all that is known; returns how many strays
    were taken out. Where time falls for good it still does."""
    columns, newest_ns, strays = (buffer.x, buffer.y, buffer.p, buffer.t_ns), BEFORE_ALL_NS, 0
    while first < buffer.end:
        first, buffer.end, why, newest_ns, more, _ = put_in_order(*columns, first, buffer.end, newest_ns, _LATEST_NS)
        strays += more
        if why == FELL:
            newest_ns = BEFORE_ALL_NS
        elif why == OPEN:  # the last one alone lies far behind
            buffer.end -= 1
            strays += 1
    return strays
