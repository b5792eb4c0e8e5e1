"""Future-event prediction: the loss by hand, the targets, the metrics, and that learning raises F1."""

import math

import numpy as np
import pytest
import torch
import yaml
from reference.windows import hand_window, random_window

from eventspd_ros.cli import main
from eventspd_ros.datasets.future import FuturePair, collate_pairs
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.config import EncoderConfig, ModelConfig
from eventspd_ros.model.event_tensors import PackedEvents
from eventspd_ros.model.presets import build_model
from eventspd_ros.training.config import read_config
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.pretraining import (
    PretrainTask,
    count_outcomes,
    event_grid,
    metrics,
    voxel_focal_loss,
)
from eventspd_ros.training.task import StepInputs

CPU = torch.device("cpu")
LEVELS = ((8, 8, 1), (16, 14, 2), (32, 26, 4), (64, 48, 8))


def tiny_task(stride: int = 1) -> PretrainTask:
    encoder = EncoderConfig(
        dims=(8, 8),
        dsstrides=(stride, 1),
        dskernels=(2 * stride - 1, 1),
        bottleneck=(2, 2),
        blocks=(1, 1),
        dwkernels=(3, 3),
        levels=LEVELS,
    )
    torch.manual_seed(0)
    return PretrainTask(build_model(ModelConfig("tiny", "encoder", encoder)))


def pair(seed: int = 0, width: int = 16, height: int = 12) -> FuturePair:
    """Twenty pixels that flicker on, every one to four milliseconds each: their future can be told."""
    rng = np.random.default_rng(seed)
    events = []
    for pixel in rng.choice(width * height, 20, replace=False).tolist():
        period, phase = rng.integers(1, 5), rng.integers(0, 4)
        times = [bin_ * 1_000_000 + 300_000 for bin_ in range(20) if (bin_ + phase) % period == 0]
        events += [(pixel % width, pixel // width, t_ns) for t_ns in times]
    window = hand_window(sorted(events, key=lambda event: event[2]), width, height)
    return FuturePair(window, window)


def test_focal_loss_by_hand():
    """Four voxels, one event: α = 3/4."""
    probability = torch.tensor([0.8, 0.3, 0.5, 0.1])
    target = torch.tensor([True, False, False, False])
    shape = (1, 2, 1, 2)
    expected = 0.75 * 0.2**2 * -math.log(0.8)
    for p in (0.3, 0.5, 0.1):
        expected += 0.25 * p**2 * -math.log(1 - p)
    loss = voxel_focal_loss(probability.logit().view(shape), target.view(shape))
    torch.testing.assert_close(loss, torch.tensor([expected / 4]))
    unfocused = voxel_focal_loss(probability.logit().view(shape), target.view(shape), focus=0)
    balance = torch.tensor([0.75, 0.25, 0.25, 0.25])
    bce = torch.nn.functional.binary_cross_entropy(probability, target.float(), reduction="none")
    torch.testing.assert_close(unfocused, (balance * bce).mean()[None])


def test_each_window_has_its_own_alpha_and_mean():
    logits = torch.randn(3, 20, 5, 7, generator=torch.Generator().manual_seed(0))
    target = torch.rand(3, 20, 5, 7, generator=torch.Generator().manual_seed(1)) < torch.tensor([0.01, 0.3, 0.0]).view(
        3, 1, 1, 1
    )
    together = voxel_focal_loss(logits, target)
    alone = torch.cat([voxel_focal_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)
    assert together[2] == 0 and (together[:2] > 0).all(), "an empty future teaches nothing"


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_certain_answers_keep_loss_and_gradient_finite(logit):
    logits = torch.full((1, 20, 4, 4), logit, requires_grad=True)
    target = torch.zeros(1, 20, 4, 4, dtype=torch.bool)
    target[0, 0] = True
    loss = voxel_focal_loss(logits, target)
    loss.sum().backward()
    share = 16 / 320
    expected = (1 - share) * share * 200  # α·BCE over the few, or (1 − α)·BCE over the many: the same weight
    torch.testing.assert_close(loss.detach(), torch.tensor([expected]))
    assert logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


def test_events_fall_into_the_bins_after_the_window_s_start():
    window = hand_window([(3, 1, 0), (3, 1, 999_999), (0, 0, 1_000_000), (5, 2, 19_999_999)], width=6, height=3)
    grid = event_grid(PackedEvents.of([window, hand_window([], width=6, height=3)]), 20, CPU)
    expected = torch.zeros(2, 20, 3, 6, dtype=torch.bool)
    for bin_, y, x in ((0, 1, 3), (1, 0, 0), (19, 2, 5)):
        expected[0, bin_, y, x] = True
    torch.testing.assert_close(grid, expected)
    with pytest.raises(ValueError, match="future of 20 ms: this encoder predicts 10 ms"):
        event_grid(PackedEvents.of([window]), 10, CPU)


def test_metrics_of_known_counts():
    target = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=torch.bool)
    predicted = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    outcomes = count_outcomes(predicted - 0.5, target)
    torch.testing.assert_close(outcomes, torch.tensor([[4, 2], [1, 3]]))
    found = {name: float(value) for name, value in metrics(outcomes).items()}
    assert found == pytest.approx({"accuracy": 0.7, "precision": 0.6, "recall": 0.75, "f1": 2 / 3})
    perfect = metrics(count_outcomes(target.float() - 0.5, target))
    assert {float(value) for value in perfect.values()} == {1.0}
    nothing = metrics(count_outcomes(torch.full((10,), -1.0), target))
    assert (nothing["accuracy"], nothing["precision"], nothing["recall"], nothing["f1"]) == (0.6, 0, 0, 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_every_parameter_learns_and_only_the_loss_carries_a_graph(stride):
    task = tiny_task(stride).train()
    terms = task(StepInputs(collate_pairs([pair(0), pair(1)]), None, 0.0))
    assert set(terms) == {"loss", "accuracy", "precision", "recall", "f1"}
    assert terms["loss"].requires_grad and not any(terms[name].requires_grad for name in terms if name != "loss")
    terms["loss"].backward()
    with_gradient = {name for name, p in task.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    # Global response normalisation starts as the identity: γ and β have gradients all the same.
    assert with_gradient == {name for name, _ in task.named_parameters()}
    mean = sum(task(StepInputs(collate_pairs([pair(seed)]), None, 0.0))["loss"].item() for seed in (0, 1)) / 2
    assert float(terms["loss"].detach()) == pytest.approx(mean, rel=1e-5)


def test_validation_counts_all_windows_together():
    task = tiny_task().train()
    pairs = [pair(seed) for seed in range(3)]
    pairs.append(FuturePair(random_window(16, 12, 900), random_window(16, 12, 900, seed=1)))
    whole = task.validate([collate_pairs(pairs)])
    parts = task.validate(map(collate_pairs, (pairs[:3], pairs[3:])))
    assert parts == pytest.approx(whole, rel=1e-5)
    assert set(whole) == {"score", "accuracy", "precision", "recall", "f1"}


def test_it_learns_the_future_of_one_sample():
    task, batch = tiny_task(), collate_pairs([pair()])
    before = task.validate([batch])
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-2)
    task.train()
    for _ in range(60):
        optimizer.zero_grad()
        task(StepInputs(batch, None, 0.0))["loss"].backward()
        optimizer.step()
    after = task.validate([batch])
    assert after["score"] < 0.1 * before["score"]
    assert before["f1"] < 0.2 < 0.8 < after["f1"]


def test_a_run_leaves_an_encoder_to_train_depth_from(write_config, scene_set, tmp_path):
    values = {
        "preset": "eventspd_lite",
        "data": {"train": [{"folder": str(scene_set)}], "validation": [{"folder": str(scene_set)}], "workers": 0},
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 1},
        "run": {"steps": 2, "batch": 2, "precision": "32-true", "validate_every": 2},
    }
    config = tmp_path / "pretrain.yaml"
    config.write_text(yaml.safe_dump(values))
    assert main(["pretrain", str(config), "--out", str(tmp_path / "run")]) == 0
    assert len(list((tmp_path / "run/pictures").iterdir())) == 1
    best = tmp_path / "run/checkpoints/best.safetensors"
    depth = write_config(initial_encoder=str(best), run={"steps": 1, "validate_every": 1})
    task = DepthTask(read_config(depth))
    expected = load_checkpoint(best).encoder.state_dict()
    for name, tensor in task.model.encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
