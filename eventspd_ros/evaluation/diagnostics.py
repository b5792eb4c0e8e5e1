"""What the stages of the query decoder do on a set: routing, effect, attention, offsets (research plan v9, 7.3).

Hooks on the model's modules look on while it answers; the model itself knows nothing of them, and without them costs
nothing.

Shapes: B windows, K queries a window, N = B·K, T cells of the coarsest level or tokens, H heads, D model width.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.evaluate import Evaluation
from eventspd_ros.evaluation.results import Diagnostics, Nothing, Routing, Spread, TokenShare
from eventspd_ros.evaluation.sweeps import few_of_each
from eventspd_ros.model.local_tokens import Neighbourhood
from eventspd_ros.model.point_depth import PointDepthModel

STAGES = ("b2", "b3", "b5")  # those that change the query vector h


def diagnose_evaluation(evaluation: Evaluation) -> Diagnostics | Nothing:
    """diagnose() of the judged model on a few scenes of each domain."""
    settings = replace(evaluation.settings, uniform=min(evaluation.settings.uniform, Settings.uniform))
    return diagnose(evaluation.methods[0].model, few_of_each(evaluation.sequences), settings)


def diagnose(model: PointDepthModel, sequences: list[Sequence], settings: Settings) -> Diagnostics | Nothing:
    """The diagnostics of a model at the questions of some sequences; Nothing for a model without a query decoder."""
    if "b3" not in model.stages():
        return Nothing()
    probe = _Probe(model)
    with probe.attached():
        collect_answers(sequences, [Method("diagnosed", model)], {}, settings)
    return probe.summary()


class _Probe:
    """Hooks and what they saw."""

    def __init__(self, model: PointDepthModel):
        self.decoder, self.config = model.decoder, model.decoder.config
        self.stages = {name: stage.module for name, stage in model.stages().items()}
        self.entropies, self.top_cells, self.anchors = [], [], []  # of each query, and of each window
        self.chosen = [[], []]  # of the window that is being decoded
        self.cells = self.anchor_count = 0
        self.cosines = defaultdict(list)
        self.shares = defaultdict(list)
        self.offsets_px = defaultdict(list)

    @contextmanager
    def attached(self) -> Iterator[None]:
        stages = self.stages
        handles = [self.decoder.register_forward_hook(self._end_of_window)]
        handles.append(stages["b3"].register_forward_hook(self._routing))
        for name in STAGES:
            if len(stages[name].layers):
                handles.append(stages[name].register_forward_hook(self._cosine(name)))
        for name in ("b2", "b5"):
            for layer in stages[name].layers:
                handles.append(layer.attention.register_forward_hook(self._attention(name)))
        for module in stages["b1"].modules():
            if isinstance(module, Neighbourhood) and module.offsets is not None:
                handles.append(module.offsets.register_forward_hook(self._local_offsets(module)))
        if self.config.anchors:
            handles.append(stages["b4"].register_forward_hook(self._anchors))
            handles.append(stages["b4"].norm.register_forward_hook(self._read_offsets))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _routing(self, module, inputs, output) -> None:
        attention = output[1]  # (B, K, T)
        if attention is None:
            return
        self.cells = attention.shape[-1]
        self.entropies.append(torch.special.entr(attention).sum(-1).flatten().cpu())
        self.chosen[0].append(attention.argmax(-1).flatten().cpu())

    def _anchors(self, module, inputs, output) -> None:
        routed = inputs[-1]  # (B, K, R)
        self.anchor_count = routed.shape[-1]
        self.chosen[1].append(routed.flatten().cpu())

    def _end_of_window(self, module, inputs, output) -> None:
        for chosen, counts in zip(self.chosen, (self.top_cells, self.anchors), strict=True):
            if chosen:
                counts.append(len(torch.cat(chosen).unique()))
                chosen.clear()

    def _cosine(self, name: str):
        def hook(module, inputs, output) -> None:
            after = output[0] if isinstance(output, tuple) else output
            self.cosines[name].append(F.cosine_similarity(inputs[0].float(), after.float(), dim=-1).cpu())

        return hook

    def _attention(self, name: str):
        def hook(module, inputs, output) -> None:
            weights = module.weights(*inputs).mean(dim=1)  # (N, T)
            groups = weights.split(list(self._token_types(weights.shape[1]).values()), dim=1)
            self.shares[name].append(torch.stack([group.sum(1) for group in groups], dim=1).cpu())

        return hook

    def _token_types(self, count: int) -> dict[str, int]:
        """How many of `count` tokens are of each type, in their order."""
        fine, *coarse = self.config.tokens_by_level
        adaptive = self.config.adaptive_points if fine > self.config.adaptive_points else 0
        types = {"L1 grid": fine - adaptive, "L1 adaptive": adaptive}
        types |= {f"L{level}": tokens for level, tokens in enumerate(coarse, start=2)}
        types["anchors"] = count - sum(types.values())
        return {name: tokens for name, tokens in types.items() if tokens}

    def _local_offsets(self, around: Neighbourhood):
        name = f"B1, L{self.config.strides.index(around.stride) + 1} adaptive"

        def hook(module, inputs, output) -> None:
            offsets_px = around.stride * around.reach_cells * output.tanh().unflatten(-1, (-1, 2))
            self.offsets_px[name].append(offsets_px.norm(dim=-1).flatten().cpu())

        return hook

    def _read_offsets(self, module, inputs, output) -> None:
        b4 = self.stages["b4"]
        dtype = b4.offsets.weight.dtype
        shape = (b4.heads, len(b4.strides), b4.samples, 2)
        cells = b4.offsets(output.to(dtype)).flatten(0, -2).unflatten(-1, shape).norm(dim=-1)
        for level, stride in enumerate(b4.strides):
            name = f"B4, L{len(self.config.strides) - len(b4.strides) + level + 1}"
            self.offsets_px[name].append(cells[:, :, level].flatten().cpu() * stride)

    def summary(self) -> Diagnostics:
        types = self._token_types(self.config.local_tokens + self.anchor_count)
        attention = {}
        for name, shares in self.shares.items():
            mean = torch.cat(shares).mean(0).tolist()
            kinds = list(types.items())[: len(mean)]
            attention[name.upper()] = {
                kind: TokenShare(share, tokens) for (kind, tokens), share in zip(kinds, mean, strict=True)
            }
        return Diagnostics(
            self._routing_summary(),
            {name.upper(): _spread(values) for name, values in self.cosines.items()},
            attention,
            {name: _spread(values) for name, values in self.offsets_px.items()},
        )

    def _routing_summary(self) -> Routing | Nothing:
        if not self.entropies:
            return Nothing()
        entropies = torch.cat(self.entropies).double()
        entropy = float(entropies.mean())
        return Routing(
            windows=len(self.top_cells),
            queries=len(entropies),
            cells=self.cells,
            entropy_nats=entropy,
            entropy_share=entropy / math.log(self.cells) if self.cells > 1 else None,
            unique_top_cells=float(np.mean(self.top_cells)),
            anchors=self.anchor_count,
            unique_anchors=float(np.mean(self.anchors)) if self.anchors else None,
        )


def _spread(values: list[Tensor]) -> Spread:
    joint = torch.cat(values).double().numpy()
    low, middle, high = np.percentile(joint, (5, 50, 95)).tolist()
    return Spread(float(joint.mean()), low, middle, high)
