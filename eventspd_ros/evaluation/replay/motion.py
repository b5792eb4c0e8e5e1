"""A bag's poses and events as motion takes them: for a predictor's answers, and for what motion knows by itself."""

from __future__ import annotations

import numpy as np

from eventspd_ros.evaluation.replay.packets import StderrReporter
from eventspd_ros.evaluation.replay.requests import ReplaySettings
from eventspd_ros.evaluation.replay.topics import BagTopics
from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.odometry import PoseIntake, PoseSource, is_pose_due
from eventspd_ros.motion.depth_from_motion import MotionDepth
from eventspd_ros.motion.trajectory import Trajectory
from eventspd_ros.nanoseconds import NS_PER_MS
from eventspd_ros.predictor import Answer, Predictor

# What the answer is made of, to stand beside it: name → depth and its standard deviation, (K,) m each.
Parts = dict[str, tuple[np.ndarray, np.ndarray]]


class BagMotion:
    """The poses of one topic, and the two that live on them and on the events: `depth`, a predictor's own, and one of a
    predictor that never encodes anything. The intake's listener. Where the motion follows from the events there are no
    poses (topic: None), and nothing is known without a network."""

    def __init__(self, bag: Bag, topics: BagTopics, lens: CameraModel, model, settings: ReplaySettings):
        self.topic, self._msgtype = topics.poses, topics.poses_type
        self._bag = bag
        self._max_silence_ns = round(settings.max_cache_age_ms * NS_PER_MS)
        self.trajectory = Trajectory()
        self.poses = None
        if topics.poses:
            source = PoseSource(topics.motion, settings.camera_pose)
            self.poses = PoseIntake(source, self.trajectory, StderrReporter())
        parts = lens.height, lens.width, self.trajectory
        self.depth, alone = MotionDepth(*parts, by_events=settings.by_events), MotionDepth(*parts)
        self._fed = (self.depth,) if settings.by_events else (self.depth, alone)
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
            self.poses.reject(str(error))
        else:
            self.poses.take(message)

    def add(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, t_ns: np.ndarray) -> None:
        for motion in self._fed:
            motion.add(x, y, p, t_ns)

    def advance_to(self, t_ns: int) -> None:
        for motion in self._fed:
            motion.advance_to(t_ns)

    def is_due(self, wanted_ns: int) -> bool:
        """Whether to wait for poses up to then, ROS time."""
        return self.topic is not None and is_pose_due(self.trajectory, wanted_ns, self._max_silence_ns)

    def parts(self, learned: Answer, uv_px: np.ndarray, t_ns: int, ids: np.ndarray, offset_ns: int) -> Parts:
        """Once `depth` has answered: what the network says, the same at the scale that the stream has seen since, and
        what motion knows without a network; without poses the first alone. Arguments as of Predictor.with_motion()."""
        with np.errstate(invalid="ignore"):
            log_depth, log_stddev = np.log(learned.depth_m), learned.depth_stddev_m / learned.depth_m
        if self.poses is None:
            return {"learned": (learned.depth_m, learned.depth_stddev_m)}
        log_scaled, scaled_stddev = self.depth.learned.rough(log_depth, self.depth.learned.own(log_stddev))
        scaled_m = np.exp(log_scaled)
        alone = self._alone.query(uv_px, t_ns, None, ids, offset_ns)
        return {
            "learned": (learned.depth_m, learned.depth_stddev_m),
            "learned × scale": (scaled_m, scaled_m * scaled_stddev),
            "motion": (alone.depth_m, alone.depth_stddev_m),
        }

    def counters(self) -> dict[str, int]:
        """What became of the messages and the poses, under the names that the node's diagnostics have."""
        counts = {} if self.poses is None else {"poses": self.poses.accepted, "poses_rejected": self.poses.rejected}
        counts |= {f"poses_{cause}": count for cause, count in self.trajectory.counts.items()}
        return counts | {"answers_without_poses": self.depth.without_poses}
