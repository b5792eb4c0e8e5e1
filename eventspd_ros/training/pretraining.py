"""F³ pretraining: from the events of 20 ms, predict at which pixel and millisecond of the next 20 ms there is one.

The loss is voxel focal loss. For a window with target g ∈ {0, 1} and predicted probability p at each of its T·H·W
voxels (a pixel in a millisecond; polarity is dropped):

    L = 1/(T·H·W) · Σ [α·g + (1 − α)·(1 − g)] · (1 − p_t)^γ · BCE(p, g),   p_t = p where g = 1, else 1 − p,

with γ = 2 and α = 1 − Σg/(T·H·W) of that window, so that the few voxels with events weigh as much, together, as the
many without. Focal loss: Lin et al., ICCV 2017, Eq. 5; its form on event voxels with α by sample: Das et al., Fast
Feature Fields, arXiv 2509.25146, and the published code (voxel_FocalLoss; here every voxel is valid). A window whose
future is empty has α = 1 and teaches nothing.

Shapes: B windows of one sensor, T = 20 bins of 1 ms, (H, W) pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eventspd_ros.datasets.future import PairBatch
from eventspd_ros.events.packing import NS_PER_BIN
from eventspd_ros.model.checkpoints import load_encoder
from eventspd_ros.model.event_encoder import FeatureField
from eventspd_ros.model.event_tensors import PackedEvents
from eventspd_ros.model.presets import build_model
from eventspd_ros.training.config import PretrainConfig
from eventspd_ros.training.data import RunData, pretraining_data
from eventspd_ros.training.pictures import draw_prediction
from eventspd_ros.training.task import StepInputs, Task

FOCUS = 2.0  # γ


class PretrainTask(Task):
    """What the loop trains when it pretrains: the encoder with its head, on PairBatches."""

    def __init__(self, model: FeatureField, data: RunData | None = None):
        super().__init__()
        self.model, self.data = model, data

    def forward(self, inputs: StepInputs) -> dict[str, Any]:
        """The loss, the mean over the batch's windows, and the batch's metrics."""
        logits, target = self._predict(inputs.batch)
        loss = voxel_focal_loss(logits, target).mean()
        return {"loss": loss, **metrics(count_outcomes(logits.detach(), target))}

    @torch.no_grad()
    def validate(self, batches: Iterable[PairBatch]) -> dict[str, float]:
        """score: the loss, the mean over all windows; and the metrics of all voxels of all windows together."""
        losses, outcomes = [], []
        for batch in batches:
            logits, target = self._predict(batch)
            losses.append(voxel_focal_loss(logits, target))
            outcomes.append(count_outcomes(logits, target))
        values = {"score": torch.cat(losses).mean(), **metrics(torch.stack(outcomes).sum(dim=0))}
        return {name: float(value) for name, value in values.items()}

    @torch.no_grad()
    def picture(self, batch: PairBatch) -> Callable[[Path], None]:
        """Of the first windows: the context, the events that followed and the predicted share of bins with one."""
        logits, target = self._predict(batch)
        context = event_grid(batch.context, logits.shape[1], logits.device)
        shares = (volume.float().mean(1).cpu().numpy() for volume in (context, target, logits.sigmoid()))
        return partial(draw_prediction, *shares)

    def _predict(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Logits float32 and target bool, both (B, T, H, W)."""
        logits = self.model(self.model.encoder.scatter_packed(batch.context))
        return logits.float(), event_grid(batch.future, logits.shape[1], logits.device)


def pretrain_task(config: PretrainConfig) -> PretrainTask:
    """The task of a config, with its data."""
    torch.manual_seed(config.run.seed)
    model = build_model(config.model()).train()
    if config.initial_encoder:
        load_encoder(model, config.initial_encoder)
    return PretrainTask(model, pretraining_data(config.data, config.run, model.config.window_ms))


def event_grid(packed: PackedEvents, time_bins: int, device: torch.device) -> Tensor:
    """Does a pixel see an event in a millisecond: windows of time_bins ms -> bool (B, T, H, W), oldest bin first.

    ValueError: a window of another length.
    """
    if packed.longest_ns != time_bins * NS_PER_BIN:
        length_ms = packed.longest_ns / NS_PER_BIN
        raise ValueError(f"future of {length_ms:g} ms: this encoder predicts {time_bins} ms")
    events = packed.tensors(device)
    area = events.height * events.width
    voxel = (events.window * time_bins + time_bins - 1 - events.bin) * area + events.site
    grid = torch.zeros(events.windows * time_bins * area, dtype=torch.bool, device=device).index_fill_(0, voxel, True)
    return grid.view(events.windows, time_bins, events.height, events.width)


def voxel_focal_loss(logits: Tensor, target: Tensor, focus: float = FOCUS) -> Tensor:
    """The formula at the head of this file: logits and bool target (B, T, H, W) -> (B,). focus: γ."""
    logits, target = logits.flatten(1), target.flatten(1).to(logits.dtype)
    alpha = 1 - target.mean(dim=1, keepdim=True)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    balance = alpha * target + (1 - alpha) * (1 - target)
    missed = -torch.expm1(-bce)  # 1 − p_t, as BCE = −ln p_t
    return (balance * missed**focus * bce).mean(dim=1)


def count_outcomes(logits: Tensor, target: Tensor) -> Tensor:
    """Voxels by outcome at p > 0.5, int64 (2, 2): [target][prediction]. A histogram would wait for the device."""
    predicted = logits > 0
    both, wanted, said = (target & predicted).sum(), target.sum(), predicted.sum()
    return torch.stack((target.numel() - wanted - said + both, said - both, wanted - both, both)).view(2, 2)


def metrics(outcomes: Tensor) -> dict[str, Tensor]:
    """accuracy, precision, recall and F1 of counts by outcome; 0 where one is 0/0: nothing was there, or predicted."""
    (true_negative, false_positive), (false_negative, true_positive) = outcomes.double()
    wrong = false_positive + false_negative
    return {
        "accuracy": (true_negative + true_positive) / outcomes.sum(),
        "precision": true_positive / (true_positive + false_positive).clamp_min(1),
        "recall": true_positive / (true_positive + false_negative).clamp_min(1),
        "f1": 2 * true_positive / (2 * true_positive + wrong).clamp_min(1),
    }
