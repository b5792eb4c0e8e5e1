"""What a robot's odometry says of an exactly known path: poses at its rate, with its errors, when they arrive.

`erroneous` is the one model of its errors, of bags and of an evaluation alike. T_WC: camera → world, (P, 4, 4) float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.simulation.camera import Pose

TWIST_STEP_NS = 1_000  # velocities are differences over so short a time that no path bends in it


@dataclass(frozen=True, slots=True, kw_only=True)
class OdometryConfig:
    """Exact and at once by default.

    time_offset_ms: stamps are that much later than the moment the pose was taken. delay_ms: from that moment to the
    message's arrival. white_rotation_deg, white_translation_m: standard deviation about and along each axis, anew for
    every pose. drift_rotation_deg_per_100ms: a constant rate about an axis of the world, drawn once a recording.
    drift_translation_share: an error of the scale, a share of the distance travelled.
    """

    rate_hz: float = 200.0
    delay_ms: float = 0.0
    time_offset_ms: float = 0.0
    white_rotation_deg: float = 0.0
    white_translation_m: float = 0.0
    drift_rotation_deg_per_100ms: float = 0.0
    drift_translation_share: float = 0.0

    def __post_init__(self) -> None:
        signed = ("time_offset_ms", "drift_translation_share")
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if not math.isfinite(value) or (value < 0 and name not in signed) or (value == 0 and name == "rate_hz"):
                least = "a number" if name in signed else "positive" if name == "rate_hz" else "at least 0"
                raise ValueError(f"odometry {name} {value}: must be {least}")

    @classmethod
    def parse(cls, settings: list[str]) -> OdometryConfig:
        """["delay_ms=20", …] → a configuration."""
        names, values = [field.name for field in fields(cls)], {}
        for setting in settings:
            name, _, number = setting.partition("=")
            try:
                values[name] = float(number)
            except ValueError:
                name = ""
            if name not in names:
                raise ValueError(f"odometry {setting!r}: must be KEY=NUMBER, a KEY of {', '.join(names)}")
        return cls(**values)

    def times_ns(self, end_ns: int) -> np.ndarray:
        """When poses are taken, from 0 to end_ns inclusive, int64 (P,)."""
        count = math.floor(end_ns * self.rate_hz / NS_PER_S + 1e-6) + 1
        return np.rint(np.arange(count) * (NS_PER_S / self.rate_hz)).astype(np.int64)

    @property
    def drift_rad_s(self) -> float:
        """How fast the rotation drifts."""
        return math.radians(self.drift_rotation_deg_per_100ms) * 10


class Odometry(NamedTuple):
    """stamp_ns, arrival_ns: int64 (P,); T_WC: (P, 4, 4)."""

    stamp_ns: np.ndarray
    arrival_ns: np.ndarray
    T_WC: np.ndarray


def erroneous(T_WC: np.ndarray, times_ns: np.ndarray, config: OdometryConfig, rng: np.random.Generator) -> Odometry:
    """True poses, T_WC at times_ns in order, as an odometry of this configuration tells them.

    Of poses that come faster than rate_hz only as many are told. The drift is none at the first pose, and dead
    reckoning from there: each step is made along the heading the odometry believes in, (1 + share) times as long, so
    that the error within 100 ms is the same at any time. Without errors the poses come back to the bit.
    """
    # The first pose in each period; a hundredth of one is forgiven, as times are rounded.
    periods = np.floor((times_ns - times_ns[:1]) * (config.rate_hz / NS_PER_S) + 0.01)
    kept = np.unique(periods, return_index=True)[1]
    times_ns, out = times_ns[kept], np.asarray(T_WC, np.float64)[kept]
    # Drawn whether needed or not: errors of any size have the same directions, which makes a sweep over them smooth.
    axis = rng.normal(size=3)
    white_rad = math.radians(config.white_rotation_deg) * rng.normal(size=(len(kept), 3))
    white_m = config.white_translation_m * rng.normal(size=(len(kept), 3))

    rate = axis / np.linalg.norm(axis) * config.drift_rad_s
    seconds = (times_ns - times_ns[:1]) / NS_PER_S
    believed = _rotations(rate * (seconds[1:] + seconds[:-1])[:, None] / 2)
    steps = np.diff(out[:, :3, 3], axis=0)
    wrong = (1 + config.drift_translation_share) * (believed @ steps[..., None])[..., 0] - steps
    out[1:, :3, 3] += np.cumsum(wrong, axis=0)
    out[:, :3, 3] += white_m
    out[:, :3, :3] = _rotations(rate * seconds[:, None]) @ out[:, :3, :3] @ _rotations(white_rad)

    stamp_ns = times_ns + round(config.time_offset_ms * NS_PER_MS)
    return Odometry(stamp_ns, times_ns + round(config.delay_ms * NS_PER_MS), out)


def _rotations(vectors_rad: np.ndarray) -> np.ndarray:
    """Rotation vectors (P, 3) → matrices (P, 3, 3)."""
    return rotations.to_matrix(rotations.from_rotation_vector(vectors_rad))


@dataclass(frozen=True, slots=True)
class OdometryMessage:
    """One pose as a message tells it. stamp_ns: ROS time; T_WC: (4, 4).

    twist_C: (6,) velocity in the camera's frame, m/s, then rad/s, true. Both covariances are (6, 6), translation
    first; the pose's tells the white errors, the twist's the drift, an error of the rate. 0: exact.
    """

    stamp_ns: int
    T_WC: np.ndarray
    twist_C: np.ndarray
    pose_covariance: np.ndarray
    twist_covariance: np.ndarray


def odometry_messages(
    pose: Callable[[int], Pose], end_ns: int, config: OdometryConfig, rng: np.random.Generator, start_ns: int
) -> Iterator[tuple[int, OdometryMessage]]:
    """(arrival, message) of everything that arrives until end_ns, in order. pose: of a time of the sensor's clock, ns;
    start_ns: the ROS time at which that clock reads 0."""
    times_ns = config.times_ns(end_ns)
    told = erroneous(np.array([pose(t_ns).matrix for t_ns in times_ns.tolist()]), times_ns, config, rng)
    white = [config.white_translation_m**2] * 3 + [math.radians(config.white_rotation_deg) ** 2] * 3
    for t_ns, stamp_ns, arrival_ns, T_WC in zip(times_ns.tolist(), *told, strict=True):
        if arrival_ns > end_ns:
            return
        twist_C = velocity(pose, t_ns)
        message = OdometryMessage(
            start_ns + int(stamp_ns), T_WC, twist_C, np.diag(white), twist_covariance(twist_C, config)
        )
        yield start_ns + int(arrival_ns), message


def velocity(pose: Callable[[int], Pose], t_ns: int) -> np.ndarray:
    """(6,) m/s and rad/s in the camera's frame."""
    before_ns, after_ns = max(t_ns - TWIST_STEP_NS, 0), t_ns + TWIST_STEP_NS  # a path begins at 0
    before, after = pose(before_ns), pose(after_ns)
    moved_C = before.to_camera(after.position_W)
    turned = before.rotation_WC.T @ after.rotation_WC
    skew = (turned - turned.T) / 2  # of so small a turn the rotation vector is its antisymmetric part
    return np.array([*moved_C, skew[2, 1], skew[0, 2], skew[1, 0]]) / ((after_ns - before_ns) / NS_PER_S)


def twist_covariance(twist_C: np.ndarray, config: OdometryConfig) -> np.ndarray:
    """What the drift makes of the rates: an error of the speed along the motion, and a turn about any axis."""
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = config.drift_translation_share**2 * np.outer(twist_C[:3], twist_C[:3])
    covariance[3:, 3:] = config.drift_rad_s**2 / 3 * np.eye(3)
    return covariance
