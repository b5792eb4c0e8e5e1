"""The dense baseline is made metric by a training set, and stands in the harness like any model."""

import numpy as np
import pytest
import torch
from reference.teachers import write_teacher

from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.dense_baseline import fit_scale
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.evaluation.results import NoPoints
from eventspd_ros.evaluation.scoring.summary import summarise
from eventspd_ros.model.dense import DenseModel, DenseTensors
from eventspd_ros.model.depth_anything import read_depth_anything
from eventspd_ros.model.feature_cache import FeatureCache

pytest.importorskip("transformers", reason="transformers is not installed")
SETTINGS = Settings(uniform=40, keypoints=10, every=3, warm_up=2)


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("dav2"))


class KnowsDisparity(DenseModel):
    """Its map is the true inverse depth of the window's label, in a unit of its own."""

    def known(self, sequences, unit: float):
        self.unit, self.labels = unit, {}
        for sequence in sequences:
            scene = WindowedScene(sequence, 20.0, 8.333, SETTINGS)
            for number in np.flatnonzero(scene.labels >= 0).tolist():
                self.labels[scene.window(number).t_ns.tobytes()] = (sequence, int(scene.labels[number]))
        return self

    def encode(self, windows, states):
        caches = []
        for window in windows:
            sequence, label = self.labels[window.t_ns.tobytes()]
            canonical = sequence.read_depth(label) / sequence.intrinsics.metric_per_canonical
            inverse = torch.from_numpy(np.nan_to_num(self.unit / canonical))[None, None]
            caches.append(FeatureCache(window.start_ns, window.end_ns, 48, 64, DenseTensors(inverse)))
        return caches, states


def test_a_disparity_of_any_unit_is_made_metric_by_the_training_set(tiny_set, tiny_train_set, network_folder):
    training, sequences = open_dataset("simulated", tiny_train_set), open_dataset("simulated", tiny_set)
    model = KnowsDisparity(network=read_depth_anything(network_folder)).known([*training, *sequences], unit=37.0)
    fit_scale(model, training)
    assert model.inverse_scale == pytest.approx(37.0, rel=1e-3)
    answers = collect_answers(sequences, [Method("dense", model, reset=True)], {}, SETTINGS)
    for sequence, answer in zip(sequences, answers, strict=True):
        farthest_m = 80 * sequence.intrinsics.metric_per_canonical
        wanted = np.minimum(answer.questions.true_m, farthest_m)
        np.testing.assert_allclose(answer.depth_m["dense"], wanted, rtol=2e-3)
    result = summarise(answers, "dense")
    assert result.accuracy["uniform"]["pooled"]["dense"].plain.points == 4 * 3 * 40
    assert result.uncertainty["uniform"]["dense"]["pooled"] == NoPoints()


def test_a_network_that_answers_nothing_has_no_scale(tiny_train_set, network_folder):
    silent = DenseModel(network=read_depth_anything(network_folder))
    torch.nn.init.constant_(silent.network.head.conv3.bias, -1e6)
    with pytest.raises(ValueError, match="answers no inverse depth above 0 on 4 training sequences"):
        fit_scale(silent, open_dataset("simulated", tiny_train_set))
