"""Compiled models answer as plain ones do, and where compiling goes wrong the plain one answers and a line says why.

The backend of these tests traces and splits graphs as the real one does, and then runs them as they are.
"""

import pytest
import torch
from reference.models import small_model
from reference.windows import random_window, randomise

from eventspd_ros.model import acceleration
from eventspd_ros.model.acceleration import CompiledModel, accelerate
from eventspd_ros.model.export import SteppedModel
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stepped import stepped
from eventspd_ros.predictor import Predictor

HEIGHT, WIDTH = 100, 130
POINTS = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) * 100


@pytest.fixture(scope="module", params=["minimal", pytest.param("small", marks=pytest.mark.slow)])
def model(request):
    made = small_model() if request.param == "small" else build_model("minimal")
    return randomise(made, scale=0.1).eval()


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two sizes of each are enough."""
    monkeypatch.setattr(acceleration, "MOST_EVENTS", 8192)
    monkeypatch.setattr(acceleration, "MOST_QUERIES", 32)


def answers_of(model, counts=(3000, 9000)) -> torch.Tensor:
    states = [StreamState()]
    with torch.inference_mode():
        for seed, count in enumerate(counts):
            (cache,), states = model.encode([random_window(WIDTH, HEIGHT, count, seed)], states)
        return torch.stack(model.decode(cache, POINTS))


def test_answers_are_the_plain_models(model):
    lines = []
    made = CompiledModel(model, lines.append, backend="eager")
    expected = answers_of(model)
    torch.testing.assert_close(answers_of(made), expected)  # no sensor is prepared yet: the plain one
    made.prepare(HEIGHT, WIDTH)
    assert "compiling" in lines[0] and "ready" in lines[1] and len(lines) == 2 and f"{WIDTH}x{HEIGHT}" in lines[0]
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.testing.assert_close(answers_of(made), expected, rtol=1e-3, atol=1e-4)
    answers_of(made, (70_000, 10))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before, "no size is compiled anew"
    made.prepare(HEIGHT, WIDTH)
    assert len(lines) == 2
    made.drop_tables()
    torch.testing.assert_close(answers_of(made), expected)


def test_what_does_not_compile_is_said_and_the_plain_model_answers(model):
    def broken(graph, inputs):
        raise RuntimeError("no compiler\nin this house")

    lines = []
    made = CompiledModel(model, lines.append, backend=broken)
    made.prepare(HEIGHT, WIDTH)
    assert "left out" in lines[-1] and "no compiler in this house" in lines[-1] and "\n" not in lines[-1]
    torch.testing.assert_close(answers_of(made), answers_of(model))


def test_steps_that_answer_otherwise_are_left_out(model):
    def wrong(graph, inputs):
        return lambda *args: [2 * out if out.is_floating_point() else out for out in graph(*args)]

    lines = []
    made = CompiledModel(model, lines.append, backend=wrong)
    made.prepare(HEIGHT, WIDTH)
    assert "depths differ" in lines[-1]
    torch.testing.assert_close(answers_of(made), answers_of(model))


def test_who_is_accelerated(model, capsys):
    assert accelerate(model, "eager") is model
    assert isinstance(accelerate(model, "compiled"), CompiledModel)
    package = stepped(model, HEIGHT, WIDTH)
    assert isinstance(package, SteppedModel) and accelerate(package, "compiled") is package
    pictures = build_model("rgb_spd")
    assert accelerate(pictures, "compiled") is pictures
    with pytest.raises(ValueError, match="fast"):
        accelerate(model, "fast")


def test_a_predictor_holds_it(model):
    made = CompiledModel(model, lambda line: None, backend="eager")
    made.prepare(HEIGHT, WIDTH)
    window, found = random_window(WIDTH, HEIGHT, 3000), []
    for each in (made, model):
        predictor = Predictor(each, HEIGHT, WIDTH, fx_px=100.0, allow_untrained=True)
        predictor.encode(window)
        found.append(torch.from_numpy(predictor.query(POINTS.numpy()).depth_m))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="sensor"):
        CompiledModel(build_model("eventspd"), lambda line: None).prepare(8, 8)
