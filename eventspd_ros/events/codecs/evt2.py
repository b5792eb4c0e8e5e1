"""Prophesee EVT2: 32-bit words, little-endian; an event holds all but the upper bits of its time.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.codecs import state as S
from eventspd_ros.events.codecs.encoding import times_us
from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_US

CD_OFF, CD_ON, TIME_HIGH, TRIGGER, OTHERS, CONTINUED = 0, 1, 8, 10, 14, 15
HIGH_BITS = 28
NS_PER_HIGH = 64 * NS_PER_US
ROLLOVER_NS = NS_PER_HIGH << HIGH_BITS  # 4 h 46 min
MAX_HIGH_STEP = 1 << 27  # between two TIME_HIGH words; a larger step could be mistaken for one backwards

_ONE = np.uint64(1)


@S.kernel
def decode_evt2(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode words from payload[first_byte:] behind the `count` events held; contract as decode_evt3."""
    words = payload[first_byte : first_byte + ((len(payload) - first_byte) & ~3)].view(np.uint32)
    width, height = np.uint32(state[S.WIDTH]), np.uint32(state[S.HEIGHT])
    length, room, n = np.uint64(len(words)), np.uint64(len(x) - S.MAX_EVENTS_PER_WORD), np.uint64(count)
    high_ns, now_ns, running = state[S.HIGH_NS], state[S.NOW_NS], state[S.PHASE] == S.RUNNING
    outside, reversals = np.int64(0), np.int64(0)
    i = np.uint64(0)
    while i < length and n <= room:
        word = words[i]
        code = word >> 28
        time_ns = high_ns + np.int64((word >> 22) & 0x3F) * NS_PER_US
        if code == TIME_HIGH:
            state[S.NOW_NS] = now_ns
            advance_high(word, state)
            high_ns, now_ns, running = state[S.HIGH_NS], state[S.NOW_NS], True
        elif not running:
            state[S.STARTUP_WORDS] += 1
        elif code == CD_ON or code == CD_OFF:
            reversals += time_ns < now_ns
            now_ns = max(now_ns, time_ns)
            column, row = (word >> 11) & 0x7FF, word & 0x7FF
            x[n], y[n], p[n], t_ns[n] = column, row, code, now_ns
            inside = (column < width) & (row < height)
            n += np.uint64(inside)
            outside += not inside
        elif code == TRIGGER:
            if state[S.TRIGGER_COUNT] >= len(triggers):
                break
            reversals += time_ns < now_ns
            now_ns = max(now_ns, time_ns)
            k = state[S.TRIGGER_COUNT]
            triggers[k, 0], triggers[k, 1], triggers[k, 2] = now_ns, (word >> 8) & 0x1F, word & 1
            state[S.TRIGGER_COUNT] = k + 1
            state[S.TRIGGER_EVENTS] += 1
        elif code != OTHERS and code != CONTINUED:
            state[S.UNKNOWN_WORDS] += 1
        i += _ONE
    state[S.NOW_NS] = now_ns
    state[S.OUT_OF_SENSOR] += outside
    state[S.TIME_REVERSALS] += reversals
    return first_byte + 4 * np.int64(i), np.int64(n)


@S.kernel
def advance_high(word, state):
    """Take a TIME_HIGH: count roll-overs (after lost packets by the host's clock), never let the time fall.

    evt21 calls it too: the upper half of its words is laid out as a word of evt2.
    """
    high = np.int64(word & 0xFFFFFFF)
    last = state[S.TIME_HIGH]
    if last - high > S.MAX_BACKWARD_HIGHS:
        state[S.HIGH_NS] += ROLLOVER_NS
        state[S.ROLLOVERS] += 1
    state[S.HIGH_NS] += (high - last) * NS_PER_HIGH
    if state[S.PHASE] == S.SEARCHING and state[S.EXPECTED_NS] != S.NO_TIME:
        missed = (state[S.EXPECTED_NS] - state[S.HIGH_NS] + ROLLOVER_NS // 2) // ROLLOVER_NS
        if missed > 0:
            state[S.HIGH_NS] += missed * ROLLOVER_NS
            state[S.ROLLOVERS] += missed
    state[S.TIME_HIGH] = high
    state[S.PHASE] = S.RUNNING
    state[S.NOW_NS] = max(state[S.NOW_NS], state[S.HIGH_NS])


def encode_evt2(events: EventArray, previous_ns: int | None = None) -> np.ndarray:
    """The payload of one packet, uint8, shape (bytes,); as evt3.encode_evt3, with a TIME_HIGH at least every 64 us."""
    t_us = times_us(events, previous_ns, 2048, "evt2")
    first_us = t_us[0] if len(t_us) else 0
    from_us = first_us if previous_ns is None else previous_ns // NS_PER_US
    fills = (int(t_us[-1] - from_us) if len(t_us) else 0) // (MAX_HIGH_STEP * 64) + 1
    words = np.empty(2 * len(t_us) + fills + 2, np.uint32)
    length = _encode(t_us, events.x, events.y, events.p, np.int64(from_us), words)
    return words[:length].view(np.uint8)


@S.kernel
def _encode(t_us, x, y, p, from_us, words):
    """Write the words of all events; returns how many."""
    if len(t_us) == 0:
        return 0
    high = from_us >> 6
    words[0] = TIME_HIGH << 28 | high & 0xFFFFFFF
    n = 1
    for i in range(len(t_us)):
        while high < t_us[i] >> 6:
            high = min(high + MAX_HIGH_STEP, t_us[i] >> 6)
            words[n] = TIME_HIGH << 28 | high & 0xFFFFFFF
            n += 1
        address = np.int64(x[i]) << 11 | np.int64(y[i])
        words[n] = np.int64(p[i]) << 28 | (t_us[i] & 0x3F) << 22 | address
        n += 1
    return n
