"""One factor for a checkpoint's σ, fitted on scenes that it was neither trained nor is tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eventspd_ros.cores import cores
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.scoring.summary import AnsweredPoints
from eventspd_ros.evaluation.scoring.uncertainty import LEVELS, coverage, fit_temperature
from eventspd_ros.model.checkpoints import load_checkpoint, scale_temperature
from eventspd_ros.whole import check_output


@dataclass(frozen=True, slots=True)
class Temperature:
    """factor: of σ. before, after: domain → level → coverage."""

    factor: float
    before: dict[str, dict[str, float]]
    after: dict[str, dict[str, float]]


def calibrate_checkpoint(
    folder: Path | str,
    weights: Path | str,
    out: Path | str,
    dataset: str = "simulated",
    progress: Callable[[int, int], object] | None = None,
    half: bool = False,
) -> Temperature:
    """Fits the temperature at uniformly drawn pixels of a set and writes the checkpoint with it.

    half: store the weights in float16, half the size; they are float32 again when loaded. progress: as in
    evaluate_checkpoints().
    """
    check_output(out, [weights])
    sequences = open_dataset(dataset, folder)
    method = Method("model", load_checkpoint(weights))
    report = None if progress is None else lambda done: progress(done, len(sequences))
    answers = collect_answers(sequences, [method], {}, Settings(), cores(), report)
    domains = sorted({answer.domain for answer in answers})
    errors, stddevs, groups = [], [], []
    for number, domain in enumerate(domains):
        points = AnsweredPoints.of([answer for answer in answers if answer.domain == domain], method.name, "uniform")
        log_error = np.log(points.predicted_m / points.true_m)
        known = np.isfinite(log_error) & np.isfinite(points.log_stddev)
        errors.append(log_error[known])
        stddevs.append(points.log_stddev[known])
        groups.append(np.full(known.sum(), number))
    factor = fit_temperature(*map(np.concatenate, (errors, stddevs, groups)))
    scale_temperature(weights, factor, out, torch.float16 if half else None)

    def covered(scale: float) -> dict[str, dict[str, float]]:
        return {
            domain: {f"{level:.0%}": coverage(error, scale * stddev, level) for level in LEVELS}
            for domain, error, stddev in zip(domains, errors, stddevs, strict=True)
        }

    return Temperature(factor, covered(1.0), covered(factor))
