"""Encoders one event at a time, of formats that the package only reads: what a camera or a driver would send."""

from __future__ import annotations

import struct
from functools import cache

from rosbags.typesys import get_types_from_msg

from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.events.types import EventArray

HIGH_BITS = 28
EVENT_MSG = "uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity\n"
EVENT_ARRAY_MSG = "std_msgs/Header header\nuint32 height\nuint32 width\nEvent[] events\n"


def encode_evt21(events: EventArray, upper_first: bool, previous_us: int | None = None) -> bytes:
    """Words of one packet: a TIME_HIGH at its start and wherever the upper time bits change, and events of one row,
    time and polarity whose columns grow and lie within 32 as one word. previous_us: where the packet before ended."""
    words, high, columns, head = [], None, 0, None

    def flush():
        nonlocal columns
        if columns:
            words.append((head, columns))
        columns = 0

    for t_ns, x, y, p in zip(*(getattr(events, name).tolist() for name in ("t_ns", "x", "y", "p")), strict=True):
        t_us = t_ns // 1000
        if high is None:
            high = t_us >> 6 if previous_us is None else previous_us >> 6
            words.append((8 << 28 | high % (1 << HIGH_BITS), 0))
        while high < t_us >> 6:
            flush()
            high = min(high + (1 << 27), t_us >> 6)  # a larger step could be one backwards
            words.append((8 << 28 | high % (1 << HIGH_BITS), 0))
        base = (head >> 11 & 0x7FF) if columns else 0
        same = columns and head & ~(0x7FF << 11) == p << 28 | (t_us & 63) << 22 | y
        if not (same and x - base < 32 and base + columns.bit_length() - 1 < x):
            flush()
            head, base = p << 28 | (t_us & 63) << 22 | x << 11 | y, x
        columns |= 1 << (x - base)
    flush()
    return b"".join(struct.pack("<II", *(word if upper_first else word[::-1])) for word in words)


def encode_mono(events: EventArray, time_base_ns: int) -> bytes:
    """The words of one packet."""
    columns = (getattr(events, name).tolist() for name in ("t_ns", "x", "y", "p"))
    return b"".join(struct.pack("<IHH", t - time_base_ns, x, p << 15 | y) for t, x, y, p in zip(*columns, strict=True))


def encode_libcaer(events: EventArray, time_base_ns: int) -> bytes:
    """The words of one packet; the lowest bit says that the event is valid."""
    columns = (getattr(events, name).tolist() for name in ("t_ns", "x", "y", "p"))
    return b"".join(
        struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, (t - time_base_ns) // 1000)
        for t, x, y, p in zip(*columns, strict=True)
    )


def encode_libcaer_cmp(events: EventArray, time_base_ns: int) -> bytes:
    """The words of one packet, a column and a row for each event, times within 16.7 s of the time base."""
    words = []
    for t_ns, x, y, p in zip(*(getattr(events, name).tolist() for name in ("t_ns", "x", "y", "p")), strict=True):
        t_us = (t_ns - time_base_ns) // 1000
        words += [t_us >> 12, 1 << 12 | t_us & 0xFFF, 2 << 12 | x, 3 << 12 | p << 11 | y]
    return struct.pack(f"<{len(words)}H", *words)


@cache
def event_array_store(package: str = "dvs_msgs"):
    """A rosbags typestore that knows the messages of dvs_msgs or prophesee_event_msgs."""
    store = bag_typestore()
    store.register(get_types_from_msg(EVENT_MSG, f"{package}/msg/Event"))
    store.register(get_types_from_msg(EVENT_ARRAY_MSG, f"{package}/msg/EventArray"))
    return store


def event_array_cdr(
    events: EventArray, stamp_ns: int = 0, frame_id: str = "", big_endian: bool = False, package: str = "dvs_msgs"
) -> bytes:
    """The events as a serialized EventArray, written by rosbags."""
    store = event_array_store(package)
    types = store.types
    time, event = types["builtin_interfaces/msg/Time"], types[f"{package}/msg/Event"]
    columns = (getattr(events, name).tolist() for name in ("t_ns", "x", "y", "p"))
    listed = [event(x, y, time(t // 10**9, t % 10**9), bool(p)) for t, x, y, p in zip(*columns, strict=True)]
    header = types["std_msgs/msg/Header"](time(stamp_ns // 10**9, stamp_ns % 10**9), frame_id)
    message = types[f"{package}/msg/EventArray"](header, events.height, events.width, listed)
    return bytes(store.serialize_cdr(message, f"{package}/msg/EventArray", little_endian=not big_endian))
