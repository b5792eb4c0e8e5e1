import numpy as np
import pytest
import torch

from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.sample import Intrinsics
from eventspd_ros.evaluation.asking.baselines import (
    CoordinateBaseline,
    MedianBaseline,
    TrainingPoints,
    training_points,
)

STEPS = 200
CAMERA = Intrinsics(100, 50, 200.0, 200.0, 50.0, 25.0)  # fx/W = 2
UV = np.array([[0.0, 0.0], [99.0, 49.0], [49.5, 24.5]])


def points(log_depth, domain=None, count=4_000):
    """Training points at random places; log_depth of place (N, 2) and domain (N,)."""
    rng = np.random.default_rng(0)
    place = rng.random((count, 2), np.float32)
    domain = rng.integers(0, 2, count) if domain is None else domain
    return TrainingPoints(place, log_depth(place, domain).astype(np.float32), domain, ("a", "b"))


def test_the_median_is_canonical():
    """Half of the training points at 3 m, a third at 4: the median is 3 m at fx = W, 6 m at fx = 2·W."""
    own = points(lambda place, _: np.log(np.where(np.arange(len(place)) % 5 < 3, 3.0, 40.0)))
    np.testing.assert_allclose(MedianBaseline(own).depth_m(UV, CAMERA, "a"), 6.0, rtol=1e-6)


def test_coordinates_learn_the_conditional_median_of_the_place():
    """Depth grows to the right by e; a tenth of the points is far off, which a mean would follow."""
    rng = np.random.default_rng(1)
    own = points(lambda place, _: place[:, 0] + 8.0 * (rng.random(len(place)) < 0.1))
    answer = CoordinateBaseline(own, told_domain=False, steps=STEPS).depth_m(UV, CAMERA, "nowhere")
    np.testing.assert_allclose(np.log(answer / 2), [0.005, 0.995, 0.5], atol=0.15)


def test_only_the_told_baseline_knows_the_domain():
    own = points(lambda _, domain: 3.0 * domain)
    told = CoordinateBaseline(own, told_domain=True, steps=STEPS)
    for number, domain in enumerate("ab"):
        np.testing.assert_allclose(np.log(told.depth_m(UV, CAMERA, domain) / 2), 3.0 * number, atol=0.1)
    with pytest.raises(ValueError, match=r"domain 'c' is not in the training set \(a, b\)"):
        told.depth_m(UV, CAMERA, "c")


def test_fitting_depends_on_the_seed_alone_and_leaves_torch_as_it_was():
    own = points(lambda place, _: place[:, 1])
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first, second = (CoordinateBaseline(own, False, 3, 20).depth_m(UV, CAMERA, "a") for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, CoordinateBaseline(own, False, 4, 20).depth_m(UV, CAMERA, "a"))
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads


def test_training_points_of_a_set(tiny_train_set):
    sequences = open_dataset("simulated", tiny_train_set)
    own = training_points(sequences, labels=2, pixels=100)
    assert own.domains == ("drive", "indoor") and len(own.log_depth) == 4 * 2 * 100
    assert np.bincount(own.domain).tolist() == [400, 400]
    assert (own.place > 0).all() and (own.place < 1).all()
    # Canonical depth is a third larger at fx/W = 0.75; log depth is coded in steps of 1/1024.
    steps = (own.log_depth + np.log(0.75 / sequences[0].near_m)) * 1024
    np.testing.assert_allclose(steps, np.rint(steps), atol=0.02)


def test_a_training_set_without_depth_is_named(tiny_train_set):
    sequence = open_dataset("simulated", tiny_train_set)[0]
    sequence.depth_labels = np.full(12, -1)
    with pytest.raises(ValueError, match="1 training sequences hold no depth label"):
        training_points([sequence])
