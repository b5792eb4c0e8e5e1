"""Where the camera was: a bounded buffer of stamped poses, and the motion between any two times.

Between two poses the camera moves at constant velocity and turns at constant rate (slerp), from these two alone: what
comes later changes no answer, so a bag read ahead and the live node agree to the bit.

What is done with odd poses; `counts` counts each by its name.

out_of_order   older than the newest: put in its place
late           older than HORIZON_NS before the newest: dropped. LATE_POSES of them in a row: time fell, begin anew
duplicate      a stamp that is there already: ignored
storm          closer than MIN_SPACING_NS to a neighbour: ignored, so memory is bounded
gap            further than MAX_GAP_NS from the one before: begins a segment
jump           a step that no camera makes, such as a map correction of a SLAM: begins a segment
time_fell      began anew after late poses; restart() counts other causes by their names

Poses of two segments are never related to one another. A step is a jump where it differs from the velocity before it by
more than MAX_ACCELERATION explains over the time between the middles of the two steps, never more than
MAX_VELOCITY_CHANGE, and a tolerance for noise of the poses. Velocity is not known at the first step of a segment; there
the step is a jump if it is faster than MAX_VELOCITY. A correction below the tolerance passes unseen.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

import numpy as np

from eventspd_ros import rotations

HORIZON_NS = 2_000_000_000
MIN_SPACING_NS = 500_000  # no camera's shake is faster than 1 kHz
MAX_POSES = HORIZON_NS // MIN_SPACING_NS + 1
MAX_GAP_NS = 300_000_000  # poses at 5 Hz that jitter by half are still of one piece
LATE_POSES = 3  # one odd stamp is not another time

# Pairs of (translation, rotation): m/s² and rad/s², m/s and rad/s, m and rad. Racing drones and cameras shaken by hand
# stay below the accelerations. Over the 0.2 s of slow poses these would excuse a jump of 4 m, but nobody keeps them
# up so long, and where somebody did, interpolation would be off by decimetres: to abstain is right then too.
MAX_ACCELERATION = np.array([100.0, 300.0])
MAX_VELOCITY_CHANGE = np.array([5.0, 10.0])
MAX_VELOCITY = np.array([50.0, 30.0])
# Three poses of white noise s on each axis differ from a line by 2.4 s: noise of 1.5 mm and 0.15° passes at five of
# its deviations.
NOISE_TOLERANCE = np.array([0.02, np.radians(2.0)])
# An ordinary acceleration, for the first step of a segment.
ASSUMED_ACCELERATION = np.array([5.0, 10.0])

# One pose, and how the camera came to it from the one before. velocity: of the translation in the world (m/s), of the
# rotation in the camera (rad/s). acceleration: how that differs from the step before, (m/s², rad/s²).
_ROW = np.dtype(
    [
        ("stamp_ns", np.int64),
        ("segment", np.int64),
        ("position_m", np.float64, 3),
        ("quaternion", np.float64, 4),
        ("rotation", np.float64, (3, 3)),
        ("stddev", np.float64, 2),
        ("velocity", np.float64, (2, 3)),
        ("acceleration", np.float64, 2),
        ("starts", np.bool_),
    ],
    align=True,
)


@dataclass(frozen=True, eq=False, slots=True)
class StampedPose:
    """The camera's optical frame (x right, y down, z forward) in the world: T_world_camera, at stamp_ns (ROS time).

    position_m: (3,). quaternion: (4,) x, y, z, w, of unit length. velocity_stddev_m_s, rate_stddev_rad_s: declared
    errors of the motion from pose to pose, for each second; 0: not declared.
    """

    stamp_ns: int
    position_m: np.ndarray
    quaternion: np.ndarray
    velocity_stddev_m_s: float = 0.0
    rate_stddev_rad_s: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class Motion:
    """From the camera at one time to the camera at n others: X_j = rotation[j] @ X + translation_m[j].

    rotation: (n, 3, 3), translation_m: (n, 3); NaN where known (n,) is False. extrapolated: the one time, or a known
    one of the others, is past the newest pose. drift_*: the largest errors that the poses used declare, for each
    second; 0: none declared. interpolation_error_*: the largest that constant velocity is off by, judging from the
    acceleration up to the end of the pair of poses that it stands on.
    """

    rotation: np.ndarray
    translation_m: np.ndarray
    known: np.ndarray
    extrapolated: bool = False
    drift_translation_m_s: float = 0.0
    drift_rotation_rad_s: float = 0.0
    interpolation_error_m: float = 0.0
    interpolation_error_rad: float = 0.0

    @classmethod
    def still(cls, n: int) -> Motion:
        return cls(np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3)), np.ones(n, bool))

    @classmethod
    def unknown(cls, n: int) -> Motion:
        return cls(np.full((n, 3, 3), np.nan), np.full((n, 3), np.nan), np.zeros(n, bool))


class Trajectory:
    """Poses of the last HORIZON_NS. One thread adds, others ask.

    max_extrapolation_ns: how far past the newest pose the velocity of its step is trusted.
    """

    def __init__(self, max_extrapolation_ns: int = 30_000_000):
        self.max_extrapolation_ns = max_extrapolation_ns
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._store = np.zeros(2 * MAX_POSES, _ROW)  # twice: rows move to its head once in MAX_POSES additions
        self._first = self._last = self._late = 0

    def add(self, pose: StampedPose) -> None:
        """Take a pose; one that is left out is counted."""
        with self._lock:
            place = self._place(pose.stamp_ns)
            if place is not None:
                self._insert(place, pose)

    def restart(self, cause: str) -> None:
        """Forget all poses: those to come have another frame, or another time. cause: counted."""
        with self._lock:
            self._restart(cause)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest pose; None where there is none."""
        with self._lock:
            return int(self._rows["stamp_ns"][-1]) if len(self._rows) else None

    def covers(self, t_ns: int) -> bool:
        """Whether the pose at t_ns is known without extrapolation."""
        with self._lock:
            if not len(self._rows):
                return False
            _, _, known, past = self._bracket(np.array([t_ns], np.int64))
        return bool(known[0] and not past[0])

    def relative(self, t_ns: int, times_ns: np.ndarray) -> Motion:
        """From camera coordinates at t_ns to those at each of times_ns (n,)."""
        at_ns = np.concatenate([[t_ns], times_ns]).astype(np.int64, copy=False)
        with self._lock:
            if not len(self._rows):
                return Motion.unknown(len(at_ns) - 1)
            low, high, known, past = self._bracket(at_ns)
        known = known & (low["segment"] == low["segment"][0])
        if not known[0]:
            return Motion.unknown(len(at_ns) - 1)
        since_s = (at_ns - low["stamp_ns"]) * 1e-9
        moved = high["velocity"] * np.where(known, since_s, np.nan)[:, None, None]
        position_m = low["position_m"] + moved[:, 0]
        rotation = low["rotation"] @ rotations.to_matrix(rotations.from_rotation_vector(moved[:, 1]))
        inverse = np.swapaxes(rotation[1:], 1, 2)
        # Remainder of linear interpolation between h0 and h1: |a| |t - h0| |t - h1| / 2; beyond h1 as well.
        lever_s2 = np.abs(since_s * ((at_ns - high["stamp_ns"]) * 1e-9)) / 2
        error = (high["acceleration"] * lever_s2[:, None])[known].max(axis=0)
        drift = np.maximum(low["stddev"], high["stddev"])[known].max(axis=0)
        return Motion(
            inverse @ rotation[0],
            (inverse @ (position_m[0] - position_m[1:])[:, :, None])[:, :, 0],
            known[1:],
            bool((past & known).any()),
            *drift.tolist(),
            *error.tolist(),
        )

    def _bracket(self, at_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each time the row it moves on from, the row whose velocity it moves by, whether that is known, and
        whether the time is past the newest pose."""
        rows = self._rows
        stamps_ns = rows["stamp_ns"]
        place = np.searchsorted(stamps_ns, at_ns, "right") - 1
        beyond_ns = at_ns - stamps_ns[-1]
        past = beyond_ns > 0
        low = np.maximum(place - past, 0)  # past the newest pose, the last step goes on
        high = np.minimum(low + 1, len(rows) - 1)
        low_rows, high_rows = rows.take(low), rows.take(high)  # five times as fast as rows[low]
        joined = (high > low) & (low_rows["segment"] == high_rows["segment"])
        exact = low_rows["stamp_ns"] == at_ns  # known though the pose be alone
        known = (place >= 0) & (beyond_ns <= self.max_extrapolation_ns) & (exact | joined)
        return low_rows, high_rows, known, past

    def _place(self, stamp_ns: int) -> int | None:
        """Which row a pose of that stamp becomes; None: it is left out."""
        stamps_ns = self._rows["stamp_ns"]
        if not len(stamps_ns):
            return 0
        if stamp_ns < stamps_ns[-1] - HORIZON_NS:
            self.counts["late"] += 1
            self._late += 1
            if self._late < LATE_POSES:
                return None
            self._restart("time_fell")
            return 0
        self._late = 0
        place = int(np.searchsorted(stamps_ns, stamp_ns))
        nearest_ns = np.abs(stamps_ns[max(place - 1, 0) : place + 1] - stamp_ns).min()
        if nearest_ns < MIN_SPACING_NS:
            self.counts["storm" if nearest_ns else "duplicate"] += 1
            return None
        if place < len(stamps_ns):
            self.counts["out_of_order"] += 1
        return place

    def _insert(self, place: int, pose: StampedPose) -> None:
        """Put a pose in its place, judge the steps that it changes, and forget what is past the horizon."""
        if self._last == len(self._store):
            self._store[: len(self._rows)] = self._rows
            self._first, self._last = 0, len(self._rows)
        self._last += 1
        rows = self._rows
        rows[place + 1 :] = rows[place:-1]
        row = rows[place]
        row["stamp_ns"], row["position_m"], row["quaternion"] = pose.stamp_ns, pose.position_m, pose.quaternion
        row["rotation"] = rotations.to_matrix(pose.quaternion)
        row["stddev"] = pose.velocity_stddev_m_s, pose.rate_stddev_rad_s
        row["starts"] = False
        for i in range(place, len(rows)):
            started = bool(rows[i]["starts"])
            self._judge(i)
            # A step hangs on the two poses before it, and on whether the step before it starts a segment.
            if i >= place + 2 and started == rows[i]["starts"]:
                break
        before = rows["segment"][place - 1] if place else 0
        rows["segment"][place:] = before + np.cumsum(rows["starts"][place:])
        self._first += int(np.searchsorted(rows["stamp_ns"], rows["stamp_ns"][-1] - HORIZON_NS))

    def _judge(self, i: int) -> None:
        """Fill in the step that leads to row i, and whether it starts a segment."""
        row = self._rows[i]
        row["velocity"], row["acceleration"] = 0.0, ASSUMED_ACCELERATION
        if i == 0:
            row["starts"] = True
            return
        before = self._rows[i - 1]
        step_s = (row["stamp_ns"] - before["stamp_ns"]) * 1e-9
        turn = rotations.multiply(rotations.conjugate(before["quaternion"]), row["quaternion"])
        row["velocity"][0] = (row["position_m"] - before["position_m"]) / step_s
        row["velocity"][1] = rotations.to_rotation_vector(turn) / step_s
        if i > 1 and not before["starts"]:
            before_s = (before["stamp_ns"] - self._rows[i - 2]["stamp_ns"]) * 1e-9
            apart_s = (step_s + before_s) / 2
            change = _lengths(row["velocity"] - before["velocity"])
            row["acceleration"] = change / apart_s
            allowed = np.minimum(MAX_ACCELERATION * apart_s, MAX_VELOCITY_CHANGE)
        else:
            before_s, change, allowed = step_s, _lengths(row["velocity"]), MAX_VELOCITY
        gap = step_s > MAX_GAP_NS * 1e-9
        jump = (change > allowed + NOISE_TOLERANCE / min(step_s, before_s)).any()
        if (gap or jump) and not row["starts"]:
            self.counts["gap" if gap else "jump"] += 1
        row["starts"] = gap or jump

    @property
    def _rows(self) -> np.ndarray:
        return self._store[self._first : self._last]

    def _restart(self, cause: str) -> None:
        self.counts[cause] += 1
        self._first = self._last = self._late = 0


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors**2).sum(axis=-1))
