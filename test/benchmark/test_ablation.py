"""`eventspd ablate`, end to end, on a set simulated for the test."""

import json

import numpy as np
import pytest
import torch
import yaml
from reference.tiny_set import write_tiny_set

from eventspd_ros.benchmark.ablation import AblationConfig
from eventspd_ros.benchmark.ablation_table import COUNTED, ablation_rows
from eventspd_ros.cli import main
from eventspd_ros.training.config import read_config


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("set"), scenes=1)


@pytest.fixture(autouse=True)
def one_thread():
    """Windows of 64×48 px: waiting for a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def values(tiny_set):
    """Plain values of an AblationConfig: two steps of the smallest kind."""
    return {
        "budget": {
            "changes": {"decoder": {"attention_dropout": 0.0}},
            "queries": 16,
            "bptt": 1,
            "data": {"train": [{"folder": str(tiny_set)}], "windows": 2, "workers": 0},
            "losses": {"point": 0.1},
            "run": {"steps": 2, "batch": 2, "precision": "32-true"},
        },
        "evaluation": {"folder": str(tiny_set), "every": 2, "queries": 40, "warm_up": 2},
        "variants": {"full": {}, "forgetful": {"changes": {"pyramid": {"memory": False}}}},
    }


@pytest.fixture
def write(tmp_path):
    def write_config(values, name="ablations.yaml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write_config


def test_a_table_of_all_variants_and_nothing_done_twice(values, write, tmp_path, capsys):
    command = ["ablate", str(write(values)), "--out", str(tmp_path / "out")]
    assert main([*command, "--only", "forgetful"]) == 0
    assert not (tmp_path / "out/ablations.md").exists() and not (tmp_path / "out/full").exists()
    assert capsys.readouterr().out == "forgetful: steps 0 … 2\n"
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("full: steps 0 … 2\n") and "forgetful: steps" not in shown
    assert (tmp_path / "out/ablations.md").read_text() in shown

    stored = {name: json.loads((tmp_path / f"out/{name}/evaluation.json").read_text()) for name in values["variants"]}
    full, prior, forgetful = json.loads((tmp_path / "out/ablations.json").read_text())["rows"]
    for row in (full, forgetful):
        own = stored[row["name"]]["evaluation"]
        plain = own["accuracy"]["uniform"]["pooled"]["eventspd_lite"]["plain"]
        assert {key: row["uniform"][key] for key in ("abs_log", "abs_rel", "delta1")}.items() <= plain.items()
        assert row["steps"] == 2 and row["seed"] == 0 and row["macs_per_query"] > 1e5
    assert full["parameters"] - forgetful["parameters"] == 3 * (256 * 9 + 256 * 128 + 128), "the ConvGRU"
    assert full["uniform"]["reset"] is not None and forgetful["uniform"]["reset"] is None
    assert full["against"] == forgetful["against"] == "full" and full["difference"]["uniform"]["abs_log"] is None
    for kind in ("uniform", "keypoints"):
        errors = [
            [scene["abs_log"] for scene in stored[name]["evaluation"]["per_scene"][kind]["eventspd_lite"].values()]
            for name in ("forgetful", "full")
        ]
        one, other = np.subtract(*errors)
        difference = forgetful["difference"][kind]["abs_log"]
        assert difference["scenes"] == 2 and difference["difference"] == pytest.approx((one + other) / 2)
        assert difference["standard_error"] == pytest.approx(abs(one - other) / 2) and one != other

    # The full model's dense map alone, from the same answers.
    own = stored["full"]["evaluation"]
    assert prior["name"] == "full (prior alone)" and prior["against"] == "full" and prior["steps"] == 2
    assert prior["parameters"] is prior["macs_per_query"] is prior["macs_per_window"] is None
    for kind in ("uniform", "keypoints"):
        plain = own["accuracy"][kind]["pooled"]["eventspd_lite (prior alone)"]["plain"]
        assert prior[kind] == {metric: plain[metric] for metric in ("abs_log", "abs_rel", "delta1")} | {"reset": None}
        scenes = own["per_scene"][kind]
        alone, whole = (
            np.array([scene["abs_log"] for scene in scenes[name].values()])
            for name in ("eventspd_lite (prior alone)", "eventspd_lite")
        )
        assert prior["difference"][kind]["abs_log"]["difference"] == pytest.approx((alone - whole).mean())
        assert (alone != whole).all()
    line = next(line for line in shown.splitlines() if line.startswith("| full (prior alone) "))
    assert line.startswith("| full (prior alone) | – | – | – | 2 |") and line.endswith("| full |")

    # Other questions: asked again, not trained again. Another budget: refused.
    values["evaluation"]["queries"] = 30
    write(values)
    assert main(command) == 0
    assert "full: steps 2 … 2" in capsys.readouterr().out
    points = json.loads((tmp_path / "out/full/evaluation.json").read_text())["evaluation"]["accuracy"]["uniform"]
    assert points["drive"]["eventspd_lite"]["plain"]["points"] == 30 * 4
    values["budget"]["run"]["steps"] = 3
    write(values)
    assert main(command) == 2
    assert "full/config.yaml: this folder holds a run of another config" in capsys.readouterr().err


def test_every_variant_spends_the_same_budget(values, write):
    values["variants"]["lucky"] = {"seed": 7, "against": "forgetful", "changes": {"decoder": {"dim": 32}}}
    config = read_config(write(values), AblationConfig)
    full, forgetful, lucky = (config.training(name) for name in config.variants)
    assert full.data == forgetful.data == lucky.data and full.run == forgetful.run
    assert (full.run.seed, lucky.run.seed, lucky.run.steps) == (0, 7, 2)
    assert full.model().decoder.attention_dropout == lucky.model().decoder.attention_dropout == 0.0
    assert lucky.changes == {"decoder": {"attention_dropout": 0.0, "dim": 32}}, "a run's config.yaml says no more"
    assert full.model().pyramid.memory and not forgetful.model().pyramid.memory and lucky.model().decoder.dim == 32
    assert [config.against(name) for name in config.variants] == ["full", "full", "forgetful"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variants": {}}, "variants: is empty"),
        ({"variants": {"../up": {}}}, "variants: '../up' names a folder"),
        ({"variants": {"a": {"chances": {}}}}, r"variants.a: unknown keys \['chances'\]"),
        ({"variants": {"a": {"changes": {"decoder": {"anchor": 1}}}}}, "variants.a: changes.decoder: unknown key 'anc"),
        ({"variants": {"a": {"changes": {"decoder": {"anchors": 4}}}}}, "variants.a: .*decoder.anchors=4"),
        ({"variants": {"a": {}, "b": {"changes": {"encoder": {"dsstrides": [2, 1]}}}}}, "variants.b: decoder.strides="),
        ({"variants": {"a": {}, "b": {"against": "c"}}}, "variants.b.against='c': known are a, b"),
        ({"budget": {"initial": "w.safetensors"}}, "budget.initial='w.safetensors'.*take initial_encoder"),
    ],
)
def test_what_is_wrong_is_named(values, write, change, said):
    for key, value in change.items():
        values[key] = value if key == "variants" else values[key] | value
    path = write(values)
    with pytest.raises(ValueError, match=said) as error:
        read_config(path, AblationConfig)
    assert str(error.value).startswith(f"{path}: ")


def test_only_known_variants(values, write, tmp_path, capsys):
    assert main(["ablate", str(write(values)), "--out", str(tmp_path / "out"), "--only", "other"]) == 2
    assert "variant 'other' is unknown; known are full, forgetful" in capsys.readouterr().err


def test_a_model_without_a_dense_map_has_no_row_of_it():
    def result(error):
        methods = {"small": {"plain": {"abs_log": error, "abs_rel": error, "delta1": 0.5}}}
        scenes = {"small": {"one": {"abs_log": error, "abs_rel": error, "delta1": 0.5}}}
        kinds = ("uniform", "keypoints")
        evaluation = {
            "judged": "small",
            "accuracy": {kind: {"pooled": methods} for kind in kinds},
            "per_scene": dict.fromkeys(kinds, scenes),
        }
        return {"evaluation": evaluation} | dict.fromkeys(COUNTED, 1)

    rows = ablation_rows({"full": result(0.25), "other": result(0.5)}, {"full": "full", "other": "full"})
    assert [row["name"] for row in rows] == ["full", "other"]
    assert [row["difference"]["keypoints"]["abs_log"] for row in rows] == [
        None,
        {"scenes": 1, "difference": 0.25, "standard_error": None},
    ]
