"""Runs as a user starts them: whole, killed and gone on, on two processes, with bad losses, on folders that refuse."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from eventspd_ros.cli import main
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.training.config import OptimizerConfig, read_config, to_yaml
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.loop import MAX_BAD_STEPS, Trainer, WeightAverage, learning_rate
from eventspd_ros.training.run_folder import RunFolder, load_state


def history(run):
    return json.loads((run / "metrics.json").read_text())["history"]


def weights(run):
    return load_checkpoint(run / "checkpoints/last.safetensors").state_dict()


def assert_equal_weights(one, other):
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_run_leaves_what_it_should_and_a_second_one_is_bit_equal(write_config, tmp_path, one_thread):
    config = write_config(changes={})  # with dropout
    for name in ("a", "b"):
        assert main(["train", str(config), "--out", str(tmp_path / name)]) == 0
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    first, second = history(tmp_path / "a")
    assert (first["step"], second["step"]) == (2, 4) and math.isfinite(second["validation"]["score"])
    assert read_config(tmp_path / "a/config.yaml") == read_config(config)
    assert len(list((tmp_path / "a/pictures").glob("*.png"))) == 1 and list((tmp_path / "a/tensorboard").iterdir())
    assert load_checkpoint(tmp_path / "a/checkpoints/best.safetensors").trained
    # Another config does not go on in this folder.
    other = write_config("other.yaml", run={"steps": 6})
    assert main(["train", str(other), "--out", str(tmp_path / "a")]) == 2


def test_a_killed_run_goes_on_to_the_same_losses(write_config, tmp_path, one_thread):
    config = write_config(changes={}, run={"steps": 6, "checkpoint_every": 1})
    command = [sys.executable, "-m", "eventspd_ros.cli", "train", str(config), "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, tmp_path / "whole"], env=environment, check=True, stderr=subprocess.DEVNULL)
    process = subprocess.Popen([*command, tmp_path / "killed"], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "killed/checkpoints/previous.ckpt").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = load_state(tmp_path / "killed")["step"]
    assert 1 <= reached < 6
    subprocess.run([*command, tmp_path / "killed"], env=environment, check=True, stderr=subprocess.DEVNULL)
    # What was averaged since the last validation is not in a checkpoint; validations and weights are the same.
    assert [e["validation"] for e in history(tmp_path / "killed")] == [
        e["validation"] for e in history(tmp_path / "whole")
    ]
    assert_equal_weights(tmp_path / "whole", tmp_path / "killed")
    # A damaged last checkpoint: the one before serves.
    (tmp_path / "killed/checkpoints/last.ckpt").write_bytes(b"torn")
    assert load_state(tmp_path / "killed")["step"] == 5
    (tmp_path / "killed/checkpoints/previous.ckpt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        load_state(tmp_path / "killed")


def test_two_processes_lose_what_one_does(write_config, tmp_path, one_thread):
    one = write_config("one.yaml", run={"batch": 4, "validate_every": 1, "steps": 3})
    two = write_config("two.yaml", run={"batch": 2, "validate_every": 1, "steps": 3})
    assert main(["train", str(one), "--out", str(tmp_path / "one")]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch += ["-m", "eventspd_ros.cli", "train", str(two), "--out", str(tmp_path / "two")]
    done = subprocess.run(
        launch, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone, together = history(tmp_path / "one"), history(tmp_path / "two")
    assert len(alone) == len(together) == 3
    for mine, theirs in zip(alone, together, strict=True):
        for name in mine.keys() - {"step", "validation"}:
            assert theirs[name] == pytest.approx(mine[name], rel=2e-4), name


def test_parts_of_a_batch_add_up_to_it(write_config, tmp_path, one_thread):
    whole = write_config("whole.yaml", run={"batch": 4, "steps": 2})
    parts = write_config("parts.yaml", run={"batch": 4, "steps": 2, "accumulate": 2})
    for config in (whole, parts):
        assert main(["train", str(config), "--out", str(tmp_path / config.stem)]) == 0
    (mine,), (theirs,) = history(tmp_path / "whole"), history(tmp_path / "parts")
    assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)


class Spoilt(DepthTask):
    """Its loss is NaN from one step to another. after_steps: the parameters at first and after each step taken."""

    bad = range(0)

    def forward(self, inputs):
        outcome = super().forward(inputs)
        if round(inputs.progress * self.config.run.steps) in self.bad:
            outcome["silog"] = outcome["silog"] * torch.nan
            outcome["loss"] = outcome["loss"] * torch.nan
        return outcome

    def observe(self, outcomes):
        super().observe(outcomes)
        self.after_steps.append(parameters_of(self.model))


def parameters_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def run_spoilt(config, out, bad):
    task = Spoilt(config)
    task.bad, task.after_steps = bad, [parameters_of(task.model)]
    return Trainer(task, config.run, config.optimizer, to_yaml(config), out)


def test_a_step_without_a_finite_loss_is_skipped_and_named(write_config, tmp_path, capsys):
    config = read_config(write_config(run={"steps": 3, "validate_every": 3}))
    trainer = run_spoilt(config, tmp_path / "run", range(1, 2))
    (entry,) = trainer.run()
    assert math.isfinite(entry["loss"]) and trainer.bad_in_row == 0
    told = capsys.readouterr().out
    assert "step 1" in told and "silog" in told and "simulated/" in told
    # What is saved is the running mean of the weights after the steps that were taken.
    saved, (start, first, third) = weights(tmp_path / "run"), trainer.task.after_steps
    for name, tensor in third.items():
        assert tensor.isfinite().all()
        expected = start[name].lerp(first[name], 1 - 1 / 10).lerp(tensor, 1 - 3 / 12)
        torch.testing.assert_close(saved[name], expected)
    assert any((saved[name] != tensor).any() for name, tensor in third.items())


def test_ten_in_a_row_end_the_run(write_config, tmp_path):
    config = read_config(write_config(run={"steps": 30}))
    with pytest.raises(ValueError, match="bad_step_11"):
        run_spoilt(config, tmp_path / "run", range(2, 30)).run()
    (saved,) = torch.load(tmp_path / f"run/bad_step_{MAX_BAD_STEPS + 1}_0.pt", weights_only=True)
    assert len(saved["batch"]["names"]) == 2 and saved["batch"]["depth_m"].shape == (2, 48, 64)


def test_a_full_disk_stops_with_one_line_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run", "x")
    folder.save_state({"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"last\.ckpt: cannot be written.*No space left") as error:
        folder.save_state({"step": 2})
    assert "\n" not in str(error.value)
    assert load_state(tmp_path / "run")["step"] == 1 and not list((tmp_path / "run/checkpoints").glob(".*"))


def test_what_a_picture_raises_is_told(tmp_path):
    folder = RunFolder(tmp_path / "run", "x")
    drawn = []
    folder.draw(drawn.append, 7)
    folder.wait_for_picture()
    assert drawn == [tmp_path / "run/pictures/0000007.png"]

    def fails(path):
        raise OSError(28, "No space left on device", str(path))

    folder.draw(fails, 8)
    with pytest.raises(OSError, match=r"0000008\.png"):
        folder.close()


def test_a_folder_that_cannot_be_made_is_one_line(write_config, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", str(write_config()), "--out", str(tmp_path / "file/run")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()[-1]) < 300


def test_learning_rate_warms_up_and_falls_to_its_share():
    config = OptimizerConfig(warmup_steps=10, final_share=0.1)
    rates = [learning_rate(step, 110, config) for step in range(111)]
    assert rates[:10] == [pytest.approx((n + 1) / 10) for n in range(10)]
    assert rates[60] == pytest.approx(0.55) and rates[110] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_the_average_forgets_its_start_and_gives_the_weights_back():
    layer = torch.nn.Linear(2, 2)
    average = WeightAverage(layer, 0.999)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for step in range(200):
        average.update(layer, step)
    torch.testing.assert_close(average.mean["weight"], torch.ones(2, 2), rtol=0, atol=1e-3)
    with torch.no_grad():
        layer.weight.fill_(5.0)
    with average.applied(layer):
        torch.testing.assert_close(layer.weight, average.mean["weight"])
    assert (layer.weight == 5.0).all()
