"""End to end over DDS: a simulated bag through the player, the real node and the recorder, each its own process."""

import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from eventspd_ros.msg import KeypointDepthArray
from reference.rewritten_bags import TYPES, millimetres, rewrite

from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.predictor import Status
from eventspd_ros.ros.messages import ns_to_time
from eventspd_ros.ros.outside import demo
from eventspd_ros.ros.outside.demo import DemoBag, depth_error, run_demo, table

IMAGE = "sensor_msgs/msg/Image"


def test_every_request_of_a_simulated_bag_is_answered(simulated_bag, tmp_path, monkeypatch):
    """Nothing here depends on how much of the bag the machine can encode: what it did must add up, and fit together."""
    recorders, record = [], demo.play_and_record
    monkeypatch.setattr(demo, "play_and_record", lambda *a: recorders.append(record(*a)) or recorders[0])
    summary = run_demo(simulated_bag, tmp_path, weights="")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["requests"] == summary["answers"] >= 40
    assert summary["windows_encoded"] + summary["windows_dropped"] == pytest.approx(1500 / 8.333, abs=4)
    assert summary["windows_encoded"] > 0, "however slow the machine"
    if summary["windows_encoded"] < 10:
        pytest.skip(f"too slow a machine: {summary['windows_encoded']} windows while the bag was played")
    # The bag is shorter than a cache may be old here: from the first window on, every point has a depth.
    assert set(summary["keypoints_by_status"]) <= {"OK", "NO_CACHE"}, "all keypoints lie in the image"
    check_windows(recorders[0].answers, summary)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] <= summary["latency_ms"]["p99"]
    assert {"decode", "encode", "query", "publish"} <= set(summary["stages_ms"])
    assert all(0 <= times["p50"] <= times["p99"] for times in summary["stages_ms"].values())
    assert summary["abs_rel"] > 0, "the bag has depth to compare with"
    assert summary["poses"] == "/odometry" and "poses of /odometry" in table(summary)
    basis = np.concatenate([np.asarray(answer.basis) for answer in recorders[0].answers])
    assert (basis & Basis.MOTION).any(), "the node was given them"
    assert summary["weights"] == "random" and summary["trained"] is False and not summary["fx_assumed"]
    assert "UNTRAINED" in table(summary)
    picture = cv2.imread(str(tmp_path / "overlay.png"))
    assert picture.shape[1] >= 1000 and len(set(picture.reshape(-1, 3)[::97].sum(axis=1))) > 10


def check_windows(answers, summary) -> None:
    """Answers rest on windows of the stream's grid that never go back, each of them one of those encoded."""
    answered = [bool(np.all(np.asarray(a.status) == Status.OK)) for a in answers]
    assert sum(answered) == summary["ok"] > 0 and answered == sorted(answered), "none lost its depths again"
    starts, ends = (
        np.array([time_to_ns(getattr(a, name)) for a, ok in zip(answers, answered, strict=True) if ok])
        for name in ("window_start", "window_end")
    )
    assert set(ends - starts) == {20_000_000} and (np.diff(ends) >= 0).all()
    assert 1 <= len(set(ends)) <= summary["windows_encoded"]
    strides = (ends - ends[0]) / 8_333_000  # the clock filter moves by less than 0.1 ms
    np.testing.assert_allclose(strides, np.rint(strides), atol=0.02)


def colour(image):
    """An ordinary picture."""
    data = np.zeros(3 * image.height * image.width, np.uint8)
    return TYPES[IMAGE](image.header, image.height, image.width, "rgb8", 0, 3 * image.width, data)


def smaller(image):
    """Depth of another camera."""
    return TYPES[IMAGE](image.header, 2, 3, "32FC1", 0, 12, np.ones(6, np.float32).view(np.uint8))


@pytest.mark.parametrize(("change", "expected"), [(None, 0.25), (millimetres, 0.25), (smaller, None)])
def test_depth_is_compared_in_metres_or_said_not_to_be(change, expected, simulated_bag, tmp_path, capsys):
    path, topic = simulated_bag, DemoBag.of(simulated_bag).depth
    truth = {time_to_ns(m.header.stamp): m for _, _, m in messages(path, topic)}
    columns, rows = np.arange(20, 60, dtype=np.float32), np.full(40, 30, np.float32)
    if change:
        path = rewrite(path, tmp_path / "bag", {topic: (IMAGE, change)})
    answers = []
    for image in truth.values():
        depth_m = np.frombuffer(image.data, np.float32).reshape(image.height, image.width)[30, 20:60]
        answers.append(KeypointDepthArray(u=columns, v=rows, depth=1.25 * depth_m, status=bytes(40)))
        answers[-1].header.stamp = ns_to_time(time_to_ns(image.header.stamp))
    found = depth_error(path, DemoBag.of(path), answers)
    assert found == (expected and pytest.approx(expected, rel=2e-3))
    assert ("no depth is compared" in capsys.readouterr().err) == (expected is None)


def test_a_picture_is_no_depth(simulated_bag, tmp_path):
    topic = DemoBag.of(simulated_bag).depth
    assert topic and DemoBag.of(rewrite(simulated_bag, tmp_path / "bag", {topic: (IMAGE, colour)})).depth is None


def test_motion_needs_poses_and_a_lens(simulated_bag, tmp_path):
    for number, left_out in enumerate(("/odometry", "/event_camera/camera_info")):
        assert DemoBag.of(rewrite(simulated_bag, tmp_path / str(number), {left_out: None})).motion == "none"
    assert DemoBag.of(simulated_bag).motion == "odometry"


def messages(bag, topic):
    with open_bag(bag) as reader:
        yield from reader.read(topic)


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        ("event_camera_py/test_events_1", "640x480"),
        ("event_camera_py/test_events_2", "346x260"),
        ("event_camera_codecs/evt3_trigger", "1280x720"),
    ],
)
@pytest.mark.slow
def test_recorded_bags(data_dir, tmp_path, name, sensor):
    summary = run_demo(data_dir / name, tmp_path, weights="")
    assert summary["sensor"] == sensor and summary["requests"] == summary["answers"] > 10
    assert summary["ok"] > 0 and summary["abs_rel"] is None and summary["fx_assumed"]
    assert (tmp_path / "overlay.png").stat().st_size > 10_000


def test_a_node_that_cannot_be_configured_ends_the_demo_with_its_reason(simulated_bag, tmp_path):
    with pytest.raises(ValueError, match=r"/no/such\.safetensors") as error:
        run_demo(simulated_bag, tmp_path, weights="/no/such.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_node_ends_cleanly_and_says_what_it_did(how):
    command = [sys.executable, "-m", "eventspd_ros.ros.node", "--ros-args", "-p", "weights:=''"]
    deaf = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731 as a shell's & makes it
    node = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=deaf)  # autostarts
    while "listening" not in node.stderr.readline():
        assert node.poll() is None
    time.sleep(0.5)  # it says so at the end of its activation, and spins a moment later
    node.send_signal(how)
    _, error = node.communicate(timeout=30)
    assert node.returncode == 0 and "Traceback" not in error and "windows_encoded 0" in error


def test_arguments_that_ros_cannot_read_are_one_line():
    command = [sys.executable, "-m", "eventspd_ros.ros.node", "--ros-args", "--params-file", "/no/such.yaml"]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    own = [line for line in ended.stderr.splitlines() if "[rcl]" not in line]
    assert ended.returncode == 1 and len(own) == 1 and "/no/such.yaml" in own[0]
