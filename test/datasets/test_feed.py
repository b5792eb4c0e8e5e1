"""From files to batches: what a training loop is handed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import dataset_layouts as layouts
from reference.samples import assert_same, make_sample
from torch.utils.data import DataLoader

from eventspd_ros.datasets.augment import Augmentation, augment
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.feed import Feed, collate, locate
from eventspd_ros.datasets.queries import Category, LossMap
from eventspd_ros.datasets.sample import Windowing
from eventspd_ros.datasets.simulated import SimulatedSequence
from eventspd_ros.model.config import PitchConfig
from eventspd_ros.model.presets import preset_config
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
from eventspd_ros.simulation.variety import Variety


@pytest.fixture
def sequences(tmp_path):
    paths = [layouts.write_simulated(tmp_path, seed=seed).path for seed in range(3)]
    return [SimulatedSequence(path, Windowing(4)) for path in paths]


def test_a_batch_holds_its_samples():
    samples = [make_sample(0), replace(make_sample(1, pseudo=False), image=None)]
    batch = collate(samples)
    assert batch.depth_m.shape == (2, 48, 64) and batch.names == ["test/hand/000000", "test/hand/000001"]
    for index, sample in enumerate(samples):
        np.testing.assert_array_equal(batch.depth_m[index].numpy(), sample.depth_m)
        np.testing.assert_array_equal(batch.event_mask[index].numpy(), sample.event_mask)
        for step, window in enumerate(sample.windows):
            ours = batch.steps(step, step + 1).part(index, index + 1).tensors(torch.device("cpu"))
            np.testing.assert_array_equal(ours.site.numpy(), window.y.astype(int) * 64 + window.x)
            np.testing.assert_array_equal(ours.bin.numpy(), (window.end_ns - 1 - window.t_ns) // 1_000_000)
    assert batch.has_image.tolist() == [True, False] and batch.image.dtype == torch.uint8
    np.testing.assert_array_equal(batch.image[0].numpy(), samples[0].image)
    assert (batch.image[1] == 0).all() and collate([samples[1]]).image is None
    assert batch.pseudo_inverse_depth[1].isnan().all() and not batch.pseudo_inverse_depth[0].isnan().all()
    assert collate([samples[1]]).pseudo_inverse_depth is None
    torch.testing.assert_close(batch.metric_per_canonical, torch.full((2,), 50 / 64))
    with pytest.raises(ValueError, match="several"):
        collate([make_sample(), make_sample(width=32)])
    with pytest.raises(ValueError, match="several"):
        collate([make_sample(), make_sample(windows=2)])


def test_queries_bring_the_targets_of_their_pixels():
    samples = [make_sample(0), make_sample(1)]
    batch, loss_map = collate(samples), LossMap(48, 64)
    loss_map.update(np.array([[20, 20]]), np.array([1.0]))
    queries = batch.queries(np.random.default_rng(0).spawn(2), 512, loss_map)
    assert queries.uv_px.shape == (2, 512, 2) and queries.uv_px.dtype == torch.float32
    for index, sample in enumerate(samples):
        u, v = queries.uv_px[index].long().numpy().T
        np.testing.assert_array_equal(queries.depth_m[index].numpy(), sample.depth_m[v, u])
        np.testing.assert_array_equal(queries.pseudo_inverse_depth[index].numpy(), sample.pseudo_inverse_depth[v, u])
    of_depth = queries.category == Category.DEPTH
    assert (
        queries.depth_m[of_depth].isfinite().all()
        and queries.depth_m[queries.category == Category.PSEUDO].isnan().all()
    )
    again = batch.queries(np.random.default_rng(0).spawn(2), 512, loss_map)
    torch.testing.assert_close(queries.uv_px, again.uv_px, rtol=0, atol=0)
    loss_map.update(queries.uv_px, torch.rand(2, 512))  # tensors go straight in
    unlabelled = replace(samples[0], depth_m=np.full((48, 64), np.nan, np.float32), pseudo_inverse_depth=None)
    queries = collate([unlabelled]).queries([np.random.default_rng(0)], 7)
    assert queries.depth_m.isnan().all() and (queries.category == Category.NONE).all()


def test_the_feed_is_its_sequences_in_order(sequences):
    feed = Feed(sequences)
    assert len(feed) == sum(map(len, sequences)) == 15
    expected = [sample for sequence in sequences for sample in sequence]
    for index, sample in enumerate(expected):
        assert_same(feed[index], sample)
    for outside in (-1, 15):
        with pytest.raises(IndexError):
            feed[outside]
    assert len(Feed([])) == 0


def test_items_are_found_in_sets_of_unequal_size():
    assert [locate([2, 2, 5], index) for index in range(5)] == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]


def test_augmentation_depends_on_seed_epoch_and_sample_only(sequences):
    feed = Feed(sequences, Augmentation(), seed=1)
    first = feed[0, 4]
    feed[0, 5], feed[3, 4]
    assert_same(feed[0, 4], first)
    assert_same(feed[4], first)
    for other in (feed[1, 4], Feed(sequences, Augmentation(), seed=2)[0, 4]):
        assert len(other.events) != len(first.events)


def test_batches_are_the_same_with_any_number_of_workers(sequences):
    feed = Feed(sequences, Augmentation(), seed=1)
    loads = []
    for workers in (0, 2):
        loader = DataLoader(
            feed, batch_size=4, sampler=[(2, i) for i in range(15)], num_workers=workers, collate_fn=collate
        )
        loads.append(list(loader))
    assert [len(batch.names) for batch in loads[0]] == [4, 4, 4, 3]
    for one, other in zip(*loads, strict=True):
        assert one.names == other.names and one.intrinsics == other.intrinsics
        torch.testing.assert_close(one.depth_m, other.depth_m, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(one.category_bits, other.category_bits)
        assert torch.equal(one.events.words, other.events.words) and torch.equal(one.events.counts, other.events.counts)


def test_a_feed_for_a_model_of_cells_is_of_cells(sequences):
    config = replace(preset_config("minimal"), pitch=PitchConfig(columns=sequences[0].intrinsics.width // 2))
    feed, plain = Feed(sequences, Augmentation(), 1, config), Feed(sequences, Augmentation(), 1)
    sample, fine = feed[0, 3], plain[0, 3]
    assert sample.depth_m.shape == tuple(side // 2 for side in fine.depth_m.shape)
    np.testing.assert_array_equal(sample.depth_m, fine.depth_m[1::2, 1::2])
    assert sample.intrinsics.metric_per_canonical == pytest.approx(fine.intrinsics.metric_per_canonical)
    assert 0 < len(sample.events) < len(fine.events) / 2
    assert_same(feed[0, 3], sample)


@pytest.mark.parametrize(
    ("domain", "variety", "told"),
    [
        ("drive", {"focal": (1.0, 1.0)}, True),
        ("drive", {"scale": (0.5, 0.5)}, False),
        ("jumble", {}, False),
    ],
)
def test_a_simulated_scene_says_whether_its_scale_is_told(domain, variety, told, tmp_path):
    config = SetConfig((domain,), 1, duration_s=0.1, camera=PinholeCamera.centred(48, 32), variety=Variety(**variety))
    simulate_set(tmp_path, config, workers=1)
    [sequence] = open_dataset("simulated", tmp_path, Windowing())
    assert sequence.scale_told == told and sequence[0].scale_told == told
    assert collate([sequence[0]]).scale_told.tolist() == [told]
    augmented = augment(sequence[0], np.random.default_rng(0), Augmentation())
    assert augmented.scale_told == told
