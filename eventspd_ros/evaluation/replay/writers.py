"""A replay's answers as a table (CSV), or as a bag that RViz and Foxglove open."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eventspd_ros.evaluation.asking.questions import KINDS
from eventspd_ros.evaluation.replay.offline import ReplayAnswer
from eventspd_ros.evaluation.replay.requests import ReplayRequest
from eventspd_ros.events.files.bag_writer import new_bag
from eventspd_ros.events.messages import KEYPOINT_DEPTH_ARRAY, POINT_CLOUD2, new_header, new_keypoints
from eventspd_ros.inputs.answers import new_answer
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.point_cloud import keypoint_points, new_point_cloud, optical_header
from eventspd_ros.predictor import Status
from eventspd_ros.whole import check_output, whole_file

COLUMNS = ("request", "stamp_ns", "window_start_ns", "window_end_ns", "kind", "id", "u_px", "v_px")
COLUMNS += ("depth_m", "depth_stddev_m", "status", "true_depth_m", "basis", "log_scale_stddev")
ANSWERS_TOPIC, POINTS_TOPIC = "/eventspd/keypoint_depths", "/eventspd/points"


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
    with new_bag(path) as bag:
        bag.add_topic(ANSWERS_TOPIC, KEYPOINT_DEPTH_ARRAY)
        if lens is not None:
            bag.add_topic(POINTS_TOPIC, POINT_CLOUD2)
        for request, given in zip(requests, answers, strict=True):
            header = new_header(bag.new, request.stamp_ns, lens.frame_id if lens else "")
            keypoints = new_keypoints(bag.new, header, request.id, request.uv_px)
            answer = new_answer(bag.new, keypoints, given.answer, given.window_ns)
            bag.write(ANSWERS_TOPIC, request.arrival_ns, answer)
            if lens is not None:
                cloud = new_point_cloud(bag.new, optical_header(bag.new, answer, lens), keypoint_points(answer, lens))
                bag.write(POINTS_TOPIC, request.arrival_ns, cloud)
