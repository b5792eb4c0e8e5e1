"""A recipe on hand-made steps, and whole on the tiniest sets; the one that ships with other sizes alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from reference.models import NARROW_V9

from eventspd_ros.benchmark import recipe as recipes
from eventspd_ros.benchmark.recipe import Recipe, RecipeFolder, filling, in_proportion, run_recipe
from eventspd_ros.cli.shared import progress_bar
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.resources import find_resource
from eventspd_ros.training.config import read_config

CARD = find_resource("config/train/card.yaml")
CHANNELS = NARROW_V9["pyramid"]["channels"]
# The shipped recipe with less of what costs time: scenes, pixels, channels, seconds.
LESS = {
    "sets": {"home": 3, "wide": 1, "long": 1},
    "pyramid": {"channels": CHANNELS, "blocks": [1, 1, 2, 1], "heads": [2, 2]},
    "decoder": {"dim": 32, "heads": 2, "channels": CHANNELS},
    "encoder": NARROW_V9["encoder"],
}


@pytest.fixture
def tiny(tmp_path) -> Recipe:
    values = yaml.safe_load(CARD.read_text())
    for known in values["sets"]:
        words = known["simulate"].split()
        words[words.index("--scenes") + 1] = str(LESS["sets"].get(known["name"], 1))
        known.update(simulate=" ".join([*words, "--size", "48x40", "--workers", "1"]), seconds=0.0)
    train = values["train"]
    train["changes"]["pyramid"].update(LESS["pyramid"])
    train["changes"].update(decoder=LESS["decoder"], encoder=LESS["encoder"])
    train["data"].update(workers=0, validation_samples=2)
    train.update(queries=16)
    train["run"]["batch"] = 1
    values["variants"]["residual"]["pyramid"]["blocks"] = [1, 1, 1, 1]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return read_config(path, Recipe)


def test_both_variants_of_the_shipped_recipe_fit_in_26_megabytes():
    recipe = read_config(CARD, Recipe)
    assert list(recipe.variants) == ["document", "residual"]
    for name in recipe.variants:
        model = build_model(recipe.training(name, Path("card")).model())
        assert model.config.pyramid.residual == (name == "residual")
        assert 2 * sum(tensor.numel() for tensor in model.state_dict().values()) < 26e6


def test_a_variant_is_compared_on_single_windows_of_the_same_sets():
    recipe = read_config(CARD, Recipe)
    training, comparison = (of("residual", Path("there")) for of in (recipe.training, recipe.comparison))
    assert [source.folder for source in training.data.train] == [
        "there/sets/home",
        "there/sets/wide",
        "there/sets/long",
    ]
    assert [source.windows for source in training.data.train] == [0, 0, 16]
    assert comparison.data.windows == comparison.bptt == 1
    assert {source.windows for source in (*comparison.data.train, *comparison.data.validation)} == {1}
    assert [s.folder for s in comparison.data.train] == [s.folder for s in training.data.train]
    assert comparison.model() == training.model()


def test_counts_of_steps_keep_their_proportions(tiny):
    run = replace(tiny.train.run, steps=2000, validate_every=400, checkpoint_every=200, picture_every=2000)
    config = replace(tiny.train, run=run, optimizer=replace(tiny.train.optimizer, warmup_steps=100))
    found = in_proportion(config, 1000)
    assert (found.run.steps, found.run.validate_every, found.run.checkpoint_every) == (1000, 200, 100)
    assert (found.run.picture_every, found.optimizer.warmup_steps) == (1000, 50)
    few = in_proportion(config, 3)
    assert (few.run.validate_every, few.run.checkpoint_every, few.optimizer.warmup_steps) == (1, 1, 1)


def test_steps_fill_the_time_by_the_pace_after_the_warm_up(tiny, monkeypatch):
    class Clock:
        def parts_s(self):
            return {"loop": [9.0] * recipes.PROBE_WARM_UPS + [0.25, 0.75] * 10}

    asked = []
    monkeypatch.setattr(recipes, "time_training", lambda config: asked.append(config) or Clock())
    assert filling(tiny.train, 30.0).run.steps == 60
    assert asked[0].run.steps == recipes.PROBE_STEPS and not asked[0].data.validation
    assert filling(tiny.train, 0.1).run.steps == 1


def test_what_does_not_belong_together_is_named(tiny, tmp_path):
    with pytest.raises(ValueError, match="no set of it is 'sets/elsewhere'"):
        replace(tiny, tests=("elsewhere",))
    with pytest.raises(ValueError, match="is empty; by these the best is chosen"):
        replace(tiny, variants={})
    with pytest.raises(ValueError, match="compare_seconds=0: not positive"):
        replace(tiny, compare_seconds=0)
    with pytest.raises(ValueError, match="unknown key 'residuals'"):
        replace(tiny, variants={"residual": {"pyramid": {"residuals": True}}})
    with pytest.raises(ValueError, match="step 'boil': known are simulate, compare, train, evaluate"):
        run_recipe(tiny, tmp_path / "out", ["boil"], progress_bar)
    with pytest.raises(ValueError, match="step 'compare' is not done yet"):
        run_recipe(tiny, tmp_path / "out", ["train"], progress_bar)
    RecipeFolder(tiny, tmp_path / "out").note("simulate", {})
    with pytest.raises(ValueError, match="holds another recipe's work"):
        RecipeFolder(replace(tiny, seconds=1.0), tmp_path / "out")


def test_simulation_that_takes_too_long_leaves_whole_scenes_and_one_that_fails_ends(tiny, tmp_path):
    slow = replace(tiny.sets[0], simulate="--domains fly --scenes 10000 --size 64x48", seconds=1.0)
    recipes._simulate(slow, tmp_path / "slow")
    assert len(list((tmp_path / "slow").glob("fly_*.h5"))) < 10000 and not list((tmp_path / "slow").glob(".*.h5"))
    with pytest.raises(ValueError, match="ended with status 2"):
        recipes._simulate(replace(slow, simulate="--domains sea", seconds=60.0), tmp_path / "bad")


@pytest.mark.slow
def test_the_shipped_recipe_runs_whole_at_tiny_size_and_does_nothing_twice(tiny, tmp_path, monkeypatch):
    """The steps of a training are counted, not timed."""
    monkeypatch.setattr(recipes, "filling", lambda config, seconds: in_proportion(config, 3 if seconds > 100 else 2))
    out = tmp_path / "out"
    assert "6 scenes" not in run_recipe(tiny, out, ["simulate", "compare"], progress_bar)
    before = json.loads((out / "recipe.json").read_text())
    text = run_recipe(tiny, out, [], progress_bar)
    seen = json.loads((out / "recipe.json").read_text())
    assert {step: seen[step] for step in ("recipe", "simulate", "compare")} == before
    assert seen["simulate"]["scenes"] == {
        **{"validation": 3, "test_home": 3, "test_wide": 5},
        **{"home": 9, "wide": 5, "long": 3},
    }
    scores = {name: run["validation"]["score"] for name, run in seen["compare"]["variants"].items()}
    assert seen["train"]["variant"] == seen["compare"]["chosen"] == min(scores, key=scores.get)
    assert (seen["train"]["steps"], seen["train"]["samples"]) == (3, 3) and len(seen["train"]["curve"]) >= 1
    model = load_checkpoint(out / "weights.safetensors")
    last = load_checkpoint(out / "train/checkpoints/last.safetensors")
    for name, own in model.named_parameters():
        assert own.equal(last.get_parameter(name).half().float()), name
    for name in ("test_home", "test_wide"):
        found = json.loads((out / f"{name}.json").read_text())["accuracy"]["uniform"]["pooled"]
        told = seen["evaluate"]["tests"][name]
        assert list(told) == ["eventspd", "eventspd_lite"]
        assert all(told[model]["abs_rel"] == found[model]["plain"]["abs_rel"] for model in told)
    assert isinstance(seen["evaluate"]["better"], bool) and "better on every test" in text
    stamp = (out / "train/metrics.json").stat().st_mtime_ns
    assert run_recipe(tiny, out, [], progress_bar) == text
    assert (out / "train/metrics.json").stat().st_mtime_ns == stamp
