"""Stepped models answer as the model they are made of, whatever the padding, and captured steps keep nothing stale."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.models import small_config, small_model
from reference.packed import packed
from reference.windows import hand_window, random_window, randomise

from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.config import PitchConfig
from eventspd_ros.model.feature_cache import StreamState, list_tensors, put_tensors
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stepped import CapturedStep, Upload, bucket, stepped
from eventspd_ros.model.steps import EncodeStep, PackedField
from eventspd_ros.predictor import Predictor

HEIGHT, WIDTH = 100, 130


@pytest.fixture(scope="module", params=["small", "minimal"])
def model(request):
    made = small_model() if request.param == "small" else build_model("minimal")
    return randomise(made, scale=0.1).eval()


@given(st.integers(0, 10_000_000), st.integers(1, 5000))
def test_a_bucket_holds_the_count_and_is_at_most_twice_as_large(count, fewest):
    size = bucket(count, fewest)
    assert size >= count and size % fewest == 0 and (size // fewest).bit_count() == 1
    assert size == fewest or size < 2 * count


def test_padding_and_the_table_change_no_field(model):
    model.prepare(HEIGHT, WIDTH)
    window = random_window(WIDTH, HEIGHT, 3000)
    field = PackedField(model, HEIGHT, WIDTH)
    with torch.no_grad():
        expected = model.encoder.scatter([window])
        torch.testing.assert_close(field(packed(window, 3000)), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(field(packed(window, 5000)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda step: step, CapturedStep], ids=["called", "captured"])
def test_windows_and_queries_get_the_models_answers(model, wrap):
    made = stepped(model, HEIGHT, WIDTH, wrap)
    states, expected_states = [StreamState(), StreamState()], [StreamState(), StreamState()]
    held = []
    for number, count in enumerate((3000, 0, 9000, 10)):  # two buckets, one of them twice
        windows = [random_window(WIDTH, HEIGHT, count, seed) for seed in (number, number + 9)]
        caches, states = made.encode(windows, states)
        with torch.inference_mode():
            expected, expected_states = model.encode(windows, expected_states)
        held.append((caches[0], expected[0], random_points(3 + 15 * number)))
    # Earlier windows answer as they did: what a graph wrote since then is not theirs.
    for cache, expected_cache, uv_px in held:
        with torch.inference_mode():
            answers, expected_answers = made.decode(cache, uv_px), model.decode(expected_cache, uv_px)
        for answer, expected in zip(answers, expected_answers, strict=True):
            torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    assert made.decode(held[0][0], torch.zeros(0, 2))[0].shape == (0,)


def random_points(count: int) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(count)) * torch.tensor([WIDTH, HEIGHT]) - 0.5


def test_a_predictor_holds_it(model):
    made = stepped(model, HEIGHT, WIDTH)
    predictors = [Predictor(which, HEIGHT, WIDTH, fx_px=100.0, allow_untrained=True) for which in (made, model)]
    window = random_window(WIDTH, HEIGHT, 3000)
    answers = []
    for predictor in predictors:
        predictor.encode(window)
        answers.append(predictor.query(random_points(20).numpy()))
    np.testing.assert_allclose(answers[0].depth_m, answers[1].depth_m, rtol=1e-3)
    np.testing.assert_array_equal(answers[0].status, answers[1].status)


def test_it_sees_a_sensor_in_the_models_cells():
    made = randomise(build_model(replace(small_config(), pitch=PitchConfig(columns=60))), scale=0.1).eval()
    window = model_window(made.config, HEIGHT, 2 * WIDTH, 9000)  # 4x4 pixels a cell, and rows above and below
    assert (window.height, window.width) == (49, 65)
    cells = stepped(made, HEIGHT, 2 * WIDTH)
    assert cells.sensor_hw == (HEIGHT, 2 * WIDTH)
    uv_px = random_points(20) * torch.tensor([2.0, 1.0])
    with torch.inference_mode():
        answers = [m.decode(m.encode([window], [StreamState()])[0][0], uv_px) for m in (cells, made)]
    for answer, expected in zip(*answers, strict=True):
        torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="small sees that in 65x49 cells"):
        cells.encode([random_window(2 * WIDTH, HEIGHT, 10)], [StreamState()])
    with pytest.raises(ValueError, match="made for 260x100"):
        cells.encode([random_window(60, 45, 10)], [StreamState()])


def test_what_does_not_fit_is_named(model):
    made = stepped(model, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="made for 130x100"):
        made.encode([random_window(64, 64, 10)], [StreamState()])
    with pytest.raises(ValueError, match="holds events up to"):
        made.encode([hand_window([(WIDTH, 0, 5)], WIDTH, HEIGHT)], [StreamState()])
    with pytest.raises(ValueError, match="expected one state"):
        made.encode([random_window(WIDTH, HEIGHT, 10)], [])
    with pytest.raises(ValueError, match=r"expected \(K, 2\)"):
        made.decode(None, torch.zeros(3))


def test_tensors_are_listed_and_put_back(model):
    with torch.inference_mode():
        (cache,), _ = model.encode([random_window(WIDTH, HEIGHT, 100)], [StreamState()])
    tensors = list_tensors(cache.tensors)
    again = put_tensors(cache.tensors, [tensor + 1 for tensor in tensors])
    assert type(again) is type(cache.tensors)
    for before, after in zip(tensors, list_tensors(again), strict=True):
        assert torch.equal(after, before + 1)


def test_a_captured_step_copies_what_changed_and_only_that():
    captured = CapturedStep(lambda first, second: (first + second,), most=2)
    first, second = torch.zeros(3), torch.ones(3)
    kept = captured(first, second)[0]
    first += 1  # the upload's buffer is written in place
    assert torch.equal(captured(first, second)[0], torch.full((3,), 2.0))
    assert torch.equal(captured(first, second * 5)[0], torch.full((3,), 6.0))
    assert torch.equal(kept, torch.ones(3)), "a result is the caller's"
    for size in range(4, 9):
        assert torch.equal(captured(torch.ones(size), torch.ones(size))[0], torch.full((size,), 2.0))
    assert len(captured._graphs) == 2, "memory is bounded"


def test_uploads_are_what_was_filled_in():
    upload = Upload(torch.int32, torch.device("cpu"))
    for count in (4, 2, 9):
        made = upload(lambda array: array.__setitem__(slice(None), np.arange(len(array))), (count,))
        assert made.tolist() == list(range(count))


def test_steps_need_packable_ages():
    model = build_model("minimal")
    model.encoder.grids.time_bins = 32
    with pytest.raises(ValueError, match="time_bins=32"):
        EncodeStep(model, 32, 32)
