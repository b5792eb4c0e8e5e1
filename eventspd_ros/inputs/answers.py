"""Answers to and from eventspd_ros/KeypointDepthArray, of rclpy or rosbags; `new` as of events/messages.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventspd_ros.events.messages import KEYPOINT_DEPTH_ARRAY, New, new_time, time_to_ns
from eventspd_ros.predictor import Answer


def new_answer(new: New, request, answer: Answer, window_ns: tuple[int, int]) -> Any:
    """The answer to a KeypointArray, under its header; window_ns is in ROS time. A malformed request has len(id)
    points."""
    nan = np.full(len(request.id), np.nan, np.float32)
    whole = len(request.id) == len(request.u) == len(request.v)
    return new(
        KEYPOINT_DEPTH_ARRAY,
        header=request.header,
        window_start=new_time(new, window_ns[0]),
        window_end=new_time(new, window_ns[1]),
        id=request.id,
        u=request.u if whole else nan,
        v=request.v if whole else nan,
        depth=answer.depth_m,
        depth_stddev=answer.depth_stddev_m,
        status=answer.status,
        basis=answer.basis,
        log_scale_stddev=answer.log_scale_stddev,
    )


def answer_from_message(message) -> tuple[Answer, tuple[int, int]]:
    """The answer and its window, ROS time; of which window of the sensor it is, the message does not say."""
    depth_m, stddev_m = (np.array(column, np.float32) for column in (message.depth, message.depth_stddev))
    status, basis = (np.array(column, np.uint8) for column in (message.status, message.basis))
    window_ns = time_to_ns(message.window_start), time_to_ns(message.window_end)
    return Answer(depth_m, stddev_m, status, 0, 0, basis, message.log_scale_stddev), window_ns
