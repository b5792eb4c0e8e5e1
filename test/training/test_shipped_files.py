"""Every training file of config/train on a tiny set of each source it names: its losses are numbers, and it learns."""

from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from reference import dataset_layouts
from reference.models import NARROW_V9
from reference.teachers import write_teacher

from eventspd_ros.benchmark.ablation import AblationConfig
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.training.config import PretrainConfig, TrainConfig, read_config
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.pretraining import pretrain_task
from eventspd_ros.training.task import StepInputs

FILES = sorted((Path(__file__).parents[2] / "config/train").glob("*.yaml"))
# The document's model and plan v9's are made narrow, and samples short, so that 640×640 px of TartanAir take no time.
CHANNELS = NARROW_V9["pyramid"]["channels"]
NARROW = {
    "eventspd": {
        "pyramid": {"channels": CHANNELS, "blocks": [1, 1, 2, 1], "heads": [2, 2]},
        "decoder": {"dim": 32, "heads": 2, "channels": CHANNELS},
        "encoder": NARROW_V9["encoder"],
    },
    "eventspd_v9": NARROW_V9,
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A folder of tiny sets, of each dataset one."""
    folder = tmp_path_factory.mktemp("sets")
    for dataset in ("m3ed", "dsec", "mvsec", "tartanair", "simulated"):
        (folder / dataset).mkdir()
        getattr(dataset_layouts, f"write_{dataset}")(folder / dataset)
    return folder


def place(config, sets):
    """Makes what a config names in the working folder."""
    for source in (*config.data.train, *config.data.validation):
        folder = Path(source.folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            folder.symlink_to(sets / source.dataset)
    for weights in (getattr(config, "initial", ""), config.initial_encoder):
        if weights:
            save_checkpoint(build_model(config.model()), weights)
    if teacher := getattr(getattr(config, "losses", None), "teacher", ""):
        pytest.importorskip("transformers", reason="transformers is not installed")
        write_teacher(Path(teacher))


def tiny(config):
    """The config with less of what costs time, and of nothing else."""
    data = replace(config.data, windows=min(config.data.windows, 2), workers=0, validation_samples=1)
    run = replace(config.run, steps=2, batch=1, accumulate=1)
    if isinstance(config, PretrainConfig):
        return replace(config, data=data, run=run)
    changes = config.changes or NARROW.get(config.preset, {})
    return replace(config, data=data, run=run, queries=16, bptt=min(config.bptt, 2), changes=changes)


def learn(task):
    """A step on a sample of each source. Every loss is a number; returns them by source."""
    firsts, found = [0, *accumulate(task.data.counts)][:-1], []
    for first in firsts:
        key = (0, first)
        batch = task.data.collate([task.data.train[key]])
        task.zero_grad()
        outcome = task(StepInputs(batch, task.draw(batch, [key]), 0.0))
        outcome["loss"].backward()
        gradients = [p.grad for p in task.parameters() if p.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients)
        terms = {name: float(term.detach()) for name, term in outcome.items() if name != "seen"}
        assert all(abs(term) < float("inf") for term in terms.values())
        found.append(terms)
    assert task.validate(task.data.validation_batches())["score"] < float("inf")
    return found


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.stem not in ("pretrain", "ablations", "card")], ids=lambda p: p.stem
)
def test_a_training_file_learns_from_each_of_its_sources(path, sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny(read_config(path, TrainConfig))
    place(config, sets)
    torch.manual_seed(0)
    found = learn(DepthTask(config))
    if config.losses.teacher:  # only TartanAir's layout has images that are aligned with its events
        by_dataset = {source.dataset: terms for source, terms in zip(config.data.train, found, strict=True)}
        assert all(by_dataset["tartanair"][name] > 0 for name in ("feature_l3", "feature_l4"))
        assert all(by_dataset[blind][name] == 0 for blind in ("m3ed", "dsec") for name in ("feature_l3", "feature_l4"))


def test_a_teacher_that_would_see_no_image_is_refused(sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny(read_config(next(p for p in FILES if p.stem == "stage1"), TrainConfig))
    place(config, sets)
    with pytest.raises(ValueError, match=r"no source of data\.train has images; set both to 0"):
        DepthTask(replace(config, data=replace(config.data, train=config.data.train[:2])))


def test_the_pretraining_file_learns_from_each_of_its_sources(sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny(read_config(next(p for p in FILES if p.stem == "pretrain"), PretrainConfig))
    place(config, sets)
    learn(pretrain_task(config))


@pytest.mark.slow
def test_every_variant_of_the_ablations_learns(sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ablations = read_config(next(p for p in FILES if p.stem == "ablations"), AblationConfig)
    for name in ablations.variants:
        config = tiny(ablations.training(name))
        place(config, sets)
        learn(DepthTask(config))
