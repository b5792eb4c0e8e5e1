"""The unit of a dense baseline's inverse depth, taken from a training set."""

from __future__ import annotations

import numpy as np
import torch

from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.geometry import bilinear_read

FITTED_SEQUENCES, FITTED_PIXELS = 32, 256


@torch.inference_mode()
def fit_scale(model: DenseModel, sequences: list[Sequence], seed: int = 0) -> None:
    """One factor, the median of inverse depth · true canonical depth at known pixels of one label of each of at most 32
    sequences.

    A disparity in pixels gets fx · baseline / W this way, relative inverse depth the scale that fits it best.
    """
    drawn = np.random.default_rng(seed).permutation(len(sequences))[:FITTED_SEQUENCES]
    settings = Settings(uniform=FITTED_PIXELS, keypoints=0, warm_up=0, seed=seed)
    ratios = []
    for sequence in (sequences[index] for index in drawn):
        scene = WindowedScene(sequence, model.config.window_ms, model.config.stride_ms, settings)
        with_label = scene.asked()
        if not len(with_label):
            continue
        number = int(with_label[len(with_label) // 2])
        model.prepare(*scene.size)
        (cache,), _ = model.encode([scene.window(number)], [StreamState()])
        questions = scene.questions([number])
        uv_px = torch.from_numpy(questions.uv_px).to(model.device)
        inverse = bilinear_read(cache.tensors.inverse_depth, uv_px[None], stride=1)[0, :, 0].cpu().numpy()
        ratios.append(inverse * questions.true_m / sequence.intrinsics.metric_per_canonical)
    found = np.concatenate(ratios) if ratios else np.empty(0)
    found = found[found > 0]
    if not len(found):
        raise ValueError(f"dense baseline: answers no inverse depth above 0 on {len(drawn)} training sequences")
    model.inverse_scale = float(np.median(found))
