"""The sensor's clock in ROS time: a low-pass filter of the distance from first event to packet stamp."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from eventspd_ros.nanoseconds import NS_PER_S

TIME_CONSTANT_S = 10.0
MIN_ALPHA, MAX_ALPHA = 1e-4, 0.1
# An offset that differs by more than both, the second as a share of dt, starts the filter anew.
JUMP_NS = 20_000_000
JUMP_SHARE = 0.05

Times = TypeVar("Times", int, np.ndarray)


class SensorClock:
    """Follows offset = ROS time - sensor time of one camera: one update() a packet, then to_ros() and to_sensor().

    offset += alpha * (measured - offset), alpha = clamp(dt / 10 s, 1e-4, 0.1), dt from packet to packet on the sensor's
    clock, which does not jitter: the stamps' jitter is averaged over some 10 s, and a drift of 50 ppm stays within
    0.5 ms. The filter starts anew where the measured offset jumps by more than 20 ms and by more than 5 % of dt: a
    restart of the sensor, a step of the host's clock. libcaer's times are host epoch already but drift; there the same
    filter follows a small offset.

    Epoch times do not fit a float: the offset is an integer in ns plus a small float that the filter moves.
    """

    def __init__(self):
        self.resets = 0  # offsets that jumped
        self.reset()

    def reset(self) -> None:
        """Forget the offset; the next packet sets it."""
        self._offset_ns: int | None = None
        self._residual_ns = 0.0
        self._sensor_ns = 0

    @property
    def offset_ns(self) -> int | None:
        """ROS time minus sensor time, None before the first packet."""
        if self._offset_ns is None:
            return None
        return self._offset_ns + round(self._residual_ns)

    def update(self, stamp_ns: int, first_sensor_ns: int) -> None:
        """Take a packet: its header stamp (ROS time) and the sensor time of its first event, both ns."""
        sensor_ns = int(first_sensor_ns)
        measured_ns = int(stamp_ns) - sensor_ns
        dt_ns = sensor_ns - self._sensor_ns
        if self._offset_ns is None:
            self._offset_ns = measured_ns
        elif not self.agrees(stamp_ns, sensor_ns):
            self.resets += 1
            self._offset_ns, self._residual_ns = measured_ns, 0.0
        else:
            alpha = min(max(dt_ns / NS_PER_S / TIME_CONSTANT_S, MIN_ALPHA), MAX_ALPHA)
            self._residual_ns += alpha * (measured_ns - self._offset_ns - self._residual_ns)
        self._sensor_ns = sensor_ns

    def agrees(self, stamp_ns: int, sensor_ns: int) -> bool:
        """Whether update() with these would not start the filter anew."""
        if self._offset_ns is None:
            return True
        off_ns = int(stamp_ns) - int(sensor_ns) - self._known_offset_ns()
        return abs(off_ns) <= max(JUMP_NS, JUMP_SHARE * abs(int(sensor_ns) - self._sensor_ns))

    def to_ros(self, t_ns: Times) -> Times:
        """Sensor time to ROS time; int or int64 array of any shape. ValueError before the first packet."""
        return self._shift(t_ns, self._known_offset_ns())

    def to_sensor(self, t_ns: Times) -> Times:
        """ROS time to sensor time; int or int64 array of any shape. ValueError before the first packet."""
        return self._shift(t_ns, -self._known_offset_ns())

    def _known_offset_ns(self) -> int:
        offset_ns = self.offset_ns
        if offset_ns is None:
            raise ValueError("sensor clock: no packet has been seen yet; call update() before converting times")
        return offset_ns

    @staticmethod
    def _shift(t_ns: Times, by_ns: int) -> Times:
        if isinstance(t_ns, np.ndarray):
            return t_ns.astype(np.int64) + np.int64(by_ns)
        return int(t_ns) + by_ns
