"""What can happen to a camera's events on their way to the model, for robustness sweeps.

Each is a function of (window, time of the recording's begin in ns) -> window. Windows overlap, so what happens to an
event follows from the event and its time alone: all windows that hold it agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eventspd_ros.events.types import EventWindow
from eventspd_ros.nanoseconds import NS_PER_MS

Disturbance = Callable[[EventWindow, int], EventWindow]

COLUMNS = ("x", "y", "p", "t_ns")
NOISE_SEED = 20_261_121


@dataclass(frozen=True)
class EventRate:
    """Every event gets through with this chance, 0…1."""

    share: float

    def __call__(self, window: EventWindow, begin_ns: int) -> EventWindow:
        place = window.y.astype(np.uint64) * np.uint64(window.width) + window.x
        mixed = _mix(window.t_ns.astype(np.uint64) ^ _mix(place * np.uint64(2) + window.p))
        return _keep(window, (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.share)


@dataclass(frozen=True)
class ShotNoise:
    """Further events, as many of either polarity, evenly over pixels and time. rate_hz: of one pixel."""

    rate_hz: float

    def __call__(self, window: EventWindow, begin_ns: int) -> EventWindow:
        slots = range(window.start_ns // NS_PER_MS, -(-window.end_ns // NS_PER_MS))
        columns = zip(*(self._slot(slot, window.width, window.height) for slot in slots), strict=True)
        x, y, p, t_ns = (np.concatenate(column) for column in columns)
        inside = (t_ns >= window.start_ns) & (t_ns < window.end_ns)
        order = np.argsort(np.concatenate((window.t_ns, t_ns[inside])), kind="stable")
        noise = zip(COLUMNS, (x, y, p, t_ns), strict=True)
        joint = {name: np.concatenate((getattr(window, name), column[inside]))[order] for name, column in noise}
        return replace(window, **joint)

    def _slot(self, slot: int, width: int, height: int) -> tuple[np.ndarray, ...]:
        """The noise of one millisecond, the same in every window that holds it."""
        rng = np.random.default_rng((NOISE_SEED, slot % 2**63))
        count = rng.poisson(self.rate_hz * width * height * 1e-3)
        return (
            rng.integers(0, width, count).astype(np.uint16),
            rng.integers(0, height, count).astype(np.uint16),
            rng.integers(0, 2, count).astype(np.uint8),
            np.sort(rng.integers(0, NS_PER_MS, count)) + slot * NS_PER_MS,
        )


@dataclass(frozen=True)
class Gap:
    """Of every period_ms of the recording the events from first_ms on are lost, for length_ms."""

    first_ms: float
    length_ms: float
    period_ms: float

    def __call__(self, window: EventWindow, begin_ns: int) -> EventWindow:
        return _keep(window, self.since_ms(window.t_ns, begin_ns) >= 0)

    def since_ms(self, t_ns: np.ndarray, begin_ns: int) -> np.ndarray:
        """Time since the end of the last gap; −length_ms … 0 inside one, inf before the first."""
        phase_ms = (np.asarray(t_ns, np.int64) - begin_ns) / NS_PER_MS
        since = (phase_ms - self.first_ms) % self.period_ms - self.length_ms
        return np.where(phase_ms < self.first_ms, np.inf, since)


@dataclass(frozen=True)
class Stop:
    """The camera stands still from a time on (ns, sensor clock): what it would have seen is gone; noise stays."""

    t_ns: int
    noise: ShotNoise

    def __call__(self, window: EventWindow, begin_ns: int) -> EventWindow:
        return self.noise(_keep(window, window.t_ns < self.t_ns), begin_ns)


def _keep(window: EventWindow, which: np.ndarray) -> EventWindow:
    return replace(window, **{name: getattr(window, name)[which] for name in COLUMNS})


def _mix(values: np.ndarray) -> np.ndarray:
    """uint64 -> evenly spread uint64: the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
