"""From brightness to events: contrast crossings of the log intensity, interpolated linearly in time.

The model of ESIM (Rebecq et al., "ESIM: an open event camera simulator", CoRL 2018): every pixel remembers a
reference level; between two views the log intensity is taken as linear in time, and each time it has moved by one
threshold from the reference, an event is sent and the reference moves by that threshold. A crossing inside the
refractory period sends nothing, but the reference moves all the same.

On top of it, where asked for, what v2e describes (sensor_noise.py): a pixel's finite bandwidth ahead of the crossings;
leak, which moves the reference down by leak_hz thresholds a second; shot noise; hot pixels. And readout.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from eventspd_ros.events.types import EventArray
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_US
from eventspd_ros.simulation.readout import Readout
from eventspd_ros.simulation.sensor_noise import NoiseSource, admit, low_pass

TICK_NS = NS_PER_US  # sensors of this kind stamp whole microseconds
LEAST_THRESHOLD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSensorConfig:
    """threshold: contrast C, in log intensity, that makes an event. threshold_spread: standard deviation of C from
    pixel to pixel and polarity to polarity. off_over_on: a darker event needs so many times C. refractory_ns: how long
    a pixel stays silent after an event.

    bandwidth_hz: corner of a white pixel's low pass, 0 for none. leak_hz, shot_hz: events a pixel sends by itself,
    brighter ones by leak, both by shot noise (a black pixel's rate). hot_pixel_share: of all pixels.
    readout_hz: events a second that all pixels together can send, 0 for no limit.
    """

    threshold: float = 0.2
    threshold_spread: float = 0.03
    refractory_ns: int = 500_000
    bandwidth_hz: float = 0.0
    leak_hz: float = 0.0
    shot_hz: float = 0.0
    hot_pixel_share: float = 0.0
    off_over_on: float = 1.0
    readout_hz: float = 0.0

    def __post_init__(self) -> None:
        if not self.threshold >= LEAST_THRESHOLD:
            raise ValueError(f"threshold {self.threshold}: must be at least {LEAST_THRESHOLD}")
        rates = ("bandwidth_hz", "leak_hz", "shot_hz", "readout_hz")
        for name in ("threshold_spread", "refractory_ns", "hot_pixel_share", *rates):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} {getattr(self, name)}: must not be negative")
        if not 0.1 <= self.off_over_on <= 10:
            raise ValueError(f"off_over_on {self.off_over_on}: must be from 0.1 to 10")
        if self.hot_pixel_share > 1:
            raise ValueError(f"hot_pixel_share {self.hot_pixel_share}: must be at most 1")


IDEAL = EventSensorConfig(threshold_spread=0.0, refractory_ns=0)
# clean: what a perfect pixel would send; normal: v2e's default figures; night: its figures for little light; realistic:
# with which simulated events have the statistics of recorded ones (docs/simulation.md); arbiter: an early sensor, its
# pixels more unequal than any of variety.random_sensor's, its way out so slow that of fast motion much is late or lost.
PRESETS = {
    "clean": IDEAL,
    "normal": EventSensorConfig(bandwidth_hz=300.0, leak_hz=0.01, shot_hz=0.001, hot_pixel_share=1e-5),
    "night": EventSensorConfig(
        threshold_spread=0.05, bandwidth_hz=30.0, leak_hz=0.1, shot_hz=5.0, hot_pixel_share=1e-4
    ),
    "realistic": EventSensorConfig(
        threshold=0.36,
        threshold_spread=0.04,
        off_over_on=0.75,
        refractory_ns=3_300_000,
        bandwidth_hz=200.0,
        leak_hz=0.02,
        shot_hz=0.03,
        hot_pixel_share=3e-5,
    ),
    "arbiter": EventSensorConfig(
        threshold=0.3,
        threshold_spread=0.1,
        off_over_on=1.3,
        refractory_ns=NS_PER_MS,
        bandwidth_hz=400.0,
        leak_hz=0.1,
        shot_hz=0.1,
        hot_pixel_share=1e-4,
        readout_hz=1e6,
    ),
}
HELD_OUT_PRESETS = ("arbiter",)  # for judging alone: never train on them (docs/simulation.md)


class EventSensor:
    """The pixels' state and what they send. The first view only sets the reference levels."""

    def __init__(
        self, config: EventSensorConfig, log_intensity: np.ndarray, t_ns: int, rng: np.random.Generator
    ) -> None:
        """log_intensity: (H, W) float32 at time t_ns (sensor clock, whole microseconds)."""
        self.config = config
        self._t_ns = _whole_ticks(t_ns)
        self._input = np.ascontiguousarray(log_intensity, np.float32)
        self._filtered = self._level = self._input
        self._reference = self._level.astype(np.float64)  # a sum of thresholds: float32 would drift
        spread = rng.normal(config.threshold, config.threshold_spread, (2, *log_intensity.shape))
        spread[0] *= config.off_over_on
        self._threshold = np.maximum(spread, LEAST_THRESHOLD).astype(np.float32)  # [0] darker, [1] brighter
        self._last_event_ns = np.full(log_intensity.shape, np.iinfo(np.int64).min // 2, np.int64)
        self._leaked = 0.0
        if config.leak_hz > 0:  # as if it had seen much before: no pixel is in step with another
            phase = rng.uniform(-1, 1, log_intensity.shape)
            self._reference -= phase * np.where(phase > 0, self._threshold[1], self._threshold[0])
        self._readout = Readout(config.readout_hz, TICK_NS) if config.readout_hz > 0 else None
        self._noise = None
        if config.shot_hz > 0 or config.hot_pixel_share > 0:
            self._noise = NoiseSource(config.shot_hz, config.hot_pixel_share, log_intensity.shape, rng)

    def step(self, log_intensity: np.ndarray, t_ns: int) -> EventArray:
        """Events between the last view and this one, sorted by time: last time <= t < t_ns.

        log_intensity: (H, W) float32. Raises ValueError if t_ns is not later, or the size differs.
        """
        if _whole_ticks(t_ns) <= self._t_ns:
            raise ValueError(f"view at {t_ns} ns: must be later than the last one, at {self._t_ns} ns")
        view = np.ascontiguousarray(log_intensity, np.float32)
        if view.shape != self._level.shape:
            raise ValueError(f"view of shape {view.shape}: the sensor is {self._level.shape}")
        duration_ns = t_ns - self._t_ns
        level = self._see(view, duration_ns)
        crossings = _count_crossings(self._reference, level, self._threshold)
        state = (self._reference, self._last_event_ns)
        times = (self._t_ns, duration_ns, self.config.refractory_ns)
        *sent, ticks = _emit(*state, self._level, level, self._threshold, *times, crossings)
        if self._noise is not None:
            sent = self._with_noise(sent, view, duration_ns)
        x, y, p, tick = _sort_by_tick(*sent, ticks)
        events = EventArray(x, y, p, self._t_ns + tick * TICK_NS, level.shape[1], level.shape[0])
        self._level, self._t_ns = level, t_ns
        return events if self._readout is None else self._readout.read(events, t_ns)

    def _see(self, view: np.ndarray, duration_ns: int) -> np.ndarray:
        """The level that is compared with the reference: the view through the pixel's bandwidth, plus the leak."""
        if self.config.bandwidth_hz > 0:
            state = (self._input, view, self._filtered)
            self._filtered = low_pass(*state, duration_ns * 1e-9, self.config.bandwidth_hz)
        else:
            self._filtered = view
        self._input = view
        if self.config.leak_hz == 0:
            return self._filtered
        # A reference that sinks steadily is a level that rises steadily.
        self._leaked += self.config.leak_hz * duration_ns * 1e-9
        return self._filtered + self._leaked * self._threshold[1]

    def _with_noise(self, sent: list[np.ndarray], view: np.ndarray, duration_ns: int) -> list[np.ndarray]:
        pixel, polarity, offset_ns = self._noise.draw(view, duration_ns)
        kept = admit(pixel, offset_ns, self._t_ns, self.config.refractory_ns, self._last_event_ns)
        y, x = np.divmod(pixel[kept], view.shape[1])
        noise = (x.astype(np.uint16), y.astype(np.uint16), polarity[kept].astype(np.uint8), offset_ns[kept] // TICK_NS)
        return [np.concatenate(pair) for pair in zip(sent, noise, strict=True)]


def _whole_ticks(t_ns: int) -> int:
    if t_ns % TICK_NS:
        raise ValueError(f"view at {t_ns} ns: the sensor's clock counts whole microseconds")
    return t_ns


@njit(inline="always")
def _toward(reference, level, threshold, y, x):
    """Polarity and threshold of the next crossing on the way from the reference to the level; 0 if there is none."""
    change = level[y, x] - reference
    polarity = 1 if change > 0 else 0
    step = np.float64(threshold[polarity, y, x])
    return polarity, (step if abs(change) >= step else 0.0)


@njit(cache=True, nogil=True)
def _count_crossings(reference, level, threshold):
    count = 0
    for y in range(level.shape[0]):
        for x in range(level.shape[1]):
            at = reference[y, x]
            polarity, step = _toward(at, level, threshold, y, x)
            while step > 0:
                at += step if polarity else -step
                count += 1
                polarity, step = _toward(at, level, threshold, y, x)
    return count


@njit(cache=True, nogil=True)
def _emit(reference, last_event_ns, old, new, threshold, start_ns, duration_ns, refractory_ns, crossings):
    """The events in the order of rows and columns; reference and last_event_ns advance. → x, y, p, tick, ticks."""
    xs, ys = np.empty(crossings, np.uint16), np.empty(crossings, np.uint16)
    ps, ticks = np.empty(crossings, np.uint8), np.empty(crossings, np.int64)
    n, duration_ticks = 0, duration_ns // TICK_NS
    for y in range(new.shape[0]):
        for x in range(new.shape[1]):
            at = reference[y, x]
            polarity, step = _toward(at, new, threshold, y, x)
            while step > 0:
                at += step if polarity else -step
                share = (at - old[y, x]) / (np.float64(new[y, x]) - old[y, x])
                offset_ns = np.int64(min(max(share, 0.0), 1.0) * duration_ns)
                if start_ns + offset_ns - last_event_ns[y, x] >= refractory_ns:
                    last_event_ns[y, x] = start_ns + offset_ns
                    xs[n], ys[n], ps[n] = x, y, polarity
                    ticks[n] = min(offset_ns // TICK_NS, duration_ticks - 1)
                    n += 1
                polarity, step = _toward(at, new, threshold, y, x)
            reference[y, x] = at
    return xs[:n], ys[:n], ps[:n], ticks[:n], duration_ticks


@njit(cache=True, nogil=True)
def _sort_by_tick(xs, ys, ps, ticks, duration_ticks):
    """A stable counting sort by time: events of one tick stay in the order of rows and columns. → x, y, p, tick."""
    start = np.zeros(duration_ticks + 1, np.int64)
    for tick in ticks:
        start[tick + 1] += 1
    start = np.cumsum(start)
    x, y, p, t = np.empty_like(xs), np.empty_like(ys), np.empty_like(ps), np.empty_like(ticks)
    for i in range(len(ticks)):
        to = start[ticks[i]]
        start[ticks[i]] += 1
        x[to], y[to], p[to], t[to] = xs[i], ys[i], ps[i], ticks[i]
    return x, y, p, t
