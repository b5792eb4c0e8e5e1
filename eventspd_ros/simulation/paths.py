"""Smooth paths with realistic speeds, stops and pure rotations: a driving car, a hand that walks, a drone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eventspd_ros.simulation.camera import Pose

KNOT_S = 1 / 30
BEFORE = 3  # knots ahead of time 0
SMOOTHING_S = 0.12  # standard deviation in time of every change of speed


@dataclass(frozen=True, slots=True)
class SplinePath:
    """A uniform cubic B-spline, twice differentiable. knots: (N, 6) x, y, z in m, yaw, pitch, roll in rad.

    Knot k is at (k − 1)·KNOT_S. Yaw turns to the right, pitch up, roll clockwise: R = R_y(yaw) R_x(pitch) R_z(roll).
    """

    knots: np.ndarray

    def state(self, t_s: float) -> np.ndarray:
        """x, y, z, yaw, pitch, roll at t_s; the ends are held beyond the first and the last knot."""
        position = min(max(t_s / KNOT_S, 0.0), len(self.knots) - 4.0 + 1 - 1e-9)
        k = int(position)
        u = position - k
        weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, 1 + 3 * u * (1 + u - u * u), u**3)
        return np.dot(weights, self.knots[k : k + 4]) / 6

    def pose(self, t_s: float) -> Pose:
        """Where it is at t_s seconds."""
        x, y, z, yaw, pitch, roll = self.state(t_s).tolist()
        cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return Pose(about_y @ about_x @ about_z, np.array([x, y, z]))

    @property
    def positions(self) -> np.ndarray:
        """The knots' positions, (N, 3) m; the path stays within a few millimetres of the line through them."""
        return self.knots[:, :3]


def knot_times(duration_s: float) -> np.ndarray:
    """Times of the knots of a path that is used from 0 to duration_s."""
    return (np.arange(math.ceil(duration_s / KNOT_S) + 5) - 1) * KNOT_S


def smoothed(values: np.ndarray, sigma_s: float = SMOOTHING_S) -> np.ndarray:
    """Knot values (N, …) blurred in time; the ends are continued."""
    reach = math.ceil(3 * sigma_s / KNOT_S)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * KNOT_S / sigma_s) ** 2)
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    blurred = [np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.reshape(len(padded), -1).T]
    return np.stack(blurred, 1).reshape(values.shape)


def sway(rng: np.random.Generator, times_s: np.ndarray, amplitude: np.ndarray, hz: tuple[float, float]) -> np.ndarray:
    """Three sines in every column, (N, len(amplitude)), together at most the amplitude."""
    total = np.zeros((len(times_s), len(amplitude)))
    for _ in range(3):
        phase = rng.uniform(0, 2 * np.pi, len(amplitude))
        total += np.sin(2 * np.pi * rng.uniform(*hz, len(amplitude)) * times_s[:, None] + phase)
    return total / 3 * amplitude


def follow(rates: np.ndarray, yaw_rad: float) -> np.ndarray:
    """Knots from speeds (N, 6): right, down, forward of the heading in m/s, yaw, pitch, roll in rad/s."""
    steps = (rates[1:] + rates[:-1]) / 2 * KNOT_S
    turned = np.vstack([np.zeros(6), np.cumsum(steps, 0)])
    turned[:, 3] += yaw_rad
    yaw = turned[:-1, 3] + steps[:, 3] / 2
    sin, cos = np.sin(yaw), np.cos(yaw)
    moved = np.stack([cos * steps[:, 0] + sin * steps[:, 2], steps[:, 1], cos * steps[:, 2] - sin * steps[:, 0]], 1)
    turned[1:, :3] = np.cumsum(moved, 0)
    turned[0, :3] = 0
    return turned


def drive_path(rng: np.random.Generator, duration_s: float) -> SplinePath:
    """A car on a road at 0 to 20 m/s: cruising, braking to a stop, starting, standing; gentle bends.

    The camera is 1.65 m ± 5 % above the ground (y = 0) and looks within 3° of the horizon.
    """
    times_s = knot_times(duration_s)
    kind = rng.choice(["cruise", "brake", "start", "stand"], p=[0.7, 0.12, 0.12, 0.06])
    speed = np.full(len(times_s), rng.uniform(2, 20)) + rng.uniform(-1.5, 1.5) * times_s
    if kind == "brake":
        speed = rng.uniform(2, 12) - rng.uniform(2.5, 6.0) * times_s
    elif kind == "start":
        speed = rng.uniform(1.5, 3.5) * (times_s - rng.uniform(0, 0.5) * duration_s)
    elif kind == "stand":
        speed = np.zeros(len(times_s))
    speed = np.clip(smoothed(np.clip(speed, 0, 20)), 0, 20)
    # At most 2.5 m/s² sideways, and no bend tighter than 15 m.
    bend = rng.uniform(-1, 1) * rng.choice([0.1, 1.0]) * np.minimum(2.5 / np.maximum(speed, 1.0) ** 2, 1 / 15)
    rates = np.zeros((len(times_s), 6))
    rates[:, 2], rates[:, 3] = speed, bend * speed
    knots = follow(rates, 0.0)
    shake = (
        sway(rng, times_s, np.array([0.0, 0.012, 0, 0, 0.005, 0.005]), (0.7, 2.0)) * np.minimum(speed / 5, 1)[:, None]
    )
    knots += shake
    knots[:, 1] -= 1.65 * rng.uniform(0.96, 1.04)
    knots[:, 4] += rng.uniform(-0.05, 0.05)
    return SplinePath(knots)


def wander(
    rng: np.random.Generator, duration_s: float, speed: np.ndarray, turn: np.ndarray, yaw_rad: float
) -> np.ndarray:
    """Knots of somebody who goes, stands still and turns on the spot by turns, each for half a second to two.

    speed: (3,) greatest speed to the right, down, forward in m/s; turn: (3,) likewise yaw, pitch, roll in rad/s.
    """
    times_s = knot_times(duration_s)
    rates, at = np.zeros((len(times_s), 6)), 0
    while at < len(times_s):
        end = at + round(rng.uniform(0.5, 2.0) / KNOT_S)
        kind = rng.choice(["go", "turn", "stand"], p=[0.75, 0.15, 0.1])
        if kind == "go":
            rates[at:end, :3] = rng.uniform(-1, 1, 3) * speed
            rates[at:end, 2] = rng.uniform(-0.2, 1.0) * speed[2]
            rates[at:end, 3:] = rng.uniform(-0.5, 0.5, 3) * turn
        elif kind == "turn":
            rates[at:end, 3:] = rng.uniform(-1, 1, 3) * turn
        at = end
    return follow(smoothed(rates), yaw_rad)


def limited(angle_rad: np.ndarray, limit_rad: float) -> np.ndarray:
    """Angles kept within a limit, smoothly."""
    return limit_rad * np.tanh(angle_rad / limit_rad)


def walk_path(rng: np.random.Generator, duration_s: float, half_room_m: np.ndarray, ceiling_m: float) -> SplinePath:
    """A camera in the hand of somebody in a room about the origin (floor y = 0), at most 1.5 m/s and 80 °/s."""
    free = np.array([half_room_m[0] - 0.8, 0.3, half_room_m[1] - 0.8])
    start = np.array([0, -rng.uniform(0.7, min(1.8, ceiling_m - 0.6)), 0]) + rng.uniform(-0.9, 0.9, 3) * free * (
        1,
        0,
        1,
    )
    inward = math.atan2(-start[0], -start[2]) + rng.normal(0, 0.9)  # most of the room lies that way
    knots = wander(rng, duration_s, np.array([0.6, 0.25, 1.3]), np.array([1.4, 0.6, 0.3]), inward)
    knots[:, :3] = within(knots[:, :3], start, (0, start[1], 0) - free, (0, start[1], 0) + free)
    knots[:, 4] = limited(knots[:, 4] + rng.uniform(-0.5, 0.25), 0.6)
    knots[:, 5] = limited(knots[:, 5], 0.25)
    hand = np.array([0.01, 0.012, 0.01, 0.012, 0.012, 0.008])
    return SplinePath(knots + sway(rng, knot_times(duration_s), hand, (0.6, 2.2)))


def flight_path(rng: np.random.Generator, duration_s: float) -> SplinePath:
    """A drone 1 to 14 m above the ground (y = 0), at most 8 m/s forward, 2.5 m/s up and 100 °/s."""
    pace = rng.uniform(0.25, 1.0)
    knots = wander(
        rng, duration_s, pace * np.array([3.0, 2.5, 8.0]), np.array([1.7, 0.6, 0.6]), rng.uniform(-np.pi, np.pi)
    )
    height = np.exp(rng.uniform(np.log(1.3), np.log(12.0)))
    low, high = np.array([-25.0, -14.0, -25.0]), np.array([25.0, -1.0, 25.0])
    knots[:, :3] = within(knots[:, :3], np.array([0, -height, 0]), low, high)
    knots[:, 4] = limited(knots[:, 4] - rng.uniform(0, 0.1 + 0.05 * height), 0.9)
    knots[:, 5] = limited(knots[:, 5], 0.4)
    gusts = np.array([0.02, 0.02, 0.02, 0.006, 0.008, 0.008])
    return SplinePath(knots + sway(rng, knot_times(duration_s), gusts, (0.4, 1.5)))


def within(moved: np.ndarray, start: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Positions start + share·moved (N, 3), the share of each axis so small that all lie between low and high."""
    with np.errstate(divide="ignore"):
        up = (high - start) / np.maximum(moved.max(0), 1e-9)
        down = (start - low) / np.maximum(-moved.min(0), 1e-9)
    share = np.minimum(np.minimum(up, down), 1.0)
    share[[0, 2]] = share[[0, 2]].min()  # the heading stays the heading
    return start + share * moved
