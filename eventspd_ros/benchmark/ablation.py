"""What each part of a model is worth: variants trained with one budget, asked the same pixels, set side by side.

What `eventspd ablate` runs. docs/ablations.md says how to read the table.

    OUT/NAME/                  a variant's training run, as `eventspd train` leaves it
    OUT/NAME/evaluation.json   its answers on the evaluation set; a variant that has it is finished
    OUT/ablations.md, .json    the table
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from eventspd_ros.benchmark.ablation_table import ablation_rows, ablation_table
from eventspd_ros.benchmark.machine import cpu_name
from eventspd_ros.benchmark.model_info import model_info
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.evaluate import evaluate_checkpoints
from eventspd_ros.evaluation.results import to_json
from eventspd_ros.model.config import from_plain
from eventspd_ros.model.presets import build_model
from eventspd_ros.training.config import TrainConfig, to_yaml
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.loop import Trainer
from eventspd_ros.training.run_folder import RunFolder, code_versions
from eventspd_ros.whole import write_whole

EVALUATION = "evaluation.json"
Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Variant:
    """changes: nested keys of ModelConfig, over those of the budget's own. against: the variant its difference is taken
    to, by default the first. seed: of its training, by default the budget's; another one shows what chance does."""

    changes: dict = field(default_factory=dict)
    against: str = ""
    seed: int | None = None


@dataclass(frozen=True)
class EvaluationSet:
    """Scenes that no variant was trained on, and how they are asked: as `eventspd evaluate` takes it."""

    folder: str
    dataset: str = "simulated"
    every: int = 4
    queries: int = 512
    warm_up: int = 8


@dataclass(frozen=True)
class AblationConfig:
    """budget: the training that every variant gets. variants: name → Variant; the first is the full model."""

    budget: TrainConfig
    evaluation: EvaluationSet
    variants: dict

    def __post_init__(self):
        if self.budget.initial:
            raise ValueError(
                f"budget.initial={self.budget.initial!r}: weights of one variant fit no other; take initial_encoder"
            )
        if not self.variants:
            raise ValueError("variants: is empty; name the full model first")
        for name in self.variants:
            if not re.fullmatch(r"[\w.-]+", str(name)) or str(name).startswith("."):
                raise ValueError(f"variants: {name!r} names a folder; expected letters, digits, '_', '-' and '.'")
            against = self.variant(name).against
            if against and against not in self.variants:
                raise ValueError(f"variants.{name}.against={against!r}: known are {', '.join(self.variants)}")
            self.training(name)

    def variant(self, name: str) -> Variant:
        return from_plain(Variant, self.variants[name], f"variants.{name}")

    def against(self, name: str) -> str:
        """The variant that a variant is compared with; the first one with itself."""
        return self.variant(name).against or next(iter(self.variants))

    def training(self, name: str) -> TrainConfig:
        """The budget, spent on a variant. ValueError: changes that make no model."""
        variant, run = self.variant(name), self.budget.run
        changes = over(self.budget.changes, variant.changes)
        seed = run.seed if variant.seed is None else variant.seed
        try:
            training = replace(self.budget, changes=changes, run=replace(run, seed=seed))
            with torch.device("meta"):  # parts that do not fit show here, and not when the variants before are trained
                build_model(training.model())
        except ValueError as error:
            raise ValueError(f"variants.{name}: {error}") from None
        return training

    def chosen(self, names: list[str]) -> list[str]:
        """Those variants, or all. ValueError: one that is none."""
        for name in names:
            if name not in self.variants:
                raise ValueError(f"variant {name!r} is unknown; known are {', '.join(self.variants)}")
        return list(names or self.variants)


def over(values: dict, changes: dict) -> dict:
    """values, and over them the nested changes."""
    nested = {key: over(values[key], own) for key, own in changes.items() if isinstance(values.get(key), dict)}
    return values | changes | nested


def run_ablations(config: AblationConfig, out: Path | str, names: list[str], bar: Bar) -> str | None:
    """Train and evaluate the variants of those names, or all; then the table of all that are finished.

    What is finished is not done again, and a training goes on where it was stopped. Several processes may work on one
    folder, each with variants of its own; with names no table is written. bar: a progress bar of a title, as a function
    of (scenes done since the last call, scenes in all). Returns the table. ValueError: a folder of another config.
    """
    out = Path(out)
    for name in config.chosen(names):
        if finished(config, name, out) is None:
            run_variant(config, name, out, bar)
    if names or int(os.environ.get("RANK", 0)):  # of torchrun's processes one writes
        return None
    results = {name: finished(config, name, out) for name in config.variants}
    rows = ablation_rows(results, {name: config.against(name) for name in results})
    content = {"config": asdict(config), "versions": code_versions(), "rows": rows}
    write_whole(out / "ablations.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    table = ablation_table(rows, next(iter(results.values())))
    write_whole(out / "ablations.md", table)
    return table


def run_variant(config: AblationConfig, name: str, out: Path, bar: Bar) -> None:
    """Train one variant and ask it."""
    training = config.training(name)
    trainer = Trainer(DepthTask(training), training.run, training.optimizer, to_yaml(training), out / name)
    if trainer.folder is not None:
        print(f"{name}: steps {trainer.step} … {training.run.steps}", flush=True)
    trainer.run()
    if trainer.folder is not None:
        device = trainer.fabric.device
        with bar(f"evaluating {name}") as progress:
            result = evaluate_variant(config.evaluation, training, out / name, str(device), progress)
        result |= {
            "steps": trainer.step,
            "machine": cpu_name() if device.type == "cpu" else torch.cuda.get_device_name(device),
        }
        write_whole(out / name / EVALUATION, json.dumps(result, indent=1, allow_nan=False) + "\n")
    trainer.fabric.barrier()


def evaluate_variant(asked: EvaluationSet, training: TrainConfig, run: Path, device: str, progress) -> dict:
    """What the last weights of a run answer, and what they cost on the set's sensor."""
    weights = run / "checkpoints/last.safetensors"
    settings = Settings(uniform=asked.queries, every=asked.every, warm_up=asked.warm_up)
    evaluation = evaluate_checkpoints(asked.folder, [weights], None, settings, asked.dataset, device, progress=progress)
    intrinsics = open_dataset(asked.dataset, asked.folder)[0].intrinsics
    counted = model_info(training.model(), (intrinsics.height, intrinsics.width))
    return {
        "asked": asdict(asked),
        "seed": training.run.seed,
        "sensor": counted["sensor"],
        "parameters": counted["parameters"]["total"],
        "macs_per_query": counted["macs"]["per_query"],
        "macs_per_window": counted["macs"]["encode"],
        "evaluation": to_json(evaluation.result),
    }


def finished(config: AblationConfig, name: str, out: Path) -> dict | None:
    """A variant's stored result, or None. ValueError: it was trained by another config."""
    path = out / name / EVALUATION
    if not path.exists():
        return None
    RunFolder(out / name, to_yaml(config.training(name)))  # says what is wrong
    result = json.loads(path.read_text())
    return result if result["asked"] == asdict(config.evaluation) else None
