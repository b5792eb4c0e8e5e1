"""A bag read once, asked, answered: against a plain loop over the same windows, stopped and gone on, in other forms."""

import csv
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from reference.rewritten_bags import POINT_CLOUD, POINT_CLOUD2, cloud, keypoint_cloud, millimetres, rewrite, vins_cloud

import eventspd_ros.evaluation.replay.offline as offline
from eventspd_ros.evaluation.asking.partial import Partial
from eventspd_ros.evaluation.asking.questions import KEYPOINT, UNIFORM
from eventspd_ros.evaluation.replay.requests import ReplaySettings
from eventspd_ros.evaluation.replay.result import replay_result, scene_answers
from eventspd_ros.evaluation.replay.session import open_session, replay_configuration, replay_offline
from eventspd_ros.evaluation.replay.topics import TopicNames
from eventspd_ros.evaluation.replay.writers import ANSWERS_TOPIC, POINTS_TOPIC, write_answer_bag, write_csv
from eventspd_ros.evaluation.results import to_json
from eventspd_ros.evaluation.scoring.protocols import choose_protocol
from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.events.pitch import pixel_pitch
from eventspd_ros.events.windows import window_slicer
from eventspd_ros.inputs.keypoints import cloud_field
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.config import PitchConfig
from eventspd_ros.predictor import RECENT_CACHES, Predictor, QueryMode, Status
from eventspd_ros.simulation.bag import CAMERA_INFO_TOPIC, DEPTH_TOPIC, KEYPOINTS_TOPIC
from eventspd_ros.simulation.stream import SimulationConfig

OFFSET_NS = SimulationConfig().start_ns
FEW = ReplaySettings(uniform=40)


@pytest.fixture(scope="module")
def model(weights):
    """As the replay and the node use it: its encoder's table and its hash agree to rounding only."""
    loaded = load_checkpoint(weights)
    loaded.prepare(48, 64)
    return loaded


@pytest.fixture(scope="module")
def session(small_bag, model):
    return open_session(small_bag, model, settings=FEW)


@pytest.fixture(scope="module")
def answered(session, weights):
    return replay_offline(session, [weights])[0]


def columns(method, *names):
    return [np.concatenate([getattr(given.answer, name) for given in method.answers]) for name in names]


def same(one, other):
    for first, second in zip(*(columns(m, "depth_m", "depth_stddev_m", "status") for m in (one, other)), strict=True):
        np.testing.assert_array_equal(first, second)
    assert [given.window_ns for given in one.answers] == [given.window_ns for given in other.answers]


def test_a_bag_is_asked_its_keypoints_and_pixels_of_its_depth(session, small_bag):
    found, (height, width) = session.found, (session.height, session.width)
    with open_bag(small_bag) as bag:
        keypoints = [message for _, _, message in bag.read(KEYPOINTS_TOPIC)]
        images = [message for _, _, message in bag.read(DEPTH_TOPIC)]
    asked = [request for request in found.requests if (request.kind == KEYPOINT).all()]
    drawn = [request for request in found.requests if (request.kind == UNIFORM).all()]
    assert len(asked) + len(drawn) == len(found.requests) and len(asked) == len(drawn) == len(keypoints) == found.labels
    for request, message, image in zip(asked, keypoints, images, strict=True):
        depth = np.frombuffer(image.data, np.float32).reshape(height, width)
        np.testing.assert_array_equal(request.id, message.id)
        np.testing.assert_array_equal(request.uv_px, np.stack((message.u, message.v), axis=1))
        rows, cols = (np.floor(c + 0.5).astype(int) for c in (message.v, message.u))
        np.testing.assert_array_equal(request.true_m, depth[rows, cols])
    for request, image in zip(drawn, images, strict=True):
        depth = np.frombuffer(image.data, np.float32).reshape(height, width)
        u, v = request.uv_px.astype(int).T
        np.testing.assert_array_equal(request.true_m, depth[v, u])
        assert len({*zip(u, v, strict=True)}) == len(u) == min(40, np.isfinite(depth).sum())


def test_event_pixels_are_those_of_the_window_before_the_stamp(session, small_bag):
    chunks = list(open_events(small_bag).chunks())
    x, y, t = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("x", "y", "t_ns"))
    checked = 0
    for request in session.found.requests[:-2]:  # the last stamp may lie behind the last event
        end = request.stamp_ns - OFFSET_NS
        inside = (t >= end - 20_000_000) & (t < end)
        events = {*zip(x[inside].tolist(), y[inside].tolist(), strict=True)}
        pixels = np.floor(request.uv_px + 0.5).astype(int).tolist()
        assert request.on_event.tolist() == [tuple(pixel) in events for pixel in pixels]
        checked += request.on_event.sum()
    assert checked > 20


@pytest.mark.parametrize(("mode", "support_filter_ms"), [*((mode, 0.0) for mode in QueryMode), (QueryMode.EXACT, 3.0)])
def test_answers_are_those_of_a_plain_loop(mode, support_filter_ms, small_bag, model, weights):
    """Without motion: all windows encoded first, in order; then each request by the definition of its mode."""
    settings = ReplaySettings(mode, uniform=10, support_filter_ms=support_filter_ms)
    session = open_session(small_bag, model, TopicNames(motion=False), settings)
    given = replay_offline(session, [weights])[0]
    fx = session.calibration.fx_px
    plain = Predictor(model, session.height, session.width, fx, 1e5, True, "exact")
    slicer = window_slicer(model.config, session.height, session.width, support_filter_ms=support_filter_ms)
    slicer.history_ns = plain.history_ns
    caches, memories, closed = [], [], []
    for chunk in open_events(small_bag).chunks():
        for window in slicer.push(chunk):
            memories.append(plain.state)
            caches.append(plain.encode(window))
        closed.append(len(caches))
    covering = 0
    for request, answer in zip(session.found.requests, given.answers, strict=True):
        t_ns = request.stamp_ns - OFFSET_NS
        newest = closed[request.after - 1]
        if mode == QueryMode.LATEST:
            there = caches[max(newest - RECENT_CACHES, 0) : newest]
            cache = min(there, key=lambda cache: abs(cache.end_ns - t_ns), default=None)
        elif mode == QueryMode.COVERING:
            cache = next((cache for cache in caches if cache.end_ns > t_ns), caches[-1])
            covering += cache.end_ns > t_ns
        else:
            reached = t_ns <= slicer.newest_ns
            cache = plain.encode(slicer.cut(t_ns), exact=True) if reached else caches[-1]
            covering += cache.end_ns == t_ns
        expected = Predictor(model, session.height, session.width, fx, 200.0, True).query(request.uv_px, t_ns, cache)
        for name in ("depth_m", "depth_stddev_m", "status"):
            np.testing.assert_array_equal(getattr(answer.answer, name), getattr(expected, name))
        start_end = (cache.start_ns + OFFSET_NS, cache.end_ns + OFFSET_NS) if cache else (0, 0)
        assert answer.window_ns == start_end
    assert mode == QueryMode.LATEST or covering > len(session.found.requests) - 4
    assert given.counters["requests_expired"] == (len(given.answers) - covering) * (mode != QueryMode.LATEST)


def test_a_replay_that_was_stopped_goes_on_where_it_stood(session, weights, answered, tmp_path, monkeypatch):
    configuration, out = replay_configuration(session, [weights], "cpu"), tmp_path / "out.json.partial"
    monkeypatch.setattr(offline, "RECENT_MEMORIES", 6)
    encoded = []
    encode = Predictor.encode
    monkeypatch.setattr(Predictor, "encode", lambda self, window: encoded.append(1) or encode(self, window))

    def stop_late(what, done_ns, total_ns):
        if done_ns > 0.7 * total_ns:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Partial(out, configuration) as partial:
        replay_offline(session, [weights], "cpu", partial, stop_late)
    before = len(encoded)
    assert partial.load("00")["window_ns"].shape[0] > 5
    encoded.clear()
    with Partial(out, configuration) as partial:
        again = replay_offline(session, [weights], "cpu", partial)[0]
    same(again, answered)
    assert again.counters == answered.counters
    assert len(encoded) < answered.counters["windows_encoded"] - before + 9, "windows of before are not encoded again"
    assert not out.exists()


def test_finished_answers_of_another_configuration_are_refused(session, weights, tmp_path):
    configuration = replay_configuration(session, [weights], "cpu")
    partial = Partial(tmp_path / "p", configuration)
    partial.save("00", {"a": np.arange(3)})
    changed = configuration | {"fx_px": 1.0}
    with pytest.raises(ValueError, match="unfinished work with another fx_px; give the same command"):
        Partial(tmp_path / "p", changed)
    np.testing.assert_array_equal(Partial(tmp_path / "p", configuration).load("00")["a"], np.arange(3))


@pytest.mark.parametrize(
    ("kind", "convert", "layout"),
    [(POINT_CLOUD2, keypoint_cloud, None), (POINT_CLOUD, vins_cloud, "vins_mono")],
)
def test_keypoints_of_other_front_ends_are_asked_the_same(kind, convert, layout, small_bag, session, model, tmp_path):
    bag = rewrite(small_bag, tmp_path / "bag", {KEYPOINTS_TOPIC: (kind, convert)})
    other = open_session(bag, model, TopicNames(layout=layout), FEW)
    for one, two in zip(session.found.requests, other.found.requests, strict=True):
        for name in ("id", "uv_px", "kind", "true_m", "on_event", "stamp_ns", "after"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_depth_in_millimetres_is_the_same_to_a_millimetre(small_bag, session, model, tmp_path):
    bag = rewrite(small_bag, tmp_path / "bag", {DEPTH_TOPIC: ("sensor_msgs/msg/Image", millimetres)})
    other = open_session(bag, model, settings=FEW)
    for one, two in zip(session.found.requests, other.found.requests, strict=True):
        np.testing.assert_array_equal(one.uv_px, two.uv_px)
        np.testing.assert_allclose(one.true_m, two.true_m, atol=6e-4)


def test_depth_of_a_lidar_is_that_of_the_image_it_was_made_from(small_bag, session, model, tmp_path):
    lens = session.calibration.lens
    transform = np.array([[0, -1, 0, 0.1], [0, 0, -1, 0.2], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])  # x ahead, z up

    def scan(image):
        depth = np.frombuffer(image.data, np.float32).reshape(image.height, image.width)
        v, u = np.nonzero(np.isfinite(depth))
        rays = lens.rays(np.stack((u, v), axis=1))
        points = np.concatenate((rays, np.ones((len(u), 1))), axis=1) * depth[v, u][:, None]
        x, y, z = ((points - transform[:3, 3]) @ transform[:3, :3]).T
        return cloud(image.header, x=x, y=y, z=z)

    bag = rewrite(small_bag, tmp_path / "bag", {DEPTH_TOPIC: (POINT_CLOUD2, scan)})
    other = open_session(bag, model, settings=FEW, extrinsics=transform)
    for one, two in zip(session.found.requests, other.found.requests, strict=True):
        if (one.kind == UNIFORM).all():
            np.testing.assert_array_equal(one.uv_px, two.uv_px)
            np.testing.assert_allclose(one.true_m, two.true_m, rtol=1e-4)
        else:  # not on depth edges
            known = np.isfinite(two.true_m)
            np.testing.assert_allclose(one.true_m[known], two.true_m[known], rtol=1e-4)
    assert np.isfinite(np.concatenate([request.true_m for request in other.found.requests])).mean() > 0.5
    assert open_session(bag, model, settings=FEW).truth is None, "without extrinsics a LiDAR says nothing"


def test_without_keypoints_corners_are_asked_without_depth_nothing_is_scored(small_bag, model, fast_weights, tmp_path):
    bag = rewrite(small_bag, tmp_path / "corners", {KEYPOINTS_TOPIC: None})
    session = open_session(bag, model, settings=ReplaySettings(uniform=7, keypoints=5))
    kinds = np.concatenate([request.kind for request in session.found.requests])
    assert (kinds == UNIFORM).sum() == 7 * session.found.labels and 0 < (kinds == KEYPOINT).sum() <= 5 * len(kinds) / 7
    bare = rewrite(small_bag, tmp_path / "bare", {KEYPOINTS_TOPIC: None, DEPTH_TOPIC: None})
    session = open_session(bare, model, settings=ReplaySettings(keypoints=5))
    stamps = np.array([request.stamp_ns for request in session.found.requests])
    assert (np.diff(stamps) % 33_333_333 == 0).all() and len(stamps) >= 7 and session.truth is None
    result = replay_result(session, replay_offline(session, [fast_weights]))
    assert "accuracy" not in to_json(result) and result.replay.points_with_known_depth == 0
    with pytest.raises(ValueError, match="no depth to score by"):
        replay_result(session, [], choose_protocol("hmnet"))


def test_a_model_that_sees_cells_is_asked_the_same_pixels(small_bag, model, tmp_path):
    bag, cells = rewrite(small_bag, tmp_path / "corners", {KEYPOINTS_TOPIC: None}), PitchConfig(columns=32)
    assert pixel_pitch(replace(model.config, pitch=cells), 48, 64).n == 2
    asked = [
        open_session(bag, SimpleNamespace(config=replace(model.config, pitch=pitch)), settings=FEW).found.requests
        for pitch in (None, cells)
    ]
    for one, two in zip(*asked, strict=True):
        np.testing.assert_array_equal(one.uv_px, two.uv_px)
        np.testing.assert_array_equal(one.on_event, two.on_event)


def test_without_a_focal_length_nothing_is_metric(small_bag, model, fast_weights, session, tmp_path):
    bag = rewrite(small_bag, tmp_path / "bag", {CAMERA_INFO_TOPIC: None})
    blind = open_session(bag, model, settings=FEW)
    (status,) = columns(replay_offline(blind, [fast_weights])[0], "status")
    assert set(status) == {Status.UNCALIBRATED} or set(status) == {Status.UNCALIBRATED, Status.NO_CACHE}
    told = open_session(bag, model, settings=FEW, fx_px=session.calibration.fx_px)
    assert session.topics.poses and told.topics.poses is None, "motion needs the lens"
    still = replace(session, topics=replace(session.topics, poses=None))
    same(replay_offline(told, [fast_weights])[0], replay_offline(still, [fast_weights])[0])


def test_the_table_holds_every_answer(session, answered, tmp_path):
    write_csv(tmp_path / "a.csv", session.found.requests, answered.answers)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    depth, stddev, status = columns(answered, "depth_m", "depth_stddev_m", "status")
    true = np.concatenate([request.true_m for request in session.found.requests])
    for name, expected in (("depth_m", depth), ("depth_stddev_m", stddev), ("true_depth_m", true)):
        given = np.array([row[name] or "nan" for row in rows], np.float32)
        np.testing.assert_array_equal(given, expected)
    assert [row["status"] for row in rows] == [Status(value).name for value in status]


def test_the_bag_of_answers_is_read_as_it_was_given(session, answered, tmp_path):
    requests, lens = session.found.requests, session.calibration.lens
    write_answer_bag(tmp_path / "answers", requests, answered.answers, lens)
    with open_bag(tmp_path / "answers") as bag:
        messages = [(time_ns, message) for _, time_ns, message in bag.read(ANSWERS_TOPIC)]
        clouds = [message for _, _, message in bag.read(POINTS_TOPIC)]
    assert len(messages) == len(clouds) == len(requests)
    for (time_ns, message), points, request, given in zip(messages, clouds, requests, answered.answers, strict=True):
        answer = given.answer
        assert time_ns == request.arrival_ns
        stamps = (message.header.stamp, message.window_start, message.window_end)
        assert [s.sec * 10**9 + s.nanosec for s in stamps] == [request.stamp_ns, *given.window_ns]
        np.testing.assert_array_equal(message.id, request.id)
        np.testing.assert_array_equal(np.stack((message.u, message.v), axis=1), request.uv_px)
        np.testing.assert_array_equal(message.depth, answer.depth_m)
        np.testing.assert_array_equal(message.depth_stddev, answer.depth_stddev_m)
        np.testing.assert_array_equal(message.status, answer.status)
        ok = answer.status == Status.OK
        x, y, z = (cloud_field(points, name) for name in "xyz")
        np.testing.assert_array_equal(z, answer.depth_m[ok])
        if ok.any():
            pixels = lens.to_pixels(np.stack((x, y), axis=1) / z[:, None], "normalized")
            np.testing.assert_allclose(pixels, request.uv_px[ok], atol=1e-2)
        np.testing.assert_array_equal(cloud_field(points, "id"), request.id[ok])


def test_the_result_is_what_evaluate_writes_of_one_scene(session, answered):
    result = replay_result(session, [answered])
    scene = scene_answers(session, [answered])
    depth, status = columns(answered, "depth_m", "status")
    true, kind = (np.concatenate([getattr(r, name) for r in session.found.requests]) for name in ("true_m", "kind"))
    for name, number in (("uniform", UNIFORM), ("keypoints", KEYPOINT)):
        counts = (kind == number) & (status == Status.OK) & np.isfinite(true)
        values = result.summary.accuracy[name]["pooled"][answered.name].plain
        p, t = depth[counts].astype(float), true[counts].astype(float)
        assert values.points == counts.sum() > 40
        assert values.abs_rel == pytest.approx(np.mean(np.abs(p - t) / t))
    assert len(scene.questions.true_m) == np.isfinite(true).sum()
    assert {"judged", "scenes", "accuracy", "comparison", "uncertainty", "per_scene", "settings"} <= set(
        to_json(result)
    )
    assert result.summary.uncertainty["uniform"][answered.name]["pooled"].coverage_error["68%"] is None
