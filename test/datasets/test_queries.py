"""Query sampling: what each category holds, how often it is drawn, what the loss map learns."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.samples import make_sample

from eventspd_ros.datasets.queries import (
    TRAINING_QUERIES,
    WEIGHTS,
    Category,
    LossMap,
    category_bits,
    depth_edges,
    draw_pixels,
    event_dense,
)

MANY = 60_000


def has(bits, category):
    return bits & (1 << category) > 0


def shares(category):
    return np.bincount(category, minlength=6) / len(category)


def test_the_document_asks_for_2048_queries_and_these_weights():
    assert TRAINING_QUERIES == 2048
    assert list(WEIGHTS.values()) == [0.40, 0.20, 0.15, 0.15, 0.10] and list(WEIGHTS) == list(Category)[:5]


def test_each_draw_is_of_its_category_and_as_often_as_its_weight():
    sample, rng = make_sample(), np.random.default_rng(0)
    bits, loss_map = category_bits(sample), LossMap(48, 64)
    loss_map.update(np.array([[20, 20], [60, 40]]), np.array([3.0, 1.0]))
    uv, category = draw_pixels(bits, rng, MANY, loss_map)
    np.testing.assert_allclose(shares(category)[:5], list(WEIGHTS.values()), atol=0.01)
    for name in WEIGHTS:
        u, v = uv[category == name].T
        assert has(bits, name)[v, u].all(), name
        if name != Category.HARD:  # every pixel of the category is in reach, and none is favoured
            counts = np.bincount(v * 64 + u, minlength=48 * 64)[has(bits, name).ravel()]
            assert (counts > 0).mean() > 0.9
            assert 0.85 < counts.var() / counts.mean() < 1.15, "not one draw like another"


def test_hard_cells_are_drawn_in_proportion_to_their_loss():
    sample = make_sample()
    loss_map = LossMap(48, 64)
    loss_map.update(np.array([[20, 20], [60, 40]]), np.array([3.0, 1.0]))
    uv, category = draw_pixels(category_bits(sample), np.random.default_rng(1), MANY, loss_map)
    hard = uv[category == Category.HARD] // 16
    assert {tuple(cell) for cell in hard.tolist()} == {(1, 1), (3, 2)}
    assert abs((hard == (1, 1)).all(1).mean() - 0.75) < 0.03
    assert np.isfinite(sample.depth_m[tuple(uv[category == Category.DEPTH].T[::-1])]).all()


def test_masks_of_a_hand_made_scene():
    """A near square on a far wall: metric depth on the left half only, pseudo-label everywhere, events on its edge."""
    depth = np.full((48, 64), 20.0, np.float32)
    depth[16:32, 8:24] = 5.0
    pseudo = 1 / depth
    depth[:, 32:] = np.nan
    sample = replace(make_sample(events=0, windows=1), depth_m=depth, pseudo_inverse_depth=pseudo)
    y, x = np.mgrid[16:32, 7:9]
    t = np.full(x.size, sample.t_ns - 1)
    sample = sample.with_events(x.ravel().astype(np.uint16), y.ravel().astype(np.uint16), np.ones(x.size, np.uint8), t)
    bits = category_bits(sample)
    left = np.zeros((48, 64), bool)
    left[:, :32] = True
    np.testing.assert_array_equal(has(bits, Category.DEPTH), left)
    np.testing.assert_array_equal(has(bits, Category.PSEUDO), ~left)
    assert has(bits, Category.HARD).all()
    edge = np.zeros((48, 64), bool)
    edge[14:34, 6:26] = True  # within two pixels of the square's rim, inside and outside
    edge[18:30, 10:22] = False
    np.testing.assert_array_equal(has(bits, Category.EDGES), edge)
    dense = has(bits, Category.EVENTS)
    assert dense[20:28, 7:9].all() and not dense[:, 14:].any() and not dense[:8].any()


@given(st.integers(0, 1000), st.sampled_from([0, 1, 5, 400]))
@settings(max_examples=25, deadline=None)
def test_event_dense_is_the_quarter_with_most_events_around(seed, count):
    """Against plain counting."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((20, 30), np.int64)
    np.add.at(counts, (rng.integers(0, 20, count), rng.integers(0, 30, count)), 1)
    padded = np.pad(counts, 4)
    around = np.array([[padded[i : i + 9, j : j + 9].sum() for j in range(30)] for i in range(20)])
    dense = event_dense(counts)
    if count == 0:
        assert not dense.any()
    else:
        np.testing.assert_array_equal(dense, (around > 0) & (around >= np.quantile(around[around > 0], 0.75)))


@given(st.integers(0, 1000), st.floats(0.05, 1))
@settings(max_examples=25, deadline=None)
def test_depth_edges_against_plain_neighbourhoods(seed, known):
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(0, 0.4, (15, 20))).astype(np.float32)
    depth[rng.random(depth.shape) > known] = np.nan
    padded = np.pad(np.log(depth), 2, constant_values=np.nan)
    expected = np.zeros(depth.shape, bool)
    for i, j in np.argwhere(np.isfinite(depth)):
        box = padded[i : i + 5, j : j + 5]
        expected[i, j] = np.nanmax(box) - np.nanmin(box) > 0.25
    np.testing.assert_array_equal(depth_edges(depth), expected)


def test_empty_categories_give_their_weight_to_the_others_in_proportion():
    sample = make_sample(pseudo=False, events=0)
    _, category = draw_pixels(category_bits(sample), np.random.default_rng(2), MANY, None)
    left = np.array([0.40, 0, 0, 0.15, 0, 0])
    np.testing.assert_allclose(shares(category), left / left.sum(), atol=0.01)
    only_pseudo = replace(make_sample(events=0), depth_m=np.full((48, 64), np.nan, np.float32))
    _, category = draw_pixels(category_bits(only_pseudo), np.random.default_rng(2), MANY, LossMap(48, 64))
    left = np.array([0, 0.20, 0, 0.15, 0, 0])
    np.testing.assert_allclose(shares(category), left / left.sum(), atol=0.01)


def test_a_sample_without_labels_is_still_asked():
    sample = replace(make_sample(pseudo=False), depth_m=np.full((48, 64), np.nan, np.float32))
    loss_map = LossMap(48, 64)
    loss_map.update(np.array([[20, 20]]), np.array([3.0]))
    uv, category = draw_pixels(category_bits(sample), np.random.default_rng(0), 5000, loss_map)
    assert (category == Category.NONE).all()
    assert uv.min() == 0 and uv.max(0).tolist() == [63, 47]


def test_one_seed_draws_the_same():
    bits, loss_map = category_bits(make_sample()), LossMap(48, 64)
    loss_map.update(np.array([[20, 20]]), np.array([3.0]))
    first, again, other = (draw_pixels(bits, np.random.default_rng(seed), 500, loss_map) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_the_loss_map_follows_equation_33():
    loss_map = LossMap(40, 50)
    assert loss_map.values.shape == (3, 4)
    uv = np.array([[[0, 0], [15, 15]], [[49, 39], [16, 0]]], np.float32)  # B = 2, K = 2
    loss_map.update(uv, np.array([[2.0, 4.0], [10.0, np.nan]]))
    expected = np.zeros((3, 4))
    expected[0, 0], expected[2, 3] = 0.01 * 3, 0.01 * 10
    np.testing.assert_allclose(loss_map.values, expected)
    loss_map.update(uv[0], np.array([1.0, 1.0]))
    expected[0, 0] = 0.99 * 0.03 + 0.01  # a cell without a query keeps its value
    np.testing.assert_allclose(loss_map.values, expected)


def test_cells_without_a_label_are_not_drawn():
    loss_map = LossMap(48, 64)
    loss_map.update(np.array([[20, 20], [60, 40]]), np.array([3.0, 1.0]))
    labelled = np.zeros((48, 64), bool)
    labelled[40, 60] = True
    assert set(loss_map.draw(labelled, 100, np.random.default_rng(0)).tolist()) == {40 * 64 + 60}
    assert len(loss_map.draw(labelled[::-1], 100, np.random.default_rng(0))) == 0


def test_a_loss_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="loss map of 64x48 px for samples of 30x20 px"):
        draw_pixels(np.ones((20, 30), np.uint8), np.random.default_rng(0), 10, LossMap(48, 64))
