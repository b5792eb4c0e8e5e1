"""A model trained from nothing in a given time: what `eventspd recipe` runs. config/train/card.yaml is one.

    OUT/sets/NAME/             simulated scenes, as many as a set's time allows
    OUT/compare/NAME/          a short training of each variant, on single windows
    OUT/train/                 the training, on from the best of these
    OUT/weights.safetensors    its weights, in float16
    OUT/NAME.json, .txt        what they answer on a test set, beside weights that ship
    OUT/recipe.json            what was done and what was seen

A step that was stopped goes on when it is asked for again; one that is done is not done again.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eventspd_ros.benchmark.ablation import Bar, over
from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import device_conditions
from eventspd_ros.benchmark.train import time_training
from eventspd_ros.datasets.simulated import find_sequences
from eventspd_ros.evaluation.evaluate import evaluate_checkpoints
from eventspd_ros.evaluation.scoring.summary import POOLED
from eventspd_ros.evaluation.showing.table import format_table, show_evaluation
from eventspd_ros.model.checkpoints import scale_temperature
from eventspd_ros.model.devices import choose_device
from eventspd_ros.resources import DEFAULT_WEIGHTS, find_weights
from eventspd_ros.training.config import TrainConfig, read_config, to_yaml
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.loop import Trainer
from eventspd_ros.training.run_folder import code_versions
from eventspd_ros.whole import write_whole

PROBE_STEPS, PROBE_WARM_UPS = 40, 8  # by which a step's time is known: sources with more windows come now and then
GRACE_S = 10.0  # for a simulation that is stopped: it removes what is not whole


@dataclass(frozen=True, kw_only=True)
class RecipeSet:
    """name: of its folder. simulate: arguments of `eventspd simulate`. seconds: after which that is stopped, and the
    scenes that are whole by then are the set; 0: never."""

    name: str
    simulate: str
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """train: its folders, sets/NAME, lie below the recipe's own; its counts of steps say proportions, as `steps`
    becomes what fits `seconds`. variants: name → nested changes of ModelConfig over train's, of which the best at
    single windows after compare_seconds each is trained. tests: names of sets. against: the weights to beat."""

    sets: tuple[RecipeSet, ...]
    train: TrainConfig
    seconds: float
    variants: dict
    compare_seconds: float
    tests: tuple[str, ...]
    against: str = DEFAULT_WEIGHTS

    def __post_init__(self) -> None:
        names = [known.name for known in self.sets]
        sources = (*self.train.data.train, *self.train.data.validation)
        for folder in (*(source.folder for source in sources), *(f"sets/{name}" for name in self.tests)):
            if folder not in {f"sets/{name}" for name in names}:
                raise ValueError(f"recipe: no set of it is {folder!r}; known are {', '.join(names)}, below sets/")
        if not self.variants or not self.train.data.validation:
            raise ValueError("recipe: variants or train.data.validation is empty; by these the best is chosen")
        if min(self.seconds, self.compare_seconds) <= 0:
            raise ValueError(f"recipe: seconds={self.seconds}, compare_seconds={self.compare_seconds}: not positive")
        for name in self.variants:
            self.training(name, Path())

    def training(self, name: str, out: Path) -> TrainConfig:
        """train, of a variant, with its sets below out."""
        data = self.train.data
        placed = {
            part: tuple(replace(source, folder=str(out / source.folder)) for source in getattr(data, part))
            for part in ("train", "validation")
        }
        changes = over(self.train.changes, self.variants[name])
        return replace(self.train, changes=changes, data=replace(data, **placed))

    def comparison(self, name: str, out: Path) -> TrainConfig:
        """The same on single windows: more samples a second, and no memory yet."""
        training = self.training(name, out)
        single = {
            part: tuple(replace(source, windows=1) for source in getattr(training.data, part))
            for part in ("train", "validation")
        }
        return replace(training, bptt=1, data=replace(training.data, windows=1, **single))


class RecipeFolder:
    """OUT and its recipe.json, which every step adds to. ValueError: it holds what another recipe made."""

    def __init__(self, recipe: Recipe, out: Path | str):
        self.recipe, self.out, self.path = recipe, Path(out), Path(out) / "recipe.json"
        described = to_yaml(recipe)
        self.seen = json.loads(self.path.read_text()) if self.path.exists() else {"recipe": described}
        if self.seen["recipe"] != described:
            raise ValueError(f"{self.path}: this folder holds another recipe's work; choose another --out")

    def note(self, step: str, seen: dict) -> None:
        place = torch.device(choose_device("auto"))
        ran_on = {**device_conditions(place), **conditions(torch, np)}
        ran_on["commit"] = code_versions()["commit"]
        self.seen[step] = {**seen, "ran_on": ran_on}
        write_whole(self.path, json.dumps(self.seen, indent=1) + "\n")

    def set_folder(self, name: str) -> Path:
        return self.out / "sets" / name

    @property
    def weights(self) -> Path:
        return self.out / "weights.safetensors"


def run_recipe(recipe: Recipe, out: Path | str, steps: list[str], bar: Bar) -> str:
    """Does these steps, of STEPS, in that order. Returns what is seen so far as text. ValueError: an unknown step."""
    for step in steps:
        if step not in STEPS:
            raise ValueError(f"step {step!r}: known are {', '.join(STEPS)}")
    folder = RecipeFolder(recipe, out)
    for step, work in STEPS.items():
        if step in (steps or STEPS) and step not in folder.seen:
            started = time.perf_counter()
            seen = work(folder, bar)
            folder.note(step, {"took_s": round(time.perf_counter() - started), **seen})
    return show_recipe(folder)


def simulate(folder: RecipeFolder, _: Bar) -> dict:
    """Every set, one after another, on all cores."""
    for wanted in folder.recipe.sets:
        _simulate(wanted, folder.set_folder(wanted.name))
    return {"scenes": {s.name: len(find_sequences(folder.set_folder(s.name))) for s in folder.recipe.sets}}


def _simulate(wanted: RecipeSet, out: Path) -> None:
    command = ["simulate", "--out", str(out), *shlex.split(wanted.simulate)]
    with subprocess.Popen([sys.executable, "-m", "eventspd_ros.cli", *command], stdout=sys.stderr) as process:
        try:
            status = process.wait(wanted.seconds or None)
        except subprocess.TimeoutExpired:
            status = 0
        finally:
            while process.poll() is None:  # again, as a signal among its imports can be lost
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
    if status:
        raise ValueError(f"eventspd {shlex.join(command)}: ended with status {status}")


def compare(folder: RecipeFolder, _: Bar) -> dict:
    """A short training of every variant. chosen: the one with the least mean |log error| at its end."""
    found = {}
    for name in folder.recipe.variants:
        config = folder.recipe.comparison(name, folder.out)
        found[name] = train_for(config, folder.recipe.compare_seconds, folder.out / "compare" / name)
    return {"variants": found, "chosen": min(found, key=lambda name: found[name]["validation"]["score"])}


def train(folder: RecipeFolder, _: Bar) -> dict:
    """The training, from the weights of the best variant, and its weights in float16."""
    chosen = folder.seen.get("compare", {}).get("chosen")
    if chosen is None:
        raise ValueError(f"{folder.path}: step 'compare' is not done yet, which 'train' goes on from")
    start = folder.out / "compare" / chosen / "checkpoints/last.safetensors"
    config = replace(folder.recipe.training(chosen, folder.out), initial=str(start))
    seen = train_for(config, folder.recipe.seconds, folder.out / "train")
    scale_temperature(folder.out / "train/checkpoints/last.safetensors", 1.0, folder.weights, torch.float16)
    return {**seen, "variant": chosen, "megabytes": round(folder.weights.stat().st_size / 1e6, 1)}


def train_for(config: TrainConfig, seconds: float, out: Path) -> dict:
    """Train for about so long, or go on with what the folder holds. What was done, and the last validation."""
    stored = out / "config.yaml"
    config = read_config(stored) if stored.exists() else filling(config, seconds)
    trainer = Trainer(DepthTask(config), config.run, config.optimizer, to_yaml(config), out)
    history = trainer.run()
    curve = [[entry["step"], round(entry["validation"]["score"], 4)] for entry in history]
    run = {"steps": config.run.steps, "samples": config.run.steps * config.run.batch}
    return {**run, "curve": curve, "validation": history[-1]["validation"]}


def filling(config: TrainConfig, seconds: float) -> TrainConfig:
    """The config with as many steps as fit, by the pace of its first ones, and its other counts of steps in
    proportion."""
    run = replace(config.run, steps=PROBE_STEPS, validate_every=PROBE_STEPS, checkpoint_every=PROBE_STEPS)
    probe = replace(config, run=run, data=replace(config.data, validation=()))
    pace_s = float(np.mean(time_training(probe).parts_s()["loop"][PROBE_WARM_UPS:]))
    return in_proportion(config, max(int(seconds / pace_s), 1))


def in_proportion(config: TrainConfig, steps: int) -> TrainConfig:
    """The config with that many steps, and its other counts of steps longer or shorter with it."""
    share, run = steps / config.run.steps, config.run

    def scaled(count: int) -> int:
        return max(round(count * share), 1)

    counts = {name: scaled(getattr(run, name)) for name in ("validate_every", "checkpoint_every", "picture_every")}
    warm_up = scaled(config.optimizer.warmup_steps)
    return replace(
        config, run=replace(run, steps=steps, **counts), optimizer=replace(config.optimizer, warmup_steps=warm_up)
    )


def evaluate(folder: RecipeFolder, bar: Bar) -> dict:
    """The weights and those to beat on every test set. better: of both errors on all of them."""
    if not folder.weights.exists():
        raise ValueError(f"{folder.weights}: not there yet; step 'train' makes it")
    weights, device = [folder.weights, find_weights(folder.recipe.against)], str(choose_device("auto"))
    found = {}
    for name in folder.recipe.tests:
        out = folder.out / f"{name}.json"
        with bar(f"evaluating {name}") as progress:
            evaluation = evaluate_checkpoints(
                folder.set_folder(name), weights, device=device, progress=progress, out=out
            )
        write_whole(out.with_suffix(".txt"), show_evaluation(evaluation.result) + "\n")
        own, other = (evaluation.methods[place].name for place in (0, -1))
        found[name] = {model: _scores(evaluation.result.summary, model) for model in (own, other)}
    better = all(test[own][error] < test[other][error] for test in found.values() for error in ("abs_rel", "abs_log"))
    return {"tests": found, "better": better}


def _scores(summary, model: str) -> dict:
    """Of uniformly drawn pixels of all scenes."""
    plain = summary.accuracy["uniform"][POOLED][model].plain
    sigma = summary.uncertainty["uniform"][model][POOLED]
    return {
        "abs_rel": plain.abs_rel,
        "abs_log": plain.abs_log,
        "joint_nll": sigma.joint_nll,
        **{f"in_{level}": share for level, share in sigma.coverage.items()},
    }


STEPS = {"simulate": simulate, "compare": compare, "train": train, "evaluate": evaluate}


def show_recipe(folder: RecipeFolder) -> str:
    """What recipe.json holds, short."""
    seen, rows = folder.seen, []
    for name, count in seen.get("simulate", {}).get("scenes", {}).items():
        rows.append([f"set {name}", f"{count} scenes"])
    for name, run in seen.get("compare", {}).get("variants", {}).items():
        rows.append([f"variant {name}", _run_text(run)])
    if "train" in seen:
        run = seen["train"]
        rows.append([f"trained {run['variant']}", f"{_run_text(run)}, {run['megabytes']} MB"])
    for name, test in seen.get("evaluate", {}).get("tests", {}).items():
        for model, scores in test.items():
            rows.append([f"{name}: {model}", ", ".join(f"{key} {_number(value)}" for key, value in scores.items())])
    if "evaluate" in seen:
        rows.append(["better on every test", str(seen["evaluate"]["better"])])
    return format_table(["", "seen"], rows)


def _run_text(run: dict) -> str:
    return f"{run['steps']} steps, {run['samples']} samples, |log error| {run['validation']['score']:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
