"""A bag's poses and events as motion takes them: for a predictor's answers, and for what motion knows by itself."""

from __future__ import annotations

import numpy as np

from eventspd_ros.evaluation.replay.packets import Complaints
from eventspd_ros.evaluation.replay.requests import ReplaySettings
from eventspd_ros.evaluation.replay.topics import BagTopics
from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.odometry import PoseIntake, PoseSource, is_pose_due
from eventspd_ros.motion.depth_from_motion import MotionDepth
from eventspd_ros.motion.trajectory import Trajectory
from eventspd_ros.predictor import Answer, Predictor

# What the answer is made of, to stand beside it: name → depth and its standard deviation, (K,) m each.
Parts = dict[str, tuple[np.ndarray, np.ndarray]]


class BagMotion:
    """The poses of one topic, and the two that live on them and on the events: `depth`, a predictor's own, and one of a
    predictor that never encodes anything. The intake's listener."""

    def __init__(self, bag: Bag, topics: BagTopics, lens: CameraModel, model, settings: ReplaySettings):
        self.topic = topics.poses
        self._bag, self._complaints = bag, Complaints()
        self._msgtype = next(c.msgtype for c in bag.connections if c.topic == topics.poses)
        self._max_silence_ns = round(settings.max_cache_age_ms * 1e6)
        self.trajectory = Trajectory()
        self.poses = PoseIntake(PoseSource(topics.motion, settings.camera_pose), self.trajectory, self._complaints)
        self.depth, alone = (MotionDepth(lens.height, lens.width, self.trajectory) for _ in range(2))
        self._fed = self.depth, alone
        for motion in self._fed:
            motion.set_lens(lens)
        self._alone = Predictor(model, lens.height, lens.width, motion=alone)

    def begin(self, epoch: int) -> None:
        """The stream begins anew; the predictor that has `depth` is told by itself."""
        self._alone.begin(epoch)

    def take(self, data: bytes) -> None:
        """A serialized message of the topic."""
        try:
            message = self._bag.deserialize(data, self._msgtype)
        except ValueError as error:
            self._complaints.error(self.topic, f"{self.topic}: a message was left out: {error}")
            return
        self.poses.take(message)

    def add(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, t_ns: np.ndarray) -> None:
        for motion in self._fed:
            motion.add(x, y, p, t_ns)

    def advance_to(self, t_ns: int) -> None:
        for motion in self._fed:
            motion.advance_to(t_ns)

    def is_due(self, stamp_ns: int) -> bool:
        """Whether a request of that stamp, ROS time, waits for a pose."""
        return is_pose_due(self.trajectory, stamp_ns, self._max_silence_ns)

    def parts(self, learned: Answer, uv_px: np.ndarray, t_ns: int, ids: np.ndarray, offset_ns: int) -> Parts:
        """Once `depth` has answered: what the network says, the same at the scale that the stream has seen since, and
        what motion knows without a network. Arguments as of Predictor.with_motion()."""
        with np.errstate(invalid="ignore"):
            log_depth, log_stddev = np.log(learned.depth_m), learned.depth_stddev_m / learned.depth_m
        log_scaled, scaled_stddev = self.depth.learned.rough(log_depth, log_stddev)
        scaled_m = np.exp(log_scaled)
        alone = self._alone.query(uv_px, t_ns, None, ids, offset_ns)
        return {
            "learned": (learned.depth_m, learned.depth_stddev_m),
            "learned × scale": (scaled_m, scaled_m * scaled_stddev),
            "motion": (alone.depth_m, alone.depth_stddev_m),
        }

    def counters(self) -> dict[str, int]:
        """What became of the messages and the poses, for JSON."""
        counts = {"accepted": self.poses.accepted, "rejected": self.poses.rejected, **self.trajectory.counts}
        return {f"poses_{name}": count for name, count in counts.items()} | {
            "answers_without_poses": self.depth.without_poses
        }
