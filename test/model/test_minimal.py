"""Baseline C through the interface that every model shares."""

import pytest
import torch
from reference.windows import random_window, randomise

from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import build_model, preset_config


@pytest.fixture(scope="module")
def model():
    return randomise(build_model("minimal"))


def keypoints(count: int, width: int, height: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) - 0.5


@torch.no_grad()
def test_an_untrained_model_answers_the_median_depth():
    model = build_model("minimal")
    assert not model.trained
    (cache,), _ = model.encode([random_window(64, 48, 300)], [StreamState()])
    depth, stddev = model.decode(cache, keypoints(50, 64, 48))
    head = preset_config("minimal").head
    torch.testing.assert_close(depth, torch.full_like(depth, head.median_depth_m), rtol=0.1, atol=0)
    torch.testing.assert_close(stddev / depth, torch.full_like(depth, head.initial_stddev), rtol=0.1, atol=0)


@torch.no_grad()
def test_cache_says_what_it_rests_on(model):
    (cache,), (state,) = model.encode([random_window(64, 48, 30, end_ns=50_000_000)], [StreamState()])
    assert (cache.start_ns, cache.end_ns, cache.height, cache.width) == (30_000_000, 50_000_000, 48, 64)
    assert state.memory is None


@pytest.mark.parametrize(("width", "height"), [(346, 260), (240, 180), (65, 47)])
@torch.no_grad()
def test_queries_are_independent(model, width, height):
    (cache,), _ = model.encode([random_window(width, height, 2_000)], [StreamState()])
    uv_px = keypoints(40, width, height)
    depth, stddev = model.decode(cache, uv_px)
    assert torch.isfinite(depth).all() and (depth > 0).all() and (stddev > 0.01 * depth * 0.999).all()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    for answer, permuted in zip((depth, stddev), model.decode(cache, uv_px[order]), strict=True):
        torch.testing.assert_close(permuted, answer[order], rtol=1e-5, atol=0)
    alone = torch.stack([torch.cat(model.decode(cache, uv_px[index : index + 1])) for index in range(40)])
    torch.testing.assert_close(alone, torch.stack((depth, stddev), dim=1), rtol=1e-5, atol=0)
    assert [len(answer) for answer in model.decode(cache, uv_px[:0])] == [0, 0]


@torch.no_grad()
def test_a_batch_of_streams_is_each_alone(model):
    windows = [random_window(65, 47, count, seed=count) for count in (700, 0, 5)]
    uv_px = keypoints(20, 65, 47)
    caches, _ = model.encode(windows, [StreamState() for _ in windows])
    for window, cache in zip(windows, caches, strict=True):
        (own,), _ = model.encode([window], [StreamState()])
        for together, alone in zip(model.decode(cache, uv_px), model.decode(own, uv_px), strict=True):
            torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


@torch.no_grad()
def test_prepared_and_hashed_agree(model):
    window, uv_px = random_window(65, 47, 900), keypoints(20, 65, 47)
    answers = []
    for prepared in (False, True):
        if prepared:
            model.prepare(47, 65)
        (cache,), _ = model.encode([window], [StreamState()])
        answers.append(model.decode(cache, uv_px))
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=0)


def test_bad_calls_are_named(model):
    window = random_window(64, 48, 10)
    with pytest.raises(ValueError, match="1 windows but 2 states"):
        model.encode([window], [StreamState(), StreamState()])
    (cache,), _ = model.encode([window], [StreamState()])
    with pytest.raises(ValueError, match=r"uv_px has shape \(3,\); expected \(K, 2\)"):
        model.decode(cache, torch.zeros(3))
