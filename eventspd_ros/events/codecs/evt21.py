"""Prophesee EVT2.1: 64-bit words, the upper half as in EVT2, the lower half saying which of 32 columns fired.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt21.html
Two orders of the halves travel, each half little-endian: GenX320 sends the lower one first (`evt21`), IMX636 and its
relatives the upper one (`evt21_legacy`, as the headers of their recordings call it).
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.codecs import state as S
from eventspd_ros.events.codecs.evt2 import CD_OFF, CD_ON, CONTINUED, OTHERS, TIME_HIGH, TRIGGER, advance_high
from eventspd_ros.nanoseconds import NS_PER_US

_UPPER_SECOND, _UPPER_FIRST = np.uint64(1), np.uint64(0)  # place of the upper half among the two
_ONE, _TWO = np.uint64(1), np.uint64(2)
# The place of the only bit set in a 32-bit number m is LOWEST_BIT[(m * DE_BRUIJN mod 2**32) >> 27] (Leiserson,
# Prokop, Randall: Using de Bruijn sequences to index a 1 in a computer word, 1998).
_DE_BRUIJN = np.uint32(0x077CB531)
_LOWEST_BIT = np.zeros(32, np.uint8)
_LOWEST_BIT[[((1 << bit) * 0x077CB531 & 0xFFFFFFFF) >> 27 for bit in range(32)]] = np.arange(32)


@S.kernel
def decode_evt21(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode words whose lower half comes first; contract as decode_evt3."""
    return _decode(_UPPER_SECOND, payload, first_byte, count, state, x, y, p, t_ns, triggers)


@S.kernel
def decode_evt21_legacy(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode words whose upper half comes first; contract as decode_evt3."""
    return _decode(_UPPER_FIRST, payload, first_byte, count, state, x, y, p, t_ns, triggers)


@S.kernel
def _decode(upper, payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Both orders; upper: which of a word's two halves is the upper one."""
    halves = payload[first_byte : first_byte + ((len(payload) - first_byte) & ~7)].view(np.uint32)
    width, height = np.uint32(state[S.WIDTH]), np.uint32(state[S.HEIGHT])
    length, room, n = np.uint64(len(halves)), np.uint64(len(x) - S.MAX_EVENTS_PER_WORD), np.uint64(count)
    high_ns, now_ns, running = state[S.HIGH_NS], state[S.NOW_NS], state[S.PHASE] == S.RUNNING
    outside, reversals = np.int64(0), np.int64(0)
    i = np.uint64(0)
    while i < length and n <= room:
        word, columns = halves[i + upper], halves[i + (_ONE - upper)]
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
            base, row = (word >> 11) & 0x7FF, word & 0x7FF
            while columns != 0:
                lowest = np.uint32(columns & (~columns + np.uint32(1)))
                columns = np.uint32(columns ^ lowest)
                column = base + _LOWEST_BIT[np.uint32(lowest * _DE_BRUIJN) >> 27]
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
        i += _TWO
    state[S.NOW_NS] = now_ns
    state[S.OUT_OF_SENSOR] += outside
    state[S.TIME_REVERSALS] += reversals
    return first_byte + 4 * np.int64(i), np.int64(n)
