"""A coarse depth map of the whole image, for costmaps and obstacle layers: what a request at the middle of every eighth
cell of what the model sees would be answered, with motion where that is known.

Made of the newest window, at most five times a second, while someone listens, on a thread of its own; it teaches the
stream nothing, so that no keypoint's answer depends on who listens.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from eventspd_ros.events.messages import new_header, new_keypoints
from eventspd_ros.inputs.answers import new_answer
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.model.feature_cache import FeatureCache
from eventspd_ros.predictor import Answer, Predictor
from eventspd_ros.ros.images import image_to_msg
from eventspd_ros.ros.messages import new_message
from eventspd_ros.ros.outputs import OUTPUTS_QOS, is_heard, point_cloud
from eventspd_ros.ros.queues import WorkQueue
from eventspd_ros.ros.workers import Reporter, Worker

CELLS = 8  # of what the model sees, from one pixel of the map to the next
PERIOD_S = 0.2


class CoarseDepth:
    """One stream's publishers of the map: put() returns at once; close() ends the thread."""

    def __init__(self, create_publisher: Callable, reporter: Reporter, on_fault: Callable[[str], None], name: str = ""):
        """As Outputs()."""
        self.image = create_publisher(Image, "depth/coarse/image", OUTPUTS_QOS)
        self.stddev = create_publisher(Image, "depth/coarse/stddev", OUTPUTS_QOS)
        self.info = create_publisher(CameraInfo, "depth/coarse/camera_info", OUTPUTS_QOS)
        self.points = create_publisher(PointCloud2, "depth/coarse/points", OUTPUTS_QOS)
        self._made_s = float("-inf")
        self._windows = WorkQueue(1)
        self._worker = Worker(f"coarse depth {name}".strip(), self._step, reporter, on_fault)
        self._worker.start()

    def is_wanted(self) -> bool:
        """Whether someone listens, and the last one is long enough ago."""
        publishers = self.image, self.stddev, self.info, self.points
        return time.monotonic() - self._made_s >= PERIOD_S and any(map(is_heard, publishers))

    def put(self, predictor: Predictor, camera: CameraModel, offset_ns: int) -> None:
        """Its newest window is to be drawn. offset_ns: ROS time minus sensor time."""
        if (cache := predictor.cache) is not None:
            self._made_s = time.monotonic()
            self._windows.put((predictor, cache, camera, offset_ns))

    def close(self) -> bool:
        """Drop what waits and join the thread; whether it ended."""
        self._windows.close()
        return self._worker.join()

    def _step(self) -> bool:
        if (item := self._windows.get()) is None:
            return False
        self._publish(*item)
        return True

    def _publish(self, predictor: Predictor, cache: FeatureCache, camera: CameraModel, offset_ns: int) -> None:
        step_px = CELLS * (1 if cache.pitch is None else cache.pitch.n)
        hw, uv_px = coarse_grid(predictor.height, predictor.width, step_px)
        answer = predictor.query(uv_px, cache.end_ns, cache, offset_ns=offset_ns, teaches=False)
        window_ns = cache.start_ns + offset_ns, cache.end_ns + offset_ns
        header = new_header(new_message, window_ns[1], camera.frame_id)
        if is_heard(self.points):
            self.points.publish(_cloud(header, uv_px, answer, window_ns, camera))
        self.image.publish(image_to_msg(header, answer.depth_m.reshape(hw), "32FC1"))
        self.stddev.publish(image_to_msg(header, answer.depth_stddev_m.reshape(hw), "32FC1"))
        self.info.publish(coarse_camera_info(header, camera, hw, step_px))


def coarse_grid(height: int, width: int, step_px: int) -> tuple[tuple[int, int], np.ndarray]:
    """(rows, columns) of the map, and where the middle of each of its pixels is on the sensor, float32 (K, 2), row by
    row. Columns and rows at the sensor's end that do not fill a step are left out."""
    rows, columns = max(height // step_px, 1), max(width // step_px, 1)
    v, u = np.indices((rows, columns), np.float32).reshape(2, -1)
    return (rows, columns), (np.stack((u, v), axis=1) + 0.5) * step_px - 0.5


def coarse_camera_info(header: Header, camera: CameraModel, hw: tuple[int, int], step_px: int) -> CameraInfo:
    """camera_info of the map: the same lens, its pixels step_px of the sensor's."""
    info = copy.copy(camera.info)
    info.header, (info.height, info.width) = header, hw
    for name, shape in (("k", (3, 3)), ("p", (3, 4))):
        matrix = np.array(getattr(info, name), np.float64).reshape(shape)
        if matrix.any():
            matrix[:2, 2] += 0.5
            matrix[:2] /= step_px
            matrix[:2, 2] -= 0.5
        setattr(info, name, matrix.ravel())
    return info


def _cloud(
    header: Header, uv_px: np.ndarray, answer: Answer, window_ns: tuple[int, int], camera: CameraModel
) -> PointCloud2:
    request = new_keypoints(new_message, header, np.arange(len(uv_px)), uv_px)
    return point_cloud(new_answer(new_message, request, answer, window_ns), camera)
