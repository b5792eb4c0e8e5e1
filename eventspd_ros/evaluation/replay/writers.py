"""A replay's answers as a table (CSV), or as a bag that RViz and Foxglove open."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.replay.offline import ReplayAnswer
from eventspd_ros.evaluation.replay.requests import ReplayRequest
from eventspd_ros.events.files.rosbag import KEYPOINT_DEPTH_ARRAY, bag_typestore
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.point_cloud import CLOUD_FIELDS, keypoint_cloud
from eventspd_ros.predictor import Status
from eventspd_ros.whole import check_output, whole_file, whole_folder

COLUMNS = ("request", "stamp_ns", "window_start_ns", "window_end_ns", "kind", "id", "u_px", "v_px")
COLUMNS += ("depth_m", "depth_stddev_m", "status", "true_depth_m", "basis", "log_scale_stddev")
ANSWERS_TOPIC, POINTS_TOPIC = "/eventspd/keypoint_depths", "/eventspd/points"
POINT_CLOUD2 = "sensor_msgs/msg/PointCloud2"


def check_free(path: Path) -> None:
    """ValueError where a file or an answer bag cannot be written: something is there."""
    if path.suffix in (".csv", ".json"):
        check_output(path)
    elif path.exists():
        raise ValueError(f"{path}: exists already; remove it, or name another folder for the bag of answers")


def write_csv(path: Path, requests: Sequence[ReplayRequest], answers: Sequence[ReplayAnswer]) -> None:
    """A row a point, COLUMNS; what is unknown is empty."""
    names = {number: name for name, number in KINDS.items()}
    with whole_file(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, (request, given) in enumerate(zip(requests, answers, strict=True)):
            answer, (start_ns, end_ns) = given.answer, given.window_ns
            ids, kinds, statuses = request.id.tolist(), request.kind.tolist(), answer.status.tolist()
            shared = "" if np.isnan(answer.log_scale_stddev) else np.float32(answer.log_scale_stddev)
            for k, (u, v) in enumerate(request.uv_px):
                depths = (answer.depth_m[k], answer.depth_stddev_m[k], request.true_m[k])
                depth, stddev, true = ("" if np.isnan(value) else str(value) for value in depths)
                head = (number, request.stamp_ns, start_ns, end_ns, names[kinds[k]], ids[k], u, v)
                writer.writerow((*head, depth, stddev, Status(statuses[k]).name, true, answer.basis[k], shared))


def write_answer_bag(
    path: Path, requests: Sequence[ReplayRequest], answers: Sequence[ReplayAnswer], lens: CameraModel | None
) -> None:
    """KeypointDepthArray on ANSWERS_TOPIC and, where the lens is known, PointCloud2 on POINTS_TOPIC, each at the time
    its request came, so that both bags can be played together. It appears only when it is whole."""
    with whole_folder(path) as unfinished, Writer(unfinished, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        maker = _Maker(lens)
        topics = {ANSWERS_TOPIC: KEYPOINT_DEPTH_ARRAY} | ({} if lens is None else {POINTS_TOPIC: POINT_CLOUD2})
        connections = {
            topic: writer.add_connection(topic, kind, typestore=maker.typestore) for topic, kind in topics.items()
        }
        for request, given in zip(requests, answers, strict=True):
            for topic, message in maker.messages(request, given).items():
                data = maker.typestore.serialize_cdr(message, topics[topic])
                writer.write(connections[topic], request.arrival_ns, data)


class _Maker:
    def __init__(self, lens: CameraModel | None):
        self.lens, self.typestore = lens, bag_typestore()

    def messages(self, request: ReplayRequest, given: ReplayAnswer) -> dict[str, object]:
        """By topic."""
        types, answer = self.typestore.types, given.answer
        u, v = np.ascontiguousarray(request.uv_px.T)
        columns = (request.id, u, v, answer.depth_m, answer.depth_stddev_m, answer.status)
        header = types["std_msgs/msg/Header"](
            stamp=self._time(request.stamp_ns), frame_id=self.lens.frame_id if self.lens else ""
        )
        start, end = map(self._time, given.window_ns)
        rest = (answer.basis, answer.log_scale_stddev)
        messages = {ANSWERS_TOPIC: types[KEYPOINT_DEPTH_ARRAY](header, start, end, *columns, *rest)}
        if self.lens is not None:
            field, points = types["sensor_msgs/msg/PointField"], keypoint_cloud(self.lens, *columns)
            messages[POINTS_TOPIC] = types[POINT_CLOUD2](
                header=header,
                height=1,
                width=len(points),
                fields=[field(*values) for values in CLOUD_FIELDS],
                is_bigendian=False,
                point_step=points.itemsize,
                row_step=points.nbytes,
                data=points.view(np.uint8).ravel(),
                is_dense=True,
            )
        return messages

    def _time(self, time_ns: int):
        return self.typestore.types["builtin_interfaces/msg/Time"](time_ns // 10**9, time_ns % 10**9)
