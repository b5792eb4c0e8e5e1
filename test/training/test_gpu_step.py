"""Training as a GPU does it: its types and what it waits for on any machine, two steps on one where there is one."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from reference.cuda_types import cuda_types
from reference.models import NARROW_V9

from eventspd_ros.model.config import from_plain
from eventspd_ros.model.grid_encoding import GridEncoding
from eventspd_ros.training.config import OptimizerConfig, PretrainConfig, read_config, to_yaml
from eventspd_ros.training.data import Rank
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.loop import Trainer
from eventspd_ros.training.pretraining import pretrain_task
from eventspd_ros.training.task import StepInputs

NARROW = {
    "pyramid": {"channels": [16, 24, 32, 48], "blocks": [1, 1, 2, 1], "heads": [2, 2]},
    "decoder": {"dim": 32, "heads": 2, "channels": [16, 24, 32, 48]},
    "encoder": NARROW_V9["encoder"],
}
CHANGES = {"eventspd_lite": {}, "eventspd": NARROW, "eventspd_v9": NARROW_V9, "minimal": {}}


@pytest.fixture
def task_of(write_config):
    def build(preset, **losses):
        centre = {"centre": 0.25} if preset == "eventspd_v9" else {}
        joint = {"joint": 0.5} if preset == "eventspd_lite" else {}
        losses = {"point": 0.1, "silog": 0.5, "nll": 1.0, **centre, **joint}
        values = write_config(preset=preset, changes=CHANGES[preset], losses=losses, data={"windows": 4})
        return DepthTask(read_config(values))

    return build


def inputs_of(task):
    batch, keys = next(iter(task.data.batches(Rank(), 0)))
    return StepInputs(batch, task.draw(batch, keys), 0.0)


def pretraining_of(scene_set, **run):
    source = [{"folder": str(scene_set)}]
    data = {"train": source, "validation": source, "workers": 0}
    return pretrain_task(from_plain(PretrainConfig, {"data": data, "run": {"batch": 2, **run}}, "config"))


def encode_by_event(monkeypatch):
    """Fields as on a GPU."""
    monkeypatch.setattr(GridEncoding, "field_by_pixel", GridEncoding.field_by_event)


@pytest.mark.parametrize("preset", CHANGES)
def test_a_step_goes_through_with_the_types_of_cuda(task_of, monkeypatch, preset):
    encode_by_event(monkeypatch)
    task = task_of(preset)
    inputs = inputs_of(task)
    with torch.no_grad():
        torch.manual_seed(0)
        expected = float(task(inputs)["loss"])
    with cuda_types():
        torch.manual_seed(0)
        loss = task(inputs)["loss"]
    loss.backward()  # outside, as Fabric does it
    assert float(loss.detach()) == pytest.approx(expected, rel=0.1) and loss.dtype == torch.float32
    silent = [name for name, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not silent
    with cuda_types():
        assert math.isfinite(task.validate(task.data.validation_batches())["score"])


def test_pretraining_goes_through_with_the_types_of_cuda(scene_set, monkeypatch):
    encode_by_event(monkeypatch)
    task = pretraining_of(scene_set)
    batch, keys = next(iter(task.data.batches(Rank(), 0)))
    with cuda_types():
        outcome = task(StepInputs(batch, task.draw(batch, keys), 0.0))
    outcome["loss"].backward()
    assert all(p.grad.isfinite().all() for p in task.parameters())


@pytest.fixture
def without_values(monkeypatch):
    """Takes a task to the device "meta", whose tensors have no values: what asks for one, or for a shape that depends
    on one, raises, as do tensors of two devices. On a GPU it would wait until all that was queued is done."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not known there
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    return lambda task: task.to("meta")


@pytest.mark.parametrize("preset", CHANGES)
def test_forward_and_backward_wait_for_nothing(task_of, without_values, preset):
    task = task_of(preset)
    inputs = inputs_of(task)
    outcome = without_values(task)(inputs)
    outcome["loss"].backward()
    assert outcome["loss"].is_meta and all(p.grad.is_meta for p in task.parameters())


def test_pretraining_waits_for_nothing(scene_set, without_values):
    task = pretraining_of(scene_set)
    inputs = StepInputs(next(iter(task.data.batches(Rank(), 0)))[0], None, 0.0)
    outcome = without_values(task)(inputs)
    outcome["loss"].backward()
    assert outcome["loss"].is_meta


@pytest.mark.gpu
@pytest.mark.parametrize("preset", CHANGES)
def test_two_steps_on_cuda(task_of, tmp_path, preset):
    """The real loop in bf16-mixed, with a validation and a picture; its losses are those of the CPU in float32."""
    task = task_of(preset)
    inputs = inputs_of(task)
    with torch.no_grad():
        torch.manual_seed(0)
        expected = {name: float(value) for name, value in task(inputs).items() if name != "seen"}
    run = replace(task.config.run, steps=2, precision="bf16-mixed", validate_every=2)
    config = replace(task.config, run=run)
    (entry,) = Trainer(DepthTask(config), run, config.optimizer, to_yaml(config), tmp_path / "run").run()
    assert all(math.isfinite(value) for value in (entry["loss"], entry["validation"]["score"]))
    assert len(list((tmp_path / "run/pictures").iterdir())) == 1
    task.to("cuda")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found = {name: float(value) for name, value in task(inputs).items() if name != "seen"}
    assert found == pytest.approx(expected, rel=0.1, abs=0.02)


@pytest.mark.gpu
def test_a_run_on_cuda_goes_on(task_of, tmp_path):
    """From a checkpoint that CUDA left."""
    config = task_of("eventspd_lite").config
    config = replace(config, run=replace(config.run, steps=2, precision="bf16-mixed", checkpoint_every=1))

    class Stopped(DepthTask):
        def observe(self, outcomes):
            super().observe(outcomes)
            if self.model.training and self.stops:
                raise KeyboardInterrupt
            self.stops = True

    task = Stopped(config)
    task.stops = False
    with pytest.raises(KeyboardInterrupt):
        Trainer(task, config.run, config.optimizer, to_yaml(config), tmp_path / "run").run()
    trainer = Trainer(DepthTask(config), config.run, config.optimizer, to_yaml(config), tmp_path / "run")
    assert trainer.step == 1
    assert math.isfinite(trainer.run()[-1]["loss"])


@pytest.mark.gpu
def test_pretraining_on_cuda(scene_set, tmp_path):
    task = pretraining_of(scene_set, steps=2, validate_every=2)
    config = task.data.run
    (entry,) = Trainer(task, config, OptimizerConfig(), "x", tmp_path / "run").run()
    assert math.isfinite(entry["validation"]["score"])
