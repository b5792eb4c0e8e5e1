"""The same requests offline and through the node over DDS: the same answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from reference.models import small_model
from reference.rewritten_bags import at_other_times, rewrite
from reference.windows import randomise

from eventspd_ros.cli import main
from eventspd_ros.evaluation.replay.requests import ReplaySettings
from eventspd_ros.evaluation.replay.session import open_session, replay_offline
from eventspd_ros.evaluation.replay.topics import TopicNames
from eventspd_ros.model.checkpoints import load_checkpoint, save_checkpoint
from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.predictor import Status
from eventspd_ros.resources import DEFAULT_WEIGHTS, find_weights
from eventspd_ros.ros.outside import replay
from eventspd_ros.ros.outside.replay import replay_online
from eventspd_ros.simulation.bag import ODOMETRY_TOPIC, write_bag
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.stream import SimulationConfig


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    config = SimulationConfig(camera=PinholeCamera.centred(64, 48), duration_s=0.3, max_keypoints=20, keypoint_hz=37)
    return write_bag(tmp_path_factory.mktemp("bags") / "bag", config, "sqlite3")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """With memory, so that one window lost would change all answers after it."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(randomise(small_model(parametrization="log"), scale=0.02), path)
    return path


@pytest.mark.parametrize(
    ("mode", "support_filter_ms", "acceleration"),
    [
        ("covering", 0.0, "eager"),
        ("exact", 0.0, "eager"),
        pytest.param("exact", 3.0, "eager", marks=pytest.mark.slow),
        pytest.param("covering", 0.0, "openvino", marks=pytest.mark.slow),
    ],
)
def test_offline_and_online_answers_are_equal(mode, support_filter_ms, acceleration, bag, weights, monkeypatch):
    if acceleration == "openvino":  # which routing is not for
        weights = find_weights(DEFAULT_WEIGHTS)
    monkeypatch.setattr(replay, "PATIENT_WAIT_MS", 3000.0)  # at the bag's end requests wait for poses that never come
    options = {"max_cache_age_ms": 5000.0, "support_filter_ms": support_filter_ms}  # packets wait on a busy machine
    settings = ReplaySettings(mode, uniform=40, acceleration=acceleration, **options)
    session = open_session(bag, load_checkpoint(weights), settings=settings)
    offline = replay_offline(session, [weights])[0]
    online = replay_online(session, [weights], 0.0, "cpu")[0]
    lost = ("windows_dropped", "packets_dropped", "packets_lost_before_node")
    assert {name: online.counters[name] for name in lost} == dict.fromkeys(lost, 0)
    assert online.counters["windows_encoded"] >= offline.counters["windows_encoded"] > 20
    same(session, offline, online)
    status = np.concatenate([given.answer.status for given in online.answers])
    assert (status == Status.OK).mean() > 0.9


def same(session, offline, online):
    for request, one, two in zip(session.found.requests, offline.answers, online.answers, strict=True):
        assert len(request.uv_px) == len(one.answer.depth_m)
        assert one.window_ns == two.window_ns
        for name in ("status", "depth_m", "depth_stddev_m", "basis"):
            np.testing.assert_array_equal(getattr(one.answer, name), getattr(two.answer, name))
        np.testing.assert_equal(*(np.float32(given.answer.log_scale_stddev) for given in (one, two)))


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """With parallax."""
    camera = PinholeCamera.centred(160, 120)
    config = SimulationConfig(camera, 0.5, seed=3, domain="indoor", max_keypoints=40, keypoint_hz=17)
    return write_bag(tmp_path_factory.mktemp("bags") / "room", config)


@pytest.mark.parametrize(
    ("later_ms", "lost_ms"), [(30, (250, 350)), pytest.param(-200, (0, 0), marks=pytest.mark.slow)]
)
def test_they_are_with_poses_late_and_missing_and_early(later_ms, lost_ms, room, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "PATIENT_WAIT_MS", 2000.0)

    def lost(odometry):
        stamp = odometry.header.stamp
        if lost_ms[0] < (stamp.sec * 10**9 + stamp.nanosec - SimulationConfig().start_ns) / 1e6 < lost_ms[1]:
            odometry.pose.pose.position.x = np.nan
        return odometry

    damaged = rewrite(room, tmp_path / "damaged", {ODOMETRY_TOPIC: ("nav_msgs/msg/Odometry", lost)})
    bag = at_other_times(damaged, tmp_path / "bag", {ODOMETRY_TOPIC: later_ms * 1_000_000})
    session = open_session(bag, load_checkpoint(weights), settings=ReplaySettings(uniform=40, acceleration="eager"))
    offline = replay_offline(session, [weights])[0]
    online = replay_online(session, [weights], 0.0, "cpu")[0]
    same(session, offline, online)
    moved = [(given.answer.basis & Basis.MOTION).any() for given in online.answers]
    assert np.mean(moved) > 0.3
    assert (online.counters["answers_without_poses"] > 0) == (lost_ms != (0, 0))
    names = ("poses", "poses_rejected", "answers_without_poses")
    assert [online.counters[name] for name in names] == [offline.counters[name] for name in names]


def test_they_are_where_motion_follows_from_the_events(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "PATIENT_WAIT_MS", 2000.0)
    camera = PinholeCamera.centred(240, 180)
    bag = write_bag(tmp_path / "jumble", SimulationConfig(camera, 0.4, seed=2, domain="jumble", keypoint_hz=17))
    settings = ReplaySettings(uniform=300, acceleration="eager", by_events=True)
    session = open_session(bag, load_checkpoint(weights), TopicNames(motion=False), settings)
    offline = replay_offline(session, [weights])[0]
    online = replay_online(session, [weights], 0.0, "cpu")[0]
    same(session, offline, online)
    basis = np.concatenate([given.answer.basis for given in online.answers])
    assert not (basis & Basis.MOTION).any() and (basis & Basis.SHAPE > 0).mean() > 0.3


def test_at_a_rate_every_request_is_answered_and_timed(bag, weights, capsys):
    command = ["replay", str(bag), "--weights", str(weights), "--online", "--queries", "10", "--acceleration", "eager"]
    assert main([*command, "--rate", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert all(words in shown for words in ("latency_ms", "windows_dropped", "accuracy, keypoints"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "-1"], "--rate -1.0: 1 is as recorded"),
        (["--rate", "0", "--query-mode", "latest"], "--rate 0 waits for the window of each request"),
    ],
)
def test_what_does_not_go_online_is_one_line(arguments, said, bag, weights, capsys):
    assert main(["replay", str(bag), "--weights", str(weights), "--online", *arguments]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert main(["replay", str(bag), "--weights", str(weights), str(weights), "--online"]) == 2
    assert "the node has one model" in capsys.readouterr().err.splitlines()[-1]


def test_the_bags_time_begins_with_its_first_message(monkeypatch):
    """Not while it is opened and the lens is told, or all of that time would be due at once."""
    now_s, published = [100.0], []
    monkeypatch.setattr(replay.time, "monotonic", lambda: now_s[0])

    def spin_until(done, seconds):
        while not done():
            now_s[0] += 0.001

    asker = SimpleNamespace(spin_until=spin_until, clock=SimpleNamespace(publish=published.append))
    pace = replay._Timed(asker, rate=2.0)
    now_s[0] += 5.0
    pace.wait(10**18)
    assert now_s[0] == 105.0
    pace.wait(10**18 + 3 * 10**8)
    assert now_s[0] == pytest.approx(105.15, abs=0.002) and published
