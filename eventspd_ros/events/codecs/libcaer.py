"""libcaer (DAVIS, DVXplorer) as libcaer_driver sends it: raw 8-byte events, or 16-bit compressed words.

In both, a packet's time base plus microseconds gives the time (host epoch), so nothing but a cut word carries over
from packet to packet, and times are as they were sent: order.py puts them in order.
Layout: that of event_camera_codecs, https://github.com/ros-event-camera/event_camera_codecs
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.codecs import state as S
from eventspd_ros.nanoseconds import NS_PER_US

TIME_HIGH, TIME_LOW, ADDR_X, ADDR_Y, VECT_BASE_Y, VECT_8 = 0, 1, 2, 3, 4, 5

_ONE = np.uint64(1)


@S.kernel
def decode_libcaer(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode 8-byte events (u32: p bit 1, y 2-16, x 17-31; i32: us after the time base); contract as decode_evt3."""
    words = payload[first_byte : first_byte + ((len(payload) - first_byte) & ~7)].view(np.uint32)
    width, height, time_base_ns = np.uint32(state[S.WIDTH]), np.uint32(state[S.HEIGHT]), state[S.TIME_BASE_NS]
    length, room, n = np.uint64(len(words)), np.uint64(len(x) - S.MAX_EVENTS_PER_WORD), np.uint64(count)
    now_ns = state[S.NOW_NS]
    if first_byte == 0:
        now_ns = np.int64(-(2**63))
    outside, reversals = np.int64(0), np.int64(0)
    i = np.uint64(0)
    while i < length and n <= room:
        word = words[i]
        time_ns = time_base_ns + np.int64(np.int32(words[i + _ONE])) * NS_PER_US
        reversals += time_ns < now_ns
        now_ns = max(now_ns, time_ns)
        column, row = word >> 17, (word >> 2) & 0x7FFF
        x[n], y[n], p[n], t_ns[n] = column, row, (word >> 1) & 1, time_ns
        inside = (column < width) & (row < height)
        n += np.uint64(inside)
        outside += not inside
        i += np.uint64(2)
    state[S.NOW_NS] = now_ns
    state[S.OUT_OF_SENSOR] += outside
    state[S.TIME_REVERSALS] += reversals
    return first_byte + 4 * np.int64(i), np.int64(n)


@S.kernel
def decode_libcaer_cmp(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode 16-bit words, where a column comes before its rows; contract as decode_evt3.

    Time and address start anew with every packet. An event before its column or row base is outside the sensor.
    """
    words = payload[first_byte : first_byte + ((len(payload) - first_byte) & ~1)].view(np.uint16)
    width, height, time_base_ns = state[S.WIDTH], state[S.HEIGHT], state[S.TIME_BASE_NS]
    length, room, n = np.uint64(len(words)), np.uint64(len(x) - S.MAX_EVENTS_PER_WORD), np.uint64(count)
    if first_byte == 0:
        state[S.TIME_HIGH], state[S.COLUMN] = 0, S.NO_ADDRESS
        state[S.NOW_NS] = state[S.SENT_NS] = time_base_ns
        state[S.VECTOR_START], state[S.VECTOR_P] = S.NO_ADDRESS, 0
    high, column, now_ns, time_ns = state[S.TIME_HIGH], state[S.COLUMN], state[S.NOW_NS], state[S.SENT_NS]
    base, polarity = state[S.VECTOR_START], state[S.VECTOR_P]
    outside, reversals = np.int64(0), np.int64(0)
    i = np.uint64(0)
    while i < length and n <= room:
        word = np.int64(words[i])
        code = word >> 12
        if code == ADDR_Y:
            row = word & 0x7FF
            x[n], y[n], p[n], t_ns[n] = column, row, (word >> 11) & 1, time_ns
            inside = (column < width) & (row < height)
            n += np.uint64(inside)
            outside += not inside
        elif code == ADDR_X:
            column = word & 0x7FF
        elif code == TIME_LOW:
            time_ns = time_base_ns + (high << 12 | word & 0xFFF) * NS_PER_US
            reversals += time_ns < now_ns
            now_ns = max(now_ns, time_ns)
        elif code == TIME_HIGH:
            high = word & 0xFFF
        elif code == VECT_BASE_Y:
            base, polarity = word & 0x7FF, (word >> 11) & 1
        elif code == VECT_8:
            for bit in range(8):
                hit = (word >> bit) & 1
                inside = (column < width) & (base + bit < height)
                x[n], y[n], p[n], t_ns[n] = column, base + bit, polarity, time_ns
                n += np.uint64(hit & inside)
                outside += hit & (not inside)
            base = min(base + 8, S.NO_ADDRESS)
        else:
            state[S.UNKNOWN_WORDS] += 1
        i += _ONE
    state[S.TIME_HIGH], state[S.COLUMN], state[S.NOW_NS], state[S.SENT_NS] = high, column, now_ns, time_ns
    state[S.VECTOR_START], state[S.VECTOR_P] = base, polarity
    state[S.OUT_OF_SENSOR] += outside
    state[S.TIME_REVERSALS] += reversals
    return first_byte + 2 * np.int64(i), np.int64(n)
