"""A bag's poses: found, waited for, missing; and what answers gain from them."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from reference.rewritten_bags import TYPES, at_other_times, rewrite

from eventspd_ros.cli import main
from eventspd_ros.evaluation.asking.questions import KEYPOINT
from eventspd_ros.evaluation.replay.requests import ReplaySettings
from eventspd_ros.evaluation.replay.result import replay_result
from eventspd_ros.evaluation.replay.session import open_session, replay_offline
from eventspd_ros.evaluation.replay.topics import TopicNames, choose_topics
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.resources import find_weights
from eventspd_ros.simulation.bag import CAMERA_INFO_TOPIC, ODOMETRY_TOPIC, write_bag
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.stream import SimulationConfig

POSE_STAMPED, ODOMETRY = "geometry_msgs/msg/PoseStamped", "nav_msgs/msg/Odometry"
MS = 1_000_000
SETTINGS = ReplaySettings(uniform=30)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Half a second in a room at 160×120 px, with parallax."""
    camera = PinholeCamera.centred(160, 120)
    config = SimulationConfig(camera, 0.5, seed=3, domain="indoor", max_keypoints=40, keypoint_hz=37)
    return write_bag(tmp_path_factory.mktemp("bags") / "room", config)


@pytest.fixture(scope="module")
def model(weights):
    return load_checkpoint(weights)


@pytest.fixture(scope="module")
def answered(bag, model, weights):
    return replayed(bag, model, weights)


def replayed(bag, model, weights, **names):
    return replay_offline(open_session(bag, model, TopicNames(**names), SETTINGS), [weights])[0]


def column(method, name):
    return np.concatenate([getattr(given.answer, name) for given in method.answers])


def same(one, other):
    for name in ("depth_m", "depth_stddev_m", "status", "basis"):
        np.testing.assert_array_equal(column(one, name), column(other, name))
    shared = [[given.answer.log_scale_stddev for given in method.answers] for method in (one, other)]
    np.testing.assert_array_equal(*shared)


def bare_pose(odometry):
    return TYPES[POSE_STAMPED](odometry.header, odometry.pose.pose)


def test_poses_are_found_by_their_type_or_named(bag, tmp_path):
    bare = rewrite(bag, tmp_path / "bare", {ODOMETRY_TOPIC: (POSE_STAMPED, bare_pose)})
    without = rewrite(bag, tmp_path / "without", {ODOMETRY_TOPIC: None})
    for path, names, expected in (
        (bag, {}, (ODOMETRY_TOPIC, "odometry")),
        (bag, {"poses": ODOMETRY_TOPIC}, (ODOMETRY_TOPIC, "odometry")),
        (bag, {"motion": False}, (None, "none")),
        (bare, {}, (ODOMETRY_TOPIC, "pose")),
        (without, {}, (None, "none")),
    ):
        with open_bag(path) as opened:
            topics = choose_topics(opened, TopicNames(**names))
        assert (topics.poses, topics.motion) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--poses", "/keypoints"], "--poses /keypoints: "),
        (["--poses", ODOMETRY_TOPIC, "--no-motion"], "--poses /odometry, and --no-motion or --motion-by-events"),
        (["--poses", ODOMETRY_TOPIC, "--motion-by-events"], "--poses /odometry, and --no-motion or --motion-by-events"),
        (["--camera-pose", *"0 0 0 0 0 0 2".split()], "its quaternion 0 0 0 2 has length 2"),
        (["--camera-pose", "1"], "camera_pose '1': these are no seven finite numbers"),
        (["--camera-pose", *"0 0 0 0 0 0 1".split(), "--no-motion"], "--camera-pose, but "),
    ],
)
def test_what_does_not_fit_is_one_line(arguments, said, bag, weights, capsys):
    assert main(["replay", str(bag), "--weights", str(weights), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("eventspd replay: ") and said in error


def test_answers_rest_on_motion_and_say_so(bag, model, weights, answered, tmp_path, capsys):
    basis = column(answered, "basis")
    assert (basis & Basis.LEARNED).all() and 0.1 < (basis & Basis.MOTION > 0).mean() < 1
    keypoints = np.concatenate([request.kind for request in open_session(bag, model, settings=SETTINGS).found.requests])
    tracked = basis & Basis.TRACKS > 0
    assert tracked[keypoints == KEYPOINT].any() and not tracked[keypoints != KEYPOINT].any()
    assert answered.counters["poses"] == 101 and answered.counters["answers_without_poses"] == 0
    out = [str(tmp_path / "r.json"), str(tmp_path / "a.csv")]
    assert main(["replay", str(bag), "--weights", str(weights), "--queries", "30", "--out", *out]) == 0
    assert "poses /odometry" in capsys.readouterr().out
    result, rows = json.loads((tmp_path / "r.json").read_text()), list(csv.DictReader((tmp_path / "a.csv").open()))
    assert result["replay"]["topics"]["poses"] == ODOMETRY_TOPIC
    assert result["replay"]["methods"]["small"]["poses"] == 101
    assert result["judged"] == "small"
    np.testing.assert_array_equal([int(row["basis"]) for row in rows], basis)
    shared = np.repeat(
        [given.answer.log_scale_stddev for given in answered.answers],
        [len(given.answer.basis) for given in answered.answers],
    )
    np.testing.assert_array_equal([np.float32(row["log_scale_stddev"]) for row in rows], shared.astype(np.float32))


def test_without_poses_near_and_far_may_follow_from_the_events(bag, model, weights, tmp_path):
    """As if the bag had none; learned depths stand beside it, and their scale is the answers'."""
    found = {}
    for by_events in (False, True):
        settings = replace(SETTINGS, uniform=300, by_events=by_events)
        session = open_session(bag, model, TopicNames(motion=by_events), settings)
        found[by_events] = replay_offline(session, [weights])[0]
    with pytest.raises(SystemExit):
        main(["replay", str(bag), "--no-motion", "--motion-by-events"])
    alone, shaped = found[False], found[True]
    basis, status = column(shaped, "basis"), column(shaped, "status")
    np.testing.assert_array_equal(status, column(alone, "status"))
    assert set(np.unique(basis)) <= {0, Basis.LEARNED, Basis.LEARNED | Basis.SHAPE}
    assert "poses" not in shaped.counters
    learned = np.concatenate([given.parts["learned"][0] for given in shaped.answers])
    np.testing.assert_array_equal(learned, column(alone, "depth_m"))
    off = np.log(column(shaped, "depth_m") / learned)[status == 0]
    assert np.isfinite(off).all() and abs(np.median(off)) < 0.1


@pytest.mark.parametrize("delay_ms", [-200, 30])
def test_answers_do_not_depend_on_when_poses_come(delay_ms, bag, model, weights, answered, tmp_path):
    moved = at_other_times(bag, tmp_path / "bag", {ODOMETRY_TOPIC: delay_ms * MS})
    same(replayed(moved, model, weights), answered)


def test_poses_that_come_too_late_are_extrapolated_then_done_without(bag, model, weights, tmp_path):
    shares = []
    for delay_ms in (70, 120):
        moved = at_other_times(bag, tmp_path / str(delay_ms), {ODOMETRY_TOPIC: delay_ms * MS})
        shares.append((column(replayed(moved, model, weights), "basis") & Basis.MOTION > 0).mean())
    assert shares[0] > 0.1 and shares[1] == 0


def test_where_poses_are_missing_the_network_answers_alone(bag, model, weights, answered, tmp_path):
    """For 150 ms in the middle: requests of before are answered as ever, those of the last 50 ms wait for the first
    pose behind the gap."""

    def lost(odometry):
        stamp = odometry.header.stamp
        if 200 * MS < stamp.sec * 10**9 + stamp.nanosec - SimulationConfig().start_ns < 350 * MS:
            odometry.pose.pose.position.x = np.nan
        return odometry

    damaged = rewrite(bag, tmp_path / "bag", {ODOMETRY_TOPIC: (ODOMETRY, lost)})
    given = replayed(damaged, model, weights)
    assert given.counters["poses_rejected"] == 29 and given.counters["answers_without_poses"] > 3
    stamps = [
        r.stamp_ns - SimulationConfig().start_ns for r in open_session(bag, model, settings=SETTINGS).found.requests
    ]
    for stamp_ns, one, two in zip(stamps, answered.answers, given.answers, strict=True):
        moved = (two.answer.basis & Basis.MOTION).any()
        if stamp_ns <= 200 * MS:
            np.testing.assert_array_equal(one.answer.depth_m, two.answer.depth_m)
        elif stamp_ns > 230 * MS:
            assert moved == (stamp_ns > 300 * MS)


def test_the_camera_may_sit_anywhere_on_what_the_poses_are_of(bag, model, weights, answered, tmp_path):
    """Poses of a body whose camera looks along its x axis."""
    turn = np.array([-0.5, 0.5, -0.5, 0.5])  # of the camera in the body

    def body(odometry):
        q = odometry.pose.pose.orientation
        x, y, z, w = turned((q.x, q.y, q.z, q.w), (-turn[0], -turn[1], -turn[2], turn[3]))
        q.x, q.y, q.z, q.w = x, y, z, w
        return odometry

    path = rewrite(bag, tmp_path / "bag", {ODOMETRY_TOPIC: (ODOMETRY, body)})
    settings = replace(SETTINGS, camera_pose="0 0 0 -0.5 0.5 -0.5 0.5")
    given = replay_offline(open_session(path, model, settings=settings), [weights])[0]
    np.testing.assert_allclose(column(given, "depth_m"), column(answered, "depth_m"), rtol=2e-3)
    other = replayed(path, model, weights)
    assert np.abs(np.log(column(other, "depth_m") / column(answered, "depth_m"))).max() > 0.01


def turned(a, b):
    """The product of two quaternions x, y, z, w."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def test_without_a_lens_poses_are_of_no_use_and_it_says_so(bag, model, weights, tmp_path, capsys):
    blind = rewrite(bag, tmp_path / "bag", {CAMERA_INFO_TOPIC: None})
    assert main(["replay", str(blind), "--weights", str(weights), "--fx", "120", "--json"]) == 0
    shown = capsys.readouterr()
    assert "warning: the bag has no camera_info: without a lens poses are of no use" in shown.err
    assert json.loads(shown.out)["replay"]["topics"]["poses"] is None


def test_a_replay_of_several_checkpoints_gives_each_its_own_motion(bag, model, weights, fast_weights, answered):
    session = open_session(bag, model, settings=SETTINGS)
    first, second = replay_offline(session, [weights, fast_weights])
    same(first, answered)
    summary = replay_result(session, [first, second]).summary
    rows = [f"{m}{part}" for m in ("small", "minimal") for part in ("", ": learned", ": learned × scale", ": motion")]
    assert list(summary.accuracy["keypoints"]["pooled"]) == rows and summary.judged == "small"


def test_with_motion_a_small_recording_is_answered_better(bag):
    path = find_weights("eventspd_lite")
    session = open_session(bag, load_checkpoint(path), settings=ReplaySettings(uniform=200))
    summary = replay_result(session, replay_offline(session, [path])).summary
    for kind in ("uniform", "keypoints"):
        values = {name: own.plain.abs_log for name, own in summary.accuracy[kind]["pooled"].items()}
        assert values["eventspd_lite"] < 0.9 * values["eventspd_lite: learned"]


@pytest.mark.parametrize("kind", ["uniform", "keypoints"])
def test_real_events_of_a_slider(kind, slider):
    """A guard, not the measure: docs/motion.md has that."""
    assert slider.accuracy[kind]["pooled"][slider.judged].plain.abs_rel <= 0.05


@pytest.fixture(scope="module")
def slider(data_dir):
    path = find_weights("eventspd_lite")
    session = open_session(data_dir / "slider_depth" / "bag", load_checkpoint(path))
    return replay_result(session, replay_offline(session, [path])).summary
