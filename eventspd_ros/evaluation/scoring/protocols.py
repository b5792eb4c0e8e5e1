"""The protocols that published numbers were made by, read from the code or paper they came with. They differ.

    E2Depth  Hidalgo-Carrió et al. 2020, github.com/uzh-rpg/rpg_e2depth, evaluation.py
    HMNet    Hamaguchi et al. 2023, github.com/hamarh/HMNet_pth, experiments/depth/scripts/eval_depth.py
    F³       Das et al., arXiv:2509.25146, github.com/grasp-lyrl/fast-feature-fields, src/f3/tasks/depth
    DSEC     Gehrig et al. 2021, the disparity benchmark at dsec.ifi.uzh.ch

Each image has its mean; the result is the mean over images. What E2Depth adds against division by zero (1e-5 m) is
left out. A number made by a protocol on other pixels than all labelled ones, or on another split, is not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eventspd_ros.evaluation.scoring.metrics import (
    ALIGNMENTS,
    BELOW_M,
    align,
    depth_metrics,
    known_points,
    split_images,
)


@dataclass(frozen=True)
class Protocol:
    """How one image is scored.

    nearest_m, farthest_m: range of true depth that counts, ends included. clip_prediction: the prediction is held in
    that range. rows: only the first so many of the image; None: all. alignment: of metrics.align(), before all else.
    least_points: an image with fewer is skipped. centred: windows end half their length after the label and hold events
    of the future, which no robot has. metrics: those published, by the names of metrics.depth_metrics().

    clip_truth (E2Depth): truth beyond farthest_m becomes farthest_m, then the image's truth is scaled so that its
    largest depth is farthest_m; the farthest points do not count, nor do those predicted at or beyond it, so that far
    errors vanish.
    """

    name: str
    metrics: tuple[str, ...]
    nearest_m: float = 0.0
    farthest_m: float = 80.0
    clip_truth: bool = False
    clip_prediction: bool = False
    rows: int | None = None
    alignment: str = "none"
    least_points: int = 1
    centred: bool = False

    def points(self, predicted_m: np.ndarray, true_m: np.ndarray, uv_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points of one image that count, (K',) m each. uv_px: (K, 2)."""
        if self.rows is not None:
            inside = uv_px[:, 1] < self.rows - 0.5
            predicted_m, true_m = predicted_m[inside], true_m[inside]
        predicted, true = known_points(align(predicted_m, true_m, self.alignment, self.farthest_m), true_m)
        if self.clip_truth:
            true = np.minimum(true, self.farthest_m)
            true = true * (self.farthest_m / true.max(initial=0.0)) if len(true) else true
            counts = (true < self.farthest_m) & (predicted < self.farthest_m)
        else:
            counts = (true >= self.nearest_m) & (true <= self.farthest_m)
        predicted = np.clip(predicted, self.nearest_m, self.farthest_m) if self.clip_prediction else predicted
        return predicted[counts], true[counts]

    def score_image(self, predicted_m: np.ndarray, true_m: np.ndarray, uv_px: np.ndarray) -> dict[str, float] | None:
        """The published metrics, and mean_error_below_10, 20, 30 (m) where such points are; None: image skipped."""
        predicted, true = self.points(predicted_m, true_m, uv_px)
        if len(true) < self.least_points:
            return None
        values = depth_metrics(predicted, true)
        scores = {name: getattr(values, name) for name in self.metrics}
        for limit in BELOW_M:
            near = depth_metrics(predicted[true < limit], true[true < limit])
            if near.points:
                scores[f"mean_error_below_{limit:g}"] = near.mae
        return scores

    def score(self, predicted_m: np.ndarray, true_m: np.ndarray, uv_px: np.ndarray, image: np.ndarray) -> dict:
        """Mean over the images. image: (K,), equal for the points of one. counted: share of known points that count."""
        groups = split_images(image)
        each = [self.score_image(predicted_m[points], true_m[points], uv_px[points]) for points in groups]
        counted = sum(len(self.points(predicted_m[points], true_m[points], uv_px[points])[1]) for points in groups)
        known = len(known_points(predicted_m, true_m)[1])
        means = mean_of([scores for scores in each if scores is not None])
        return {**means, "skipped_images": each.count(None), "counted": counted / known if known else None}


@dataclass(frozen=True)
class DisparityProtocol:
    """DSEC: disparity of the rectified stereo pair, pixels; the server asks at 1 Hz and keeps the labels to itself."""

    name: str = "dsec"
    centred: bool = False

    def score(self, predicted_px: np.ndarray, true_px: np.ndarray, image: np.ndarray) -> dict:
        """Mean over the images. predicted_px, true_px: (K,) disparities."""
        each = [disparity_metrics(predicted_px[points], true_px[points]) for points in split_images(image)]
        return mean_of([scores for scores in each if scores is not None])


def disparity_metrics(predicted_px: np.ndarray, true_px: np.ndarray) -> dict[str, float] | None:
    """mae and rmse (px), 1pe and 2pe: % of points that are off by more than 1 and 2 px. (K,) each; None: no point."""
    predicted, true = known_points(predicted_px, true_px)
    if len(true) == 0:
        return None
    error = np.abs(predicted - true)
    return {
        "mae_px": float(error.mean()),
        "rmse_px": float(np.sqrt(np.mean(error**2))),
        "1pe": 100 * float(np.mean(error > 1)),
        "2pe": 100 * float(np.mean(error > 2)),
    }


def mean_of(images: list[dict[str, float]]) -> dict:
    """Each metric's mean over the images that have it."""
    names = dict.fromkeys(name for scores in images for name in scores)
    means = {name: float(np.mean([scores[name] for scores in images if name in scores])) for name in names}
    return {"images": len(images), **means}


_COMMON = ("abs_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")
PROTOCOLS = {
    "e2depth": Protocol("e2depth", (*_COMMON, "sq_rel_squared", "silog_variance"), rows=260, clip_truth=True),
    "hmnet": Protocol("hmnet", (*_COMMON, "sq_rel", "log10", "silog_percent", "mae"), nearest_m=1.978),
    "f3": Protocol(
        "f3", (*_COMMON, "sq_rel_squared", "log10", "silog_half"), nearest_m=0.1, least_points=10, centred=True
    ),
    "dsec": DisparityProtocol(),
}


def choose_protocol(name: str, alignment: str = "none") -> Protocol | DisparityProtocol:
    """A published protocol by its name, with another alignment where that is wanted. ValueError: unknown."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment {alignment!r}: must be one of {', '.join(ALIGNMENTS)}")
    protocol = PROTOCOLS[name]
    if alignment == "none":
        return protocol
    if isinstance(protocol, DisparityProtocol):
        raise ValueError(f"protocol {name!r} scores disparity as it is; alignment {alignment!r} is for depth")
    return replace(protocol, alignment=alignment)
