"""Prophesee EVT3: 16-bit words, little-endian; an event takes its time and row from the words before it.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.codecs import state as S
from eventspd_ros.events.codecs.encoding import times_us
from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_US

ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW, TIME_HIGH, TRIGGER = 0, 2, 3, 4, 5, 6, 8, 10
CONTINUED_4, OTHERS, CONTINUED_12 = 7, 14, 15  # monitoring words; no events in them
NS_PER_HIGH = 4096 * NS_PER_US
ROLLOVER_NS = 4096 * NS_PER_HIGH  # 16.777 s
MAX_HIGH_STEP = 2048  # between two TIME_HIGH words; a larger step could be mistaken for one backwards

_ONE = np.uint64(1)  # unsigned indices spare the kernel the test for negative ones


@S.kernel
def decode_evt3(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode words from payload[first_byte:] behind the `count` events that x, y, p, t_ns hold already.

    Stops at the end, or early where fewer than MAX_EVENTS_PER_WORD places or no trigger row are left.
    Returns (bytes of the payload consumed so far, events now held). state: see codecs/state.py.
    """
    words = payload[first_byte : first_byte + ((len(payload) - first_byte) & ~1)].view(np.uint16)
    width, height = np.uint32(state[S.WIDTH]), np.uint32(state[S.HEIGHT])
    length, room, n = np.uint64(len(words)), np.uint64(len(x) - S.MAX_EVENTS_PER_WORD), np.uint64(count)
    i = np.uint64(0)
    if state[S.PHASE] != S.RUNNING:
        i = np.uint64(_find_time(words, state))
    high_ns, now_ns, row = state[S.HIGH_NS], state[S.NOW_NS], np.uint16(state[S.ROW])
    same_high = np.uint16(state[S.TIME_HIGH] | TIME_HIGH << 12)
    outside, reversals = np.uint64(0), np.uint64(0)

    # One turn reads one event in the order cameras write it, [TIME_HIGH unchanged] [TIME_LOW] [ADDR_Y] ADDR_X, because
    # branches that follow that order are the ones a processor predicts; a word out of order waits for the next turn.
    while i < length and n <= room:
        i += np.uint64(words[i] == same_high)  # not a branch: these come at random
        if i >= length:
            break
        word = words[i]
        if word >> 12 == TIME_LOW:
            low_ns = high_ns + np.int64(word & 0xFFF) * NS_PER_US
            if low_ns < now_ns:
                reversals += _ONE
            else:
                now_ns = low_ns
            i += _ONE
            if i >= length:
                break
            word = words[i]
        if word >> 12 == ADDR_Y:
            row = np.uint16(word & 0x7FF)
            i += _ONE
            if i >= length:
                break
            word = words[i]
        code = word >> 12
        if code == ADDR_X:
            column = word & 0x7FF
            x[n], y[n], p[n], t_ns[n] = column, row, (word >> 11) & 1, now_ns
            inside = np.uint64((column < width) & (row < height))
            n += inside
            outside += _ONE - inside
            i += _ONE
        elif code == OTHERS or code == CONTINUED_12 or code == CONTINUED_4:
            i += _ONE
            while i < length and (words[i] >> 12 >= OTHERS or words[i] >> 12 == CONTINUED_4):
                i += _ONE
        elif code == VECT_12 or code == VECT_8:
            n = _vector(word, state, row, now_ns, n, x, y, p, t_ns)
            i += _ONE
        elif code == TIME_HIGH:
            if word != same_high:
                state[S.NOW_NS] = now_ns
                _advance_high(word, state)
                high_ns, now_ns = state[S.HIGH_NS], state[S.NOW_NS]
                same_high = word
            i += _ONE
        elif code == TRIGGER and state[S.TRIGGER_COUNT] >= len(triggers):
            break
        elif code != TIME_LOW and code != ADDR_Y:
            _rare_word(word, now_ns, state, triggers)
            i += _ONE

    state[S.NOW_NS], state[S.ROW] = now_ns, row
    state[S.OUT_OF_SENSOR] += np.int64(outside)
    state[S.TIME_REVERSALS] += np.int64(reversals)
    return first_byte + 2 * np.int64(i), np.int64(n)


@S.kernel
def _advance_high(word, state):
    """Take a TIME_HIGH: count a roll-over, start at its TIME_LOW 0, never let the time fall."""
    high = np.int64(word & 0xFFF)
    last = state[S.TIME_HIGH]
    if last - high > S.MAX_BACKWARD_HIGHS:
        state[S.HIGH_NS] += ROLLOVER_NS
        state[S.ROLLOVERS] += 1
    state[S.HIGH_NS] += (high - last) * NS_PER_HIGH
    state[S.TIME_HIGH] = high
    state[S.NOW_NS] = max(state[S.NOW_NS], state[S.HIGH_NS])


@S.kernel
def _find_time(words, state):
    """At the start and after lost packets: drop words until TIME_HIGH, then TIME_LOW. Returns the words consumed."""
    for i in range(len(words)):
        word = words[i]
        code = word >> 12
        if code == TIME_HIGH:
            _advance_high(word, state)
            if state[S.PHASE] == S.SEARCHING and state[S.EXPECTED_NS] != S.NO_TIME:
                missed = (state[S.EXPECTED_NS] - state[S.HIGH_NS] + ROLLOVER_NS // 2) // ROLLOVER_NS
                if missed > 0:
                    state[S.HIGH_NS] += missed * ROLLOVER_NS
                    state[S.ROLLOVERS] += missed
                    state[S.NOW_NS] = max(state[S.NOW_NS], state[S.HIGH_NS])
            state[S.PHASE] = S.HAVE_HIGH
        elif code == TIME_LOW and state[S.PHASE] == S.HAVE_HIGH:
            state[S.PHASE] = S.RUNNING
            return i  # the caller reads this TIME_LOW
        else:
            state[S.STARTUP_WORDS] += 1
    return len(words)


@S.kernel
def _vector(word, state, row, now_ns, n, x, y, p, t_ns):
    """Take a VECT_12 or VECT_8: an event for every set bit, then move the base. Returns the new count."""
    width, height = state[S.WIDTH], state[S.HEIGHT]
    size = np.int64(12 if word >> 12 == VECT_12 else 8)
    base, polarity = state[S.VECTOR_START], np.uint8(state[S.VECTOR_P])
    lost = np.int64(0)
    for bit in range(size):
        column = base + bit
        hit = np.uint64((word >> bit) & 1)
        inside = np.uint64((column < width) & (row < height))
        x[n], y[n], p[n], t_ns[n] = column, row, polarity, now_ns
        n += hit & inside
        lost += np.int64(hit & ~inside)
    state[S.OUT_OF_SENSOR] += lost
    # Beyond 16 bits no column exists; stopping there keeps a long run of vectors from wrapping around.
    state[S.VECTOR_START] = min(base + size, S.NO_ADDRESS)
    return n


@S.kernel
def _rare_word(word, now_ns, state, triggers):
    """Take a vector's base, a trigger, or count a word that no code explains."""
    code = word >> 12
    if code == VECT_BASE_X:
        state[S.VECTOR_START], state[S.VECTOR_P] = word & 0x7FF, (word >> 11) & 1
    elif code == TRIGGER:
        row = state[S.TRIGGER_COUNT]
        triggers[row, 0], triggers[row, 1], triggers[row, 2] = now_ns, (word >> 8) & 0xF, word & 1
        state[S.TRIGGER_COUNT] = row + 1
        state[S.TRIGGER_EVENTS] += 1
    else:
        state[S.UNKNOWN_WORDS] += 1


def encode_evt3(events: EventArray, previous_ns: int | None = None) -> np.ndarray:
    """The payload of one packet, uint8, shape (bytes,), whose decoding gives the same events, times in whole us.

    The packet begins with TIME_HIGH and TIME_LOW, so that a decoder may join the stream at any packet; within it a
    TIME_HIGH stands wherever the time's upper bits change, and three or more events of one row, time and polarity
    within 12 columns share a vector. The format knows time modulo 16.777 s: previous_ns, the time of the last event
    of the packet before, adds the TIME_HIGH words a decoder needs to count the roll-overs of a long silence.
    ValueError: times that fall or are negative, a sensor wider or higher than 2048 px.
    """
    t_us = times_us(events, previous_ns, 2048, "evt3")
    first_us = t_us[0] if len(t_us) else 0
    from_us = first_us if previous_ns is None else previous_ns // NS_PER_US
    fills = (int(t_us[-1] - from_us) if len(t_us) else 0) // (MAX_HIGH_STEP * 4096) + 1
    words = np.empty(4 * len(t_us) + fills + 4, np.uint16)
    length = _encode(t_us, events.x, events.y, events.p, np.int64(from_us), words)
    return words[:length].view(np.uint8)


@S.kernel
def _encode(t_us, x, y, p, from_us, words):
    """Write the words of all events; returns how many."""
    if len(t_us) == 0:
        return 0
    high, now_us, row, base, polarity = from_us >> 12, np.int64(-1), -1, -1, -1
    words[0] = TIME_HIGH << 12 | high & 0xFFF
    n, i = 1, 0
    while i < len(t_us):
        if t_us[i] != now_us:
            now_us = t_us[i]
            while high < now_us >> 12:
                high = min(high + MAX_HIGH_STEP, now_us >> 12)
                words[n] = TIME_HIGH << 12 | high & 0xFFF
                n += 1
            words[n] = TIME_LOW << 12 | now_us & 0xFFF
            n += 1
        if y[i] != row:
            row = y[i]
            words[n] = ADDR_Y << 12 | row
            n += 1
        mask, last = 1, i + 1
        while (
            last < len(t_us)
            and t_us[last] == now_us
            and y[last] == row
            and p[last] == p[i]
            and x[last - 1] < x[last] < x[i] + 12
        ):
            mask |= 1 << (x[last] - x[i])
            last += 1
        if last - i >= 3:
            if base != x[i] or polarity != p[i]:
                base, polarity = np.int64(x[i]), np.int64(p[i])
                words[n] = VECT_BASE_X << 12 | polarity << 11 | base
                n += 1
            words[n] = VECT_12 << 12 | mask
            base += 12
            n, i = n + 1, last
        else:
            words[n] = ADDR_X << 12 | np.int64(p[i]) << 11 | x[i]
            n, i = n + 1, i + 1
    return n
