"""OpenVINO's steps answer as the plain model does; what it cannot compile or read costs speed and nothing else."""

import gc
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from reference.models import small_config
from reference.windows import random_window, randomise

from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.acceleration import Acceleration, CompiledModel, accelerate
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.feature_cache import StreamState, list_tensors
from eventspd_ros.model.openvino import QUERIES, OpenVinoModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.resources import DEFAULT_WEIGHTS, find_weights

HEIGHT, WIDTH = 100, 130


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "eventspd_ros" / "openvino"


def trained(preset="minimal", seed=0):
    model = randomise(build_model(preset), seed=seed, scale=0.1).eval()
    model.trained = True
    return model


def pair(model, height=HEIGHT, width=WIDTH):
    return model.eval(), OpenVinoModel(model.eval(), height, width)


@pytest.fixture(scope="module")
def both():
    return pair(trained())


def streamed(model, height, width):
    """The last cache and memory of three windows, one of them empty."""
    states = [StreamState()]
    with torch.inference_mode():
        for count in (3000, 0, 9000):
            window = model_window(model.config, height, width, max(count, 1))
            window = (
                window if count else replace(window, **{k: getattr(window, k)[:0] for k in ("x", "y", "p", "t_ns")})
            )
            (cache,), states = model.encode([window], states)
    return cache, states[0].memory


@pytest.mark.parametrize(("height", "width"), [(180, 240), pytest.param(480, 640, marks=pytest.mark.slow)])
def test_the_weights_that_ship_answer_alike(height, width):
    plain, made = pair(load_checkpoint(find_weights(DEFAULT_WEIGHTS)), height, width)
    (cache, memory), (own, own_memory) = streamed(plain, height, width), streamed(made, height, width)
    torch.testing.assert_close(own_memory, memory, rtol=1e-4, atol=1e-4)
    for found, expected in zip(list_tensors(own.tensors), list_tensors(cache.tensors), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    points = torch.rand(QUERIES[-1] + 30, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([width, height])
    for count in (0, 1, QUERIES[0], QUERIES[0] + 1, 200, len(points)):
        with torch.inference_mode():
            answers = (model.decode(of, points[:count]) for model, of in ((made, own), (plain, cache)))
            torch.testing.assert_close(*answers, rtol=1e-4, atol=0)


def test_a_model_without_a_memory_answers_alike(both):
    answers = []
    for model in both:
        cache, _ = streamed(model, HEIGHT, WIDTH)
        answers.append(torch.stack(model.decode(cache, torch.rand(40, 2, generator=torch.manual_seed(1)) * 100)))
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-4)


def small(**decoder):
    config = small_config()
    model = build_model(replace(config, decoder=replace(config.decoder, **decoder)))
    return randomise(model, scale=0.1).eval()


@pytest.mark.slow
def test_fusion_without_anchors_answers_alike():
    plain, made = pair(small(anchors=0))
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) * 100
    with torch.inference_mode():
        answers = [model.decode(streamed(model, HEIGHT, WIDTH)[0], points) for model in (made, plain)]
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [{}, {"routing": "random", "global_layers": 0}])
def test_what_it_cannot_convert_is_said_and_the_plain_model_answers(decoder):
    """Routing orders the bits of floats, which OpenVINO has no rule for."""
    model, lines = small(**decoder), []
    made = CompiledModel(model, lines.append, Acceleration.OPENVINO)
    made.prepare(HEIGHT, WIDTH)
    assert "left out" in lines[-1] and "\n" not in lines[-1]
    assert torch.equal(streamed(made, HEIGHT, WIDTH)[1], streamed(model, HEIGHT, WIDTH)[1])


def test_answers_outlast_the_windows_that_come_after(both):
    """What one call gave lies in no buffer that the next one writes."""
    _, made = both
    with torch.inference_mode():
        (first,), states = made.encode([random_window(WIDTH, HEIGHT, 3000)], [StreamState()])
        kept = [tensor.clone() for tensor in list_tensors(first.tensors)]
        depth, _ = made.decode(first, torch.full((5, 2), 40.0))
        before = depth.clone()
        made.decode(first, torch.full((5, 2), 90.0))
        made.encode([random_window(WIDTH, HEIGHT, 9000, 1)], states)
    assert torch.equal(depth, before)
    assert all(torch.equal(a, b) for a, b in zip(list_tensors(first.tensors), kept, strict=True))


def test_a_point_that_is_none_gives_no_number(both):
    plain, made = both
    cache, _ = streamed(plain, HEIGHT, WIDTH)
    points = torch.tensor([[torch.nan, 4.0], [50.0, torch.inf], [20.0, 20.0]])
    with torch.inference_mode():
        for found, expected in zip(made.decode(cache, points), plain.decode(cache, points), strict=True):
            assert found[:2].isnan().all()
            torch.testing.assert_close(found[2], expected[2], rtol=1e-4, atol=0)


def test_what_was_converted_is_kept_and_read_again(cache_folder, monkeypatch):
    model = trained(seed=3)
    before = set(cache_folder.glob("*"))
    plain = OpenVinoModel(model, HEIGHT, WIDTH)
    assert {path.suffixes[-1] for path in set(cache_folder.glob("*")) - before} == {".xml", ".bin"}

    def never(*_, **__):
        raise AssertionError("converted again")

    monkeypatch.setattr(torch.export, "export", never)
    again = OpenVinoModel(model, HEIGHT, WIDTH)
    answers = [streamed(each, HEIGHT, WIDTH)[0].tensors for each in (plain, again)]
    assert all(torch.equal(*tensors) for tensors in zip(*map(list_tensors, answers), strict=True))
    with pytest.raises(AssertionError, match="converted again"):  # other weights
        OpenVinoModel(trained(seed=4), HEIGHT, WIDTH)


def test_random_weights_leave_nothing_behind(cache_folder):
    before = set(cache_folder.glob("*"))
    OpenVinoModel(randomise(build_model("minimal"), seed=6, scale=0.1).eval(), HEIGHT, WIDTH)
    assert set(cache_folder.glob("*")) == before


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "eventspd_ros").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    OpenVinoModel(trained(), HEIGHT, WIDTH)
    assert [path.name for path in tmp_path.iterdir()] == ["eventspd_ros"]


def test_a_damaged_file_costs_speed_alone(cache_folder):
    model, lines = trained(seed=5), []
    before = set(cache_folder.glob("*"))
    OpenVinoModel(model, HEIGHT, WIDTH)
    for path in set(cache_folder.glob("*")) - before:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    made = CompiledModel(model, lines.append, Acceleration.OPENVINO)
    made.prepare(HEIGHT, WIDTH)
    window = random_window(WIDTH, HEIGHT, 3000)
    with torch.inference_mode():
        found, expected = (each.encode([window], [StreamState()])[0][0].tensors for each in (made, model))
    assert all(map(torch.equal, list_tensors(found), list_tensors(expected))), lines
    assert "left out" in lines[-1] and "\n" not in lines[-1]


def test_a_cpu_takes_it_where_it_is_there(fastest_models, monkeypatch, caplog):
    model, lines = trained(), []
    with caplog.at_level(logging.WARNING):
        made = accelerate(model, say=lines.append)
        made.prepare(HEIGHT, WIDTH)
    assert isinstance(made, CompiledModel) and "OpenVINO: ready" in lines[-1] and not caplog.records
    assert isinstance(made._made[HEIGHT, WIDTH], OpenVinoModel)
    monkeypatch.setattr("eventspd_ros.model.acceleration.find_spec", lambda name: None)
    assert accelerate(model) is model
    with pytest.raises(ValueError, match="openvino"):
        accelerate(model, "openvino")


def test_nobody_is_told(monkeypatch, cache_folder):
    """OpenVINO's own convert_model() reports to its makers; what is used here does not load that."""
    import sys

    shutil.rmtree(cache_folder, ignore_errors=True)
    for name in [name for name in sys.modules if "telemetry" in name]:
        monkeypatch.delitem(sys.modules, name)
    OpenVinoModel(trained(seed=7), HEIGHT, WIDTH)
    assert not [name for name in sys.modules if "telemetry" in name]


def test_a_signal_is_survived_after_models_have_gone():
    """Each Core brings a stack for signals; see _core()."""
    import ctypes

    class Stack(ctypes.Structure):
        _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

    def stack():
        found = Stack()
        assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
        return found.sp, found.size

    models = [OpenVinoModel(trained(), HEIGHT, WIDTH)]
    before = stack()
    models.append(OpenVinoModel(trained(), HEIGHT, WIDTH))
    assert stack() == before
    models.clear()
    gc.collect()
    assert stack() == before
