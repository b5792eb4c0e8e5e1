"""Images as windows: odd ones, stamps that stand still or fall, and what begins the stream anew."""

import pytest
from reference.windows import random_image
from streams import ROS_BASE_NS, Log

from eventspd_ros.inputs.image_intake import ImageFrame, ImageIntake
from eventspd_ros.ros.workers import Reporter

WIDTH, HEIGHT, STEP_NS = 64, 48, 30_000_000


@pytest.fixture
def intake():
    log, begun = Log(), []
    made = ImageIntake(lambda *sensor_and_epoch: begun.append(sensor_and_epoch), Reporter(log))
    made.log, made.begun = log, begun
    return made


def frame(number: int, width: int = WIDTH, stamp_ns: int | None = None) -> ImageFrame:
    stamp_ns = ROS_BASE_NS + number * STEP_NS if stamp_ns is None else stamp_ns
    return ImageFrame(random_image(width, HEIGHT, number).image, stamp_ns)


def test_an_image_is_a_window_of_its_moment(intake):
    assert intake.offset_ns is None
    (window,) = intake.take(frame(0))
    assert (window.start_ns, window.end_ns) == (ROS_BASE_NS, ROS_BASE_NS + 1)
    assert (intake.offset_ns, intake.packets) == (0, 1)
    assert intake.begun == [(HEIGHT, WIDTH, 1)] and window.epoch == 1
    assert intake.close_silent(ROS_BASE_NS + 10**9) == [] and not intake.has_reached(ROS_BASE_NS)
    assert intake.cut(ROS_BASE_NS) is None


def test_an_image_of_another_size_is_odd_and_three_are_another_camera(intake):
    intake.take(frame(0))
    for number in (1, 2):
        assert intake.take(frame(number, width=80)) == []
    assert intake.take(frame(3)) and intake.packets_rejected == 2  # and starts the count anew
    for number in (4, 5):
        assert intake.take(frame(number, width=80)) == []
    (window,) = intake.take(frame(6, width=80))
    assert intake.resets["sensor"] == 1 and intake.begun[1:] == [(HEIGHT, 80, 2)] and window.epoch == 2
    assert any("this stream is 64x48" in line for line in intake.log.lines)


def test_stamps_that_stand_still_are_refused_and_those_that_fall_begin_anew(intake):
    intake.take(frame(5))
    assert intake.take(frame(6, stamp_ns=frame(5).stamp_ns)) == []
    assert "is that of the one before" in intake.last_error
    (window,) = intake.take(frame(1))
    assert intake.resets["time_fell"] == 1 and window.epoch == 2 and len(intake.begun) == 2


def test_the_ros_clock_falls_with_or_without_the_images(intake):
    intake.take(frame(0))
    intake.ros_clock_fell(frame(0).stamp_ns)
    assert not intake.resets
    intake.ros_clock_fell(frame(0).stamp_ns - 10**9)
    assert intake.resets["ros_clock_fell"] == 1 and intake.offset_ns is None
