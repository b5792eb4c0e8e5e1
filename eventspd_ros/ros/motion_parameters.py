"""What the parameters say of the camera's motion: checked when the node is configured, turned into parts when it is
activated."""

from __future__ import annotations

import math
from collections.abc import Callable

from eventspd_ros.inputs.odometry import MESSAGES, PoseIntake, PoseSource
from eventspd_ros.motion.depth_from_motion import MotionDepth, PoseErrors
from eventspd_ros.motion.trajectory import Trajectory
from eventspd_ros.nanoseconds import NS_PER_MS
from eventspd_ros.ros.messages import POSES_QOS, message_class
from eventspd_ros.ros.poses import Messages, Poses, TopicMessages
from eventspd_ros.ros.tf import TfMessages, TfMountedSource, TfTree
from eventspd_ros.ros.topics import Subscription
from eventspd_ros.ros.workers import Reporter

TF = "tf"  # of motion, and of camera_pose


class MotionParameters:
    """Of one stream, where motion is not none."""

    def __init__(self, node, values, camera_pose: str, camera_frame: Callable[[], str]):
        """values: the node's parameters. camera_frame(): as of TfTree. ValueError, one line: they do not fit."""
        self._values = values
        motion = values.motion
        if camera_pose == TF and motion == "pose":
            raise ValueError(
                f"camera_pose {TF}: PoseStamped names no child frame; give x y z qx qy qz qw, or motion {TF}"
            )
        self._message_type = None if motion == TF else _message_class(values)
        mounted_by_tf = camera_pose == TF and motion != TF
        source = None if mounted_by_tf else PoseSource("pose" if motion == TF else motion, _mount(motion, camera_pose))
        self._tree = TfTree(node, camera_frame) if TF in (motion, camera_pose) else None
        self._source = source

    def close(self) -> None:
        if self._tree is not None:
            self._tree.close()

    def make_poses(self, reporter: Reporter, on_fault: Callable[[str], None]) -> Poses:
        values = self._values
        trajectory = Trajectory(round(values.max_pose_extrapolation_ms * NS_PER_MS))
        source = self._source or TfMountedSource(self._known_tree)
        intake = PoseIntake(source, trajectory, reporter)
        if self._message_type is None:
            messages: Messages = TfMessages(self._known_tree, values.world_frame)
        else:
            messages = TopicMessages(values.motion, self._message_type)
        return Poses(messages, intake, reporter, on_fault)

    @property
    def _known_tree(self) -> TfTree:
        assert self._tree is not None, "there is one wherever poses or the camera's place come from tf"
        return self._tree

    def make_motion(self, height: int, width: int, trajectory: Trajectory) -> MotionDepth:
        errors = PoseErrors(
            rotation_rad_s=math.radians(self._values.pose_rotation_drift_dps),
            translation_share=self._values.pose_translation_drift,
        )
        return MotionDepth(height, width, trajectory, errors)

    def inputs(self, poses: Poses) -> list[Subscription]:
        messages = poses.messages
        if not isinstance(messages, TopicMessages):
            return []
        return [Subscription(messages.name, messages.message_type, POSES_QOS, messages.put, raw=True)]


def _mount(motion: str, camera_pose: str) -> str | None:
    """tf knows the camera's own frame."""
    if motion == TF and camera_pose not in ("", TF):
        raise ValueError(f"camera_pose {camera_pose!r}: motion {TF} knows the camera's frame; leave camera_pose empty")
    return None if motion == TF else camera_pose or None


def _message_class(values) -> type:
    motion = values.motion
    name = values.pose_type if motion == "pose" else MESSAGES[motion][0]
    if (found := message_class(name)) is None:
        package = name.split("/")[0].replace("_", "-")
        raise ValueError(f"motion {motion} needs {name}: apt install ros-$ROS_DISTRO-{package}")
    return found
