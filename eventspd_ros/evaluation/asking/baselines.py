"""What can be answered without looking at an event: the floor that a model must lie below.

All answer in canonical depth (metres at fx = W) like the models, and are made metric by fx/W of the camera asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from eventspd_ros.datasets.sample import Intrinsics, known_depth
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.model.geometry import unit_coordinates

HIDDEN = 64
STEPS, BATCH, LEARNING_RATE = 1_000, 2_048, 1e-2  # ten times the steps and points gain less than 1 %


class Baseline(Protocol):
    def depth_m(self, uv_px: np.ndarray, intrinsics: Intrinsics, domain: str) -> np.ndarray:
        """Points (K, 2) px of one scene -> metric depth (K,) m."""


@dataclass(frozen=True)
class TrainingPoints:
    """Labelled pixels of a training set. place: float32 (N, 2), u/W and v/H; log_depth: float32 (N,), canonical;
    domain: int64 (N,), an index of domains."""

    place: np.ndarray
    log_depth: np.ndarray
    domain: np.ndarray
    domains: tuple[str, ...]


def training_points(sequences: list[Sequence], labels: int = 3, pixels: int = 256, seed: int = 0) -> TrainingPoints:
    """Of every sequence `labels` depth labels drawn by chance, of each `pixels` pixels with known depth.

    ValueError: no sequence has a depth label.
    """
    rng = np.random.default_rng(seed)
    kinds = [getattr(sequence, "domain", sequence.dataset) for sequence in sequences]
    domains = tuple(sorted(set(kinds)))
    places, depths, numbers = [], [], []
    for sequence, kind in zip(sequences, kinds, strict=True):
        available = sequence.depth_labels[sequence.depth_labels >= 0]
        for label in rng.choice(available, min(labels, len(available)), replace=False).tolist():
            depth_m = known_depth(sequence.read_depth(label))
            known = np.flatnonzero(np.isfinite(depth_m))
            drawn = rng.choice(known, min(pixels, len(known)), replace=False)
            uv = np.stack((drawn % depth_m.shape[1], drawn // depth_m.shape[1]), axis=1)
            places.append(_place(uv, sequence.intrinsics))
            depths.append(np.log(depth_m.ravel()[drawn] / sequence.intrinsics.metric_per_canonical))
            numbers.append(np.full(len(drawn), domains.index(kind)))
    if not sum(map(len, depths)):
        raise ValueError(f"{len(sequences)} training sequences hold no depth label, which baselines are fitted to")
    return TrainingPoints(
        np.concatenate(places), np.concatenate(depths).astype(np.float32), np.concatenate(numbers), domains
    )


class MedianBaseline:
    """(a) The training set's median canonical depth, everywhere."""

    def __init__(self, points: TrainingPoints):
        self.canonical_m = float(np.exp(np.median(points.log_depth)))

    def depth_m(self, uv_px: np.ndarray, intrinsics: Intrinsics, domain: str) -> np.ndarray:
        return np.full(len(uv_px), self.canonical_m * intrinsics.metric_per_canonical)


class CoordinateBaseline:
    """(b) A small MLP from the place in the image to log depth; (b′) the same, told the domain (one-hot).

    Fitted anew for each evaluation: a few seconds on one core, equal for equal seeds. The loss is the mean |log error|,
    so that it answers the conditional median.
    """

    def __init__(self, points: TrainingPoints, told_domain: bool, seed: int = 0, steps: int = STEPS):
        self.domains = points.domains if told_domain else None
        inputs = torch.from_numpy(points.place) * 2 - 1
        if told_domain:
            inputs = torch.cat((inputs, _one_hot(torch.from_numpy(points.domain), len(points.domains))), dim=1)
        self.mlp = _fit(inputs, torch.from_numpy(points.log_depth), seed, steps)

    @torch.inference_mode()
    def depth_m(self, uv_px: np.ndarray, intrinsics: Intrinsics, domain: str) -> np.ndarray:
        inputs = torch.from_numpy(_place(uv_px, intrinsics)) * 2 - 1
        if self.domains is not None:
            if domain not in self.domains:
                raise ValueError(
                    f"domain {domain!r} is not in the training set ({', '.join(self.domains)}): "
                    "a baseline that is told the domain cannot answer"
                )
            number = torch.full((len(inputs),), self.domains.index(domain))
            inputs = torch.cat((inputs, _one_hot(number, len(self.domains))), dim=1)
        return np.exp(self.mlp(inputs)[:, 0].double().numpy()) * intrinsics.metric_per_canonical


def fit_baselines(sequences: list[Sequence], seed: int = 0) -> dict[str, Baseline]:
    """(a), (b) and (b′) of a training set, by name."""
    points = training_points(sequences, seed=seed)
    return {
        "median": MedianBaseline(points),
        "coordinates": CoordinateBaseline(points, told_domain=False, seed=seed),
        "coordinates+domain": CoordinateBaseline(points, told_domain=True, seed=seed),
    }


def _place(uv_px: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    uv = torch.from_numpy(np.asarray(uv_px, np.float32).reshape(-1, 2))
    return unit_coordinates(uv, intrinsics.height, intrinsics.width).numpy()


def _one_hot(number: Tensor, count: int) -> Tensor:
    return nn.functional.one_hot(number, count).float()


def _fit(inputs: Tensor, log_depth: Tensor, seed: int, steps: int) -> nn.Module:
    """An MLP (N, C) -> (N, 1) with the least mean |error|; starts at the median."""
    generator, threads = torch.Generator().manual_seed(seed), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mlp = nn.Sequential(
            nn.Linear(inputs.shape[1], HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1)
        )
    nn.init.zeros_(mlp[-1].weight)
    nn.init.constant_(mlp[-1].bias, float(log_depth.median()))
    optimizer = torch.optim.Adam(mlp.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    torch.set_num_threads(1)  # faster for layers this small, and the same numbers whatever the machine's cores
    with torch.enable_grad():
        for _ in range(steps):
            drawn = torch.randint(len(inputs), (min(BATCH, len(inputs)),), generator=generator)
            loss = (mlp(inputs[drawn])[:, 0] - log_depth[drawn]).abs().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    torch.set_num_threads(threads)
    return mlp.eval()
