"""Exported phases answer as the model does, for any number of events and queries; packages say what they do not fit."""

import json
from dataclasses import replace

import pytest
import torch
from reference.models import small_config, small_model
from reference.packed import packed
from reference.windows import random_window, randomise

from eventspd_ros.cli import main
from eventspd_ros.model import export
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.export import MANIFEST, export_phases, load_model, load_package, write_package
from eventspd_ros.model.feature_cache import StreamState, list_tensors
from eventspd_ros.model.presets import build_model, preset_config
from eventspd_ros.model.stepped import SteppedModel

HEIGHT, WIDTH = 64, 96


def compare(made, model) -> None:
    """Two windows of different size and some queries, from both."""
    states, expected_states = [StreamState()], [StreamState()]
    for count in (900, 5000):
        window = random_window(WIDTH, HEIGHT, count)
        (cache,), states = made.encode([window], states)
        with torch.inference_mode():
            (expected,), expected_states = model.encode([window], expected_states)
    for mine, plain in zip(list_tensors(cache.tensors), list_tensors(expected.tensors), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4)
    for count in (1, 40):
        uv_px = torch.rand(count, 2, generator=torch.Generator().manual_seed(count)) * 60
        with torch.inference_mode():
            for mine, plain in zip(made.decode(cache, uv_px), model.decode(expected, uv_px), strict=True):
                torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4)


ABLATED = {"random anchors": {"global_layers": 0, "routing": "random"}, "without the read": {"anchors": 0}}


def made_small(**decoder):
    config = small_config()
    return build_model(replace(config, decoder=replace(config.decoder, **decoder)))


@pytest.mark.parametrize("name", ["small", "minimal", *ABLATED])
def test_exported_programs_answer_as_the_model(name):
    torch.manual_seed(0)
    model = build_model("minimal") if name == "minimal" else made_small(**ABLATED.get(name, {}))
    model = randomise(model, scale=0.1).eval()
    programs = {phase: program.module() for phase, program in export_phases(model, HEIGHT, WIDTH).items()}
    compare(SteppedModel(model, (HEIGHT, WIDTH), programs["encode"], programs["decode"]), model)
    # Not only for the numbers of events that buckets give.
    few = packed(random_window(WIDTH, HEIGHT, 10), 13)
    shape = model.memory_shape(HEIGHT, WIDTH)
    programs["encode"](few, *([] if shape is None else [torch.zeros(1, *shape)]))


def test_a_model_of_images_is_refused_in_one_line(tmp_path, capsys):
    assert main(["export", "--preset", "rgb_spd", "--sensor", "64x48", "--out", str(tmp_path / "package")]) == 2
    assert "input 'image' has no packed events" in capsys.readouterr().err and not (tmp_path / "package").exists()


@pytest.mark.slow  # AOTInductor's C++ takes a minute and more to compile
@pytest.mark.parametrize("name", ["minimal", "small"])
def test_a_package_answers_as_the_model(name, tmp_path):
    model = randomise(small_model() if name == "small" else build_model("minimal"), scale=0.1).eval()
    if name == "minimal":
        save_checkpoint(model, tmp_path / "weights.safetensors")
        size = f"{WIDTH}x{HEIGHT}"
        arguments = [
            "--weights",
            str(tmp_path / "weights.safetensors"),
            "--sensor",
            size,
            "--out",
            str(tmp_path / "made"),
        ]
        assert main(["export", *arguments]) == 0
    else:
        write_package(model, HEIGHT, WIDTH, tmp_path / "made")
    made = load_model(tmp_path / "made")
    assert made.trained == (name == "minimal")
    compare(made, model)
    with pytest.raises(ValueError, match="made for 96x64"):
        made.prepare(32, 32)
    (tmp_path / "made" / "decode.pt2").write_bytes(b"not a package")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_package(tmp_path / "made")


def manifest(tmp_path, **changes):
    values = {
        "config": build_model("minimal").config.to_dict(),
        "sensor": "96x64",
        "device": "cpu",
        "trained": True,
        "torch": torch.__version__,
    }
    (tmp_path / MANIFEST).write_text(json.dumps(values | changes))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "cuda"}, "was exported for cuda, not cpu"),
        ({"torch": "1.0"}, "was exported with torch 1.0"),
        ({"sensor": "wide"}, "is no exported package"),
        ({"config": {"preset": "minimal"}}, "is no exported package.*missing keys"),
        ({"config": preset_config("hd_micro").to_dict()}, "preset 'hd_micro' has no encode and decode"),
        ({"config": preset_config("rgb_spd").to_dict()}, "preset 'rgb_spd' has no encode and decode"),
        ({}, "cannot be loaded"),
    ],
)
def test_a_package_that_does_not_fit_is_refused_in_one_line(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said) as caught:
        load_package(manifest(tmp_path, **changes))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_exported_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no package; name another folder"):
        write_package(build_model("minimal"), HEIGHT, WIDTH, tmp_path)
    with pytest.raises(ValueError, match="'hd_micro' is an encoder"):
        export_phases(build_model("hd_micro"), HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="is no exported package"):
        load_model(tmp_path)

    def broken(*_, **__):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")

    monkeypatch.setattr(export, "export_phases", lambda *_: {"encode": None})
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", broken)
    with pytest.raises(ValueError, match=r"encode does not compile for cpu: .*No working C"):
        write_package(build_model("minimal"), HEIGHT, WIDTH, tmp_path / "new")
