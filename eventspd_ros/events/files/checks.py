"""Whether what a file calls events can be events: times in order, pixels of the sensor, polarities. Of every reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eventspd_ros.events.codecs.decoder import MAX_SENSOR_SIDE_PX
from eventspd_ros.events.order import TIME_JUMP_NS
from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_S, NS_PER_US

MAX_NS = 1 << 62  # half of what int64 holds: differences fit too


def sensor_size(path: Path, width, height, where: str) -> tuple[int, int]:
    """(width, height) of a sensor as a file or its user gives it. where: what says so. ValueError: no such sensor."""
    if not (1 <= width <= MAX_SENSOR_SIDE_PX and 1 <= height <= MAX_SENSOR_SIDE_PX):
        raise ValueError(
            f"{path}: {where}: a sensor of {width}x{height} px; each side must be 1 to {MAX_SENSOR_SIDE_PX}"
        )
    return int(width), int(height)


def given_size(path: Path, sensor_hw: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) as the user gives it, where the file names none. ValueError: nor does the user."""
    if sensor_hw is None:
        raise ValueError(
            f"{path}: names no sensor size; give it, --geometry WIDTHxHEIGHT (in Python sensor_hw=(height, width))"
        )
    return sensor_size(path, sensor_hw[1], sensor_hw[0], "the size given")


def named_size(path: Path, text: str, where: str) -> tuple[int, int]:
    """(width, height) of "1280x720". ValueError: another text."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip())
    if not found:
        raise ValueError(f"{path}: {where}: {text[:40]!r} is no size such as 1280x720")
    return sensor_size(path, int(found[1]), int(found[2]), where)


def times_in_ns(where: str, ticks: np.ndarray, ns_per_tick: int, offset_ns: int = 0) -> np.ndarray:
    """Times of a file, whole numbers or not, as int64 ns. where: file and key. ValueError: they are no times."""
    if len(ticks):
        low, high = float(ticks.min()), float(ticks.max())
        if not (low * ns_per_tick + offset_ns > -MAX_NS and high * ns_per_tick + offset_ns < MAX_NS):
            bad = high if -MAX_NS < low * ns_per_tick + offset_ns else low
            raise ValueError(f"{where}: a time of {bad:g}, in units of {ns_per_tick} ns; the file is damaged")
    return ticks.astype(np.int64) * ns_per_tick + offset_ns


def seconds_in_ns(where: str, seconds: np.ndarray) -> np.ndarray:
    """float64 s -> int64 ns, to whole µs: near 1.5e9 s (Unix time) neighbouring doubles are 238 ns apart."""
    return times_in_ns(where, np.rint(np.asarray(seconds, np.float64) * 1e6), NS_PER_US)


def held_times(where: str, times_ns: np.ndarray, first: int, newest_ns: int | None = None) -> np.ndarray:
    """Packets out of order are set to the newest time, as the slicer does online; more is damage.

    first: the number of the first of these events. newest_ns: of the events before them. ValueError: a later fall.
    """
    if not len(times_ns):
        return times_ns
    held = np.maximum.accumulate(times_ns)
    if newest_ns is not None and held[0] < newest_ns:
        held = np.maximum(held, newest_ns)
    late_ns = held - times_ns
    if (worst := int(late_ns.max())) > TIME_JUMP_NS:
        number = first + int((late_ns > TIME_JUMP_NS).argmax())
        raise ValueError(
            f"{where}: time falls by {worst / NS_PER_S:.3f} s after event {number - 1}; events must be in order of time"
        )
    return held


def checked_events(
    where: tuple[str, ...], columns: Sequence[np.ndarray], times_ns: np.ndarray, size: tuple[int, int], first: int
) -> EventArray:
    """x, y and p of a file as events. where: file and key of each. size: width, height. first: the number of the first
    of these events. ValueError: a pixel outside the sensor, or a polarity other than 0 and 1, or ±1."""
    ranges = ((0, size[0] - 1), (0, size[1] - 1), (-1, 1))
    for name, column, (low, high) in zip(where, columns, ranges, strict=True):
        if len(column) and not (column.min() >= low and column.max() <= high):
            found = f"{column.min():g} to {column.max():g} among events {first} to {first + len(column) - 1}"
            expected = "expected 0 and 1, or ±1" if low < 0 else f"the sensor has {size[0]}x{size[1]} px"
            raise ValueError(f"{name}: values {found}; {expected}")
        if column.dtype.kind == "f" and (uneven := column != np.rint(column)).any():
            number = first + int(uneven.argmax())
            raise ValueError(f"{name}: {column[number - first]:g} at event {number}; expected whole numbers")
    x, y, p = columns
    return EventArray(x.astype(np.uint16), y.astype(np.uint16), (p > 0).astype(np.uint8), times_ns, *size)
