"""The harness streams as the predictor does."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from reference.packets import rows
from reference.slow_cells import slow_cells
from reference.slow_support import slow_support

from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.sample import cut_windows
from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.disturbances import ShotNoise
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.evaluation.asking.view import View
from eventspd_ros.evaluation.scoring.summary import summarise
from eventspd_ros.model.config import PitchConfig
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import build_model, preset_config
from eventspd_ros.predictor import Predictor

SETTINGS = Settings(uniform=40, keypoints=10, every=3, warm_up=2)


@pytest.fixture(scope="module")
def answers(model, sequences):
    methods = [Method("model", model), Method("forgetful", model, reset=True)]
    return collect_answers(sequences, methods, {}, SETTINGS)


@pytest.mark.parametrize(("method", "forgets"), [("model", False), ("forgetful", True)])
def test_answers_are_those_of_the_predictor(model, sequences, answers, method, forgets):
    """Scenes streamed side by side, and only the needed windows of a forgetful one, against one predictor a scene.

    A slicer gives no window without events; only a first one is encoded so that each question is answered.
    """
    for sequence, answer in zip(sequences, answers, strict=True):
        camera, asked = sequence.intrinsics, answer.questions
        scene = WindowedScene(sequence, model.config.window_ms, model.config.stride_ms, SETTINGS)
        predictor = Predictor(model, camera.height, camera.width, camera.fx_px, allow_untrained=True)
        for number in range(len(scene)):
            here = asked.window == number
            if forgets:
                predictor.state = StreamState()
            if (len(scene.window(number)) or predictor.cache is None) and (here.any() or not forgets):
                predictor.encode(scene.window(number))
            if here.any():
                alone = predictor.query(asked.uv_px[here])
                np.testing.assert_allclose(answer.depth_m[method][here], alone.depth_m, rtol=1e-3)
                stddev = answer.log_stddev[method][here] * answer.depth_m[method][here]
                np.testing.assert_allclose(stddev, alone.depth_stddev_m, rtol=1e-3)
        assert np.isfinite(answer.depth_m[method]).all()


def test_memory_makes_a_difference(answers):
    for answer in answers:
        assert np.abs(answer.depth_m["model"] / answer.depth_m["forgetful"] - 1).max() > 1e-3


def test_processes_give_the_same_answers(model, sequences, answers, monkeypatch):
    monkeypatch.setattr("eventspd_ros.evaluation.asking.answers.PIXELS_AT_ONCE", 1)  # every scene on its own
    again = collect_answers(sequences, [Method("model", model)], {}, SETTINGS, workers=2)
    for one, two in zip(answers, again, strict=True):
        np.testing.assert_array_equal(one.questions.uv_px, two.questions.uv_px)
        np.testing.assert_allclose(one.depth_m["model"], two.depth_m["model"], rtol=1e-3)


def test_scenes_of_several_sizes_and_lengths_keep_their_places(tmp_path, tiny_set, model, sequences, answers):
    """A scene that is shorter than the others, and one that no question is left of."""
    short = open_dataset("simulated", tiny_set)[:3]
    short[1].times_ns, short[1].depth_labels = short[1].times_ns[:6], short[1].depth_labels[:6]
    short[2].times_ns, short[2].depth_labels = short[2].times_ns[:3], short[2].depth_labels[:3]
    got = collect_answers(short, [Method("model", model)], {}, SETTINGS)
    np.testing.assert_allclose(got[0].depth_m["model"], answers[0].depth_m["model"], rtol=1e-3)
    first = answers[1].questions.window == 2
    np.testing.assert_allclose(got[1].depth_m["model"], answers[1].depth_m["model"][first], rtol=1e-3)
    assert len(got[2].questions.true_m) == 0 and len(got[2].depth_m["model"]) == 0
    assert summarise(got, "model").scenes == {"pooled": 2, "drive": 2}


def test_what_cannot_be_asked_is_named(model, sequences):
    other = build_model("minimal")
    object.__setattr__(other.config, "window_ms", 10.0)
    with pytest.raises(
        ValueError, match=r"models of several \(window_ms, stride_ms\) \[\(10.0, 8.333\), \(20.0, 8.333\)\]"
    ):
        collect_answers(sequences, [Method("a", model), Method("b", other)], {}, SETTINGS)
    with pytest.raises(ValueError, match="4 scenes, but none has a depth label after 99 windows"):
        collect_answers(sequences, [Method("a", model)], {}, Settings(warm_up=99))


@pytest.mark.parametrize(
    ("disturbance", "within_ms", "n"),
    [(None, 0, 2), (ShotNoise(20.0), 0, 2), (ShotNoise(20.0), 3.0, 1), (ShotNoise(20.0), 3.0, 2)],
)
def test_a_model_sees_what_a_stream_of_the_scene_would_bring(sequences, disturbance, within_ms, n):
    """Sums of cells of n×n px and the support filter run on from the scene's first window, whichever windows are asked
    for; noise is of the pixels, and comes ahead of the filter, which is ahead of the cells."""
    config = SimpleNamespace(pitch=PitchConfig(columns=64 // n))
    scene = WindowedScene(sequences[0], 20.0, 8.333, replace(SETTINGS, support_filter_ms=within_ms))
    assert scene.size == (48, 64)
    begin_ns, end_ns = int(scene.ends_ns[0]) - scene.window_ns, int(scene.ends_ns[-1])
    events = cut_windows(scene.sequence.events.read(begin_ns, end_ns), np.array([[begin_ns, end_ns]]))[0]
    if disturbance is not None:
        events = disturbance(events, 0)
    passed = slow_support(rows(events), within_ms * 1e6) if within_ms else rows(events)
    assert not within_ms or len(passed) < 0.9 * len(events)
    expected = slow_cells(passed, n)
    for numbers in (range(len(scene)), (3, 4, len(scene) - 1)):
        view = View(scene, config, disturbance)
        for number in numbers:
            window = view.window(number)
            inside = [row for row in expected if window.start_ns <= row[0] < window.end_ns]
            assert inside and rows(window) == inside
            assert (window.height, window.width, window.sensor_hw) == (48 // n, 64 // n, (48, 64))


def test_answers_of_a_model_of_cells_are_those_of_its_predictor(sequences):
    made = build_model(replace(preset_config("minimal"), pitch=PitchConfig(columns=32)))
    (answer,) = collect_answers(sequences[:1], [Method("cells", made)], {}, SETTINGS)
    sequence, asked = sequences[0], answer.questions
    scene = WindowedScene(sequence, made.config.window_ms, made.config.stride_ms, SETTINGS)
    view, camera = View(scene, made.config), sequence.intrinsics
    predictor = Predictor(made, camera.height, camera.width, camera.fx_px, allow_untrained=True)
    for number in np.unique(asked.window).tolist():
        here = asked.window == number
        predictor.encode(view.window(number))
        np.testing.assert_allclose(answer.depth_m["cells"][here], predictor.query(asked.uv_px[here]).depth_m, rtol=1e-3)
