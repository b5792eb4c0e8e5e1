"""The commands, end to end, on a set simulated for the test."""

import json
from pathlib import Path

import numpy as np
import pytest
from reference.models import small_model
from reference.windows import randomise

from eventspd_ros.cli import main
from eventspd_ros.evaluation import evaluate
from eventspd_ros.evaluation.asking import answers
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.results import to_json
from eventspd_ros.model.acceleration import CompiledModel
from eventspd_ros.model.checkpoints import load_checkpoint, save_checkpoint
from eventspd_ros.model.presets import build_model


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(randomise(small_model(parametrization="log")), folder / "small.safetensors")
    save_checkpoint(build_model("minimal"), folder / "minimal.safetensors")
    return folder / "small.safetensors", folder / "minimal.safetensors"


@pytest.fixture(scope="module")
def evaluation(checkpoints, tiny_set, tiny_train_set, tmp_path_factory):
    """What `eventspd evaluate` wrote."""
    out = tmp_path_factory.mktemp("evaluation") / "out.json"
    options = ["--every", "3", "--warm-up", "2", "--queries", "60", "--protocol", "hmnet", "--out", str(out)]
    weights = list(map(str, checkpoints))
    assert main(["evaluate", str(tiny_set), "--weights", *weights, "--train-set", str(tiny_train_set), *options]) == 0
    return json.loads(out.read_text())


def test_everyone_answers_the_same_questions(evaluation):
    methods = {"median", "coordinates", "coordinates+domain", "small", "small (memory reset)", "minimal"}
    assert evaluation["judged"] == "small" and evaluation["scenes"] == {"pooled": 4, "drive": 2, "indoor": 2}
    for kind in ("uniform", "keypoints"):
        for group in evaluation["accuracy"][kind].values():
            assert set(group) == methods and len({values["plain"]["points"] for values in group.values()}) == 1
        assert set(evaluation["comparison"][kind]) == methods - {"small"}
    assert evaluation["accuracy"]["uniform"]["pooled"]["small"]["plain"]["points"] == 4 * 3 * 60
    assert set(evaluation["protocol"]["hmnet"]) == methods
    assert evaluation["protocol"]["hmnet"]["small"]["images"] == 12


def test_pooled_values_are_those_of_the_scenes(evaluation):
    """Equally many points a scene: pooled means are means over scenes."""
    for method, scenes in evaluation["per_scene"]["uniform"].items():
        pooled = evaluation["accuracy"]["uniform"]["pooled"][method]["plain"]
        for name in ("abs_rel", "abs_log", "delta1"):
            assert np.mean([values[name] for values in scenes.values()]) == pytest.approx(pooled[name])
    scenes = {m: [s["abs_log"] for s in v.values()] for m, v in evaluation["per_scene"]["uniform"].items()}
    against = evaluation["comparison"]["uniform"]["minimal"]["abs_log"]["pooled"]
    assert against["ratio"] == pytest.approx(np.mean(scenes["small"]) / np.mean(scenes["minimal"]))


def test_coverage_of_few_scenes_says_how_unsure_it_is(evaluation):
    """Pooled coverage of scenes with equally many points is their mean; its standard error is their spread / √4."""
    groups = evaluation["uncertainty"]["uniform"]["small"]
    two, all_four = groups["drive"], groups["pooled"]
    assert all_four["coverage"]["68%"] == pytest.approx(
        (two["coverage"]["68%"] + groups["indoor"]["coverage"]["68%"]) / 2
    )
    within = [groups[domain]["coverage_error"]["68%"] ** 2 * 2 for domain in ("drive", "indoor")]
    between = np.var([groups[domain]["coverage"]["68%"] for domain in ("drive", "indoor")])
    assert all_four["coverage_error"]["68%"] == pytest.approx(np.sqrt((np.mean(within) + between) / 4))


def test_models_of_one_preset_have_names_of_their_own():
    model = build_model("minimal")
    paths = [Path("a/last.safetensors"), Path("b/last.safetensors"), Path("best.safetensors")]
    names = [method.name for method in evaluate._methods([model] * 3, paths)]
    assert names == ["minimal:a/last.safetensors", "minimal:b/last.safetensors", "minimal:best"]
    assert [method.name for method in evaluate._methods([model], paths[:1])] == ["minimal"]


def test_the_terminal_shows_every_table(checkpoints, tiny_set, capsys):
    command = ["evaluate", str(tiny_set), "--weights", str(checkpoints[1]), "--every", "5", "--warm-up", "2"]
    assert main([*command, "--queries", "20"]) == 0
    shown = capsys.readouterr().out
    for words in ("accuracy, uniform", "accuracy, keypoints", "uncertainty, uniform", "drive"):
        assert words in shown
    assert "memory reset" not in shown, "minimal has no memory to reset"
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["warm_up"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "kitti"], "protocol 'kitti' is unknown; choose one of e2depth, hmnet, f3, dsec"),
        (["--protocol", "dsec", "--queries", "5"], "protocol 'dsec' scores disparity, which simulated does not have"),
        (["--protocol", "f3", "--alignment", "mean"], "alignment 'mean': must be one of none, median"),
        (["--protocol", "dsec", "--alignment", "median"], "scores disparity as it is; alignment 'median'"),
        (["--warm-up", "99"], "lower the warm-up"),
        (["--train-set", "/no/such"], "/no/such"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, checkpoints, tiny_set, capsys):
    assert main(["evaluate", str(tiny_set), "--weights", str(checkpoints[1]), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("eventspd evaluate: ") and said in error


@pytest.mark.parametrize("command", [["evaluate"], ["calibrate", "--out", "never_written.safetensors"]])
def test_a_bare_name_is_a_model_of_the_package(command, tiny_set, capsys):
    assert main([*command, str(tiny_set), "--weights", "no_such_model"]) == 2
    assert "weights 'no_such_model' do not come with this package (those that do: eventspd" in capsys.readouterr().err


def test_as_a_node_runs_it_a_model_answers_alike(checkpoints, tiny_set, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(evaluate, "accelerate", lambda model, how: made.append(how) or compiled(model, how))
    settings = Settings(uniform=60, every=3, warm_up=2)
    plain, fast = (
        evaluate.evaluate_checkpoints(tiny_set, checkpoints[:1], None, settings, acceleration=how)
        for how in ("eager", "compiled")
    )
    assert made == ["eager", "compiled"] and type(fast.methods[0].model) is CompiledModel
    for one, other in zip(plain.answers, fast.answers, strict=True):
        assert one.depth_m.keys() == other.depth_m.keys()
        for name, depth_m in one.depth_m.items():
            np.testing.assert_allclose(other.depth_m[name], depth_m, rtol=2e-3)


def compiled(model, how):
    """torch.compile without a compiler."""
    return model if how == "eager" else CompiledModel(model, print, backend="eager")


def test_an_evaluation_that_was_stopped_goes_on(checkpoints, tiny_set, evaluation, tmp_path, monkeypatch):
    """Stopped after the first batch of scenes: the rest alone is streamed, and the result is that of one go."""
    monkeypatch.setattr(evaluate, "cores", lambda: 1)  # in this process, where batches can be counted
    monkeypatch.setattr(answers, "PIXELS_AT_ONCE", 2 * 64 * 48)
    out, settings = tmp_path / "out.json", Settings(uniform=60, every=3, warm_up=2)
    streamed, stream = [], answers._stream
    monkeypatch.setattr(answers, "_stream", lambda *work: streamed.append(1) or stream(*work))

    def stop(done: int, total: int) -> None:
        if len(streamed) > 1:
            raise KeyboardInterrupt

    def run(settings=settings, progress=None):
        asked = {"settings": settings, "progress": progress, "out": out}
        return to_json(evaluate.evaluate_checkpoints(tiny_set, checkpoints, **asked).result)

    with pytest.raises(KeyboardInterrupt):
        run(progress=stop)
    assert len(streamed) == 2 and not out.exists()
    with pytest.raises(ValueError, match=r"out\.json\.partial: unfinished work with another settings"):
        run(Settings(uniform=61, every=3, warm_up=2))
    streamed.clear()
    done = []
    result = run(progress=lambda done_now, total: done.append((done_now, total)))
    assert len(streamed) == 6 - 1 and sum(count for count, _ in done) == done[0][1] == 12
    assert json.loads(out.read_text()) == result and not list(tmp_path.glob("*.partial"))
    for kind, groups in result["accuracy"].items():
        for group, methods in groups.items():
            for method, values in methods.items():
                expected = evaluation["accuracy"][kind][group][method]["plain"]
                assert values["plain"] == pytest.approx(expected, rel=1e-4)


def test_calibrate_stores_a_temperature_and_nothing_else(checkpoints, tiny_set, tmp_path, capsys):
    out = tmp_path / "calibrated.safetensors"
    command = ["calibrate", str(tiny_set), "--weights", str(checkpoints[1]), "--out", str(out), "--json"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    before, after = load_checkpoint(checkpoints[1]), load_checkpoint(out)
    assert after.config.head.temperature == pytest.approx(first["factor"]) and first["factor"] != 1
    for name, weights in before.state_dict().items():
        assert (weights == after.state_dict()[name]).all(), name
    # Fitted again there is nothing left to do, and what is stored is the product.
    assert main([*command[:3], str(out), *command[4:5], str(tmp_path / "again.safetensors"), "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["factor"] == pytest.approx(1, abs=0.01) and second["before"].keys() == {"drive", "indoor"}
    for domain, coverage in second["before"].items():
        assert coverage == pytest.approx(first["after"][domain], abs=0.01)
