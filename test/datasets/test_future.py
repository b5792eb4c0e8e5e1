"""Pairs of a window and what followed: cut at the right moments, the same for every reader."""

import numpy as np
import pytest
from reference import dataset_layouts as layouts
from torch.utils.data import DataLoader

from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.future import FutureFeed

LENGTH_NS = 20_000_000


@pytest.mark.parametrize("name", ["m3ed", "dsec", "mvsec", "tartanair", "simulated"])
def test_context_and_future_tile_every_recording(name, tmp_path):
    truth = getattr(layouts, f"write_{name}")(tmp_path)
    (sequence,) = open_dataset(name, tmp_path)
    feed = FutureFeed([sequence.events])
    assert len(feed) == layouts.DURATION_MS // 20 - 2, "the last future is not over at the last event"
    for index in range(len(feed)):
        pair = feed[index]
        now_ns = truth.t_ns[0] + (index + 1) * LENGTH_NS
        for window, start_ns in ((pair.context, now_ns - LENGTH_NS), (pair.future, now_ns)):
            assert (window.start_ns, window.end_ns) == (start_ns, start_ns + LENGTH_NS)
            inside = (truth.t_ns >= window.start_ns) & (truth.t_ns < window.end_ns)
            assert inside.sum() > 100
            for column in ("x", "y", "p", "t_ns"):
                np.testing.assert_array_equal(getattr(window, column), getattr(truth, column)[inside], column)
    for outside in (-1, len(feed)):
        with pytest.raises(IndexError):
            feed[outside]


def test_several_recordings_follow_one_another(tmp_path):
    for seed in range(2):
        layouts.write_simulated(tmp_path, seed=seed)
    recordings = [sequence.events for sequence in open_dataset("simulated", tmp_path)]
    feed = FutureFeed(recordings)
    assert len(feed) == 46
    np.testing.assert_array_equal(feed[23].context.x, FutureFeed(recordings[1:])[0].context.x)
    longer = FutureFeed(recordings, window_ms=200)
    assert len(longer) == 2, "of 500 ms, 200 and the 200 after"
    assert len(FutureFeed(recordings, window_ms=300)) == len(FutureFeed([])) == 0
    for wrong in ({"window_ms": 0}, {"flip": 1.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FutureFeed(recordings, **wrong)


def test_flips_depend_on_seed_epoch_and_pair_only(tmp_path):
    layouts.write_simulated(tmp_path)
    (sequence,) = open_dataset("simulated", tmp_path)
    plain, feed = FutureFeed([sequence.events]), FutureFeed([sequence.events], flip=0.5, seed=3)

    def flipped(feed, epoch):
        return [pair_is_mirrored(feed[epoch, index], plain[index]) for index in range(len(feed))]

    first = flipped(feed, 0)
    assert 3 < sum(first) < 20, "about half of 23"
    assert flipped(feed, 0) == first
    assert flipped(feed, 1) != first
    assert flipped(FutureFeed([sequence.events], flip=0.5, seed=4), 0) != first
    assert not any(flipped(plain, 0)) and all(flipped(FutureFeed([sequence.events], flip=1), 5))
    keys = [(2, index) for index in range(23)]
    loader = DataLoader(feed, batch_size=5, sampler=keys, num_workers=2, collate_fn=list)
    there = [pair for batch in loader for pair in batch]
    assert [pair_is_mirrored(pair, plain[index]) for index, pair in enumerate(there)] == flipped(feed, 2)


def pair_is_mirrored(pair, plain) -> bool:
    """Context and future alike, and nothing but the columns differs."""
    mirrored = [(layouts.WIDTH - 1 - window.x).tolist() for window in (plain.context, plain.future)]
    found = [window.x.tolist() for window in (pair.context, pair.future)]
    assert found in (mirrored, [plain.context.x.tolist(), plain.future.x.tolist()])
    for one, other in ((pair.context, plain.context), (pair.future, plain.future)):
        for name in ("y", "p", "t_ns"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.x.dtype == np.uint16 and (one.start_ns, one.end_ns) == (other.start_ns, other.end_ns)
    return found == mirrored
