"""A model that knows the truth makes no error, in every table."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.evaluation.scoring.summary import summarise
from eventspd_ros.model.presets import build_model

SETTINGS = Settings(uniform=40, keypoints=10, every=3, warm_up=2)


@dataclass
class Cheat:
    """Knows the depth map of every window by the window's events, and answers it times a factor."""

    sequences: list
    factor: float
    config = build_model("minimal").config

    def prepare(self, height, width):
        scenes = [WindowedScene(s, self.config.window_ms, self.config.stride_ms, SETTINGS) for s in self.sequences]
        self.known = {
            scene.window(number).t_ns.tobytes() + scene.window(number).x.tobytes(): (scene, int(scene.labels[number]))
            for scene in scenes
            for number in range(len(scene))
        }

    def encode(self, windows, states):
        known = [self.known[window.t_ns.tobytes() + window.x.tobytes()] for window in windows]
        return [SimpleNamespace(scene=scene, label=label, scale_stddev=None) for scene, label in known], states

    def decode(self, cache, uv_px):
        scene, label = cache.scene, cache.label
        u, v = uv_px.long().T
        true = torch.from_numpy(scene.sequence.read_depth(label))[v, u].double()
        canonical = self.factor * true / scene.sequence.intrinsics.metric_per_canonical
        return canonical, 0.1 * canonical

    def prior_depth(self, cache, uv_px):
        return None


def test_a_model_that_knows_the_depth_makes_no_error(sequences):
    methods = [Method("cheat", Cheat(sequences, 1.0)), Method("half", Cheat(sequences, 0.5))]
    result = summarise(collect_answers(sequences, methods, {}, SETTINGS), "cheat")
    for kind in ("uniform", "keypoints"):
        for group in ("pooled", "drive", "indoor"):
            perfect, half = (result.accuracy[kind][group][name] for name in ("cheat", "half"))
            assert perfect.plain.abs_rel < 1e-6 and perfect.plain.delta1 == perfect.answered == 1
            assert half.plain.abs_rel == pytest.approx(0.5) and half.per_image.abs_rel == pytest.approx(0.5)
            assert half.plain.abs_log == pytest.approx(np.log(2)) and half.median_aligned.abs_rel < 1e-6
            assert half.event_pixels.abs_rel == half.near_edges.abs_rel == pytest.approx(0.5)
        against = result.comparison[kind]["half"]
        assert against["abs_log"]["pooled"].ratio < 1e-6 and against["abs_log"]["pooled"].won == 1
        assert result.uncertainty[kind]["cheat"]["pooled"].coverage["50%"] == 1
        assert result.uncertainty[kind]["half"]["pooled"].coverage["95%"] == 0
        assert result.uncertainty[kind]["half"]["pooled"].coverage_error["95%"] == 0
        assert set(result.per_scene[kind]["half"]) == {sequence.name for sequence in sequences}
