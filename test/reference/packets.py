"""Packets and events for the tests of the events room."""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.types import EventArray, EventPacket

COLUMNS = ("t_ns", "x", "y", "p")


def packet(payload, encoding="evt3", width=640, height=480, **fields) -> EventPacket:
    data = np.frombuffer(payload, np.uint8) if isinstance(payload, bytes) else np.asarray(payload, np.uint8)
    return EventPacket(encoding, width, height, data, **fields)


def evt3_words(*words) -> bytes:
    """Words as (code, value) pairs."""
    return b"".join((code << 12 | value).to_bytes(2, "little") for code, value in words)


def rows(events: EventArray) -> list[tuple]:
    """[(t_ns, x, y, p)]"""
    return list(zip(*(getattr(events, name).tolist() for name in COLUMNS), strict=True))


def event_array(t_ns, x, y, p, width=640, height=480) -> EventArray:
    return EventArray(
        np.asarray(x, np.uint16),
        np.asarray(y, np.uint16),
        np.asarray(p, np.uint8),
        np.asarray(t_ns, np.int64),
        width,
        height,
    )


def joined(parts: list[EventArray]) -> EventArray:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return EventArray(**columns, width=parts[0].width, height=parts[0].height)


def assert_same_events(a: EventArray, b: EventArray) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def random_cuts(payload: np.ndarray, rng: np.random.Generator, mean_bytes: int) -> list[np.ndarray]:
    """The same bytes in pieces of any length, odd ones and empty ones among them."""
    pieces = max(1, len(payload) // mean_bytes)
    cuts = np.sort(rng.integers(0, len(payload) + 1, pieces))
    return np.split(payload, cuts)
