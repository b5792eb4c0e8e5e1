"""Sweeps on a tiny set: what is not disturbed is the evaluation itself, and what must not change does not."""

import numpy as np
import pytest
import torch

from eventspd_ros.evaluation import sweeps
from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.disturbances import Gap
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.evaluation.asking.view import View
from eventspd_ros.evaluation.scoring.metrics import depth_metrics
from eventspd_ros.evaluation.showing.model_tables import sweep_tables

SETTINGS = Settings(uniform=40, keypoints=0, every=2, warm_up=2)
GAP = Gap(first_ms=40.0, length_ms=30.0, period_ms=1000.0)


@pytest.fixture(scope="module")
def swept(model, sequences, tiny_set):
    """A tenth of a second is too short for the real gap: one of 30 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "GAP", GAP)
        patch.setattr(sweeps, "SCENES", 1)
        patch.setattr(sweeps, "KS", (1, 16, 300))
        done = []
        result = sweeps.run_sweeps(model, sequences, SETTINGS, tiny_set, 1, lambda *step: done.append(step))
    assert {total for _, total in done} == {sum(count for count, _ in done)}, "the bar ends full"
    return result


def test_a_scene_of_each_domain_is_enough(swept, sequences):
    assert swept.scenes == [sequences[0].name, next(s.name for s in sequences if s.domain == "indoor")]


def test_undisturbed_rows_are_the_evaluation(swept, model, sequences):
    own = [sequence for sequence in sequences if sequence.name in swept.scenes]
    answers = collect_answers(own, [Method("model", model)], {}, SETTINGS)
    predicted = np.concatenate([answer.depth_m["model"] for answer in answers])
    true = np.concatenate([answer.questions.true_m for answer in answers])
    plain = depth_metrics(predicted, true)
    for name in ("event_rate", "sensor_noise", "sensor_preset"):
        row = getattr(swept, name)[0]
        assert row.points == plain.points and row.abs_log == pytest.approx(plain.abs_log, rel=1e-4)
        errors = [other.abs_log for other in getattr(swept, name)]
        assert len(set(errors)) == len(errors), "everything that happens to events is seen"
    assert [row.preset for row in swept.sensor_preset] == ["normal", "clean", "night", "realistic", "arbiter"]


def test_keypoints_do_not_see_one_another(swept):
    assert [row.k for row in swept.queries] == [1, 16, 300]
    assert all(row.points == 2 * row.k and row.largest_difference < 1e-3 for row in swept.queries)


def test_before_a_gap_nothing_differs_and_after_it_something_does(swept, model, sequences):
    assert swept.gap[0].since_gap_ms == [-100.0, 0.0]
    own = [sequence for sequence in sequences if sequence.name in swept.scenes]
    methods = [Method("plain", model), Method("gap", model, disturbance=GAP)]
    for sequence, answer in zip(own, collect_answers(own, methods, {}, SETTINGS), strict=True):
        ends_ns = WindowedScene(sequence, 20.0, 8.333, SETTINGS).ends_ns[answer.questions.window]
        ends_ms = (ends_ns - sequence.recorded_ns[0]) / 1e6
        same = np.isclose(answer.depth_m["plain"], answer.depth_m["gap"], rtol=1e-3)
        assert same[ends_ms <= 40].all() and (~same[(ends_ms > 50) & (ends_ms < 75)]).any()
    for row in swept.gap:
        assert row.abs_log != row.abs_log_without_gap


def test_a_camera_that_stops_without_noise_keeps_its_answer(swept):
    rows = {(row.noise_hz_per_pixel, row.after_ms): row for row in swept.camera_stopped}
    assert len(rows) == len(sweeps.STOP_NOISE_HZ) * len(sweeps.STOPPED_MS)
    # Windows hold events of before the stop for 20 ms; from then on nothing is encoded.
    held = {rows[0.0, after].abs_log for after in (20, 50, 100, 200, 500)}
    assert len(held) == 1 and rows[0.0, 0].abs_log not in held
    assert len({rows[noise, 0].abs_log for noise in sweeps.STOP_NOISE_HZ}) == 1
    assert len({rows[5.0, after].abs_log for after in (20, 50, 100, 200, 500)}) == 5


def test_a_window_without_events_leaves_cache_and_memory_alone(model, sequences):
    scene = WindowedScene(sequences[0], model.config.window_ms, model.config.stride_ms, SETTINGS)
    whole_window_lost = Gap(first_ms=40.0, length_ms=40.0, period_ms=1000.0)
    empty = [i for i in range(len(scene)) if not len(View(scene, model.config, whole_window_lost).window(i))]
    before, after = (sweeps._stream_to(model, View(scene, model.config, whole_window_lost), i)
                     for i in (empty[0] - 1, empty[-1]))  # fmt: skip
    assert len(empty) > 1 and after[0].end_ns == before[0].end_ns == scene.ends_ns[empty[0] - 1]
    assert torch.equal(after[1].memory, before[1].memory)


def test_every_sweep_is_a_table(swept):
    tables = sweep_tables(swept)
    assert len(tables) == 6 and all(len(row) == len(table.head) for table in tables for row in table.rows)


def test_a_set_that_does_not_say_how_it_was_made_has_no_presets(model, sequences, tmp_path):
    assert sweeps.read_set_config(tmp_path, sequences) is None
