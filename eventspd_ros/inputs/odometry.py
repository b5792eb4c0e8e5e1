"""Turns odometry messages into the camera's poses. No ROS: the messages may be those of rclpy or of rosbags.

It reads nav_msgs/Odometry, geometry_msgs/PoseStamped and PoseWithCovarianceStamped. What they declare of their errors:
- An Odometry's twist covariance is the error of its velocity, and so of the motion from pose to pose. The largest of
  the three linear variances counts, and the largest of the three angular ones. Zero means that it is not declared, -1
  in the first place that nothing is known. NaN, infinity and values above MAX_VARIANCE are left out: filters publish
  them for an axis that they do not measure.
- A pose covariance is the error of the place in the world. It grows with the way travelled and says nothing of the
  motion over 100 ms, so it is not used: neither that of an Odometry nor that of a PoseWithCovarianceStamped.

As they publish: OpenVINS `odomimu` goes from global to imu at the IMU's rate, with the twist's covariance. VINS-Fusion
`odometry` names its child frame "world" too, though the pose is that of its IMU, comes at the images' rate after the
optimiser, and its covariances are zero. robot_localization `odometry/filtered` goes from world_frame to base_link_frame
at `frequency` (30 Hz), with the twist's covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.inputs.intake import CLOCK_SLACK_NS, Reports
from eventspd_ros.motion.trajectory import StampedPose, Trajectory

# node parameter → the messages it takes
MESSAGES = {
    "odometry": ("nav_msgs/msg/Odometry",),
    "pose": ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped"),
}
MAX_VARIANCE = 1e3  # (m/s)², (rad/s)²
NORM_SLACK = 0.01  # a quaternion's length may be this far from 1, as some are written with few digits
_STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class PoseSource:
    """Reads poses of one topic.

    motion: a key of MESSAGES. camera_pose: x y z qx qy qz qw of the camera's optical frame in the child frame of the
    messages (T_child_camera); None: the child frame is the camera's.
    """

    def __init__(self, motion: str, camera_pose: Sequence[float] | str | None = None):
        if motion not in MESSAGES:
            raise ValueError(f"motion {motion!r} has no messages; known are {', '.join(MESSAGES)}")
        self._declares = motion == "odometry"
        pose = parse_camera_pose(_STILL if camera_pose is None else camera_pose)
        self._lever_m, self._turn = pose[:3], pose[3:]

    def read(self, msg) -> StampedPose:
        """The camera's pose, T_world_camera = T_world_child T_child_camera. ValueError, one line, names what is wrong.

        The camera's velocity is that of the child frame and the rate times the lever between them; so are the errors.
        """
        stamp_ns = time_to_ns(msg.header.stamp)
        if stamp_ns <= 0:
            raise ValueError(f"its stamp is {stamp_ns} ns; poses are stamped when they were measured")
        pose = getattr(msg.pose, "pose", msg.pose)
        p, q = pose.position, pose.orientation
        position_m = np.array([p.x, p.y, p.z])
        if not np.isfinite(position_m).all():
            raise ValueError(f"its position {_text(position_m)} is not finite")
        turn = _unit(np.array([q.x, q.y, q.z, q.w]))
        velocity_m_s, rate_rad_s = declared_errors(msg.twist.covariance) if self._declares else (0.0, 0.0)
        if velocity_m_s:
            velocity_m_s += rate_rad_s * float(np.linalg.norm(self._lever_m))
        return StampedPose(
            stamp_ns,
            position_m + rotations.to_matrix(turn) @ self._lever_m,
            rotations.multiply(turn, self._turn),
            velocity_m_s,
            rate_rad_s,
        )

    @staticmethod
    def frames(msg) -> tuple[str, str]:
        """The message's frame and child frame; '' where it names none."""
        return msg.header.frame_id, getattr(msg, "child_frame_id", "")


class PoseReader(Protocol):
    """A PoseSource, or what finds its camera pose first."""

    def read(self, msg) -> StampedPose:
        """The camera's pose. ValueError, one line, names what is wrong."""

    def frames(self, msg) -> tuple[str, str]:
        """The message's frame and child frame; '' where it names none."""


class PoseIntake:
    """Adds the poses of a topic's messages to a trajectory.

    accepted, rejected: how many messages could be read, and how many could not. The trajectory itself counts what it
    does with the poses. It restarts when the frames change (cause "frames"): between two maps there is no motion.
    """

    def __init__(self, source: PoseReader, trajectory: Trajectory, reporter: Reports):
        self.source, self.trajectory, self._reporter = source, trajectory, reporter
        self.accepted = self.rejected = 0
        self.last_error = ""
        self._frames: tuple[str, str] | None = None

    def take(self, msg) -> None:
        """Add a message's pose. A message that cannot be read is counted, reported and left out."""
        try:
            pose = self.source.read(msg)
        except ValueError as error:
            self.reject(str(error))
            return
        self.accepted += 1
        frames = self.source.frames(msg)
        if self._frames not in (None, frames):
            self.trajectory.restart("frames")
            (before, child_before), (now, child) = self._frames, frames
            text = f"poses went from {before!r} to {child_before!r}, now from {now!r} to {child!r}: motion begins anew"
            self._reporter.error("frames", text)
        self._frames = frames
        self.trajectory.add(pose)

    def reject(self, reason: str) -> None:
        """Count a message that is left out."""
        self.rejected += 1
        self.last_error = f"pose left out: {reason}"
        self._reporter.error("pose", self.last_error)

    def ros_clock_fell(self, now_ns: int) -> None:
        """Say that the ROS clock jumped back to now_ns. The trajectory restarts, unless its poses jumped already."""
        newest_ns = self.trajectory.newest_ns
        if newest_ns is not None and newest_ns > now_ns + CLOCK_SLACK_NS:
            self.trajectory.restart("ros_clock_fell")


def is_pose_due(trajectory: Trajectory, stamp_ns: int, max_silence_ns: int) -> bool:
    """Whether a request of that stamp (ROS time) should wait for a pose that reaches it.

    It should if no pose reaches it yet, but the newest is at most max_silence_ns older. Node and replay both ask here.
    """
    newest_ns = trajectory.newest_ns
    return newest_ns is not None and newest_ns < stamp_ns <= newest_ns + max_silence_ns


def parse_camera_pose(pose: Sequence[float] | str) -> np.ndarray:
    """x y z qx qy qz qw, as numbers or as text with spaces or commas, to (7,) float64 with a unit quaternion.

    ValueError, one line, says what is wrong.
    """
    try:
        numbers = np.array(pose.replace(",", " ").split() if isinstance(pose, str) else pose, np.float64)
        if numbers.shape != (7,) or not np.isfinite(numbers).all():
            raise ValueError("these are no seven finite numbers")
        numbers[3:] = _unit(numbers[3:])
    except (ValueError, TypeError) as error:
        raise ValueError(f"camera_pose {pose!r}: {error}; give x y z qx qy qz qw") from None
    return numbers


def declared_errors(covariance: Sequence[float]) -> tuple[float, float]:
    """Standard deviations (m/s, rad/s) that a twist covariance, 6x6 row by row, declares; 0: not declared."""
    covariance = np.asarray(covariance, np.float64)
    if covariance[0] < 0:
        return 0.0, 0.0
    variances = covariance[::7].reshape(2, 3)
    declared = np.where((variances > 0) & (variances <= MAX_VARIANCE), variances, 0.0)
    linear, angular = np.sqrt(declared.max(axis=1)).tolist()
    return linear, angular


def _unit(quaternion: np.ndarray) -> np.ndarray:
    norm = np.sqrt((quaternion**2).sum())
    if not abs(norm - 1) <= NORM_SLACK:  # NaN, too
        raise ValueError(f"its quaternion {_text(quaternion)} has length {norm:g}, not 1")
    return quaternion / norm


def _text(numbers: np.ndarray) -> str:
    return " ".join(f"{number:g}" for number in numbers)
