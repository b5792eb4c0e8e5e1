"""Training depth: windows unrolled through the memory, queries at the last one, all losses of §4.1.

Shapes: B samples, n windows of each, K queries of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eventspd_ros.datasets.feed import Batch, Queries
from eventspd_ros.datasets.queries import LossMap
from eventspd_ros.evaluation.scoring.joint_likelihood import joint_nll
from eventspd_ros.model.checkpoints import load_encoder, load_weights
from eventspd_ros.model.presets import build_model
from eventspd_ros.training.config import LossConfig, TrainConfig
from eventspd_ros.training.data import depth_data, query_states
from eventspd_ros.training.feature_loss import FeatureLoss
from eventspd_ros.training.losses import cell_depth, dense_loss, forgiving, nll_loss, point_loss, silog_loss
from eventspd_ros.training.pictures import draw_answers, grid_answers
from eventspd_ros.training.task import StepInputs, Task
from eventspd_ros.training.teacher import load_teacher

VALIDATION_QUERIES = 1024


class DenseHeads(nn.Module):
    """The 1×1 heads of L_dense on L2 and L3; training only. Where the model has a dense prior, that is L2's."""

    def __init__(self, model: nn.Module):
        super().__init__()
        config = model.config
        self.inverse = config.head.parametrization == "inverse"
        channels = config.pyramid.channels
        levels = (2,) if config.head.prior else (1, 2)
        self.strides = {level: model.level_strides[level] for level in (1, 2)}
        self.heads = nn.ModuleDict({str(level): nn.Conv2d(channels[level], 1, 1) for level in levels})
        # Both start at the median: softplus(x) ≈ 1/6 is not worth exactness here.
        start = np.log(np.expm1(1 / config.head.median_depth_m)) if self.inverse else np.log(config.head.median_depth_m)
        for head in self.heads.values():
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.constant_(head.bias, float(start))

    def forward(self, tensors: Any, level: int) -> Tensor:
        """Dense prediction at a level (1: L2, 2: L3), (B, H_l, W_l) float32: log depth, or inverse before softplus."""
        if str(level) not in self.heads:
            return tensors.prior[:, 0]
        with torch.autocast(tensors.levels[level].device.type, enabled=False):
            return self.heads[str(level)](tensors.levels[level].float())[:, 0]


class CentreHead(nn.Module):
    """The head of L_ctr (research plan v9, §5.1): depth from h⁽⁰⁾ alone, before any attention, calibrated as the answer
    is. What B1 gathers must tell depth by itself. Training only."""

    def __init__(self, model: nn.Module):
        super().__init__()
        if "b1" not in model.stages():
            raise ValueError(f"losses.centre: preset {model.config.preset!r} has no query decoder; set it to 0")
        dim = model.config.decoder.dim
        self.code = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, 1))
        nn.init.trunc_normal_(self.code[-1].weight, std=0.02)
        nn.init.constant_(self.code[-1].bias, model.starting_code)

    def forward(self, model: nn.Module, tensors: Any, uv_px: Tensor) -> Tensor:
        """Queries (B, K, 2) in pixels -> canonical depth (B, K)."""
        h, _ = model.decoder.b1(tensors.context, uv_px)
        with torch.autocast(h.device.type, enabled=False):
            return model.depth(self.code(h.float())[..., 0], tensors, uv_px)


class DepthTask(Task):
    """A PointDepthModel and the losses of the architecture document."""

    def __init__(self, config: TrainConfig):
        super().__init__()
        self.config = config
        torch.manual_seed(config.run.seed)
        self.model = build_model(config.model()).train()
        if config.initial:
            load_weights(self.model, config.initial)
        elif config.initial_encoder:
            load_encoder(self.model, config.initial_encoder)
        elif self.model.config.input == "events":
            self.model.encoder.grids.start_as_time_bins()
        losses = config.losses
        if losses.joint and not self.model.config.head.shared_scale:
            raise ValueError(f"losses.joint={losses.joint}: the joint loss needs head.shared_scale=True")
        dense = {"l2", "l3"} <= set(self.model.stages()) and (losses.dense_l2 or losses.dense_l3)
        self.dense = DenseHeads(self.model) if dense else None
        self.centre = CentreHead(self.model) if losses.centre else None
        self.teacher, self.features = None, None
        if losses.feature_l3 or losses.feature_l4:
            self.teacher = load_teacher(losses.teacher)
            channels, strides = self.model.config.pyramid.channels[2:], self.model.level_strides[2:]
            self.features = FeatureLoss(channels, strides, self.teacher.channels)
        images = self.teacher is not None or self.model.config.input == "image"
        self.data = depth_data(config.data, config.run, self.model.config, images)
        if self.teacher and not any(len(sequence.image_times_ns) for sequence in self.data.train.sequences):
            raise ValueError("losses.feature_l3, feature_l4: no source of data.train has images; set both to 0")
        self.loss_maps: dict[tuple[int, int], LossMap] = {}

    def draw(self, batch: Batch, keys: list[tuple[int, int]]) -> Queries:
        states = query_states(self.config.run.seed, keys)
        batch = self._seen(batch)
        return batch.queries(states, self.config.queries, self._loss_map(batch))

    def forward(self, inputs: StepInputs) -> dict[str, Any]:
        """Nothing here waits for the device: it is given the whole step at once."""
        batch, drawn = self._seen(inputs.batch).to(self.model.device), inputs.drawn
        tensors = self.unroll(batch)
        uv_px, depth_m = (column.to(self.model.device, non_blocking=True) for column in (drawn.uv_px, drawn.depth_m))
        canonical, stddev = self.model.phase_b(tensors, uv_px)
        target = depth_m / batch.metric_per_canonical[:, None]
        valid = target.isfinite()
        log_error = canonical.log() - torch.where(valid, target, 1.0).log()
        aimed_at = forgiving(target, canonical, valid, batch.scale_told)
        terms = self._error_terms(canonical, aimed_at, drawn)
        terms |= self._likelihood_terms(log_error, stddev / canonical, tensors, valid)
        terms |= self._dense_terms(tensors, batch, inputs.progress) | self._feature_terms(tensors, batch)
        if self.centre is not None:
            weights = self.config.losses
            loss = point_loss(self.centre(self.model, tensors, uv_px), aimed_at, valid, weights.huber_delta)
            terms["centre"] = weights.centre * loss
        loss = sum(terms.values()).mean()
        shown = {name: term.detach().mean() for name, term in terms.items()}
        losses = torch.where(valid, log_error.detach().abs(), torch.nan)
        seen = {"size": batch.depth_m.shape[1:], "uv_px": drawn.uv_px, "losses": losses}
        return {"loss": loss, **shown, "seen": seen}

    def unroll(self, batch: Batch) -> Any:
        """Encode a sample's windows one after another, or its image: what phase_b() reads at the last one."""
        if self.model.config.input == "image":
            return self.model.phase_a(self.model.encoder.field(batch.image))[0]
        remembers = self.model.memory_shape(*batch.depth_m.shape[1:]) is not None
        late = batch.windows - min(self.config.bptt if remembers else 1, batch.windows)
        with torch.no_grad():
            before = self._fields(batch, 0, late) if late and remembers else None
        return self.model.unroll(self._fields(batch, late, batch.windows), before)

    def _seen(self, batch: Batch) -> Batch:
        """The batch without the labels of samples that show a model on images nothing."""
        if self.model.config.input == "events" or batch.has_image.all():
            return batch
        if batch.image is None:
            raise ValueError(f"no sample of {', '.join(batch.names)} has an image, which this model learns from")
        blind = ~batch.has_image[:, None, None]
        pseudo = batch.pseudo_inverse_depth
        return replace(
            batch,
            depth_m=batch.depth_m.masked_fill(blind, torch.nan),
            pseudo_inverse_depth=None if pseudo is None else pseudo.masked_fill(blind, torch.nan),
        )

    def _fields(self, batch: Batch, first: int, last: int) -> Tensor:
        """Event fields of steps first…last − 1, scattered in one go: (last − first, B, C, H, W)."""
        return self.model.encoder.scatter_packed(batch.steps(first, last)).unflatten(0, (last - first, -1))

    def _error_terms(self, canonical: Tensor, target: Tensor, queries: Queries) -> dict:
        """Weighted losses of the answers at the queries, each (B,).

        Pseudo-labels have no scale, so their queries see L_silog alone, with λ_var = 1: the scale is taken out.
        """
        weights = self.config.losses
        valid = target.isfinite()
        log_depth = canonical.log()
        terms = {}
        if weights.point:
            terms["point"] = weights.point * point_loss(canonical, target, valid, weights.huber_delta)
        if weights.silog:
            log_error = log_depth - torch.where(valid, target, 1.0).log()
            terms["silog"] = weights.silog * silog_loss(log_error, valid, weights.variance_focus)
            if queries.pseudo_alone.any():  # asked of the CPU, where queries are drawn
                inverse, relative = (
                    column.to(canonical.device, non_blocking=True)
                    for column in (queries.pseudo_inverse_depth, queries.pseudo_alone)
                )
                pseudo_error = log_depth + torch.where(relative, inverse, 1.0).log()
                terms["pseudo"] = weights.silog * silog_loss(pseudo_error, relative, 1.0)
        return terms

    def _likelihood_terms(self, log_error: Tensor, log_stddev: Tensor, tensors: Any, valid: Tensor) -> dict:
        """Weighted losses of answers and σ together, each (B,)."""
        weights, terms = self.config.losses, {}
        if weights.nll:
            terms["nll"] = weights.nll * nll_loss(log_error, log_stddev, valid)
        if weights.joint:
            terms["joint"] = weights.joint * joint_nll(log_error, log_stddev, tensors.scale_stddev, valid)
        return terms

    def _dense_terms(self, tensors: Any, batch: Batch, progress: float) -> dict:
        """L_dense by level, each (B,), warmed down."""
        if self.dense is None:
            return {}
        weights: LossConfig = self.config.losses
        factor = 1 + progress * (weights.dense_end - 1)
        terms = {}
        for level, weight in ((1, weights.dense_l2), (2, weights.dense_l3)):
            if not weight:
                continue
            prediction = self.dense(tensors, level)
            depth = batch.depth_m / batch.metric_per_canonical[:, None, None]
            target = cell_depth(depth, self.dense.strides[level], prediction.shape[1:])
            loss = dense_loss(prediction, target, batch.scale_told, self.dense.inverse, weights.huber_delta)
            terms[f"dense_l{level + 1}"] = weight * factor * loss
        return terms

    def _feature_terms(self, tensors: Any, batch: Batch) -> dict:
        """L_feat by level, each (B,); 0 for samples without an image, which of some datasets are all."""
        if self.features is None:
            return {}
        device = tensors.levels[2].device
        if batch.image is None:
            return {f"feature_l{level}": torch.zeros(len(batch.names), device=device) for level in (3, 4)}
        if self.teacher.model.device != device:
            self.teacher.model.to(device)  # of several, this process's
        targets = self.teacher.features(batch.image)
        events = batch.steps(batch.windows - 1, batch.windows).tensors(device)
        losses = self.features(tensors.levels[2:], targets, events)
        weights = (self.config.losses.feature_l3, self.config.losses.feature_l4)
        return {
            f"feature_l{level}": weight * batch.has_image * loss
            for level, weight, loss in zip((3, 4), weights, losses, strict=True)
        }

    def observe(self, outcomes: list[dict]) -> None:
        """Eq. 33, once a step: the loss map of the sensor size follows the queries of every process and part."""
        size = tuple(outcomes[0]["size"])
        loss_map = self.loss_maps.setdefault(size, LossMap(*size))
        uv_px, losses = (torch.cat([seen[name] for seen in outcomes]).numpy() for name in ("uv_px", "losses"))
        loss_map.update(uv_px, losses)

    def _loss_map(self, batch: Batch) -> LossMap | None:
        return self.loss_maps.get(tuple(batch.depth_m.shape[1:]))

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """At uniformly drawn labelled pixels, pooled: mean |log error| (the score), AbsRel, δ1, share of the labels
        inside ±1 σ of log depth."""
        errors, inside = [], []
        for batch in batches:
            log_error, log_stddev = self._answers(self._seen(batch).to(self.model.device))
            errors.append(log_error.flatten())
            inside.append((log_error.abs() <= log_stddev).flatten())
        error = torch.cat(errors).cpu()  # all batches are on their way before the first is waited for
        known = error.isfinite()
        error, within = error[known].double(), torch.cat(inside).cpu()[known]
        return {
            "score": error.abs().mean().item(),
            "abs_rel": error.expm1().abs().mean().item(),
            "delta1": (error.abs() < np.log(1.25)).double().mean().item(),
            "within_stddev": within.double().mean().item(),
        }

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """δ, NaN without a label, and the standard deviation of log depth at uniform pixels, both (B, K)."""
        height, width = batch.depth_m.shape[1:]
        self.model.prepare(height, width)
        rng = np.random.default_rng(0)
        uv = np.stack((rng.integers(0, width, VALIDATION_QUERIES), rng.integers(0, height, VALIDATION_QUERIES)), -1)
        u, v = torch.from_numpy(uv).to(self.model.device, non_blocking=True).unbind(-1)
        uv_px = torch.stack((u, v), dim=-1).float().expand(len(batch.names), -1, -1)
        canonical, stddev = self.model.phase_b(self.unroll(batch), uv_px)
        truth = batch.depth_m[:, v, u] / batch.metric_per_canonical[:, None]
        return canonical.log() - truth.log(), stddev / canonical

    @torch.no_grad()
    def picture(self, batch: Batch) -> Callable[[Path], None]:
        """Events, true depth, answers at every fourth pixel and their error, of the first samples."""
        return partial(draw_answers, batch, grid_answers(self, batch), self.model.config.input)

    def extra_state(self) -> dict[str, Any]:
        maps = {f"{height}x{width}": torch.from_numpy(m.values) for (height, width), m in self.loss_maps.items()}
        return {"loss_maps": maps}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        for size, values in state["loss_maps"].items():
            height, width = map(int, size.split("x"))
            self.loss_maps[height, width] = LossMap(height, width)
            self.loss_maps[height, width].values[:] = values.numpy()

    def learning_rates(self, offset_share: float, encoder_share: float) -> list[tuple[float, list[nn.Parameter]]]:
        slow = self.model.slow_parameters()
        encoder = list(self.model.encoder.parameters())
        apart = {id(parameter) for parameter in (*slow, *encoder)}
        others = [parameter for parameter in self.parameters() if id(parameter) not in apart]
        return [(1.0, others), (offset_share, slow), (encoder_share, encoder)]
