"""EventArray of dvs_msgs and prophesee_event_msgs, read from the bytes of the serialized message.

Both packages define the same messages: header, height, width and a sequence of events of x, y (uint16), ts
(builtin_interfaces/Time), polarity (bool). As objects of rclpy they would be one Python object an event; as bytes
(plain CDR, OMG DDSI-RTPS 10.5 and XTypes 7.4.1) an event takes 16. Behind the sequence's length, which stands on a
multiple of four, x of the first event is at 0 and of event k at 16 k - 2, y at 2 and 16 k; s, ns and polarity are at
16 k + 4, + 8 and + 12 for all. The times are the publisher's (driver: host epoch).
"""

from __future__ import annotations

import struct

import numpy as np

from eventspd_ros.events.codecs import state as S
from eventspd_ros.events.types import EventPacket
from eventspd_ros.nanoseconds import NS_PER_S

LITTLE, BIG = "event_array", "event_array_be"
EVENT_BYTES = 16
LAST_EVENT_BYTES = 13  # nothing pads the last one
ENCAPSULATION_BYTES = 4

_ONE, _TWO = np.uint64(1), np.uint64(2)


def packet_from_event_array(cdr: bytes | bytearray | memoryview | np.ndarray) -> EventPacket:
    """The packet of a serialized EventArray, its bytes not copied, not numbered (seq 0).

    ValueError, one line: not plain CDR, cut off, or a sequence longer than the bytes that came.
    """
    data = np.frombuffer(cdr, np.uint8)
    order = {b"\0\0": ">", b"\0\1": "<"}.get(data[:2].tobytes())
    if order is None:
        raise ValueError(
            f"event array of {len(data)} bytes beginning with {data[:2].tobytes().hex() or 'nothing'}: "
            "not plain CDR (0000 or 0001); have it published by a ROS 2 middleware in its default representation"
        )
    body = data[ENCAPSULATION_BYTES:]
    try:
        seconds, nanoseconds, name_bytes = struct.unpack_from(order + "iII", body.data)
        height, width, count = struct.unpack_from(order + "III", body.data, 12 + (name_bytes + 3) // 4 * 4)
    except (struct.error, OverflowError):
        raise ValueError(f"event array of {len(data)} bytes: cut off before its events; drop the message") from None
    events = body[24 + (name_bytes + 3) // 4 * 4 :]
    wanted = EVENT_BYTES * (count - 1) + LAST_EVENT_BYTES if count else 0
    if wanted > len(events):
        raise ValueError(
            f"event array says {count} events, {wanted} bytes, but {len(events)} bytes follow; drop the message"
        )
    encoding = LITTLE if order == "<" else BIG
    return EventPacket(encoding, width, height, events[:wanted], stamp_ns=seconds * NS_PER_S + nanoseconds)


@S.kernel
def decode_event_array(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """Decode the events of one little-endian message; contract as decode_evt3, but for bytes that make no event.

    Those at the end are consumed and counted as an unknown word. Times are as they were sent: order.py puts them in
    order.
    """
    return _decode(False, payload, first_byte, count, state, x, y, p, t_ns)


@S.kernel
def decode_event_array_be(payload, first_byte, count, state, x, y, p, t_ns, triggers):
    """The same of a big-endian message."""
    return _decode(True, payload, first_byte, count, state, x, y, p, t_ns)


@S.kernel
def _decode(swapped, payload, first_byte, count, state, x, y, p, t_ns):
    """Both byte orders. first_byte is a multiple of 16: that of the first event not yet taken."""
    words = payload[: len(payload) & ~3].view(np.uint32)
    width, height = state[S.WIDTH], state[S.HEIGHT]
    room, n = np.int64(len(x) - S.MAX_EVENTS_PER_WORD), np.int64(count)
    total = (len(payload) + EVENT_BYTES - LAST_EVENT_BYTES) // EVENT_BYTES
    now_ns = state[S.NOW_NS]
    if first_byte == 0:
        now_ns = np.int64(-(2**63))
    outside, reversals = np.int64(0), np.int64(0)
    k = first_byte // EVENT_BYTES
    while k < total and n <= room:
        i = np.uint64(4 * k)
        # The first event's x and y share a word; x of a later one is at the end of the word before.
        column = np.int64(words[i] & 0xFFFF if k == 0 else words[i - _ONE] >> 16)
        row = np.int64(words[i] >> 16 if k == 0 else words[i] & 0xFFFF)
        seconds, nanoseconds = np.int64(words[i + _ONE]), np.int64(words[i + _TWO])
        if swapped:
            column, row = _swap_16(column), _swap_16(row)
            seconds, nanoseconds = _swap_32(seconds), _swap_32(nanoseconds)
        time_ns = np.int64(np.int32(seconds)) * NS_PER_S + nanoseconds
        reversals += time_ns < now_ns
        now_ns = max(now_ns, time_ns)
        x[n], y[n], p[n], t_ns[n] = column, row, payload[EVENT_BYTES * k + 12] != 0, time_ns
        inside = (column < width) & (row < height)
        n += inside
        outside += not inside
        k += 1
    consumed = EVENT_BYTES * k
    if k >= total:
        consumed = len(payload)
        state[S.UNKNOWN_WORDS] += len(payload) != max(EVENT_BYTES * (total - 1) + LAST_EVENT_BYTES, 0)
    state[S.NOW_NS] = now_ns
    state[S.OUT_OF_SENSOR] += outside
    state[S.TIME_REVERSALS] += reversals
    return consumed, n


@S.kernel
def _swap_16(value):
    return (value & 0xFF) << 8 | value >> 8


@S.kernel
def _swap_32(value):
    return _swap_16(value & 0xFFFF) << 16 | _swap_16(value >> 16)
