"""What the encoders share."""

from __future__ import annotations

import numpy as np

from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_US


def times_us(events: EventArray, previous_ns: int | None, max_side_px: int, encoding: str) -> np.ndarray:
    """The events' times in whole us, int64, once it is certain that the encoding can hold the events."""
    if events.width > max_side_px or events.height > max_side_px:
        raise ValueError(f"sensor {events.width}x{events.height} px: {encoding} holds at most {max_side_px} px a side")
    t_us = np.asarray(events.t_ns, np.int64) // NS_PER_US
    earliest_us = 0 if previous_ns is None else previous_ns // NS_PER_US
    if len(t_us) and t_us[0] < earliest_us:
        raise ValueError(f"{encoding}: first event at {t_us[0]} us lies before {earliest_us} us; sort the events")
    falls = np.flatnonzero(t_us[1:] < t_us[:-1])
    if len(falls):
        k = int(falls[0])
        raise ValueError(f"{encoding}: time falls from {t_us[k]} to {t_us[k + 1]} us at event {k + 1}; sort the events")
    return t_us
