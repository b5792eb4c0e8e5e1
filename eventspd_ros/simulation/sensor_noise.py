"""What a real pixel adds to the ideal one: finite bandwidth, shot noise and hot pixels (leak: see event_sensor.py).

After v2e (Hu, Liu, Delbruck, "v2e: From Video Frames to Realistic DVS Events", CVPRW 2021).
"""

from __future__ import annotations

import numpy as np
from numba import njit

HOT_RATE_HZ = (10.0, 300.0)  # a hot pixel's own rate is drawn from this range, even in its logarithm
SHOT_DIMMING = 0.75  # a bright pixel sends this share less shot noise than a dark one
KERNEL = {"cache": True, "nogil": True, "error_model": "numpy"}


class NoiseSource:
    """Events that nothing in the scene causes. Rates are per pixel; both polarities share shot noise evenly."""

    def __init__(
        self, shot_hz: float, hot_pixel_share: float, shape: tuple[int, int], rng: np.random.Generator
    ) -> None:
        self._shot_hz, self._shape, self._rng = shot_hz, shape, rng
        pixels = shape[0] * shape[1]
        self._hot = rng.choice(pixels, rng.binomial(pixels, hot_pixel_share), replace=False)
        self._hot_polarity = rng.integers(0, 2, len(self._hot))
        self._hot_hz = np.exp(rng.uniform(*np.log(HOT_RATE_HZ), len(self._hot)))

    def draw(self, log_intensity: np.ndarray, duration_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Noise of one step in order of time: flat pixel index, polarity, offset in ns, all int64.

        A Poisson process a polarity at shot_hz / 2 · (1 − 0.75·I) with the pixel's brightness I in 0…1 (v2e).
        """
        rng, seconds = self._rng, duration_ns * 1e-9
        pixels = log_intensity.size
        shot = rng.integers(0, pixels, rng.poisson(self._shot_hz * seconds * pixels))
        brightness = np.exp(np.minimum(log_intensity.ravel()[shot], 0.0))
        shot = shot[rng.random(len(shot)) < 1 - SHOT_DIMMING * brightness]
        again = rng.poisson(self._hot_hz * seconds)
        pixel = np.concatenate([shot, np.repeat(self._hot, again)])
        polarity = np.concatenate([rng.integers(0, 2, len(shot)), np.repeat(self._hot_polarity, again)])
        offset_ns = rng.integers(0, duration_ns, len(pixel))
        order = np.argsort(offset_ns, kind="stable")
        return pixel[order], polarity[order], offset_ns[order]


@njit(**KERNEL)
def admit(pixel, offset_ns, start_ns, refractory_ns, last_event_ns):
    """Which noise events a pixel lets through, (N,) bool: those a refractory period or more after its last event.

    The step's own crossings are in last_event_ns already: noise before them in the same step is lost with them.
    """
    kept = np.zeros(len(pixel), np.bool_)
    last = last_event_ns.reshape(-1)
    for i in range(len(pixel)):
        t_ns = start_ns + offset_ns[i]
        if t_ns - last[pixel[i]] >= refractory_ns:
            last[pixel[i]] = t_ns
            kept[i] = True
    return kept


@njit(**KERNEL)
def low_pass(before, now, filtered, duration_s, bandwidth_hz):
    """A first-order low pass of a log intensity that goes in a straight line from before to now; (H, W) float32.

    Its corner grows with brightness I as in v2e: bandwidth · (255·I + 20) / 275. With z = 2π·corner·duration the exact
    answer to a ramp is now − ramp/z + (filtered − before + ramp/z)·e^−z.
    """
    out = np.empty_like(now)
    full = np.float32(2 * np.pi * bandwidth_hz * duration_s)
    one, small = np.float32(1.0), np.float32(1.0 / 4096)
    for r in range(now.shape[0]):
        for c in range(now.shape[1]):
            brightness = one + min(now[r, c], np.float32(0.0)) * small
            for _ in range(12):  # (1 + x/4096)^4096 = e^x, and quicker than exp
                brightness *= brightness
            z = full * (np.float32(255.0) * brightness + np.float32(20.0)) / np.float32(275.0)
            q = z * np.float32(1.0 / 16)
            grown = one + q * (one + q * np.float32(0.5) * (one + q * np.float32(1.0 / 3)))  # e^(z/16)
            for _ in range(4):
                grown *= grown
            lag = (now[r, c] - before[r, c]) / z
            out[r, c] = now[r, c] - lag + (filtered[r, c] - before[r, c] + lag) / grown
    return out
