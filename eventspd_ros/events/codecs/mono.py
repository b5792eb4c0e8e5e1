"""mono: uncompressed 8-byte events, each with its distance from the packet's time base in ns.

Little-endian 64 bits: ns after the time base 0-31, x 32-47, y 48-62, polarity 63. Nothing but a cut word carries over
from packet to packet, and times are as they were sent: order.py puts them in order.
Layout: that of event_camera_codecs, https://github.com/ros-event-camera/event_camera_codecs
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.codecs import state as S

_ONE = np.uint64(1)


@S.kernel
def decode_mono(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode 8-byte events; contract as decode_evt3."""
    halves = payload[first_byte : first_byte + ((len(payload) - first_byte) & ~7)].view(np.uint32)
    width, height, time_base_ns = np.uint32(state[S.WIDTH]), np.uint32(state[S.HEIGHT]), state[S.TIME_BASE_NS]
    length, room, n = np.uint64(len(halves)), np.uint64(len(x) - S.MAX_EVENTS_PER_WORD), np.uint64(count)
    now_ns = state[S.NOW_NS]
    if first_byte == 0:
        now_ns = time_base_ns
    outside, reversals = np.int64(0), np.int64(0)
    i = np.uint64(0)
    while i < length and n <= room:
        time_ns = time_base_ns + np.int64(halves[i])
        reversals += time_ns < now_ns
        now_ns = max(now_ns, time_ns)
        address = halves[i + _ONE]
        column, row = address & 0xFFFF, (address >> 16) & 0x7FFF
        x[n], y[n], p[n], t_ns[n] = column, row, address >> 31, time_ns
        inside = (column < width) & (row < height)
        n += np.uint64(inside)
        outside += not inside
        i += np.uint64(2)
    state[S.NOW_NS] = now_ns
    state[S.OUT_OF_SENSOR] += outside
    state[S.TIME_REVERSALS] += reversals
    return first_byte + 4 * np.int64(i), np.int64(n)
