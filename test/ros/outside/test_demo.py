"""End to end over DDS: a simulated bag, played at its own pace through the real node, a process of its own."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from reference.models import small_model
from reference.rewritten_bags import rewrite
from reference.windows import randomise

from eventspd_ros.evaluation.replay.session import open_session
from eventspd_ros.model.checkpoints import load_checkpoint, save_checkpoint
from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.predictor import Answer, Status
from eventspd_ros.resources import DEFAULT_WEIGHTS
from eventspd_ros.ros.outside import demo
from eventspd_ros.ros.outside.demo import SETTINGS, run_demo, summary_of, table
from eventspd_ros.simulation.bag import CAMERA_INFO_TOPIC, DEPTH_TOPIC


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(randomise(small_model(parametrization="log"), scale=0.02), path)
    return path


def test_every_request_of_a_simulated_bag_is_answered(simulated_bag, tmp_path, monkeypatch):
    """Nothing here depends on how much of the bag the machine can encode: what it did must add up, and fit together."""
    found, replayed = [], demo.replay_online
    monkeypatch.setattr(demo, "replay_online", lambda *a: found.extend(replayed(*a)) or found)
    summary = run_demo(simulated_bag, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["requests"] == summary["answers"] >= 40
    assert summary["windows_encoded"] + summary["windows_dropped"] == pytest.approx(1500 / 8.333, abs=4)
    assert summary["windows_encoded"] > 0, "however slow the machine"
    if summary["windows_encoded"] < 10:
        pytest.skip(f"too slow a machine: {summary['windows_encoded']} windows while the bag was played")
    # The bag is shorter than a cache may be old here: from the first window on, every point has a depth.
    assert set(summary["keypoints_by_status"]) <= {"OK", "NO_CACHE"}, "all keypoints lie in the image"
    check_windows(found[0].answers, summary)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] <= summary["latency_ms"]["p99"]
    assert {"decode", "encode", "query", "publish"} <= set(summary["stages_ms"])
    assert all(times["p50"] <= times["p99"] for times in summary["stages_ms"].values())
    # A window may end after the stamp that it answers, and the clock that says when a packet came ticks every 10 ms.
    either = ("window_age", "receive")
    assert all(times["p50"] >= 0 for stage, times in summary["stages_ms"].items() if stage not in either)
    assert summary["abs_rel"] > 0, "the bag has depth to compare with"
    assert summary["poses"] == "/odometry" and "poses of /odometry" in table(summary)
    basis = np.concatenate([given.answer.basis for given in found[0].answers])
    assert (basis & Basis.MOTION).any(), "the node was given them"
    assert summary["weights"] == DEFAULT_WEIGHTS and not summary["fx_assumed"]
    picture = cv2.imread(str(tmp_path / "overlay.png"))
    assert picture.shape[1] >= 1000 and len(set(picture.reshape(-1, 3)[::97].sum(axis=1))) > 10


def check_windows(answers, summary) -> None:
    """Answers rest on windows of the stream's grid that never go back, each of them one of those encoded."""
    answered = [given.window_ns[1] > 0 for given in answers]
    assert 0 < sum(answered) <= summary["ok"] and answered == sorted(answered), "none lost its depths again"
    for given, has_window in zip(answers, answered, strict=True):
        ok = given.answer.status == Status.OK
        assert ok.all() if has_window else (given.answer.basis[ok] & Basis.LEARNED == 0).all()
    starts, ends = np.array([given.window_ns for given, ok in zip(answers, answered, strict=True) if ok]).T
    assert set(ends - starts) == {20_000_000} and (np.diff(ends) >= 0).all()
    assert 1 <= len(set(ends)) <= summary["windows_encoded"]
    strides = (ends - ends[0]) / 8_333_000  # the clock filter moves by less than 0.1 ms
    np.testing.assert_allclose(strides, np.rint(strides), atol=0.02)


def test_the_summary_compares_depths_of_points_that_were_answered(simulated_bag, weights):
    session = open_session(simulated_bag, load_checkpoint(weights), settings=SETTINGS)
    answers = []
    for number, request in enumerate(session.found.requests):
        answer = Answer.refused(len(request.id), Status.NO_CACHE if number == 1 else Status.OK)
        depth_m = np.nan_to_num(1.25 * request.true_m, nan=7.0) if number != 1 else answer.depth_m
        answers.append(demo.ReplayAnswer(replace(answer, depth_m=depth_m), (0, 0)))
    counted = ("windows_encoded", "windows_dropped", "packets_lost_before_node", "latency_ms", "stages_ms")
    summary = summary_of(session, demo.MethodAnswers("w", weights, True, answers, dict.fromkeys(counted, 3)))
    assert summary["abs_rel"] == pytest.approx(0.25, rel=1e-5)
    missing = len(session.found.requests[1].id)
    assert summary["keypoints_by_status"] == {"OK": summary["keypoints"] - missing, "NO_CACHE": missing}
    assert summary["ok"] == summary["requests"] - 1 and summary["windows_dropped"] == 3


@pytest.mark.slow
def test_a_bag_without_lens_depth_and_keypoints_gets_an_ordinary_lens_and_corners(simulated_bag, weights, tmp_path):
    bare = {CAMERA_INFO_TOPIC: None, DEPTH_TOPIC: None, "/keypoints": None}
    summary = run_demo(rewrite(simulated_bag, tmp_path / "bag", bare), tmp_path / "out", str(weights))
    assert summary["fx_assumed"] and summary["abs_rel"] is None and summary["poses"] is None
    assert summary["requests"] == summary["answers"] >= 40 and summary["keypoints_by_status"]["OK"] > 0
    assert "nothing to compare with" in table(summary) and (tmp_path / "out/overlay.png").stat().st_size > 10_000


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
    summary = run_demo(data_dir / name, tmp_path)
    assert summary["sensor"] == sensor and summary["requests"] == summary["answers"] > 10
    assert summary["ok"] > 0 and summary["abs_rel"] is None and summary["fx_assumed"]
    assert (tmp_path / "overlay.png").stat().st_size > 10_000


def test_weights_that_are_not_there_end_the_demo_with_the_reason(simulated_bag, tmp_path):
    with pytest.raises(ValueError, match=r"/no/such\.safetensors") as error:
        run_demo(simulated_bag, tmp_path, weights="/no/such.safetensors")
    assert "\n" not in str(error.value)


def test_a_recording_that_is_no_bag_ends_the_demo_with_the_reason(weights, tmp_path):
    path = tmp_path / "events.npz"
    column = np.arange(3)
    np.savez(path, x=column, y=column, p=column % 2, t_ns=column, width=8, height=8)
    with pytest.raises(ValueError, match=r"events\.npz: not a bag") as error:
        run_demo(path, tmp_path / "out", str(weights))
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
