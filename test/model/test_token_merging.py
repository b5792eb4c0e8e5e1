"""Merging cells before L4's attention: exact for cells that are alike, and off unless asked for."""

import pytest
import torch
from reference.models import small_model
from reference.windows import random_window, randomise

from eventspd_ros.model.blocks import SelfAttentionBlock
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.token_merging import Merging, plan_merging


def test_cells_that_are_alike_merge_without_a_change():
    block = randomise(SelfAttentionBlock(32, heads=4)).eval()
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(6, (2, 40), generator=generator)
    target[:, :6] = torch.arange(6)
    tokens = torch.randn(2, 6, 32, generator=generator).gather(1, target.unsqueeze(-1).expand(-1, -1, 32))
    sizes = torch.stack([row.bincount(minlength=6) for row in target]).float()
    with torch.no_grad():
        torch.testing.assert_close(block(tokens, Merging(target, sizes)), block(tokens), rtol=1e-4, atol=1e-5)


def test_destinations_are_what_stands_out_now_or_before_and_a_uniform_rest():
    tokens, memory = torch.zeros(1, 200, 8), torch.zeros(1, 8, 10, 20)
    tokens[0, 100:120] = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)) + 3
    memory.view(1, 8, 200)[0, :, 50:70] = torch.randn(8, 20, generator=torch.Generator().manual_seed(1)) + 3
    merging = plan_merging(tokens, (10, 20), 0.5, memory)
    kept = merging.target[0].bincount(minlength=100)
    assert merging.sizes.shape == (1, 100) and (merging.sizes >= 1).all() and merging.sizes.sum() == 200
    torch.testing.assert_close(merging.sizes[0], kept.float())
    alone = [len(set(merging.target[0, cells].tolist())) for cells in (range(100, 120), range(50, 70))]
    assert alone[0] == 20, "salient cells are merged with one another"
    assert alone[1] == 20, "the previous window's are"


def test_uniform_destinations_leave_no_hole():
    merging = plan_merging(torch.eye(400).unsqueeze(0), (20, 20), 0.75, None)  # nothing is like anything else,
    chosen = merging.target[0] != merging.target[0].mode().values  # so that all others go to one destination
    assert 99 <= chosen.sum() <= 100
    blocks = chosen.view(5, 4, 5, 4).sum(dim=(1, 3))
    assert blocks.min() >= 2, "a block of 4×4 cells holds four of a hundred destinations, more or less"


def test_merging_and_unmerging_keep_a_mean():
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(2, 60, 16, generator=generator)
    merging = plan_merging(tokens, (6, 10), 0.5, torch.randn(2, 16, 6, 10, generator=generator))
    merged = merging.merge(tokens)
    assert merged.shape == (2, 30, 16)
    torch.testing.assert_close(merging.merge(merging.unmerge(merged)), merged)
    weighted = (merged * merging.sizes.unsqueeze(-1)).sum(1) / 60
    torch.testing.assert_close(weighted, tokens.mean(1))


def test_a_batch_merges_as_its_windows_alone():
    model = randomise(small_model(), scale=0.1).eval()
    model.merge_tokens = 0.5
    windows = [random_window(160, 128, 2000, seed) for seed in range(2)]
    with torch.inference_mode():
        both, states = model.encode(windows, [StreamState(), StreamState()])
        both, _ = model.encode(windows, states)
        alone, _ = model.encode(windows[1:], states[1:])
    torch.testing.assert_close(both[1].tensors.context.keys, alone[0].tensors.context.keys, rtol=1e-4, atol=1e-4)


def test_off_unless_asked_for_and_a_wrong_share_is_named():
    model = randomise(small_model(), scale=0.1).eval()
    window = [random_window(160, 128, 2000)]
    with torch.inference_mode():
        (exact,), _ = model.encode(window, [StreamState()])
        assert model.merge_tokens == 0.0
        model.merge_tokens = 0.75
        (merged,), _ = model.encode(window, [StreamState()])
    keys = exact.tensors.context.keys, merged.tensors.context.keys
    assert not torch.equal(*keys)
    assert torch.equal(exact.tensors.context.fine, merged.tensors.context.fine), "only L4 changes"
    for share in (-0.1, 0.9, float("nan")):
        with pytest.raises(ValueError, match="merge_tokens = "):
            model.merge_tokens = share
