"""Poses from tf, where tf2_ros is installed; it is in every ROS 2 from apt, and not on PyPI."""

from __future__ import annotations

import threading
from collections.abc import Callable

from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.time import Time

from eventspd_ros.inputs.odometry import PoseSource
from eventspd_ros.motion.trajectory import StampedPose

PERIOD_S = 0.01  # of look-ups: an event camera's path is known well enough at 100 Hz


class TfTree:
    """What /tf and /tf_static have said. camera_frame(): the optical frame's name, '' before camera_info came."""

    def __init__(self, node, camera_frame: Callable[[], str]):
        """ValueError: tf2_ros is not installed."""
        try:
            import tf2_ros
        except ImportError:
            raise ValueError(
                "poses from tf need tf2_ros: apt install ros-$ROS_DISTRO-tf2-ros-py, or set motion to odometry or pose "
                "and camera_pose to seven numbers"
            ) from None
        self._camera_frame, self._error = camera_frame, tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def close(self) -> None:
        self._listener.unregister()

    def forget(self) -> None:
        """All but /tf_static: tf answers with the newest stamp, though time fell."""
        self._buffer.clear()

    def camera_in(self, frame: str) -> TransformStamped:
        """The camera's newest pose in that frame. ValueError: it is not known."""
        camera = self._camera_frame()
        if not camera or not frame:
            named = "camera_info names no frame_id for the camera" if frame else "poses name no child frame"
            raise ValueError(f"tf cannot be asked: {named}; set camera_pose to seven numbers")
        try:
            return self._buffer.lookup_transform(frame, camera, Time())
        except self._error as error:
            raise ValueError(f"tf does not know {camera} in {frame} ({error}); is its publisher running?") from None


class TfMessages:
    """The camera's poses in a frame, looked up at 100 Hz, each once."""

    name, dropped = "tf", 0

    def __init__(self, tree: TfTree, world_frame: str):
        self._tree, self._world_frame = tree, world_frame
        self._closed = threading.Event()
        self._newest: tuple[int, int] | None = None

    def get(self) -> PoseStamped | None:
        while not self._closed.wait(PERIOD_S):
            found = self._tree.camera_in(self._world_frame)
            stamp = (found.header.stamp.sec, found.header.stamp.nanosec)
            if stamp != self._newest:
                self._newest = stamp
                return _as_pose(found)
        return None

    def ros_clock_fell(self) -> None:
        self._tree.forget()

    def close(self) -> None:
        self._closed.set()


class TfMountedSource:
    """As a PoseSource of odometry, the camera's pose in the messages' child frame being what tf says at first."""

    frames = staticmethod(PoseSource.frames)

    def __init__(self, tree: TfTree):
        self._tree = tree
        self._source: PoseSource | None = None

    def read(self, msg) -> StampedPose:
        if self._source is None:
            mounted = self._tree.camera_in(msg.child_frame_id).transform
            t, q = mounted.translation, mounted.rotation
            self._source = PoseSource("odometry", (t.x, t.y, t.z, q.x, q.y, q.z, q.w))
        return self._source.read(msg)


def _as_pose(found: TransformStamped) -> PoseStamped:
    pose, t = PoseStamped(header=found.header), found.transform.translation
    pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = t.x, t.y, t.z
    pose.pose.orientation = found.transform.rotation
    return pose
