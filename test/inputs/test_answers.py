"""Answers to KeypointDepthArray and back."""

import array

import numpy as np
import pytest
from eventspd_ros.msg import KeypointArray

from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.inputs.answers import answer_from_message, new_answer
from eventspd_ros.inputs.keypoints import points_from_msg
from eventspd_ros.predictor import Answer, Status
from eventspd_ros.ros.messages import new_message, ns_to_time


def keypoints(ids, u, v) -> KeypointArray:
    msg = KeypointArray(id=array.array("Q", ids), u=array.array("f", u), v=array.array("f", v))
    msg.header.frame_id = "camera_optical"
    msg.header.stamp = ns_to_time(1_234_567_890_123)
    return msg


def test_points_keep_order_and_value():
    points = points_from_msg(keypoints([3, 1], [0.5, float("nan")], [2.0, 4.0]))
    np.testing.assert_array_equal(points, np.array([[0.5, 2.0], [np.nan, 4.0]], np.float32))


def test_points_of_an_empty_request():
    assert points_from_msg(keypoints([], [], [])).shape == (0, 2)


@pytest.mark.parametrize("lengths", [(2, 1, 1), (1, 2, 1), (1, 1, 0)])
def test_arrays_of_unequal_length_are_malformed(lengths):
    ids, u, v = ([1] * lengths[0], [1.0] * lengths[1], [1.0] * lengths[2])
    request = keypoints(ids, u, v)
    assert points_from_msg(request) is None
    msg = new_answer(new_message, request, Answer.refused(len(ids), Status.MALFORMED), (0, 0))
    columns = (msg.id, msg.u, msg.v, msg.depth, msg.depth_stddev, msg.status, msg.basis)
    assert [len(column) for column in columns] == [lengths[0]] * 7 and np.isnan(msg.log_scale_stddev)
    assert list(msg.status) == [Status.MALFORMED] * lengths[0]


def test_an_answer_carries_the_request_header_ids_and_points():
    request = keypoints([2**63, 5], [1.5, 2.5], [3.5, 4.5])
    answer = Answer(
        depth_m=np.array([2.0, np.nan], np.float32),
        depth_stddev_m=np.array([0.25, np.nan], np.float32),
        status=np.array([0, 2], np.uint8),
        window_start_ns=0,
        window_end_ns=0,
        basis=np.array([3, 0], np.uint8),
        log_scale_stddev=0.125,
    )
    msg = new_answer(new_message, request, answer, (10**9, 2 * 10**9))
    assert msg.header == request.header
    assert list(msg.id) == [2**63, 5] and list(msg.u) == [1.5, 2.5] and list(msg.v) == [3.5, 4.5]
    np.testing.assert_array_equal(np.array(msg.depth), answer.depth_m.astype(float))
    np.testing.assert_array_equal(np.array(msg.depth_stddev), answer.depth_stddev_m.astype(float))
    assert list(msg.status) == [0, 2] and list(msg.basis) == [3, 0] and msg.log_scale_stddev == 0.125
    assert (time_to_ns(msg.window_start), time_to_ns(msg.window_end)) == (10**9, 2 * 10**9)
    again, window_ns = answer_from_message(msg)
    assert window_ns == (10**9, 2 * 10**9) and again.log_scale_stddev == 0.125
    for name in ("depth_m", "depth_stddev_m", "status", "basis"):
        np.testing.assert_array_equal(getattr(again, name), getattr(answer, name))
        assert getattr(again, name).dtype == getattr(answer, name).dtype
