"""Depth metrics at the queries, by their standard definitions (Eigen et al. 2014, arXiv:1406.2283, section 4.1).

Shapes: K points. p predicted, t true depth, metres; δ = ln p − ln t. A point counts where both are finite and > 0.
"""

from __future__ import annotations

import math

import numpy as np

from eventspd_ros.evaluation.results import METRICS, DepthClass, DepthMetrics

ALIGNMENTS = ("none", "median", "scale-and-shift")
RANGES_M = {"0-10": (0.0, 10.0), "10-30": (10.0, 30.0), "30+": (30.0, np.inf)}
BELOW_M = (10.0, 20.0, 30.0)
FARTHEST_M = 80.0  # where an aligned inverse depth would be 0 or less


def abs_rel(predicted_m: np.ndarray, true_m: np.ndarray) -> float | None:
    """Mean of |predicted − true| / true over the points where both are finite and > 0; None where there is none.

    predicted_m, true_m: (K,), metres.
    """
    return depth_metrics(predicted_m, true_m).abs_rel


def depth_metrics(predicted_m: np.ndarray, true_m: np.ndarray) -> DepthMetrics:
    """All metrics over K points together. predicted_m, true_m: (K,), metres."""
    predicted, true = known_points(predicted_m, true_m)
    if len(true) == 0:
        return DepthMetrics(points=0, **dict.fromkeys(METRICS))
    error, log_error = predicted - true, np.log(predicted / true)
    square, bias = np.mean(log_error**2), np.mean(log_error)
    variance = max(square - bias**2, 0.0)
    factor = np.exp(np.abs(log_error))
    values = {
        "abs_rel": np.mean(np.abs(error) / true),
        "sq_rel": np.mean(error**2 / true),
        "sq_rel_squared": np.mean((error / true) ** 2),
        "rmse": np.sqrt(np.mean(error**2)),
        "mae": np.mean(np.abs(error)),
        "rmse_log": np.sqrt(square),
        "abs_log": np.mean(np.abs(log_error)),
        "log10": np.mean(np.abs(log_error)) / np.log(10.0),
        "silog_variance": variance,
        "silog_percent": 100 * np.sqrt(variance),
        "silog_half": np.sqrt(square - 0.5 * bias**2),
        **{f"delta{power}": np.mean(factor < 1.25**power) for power in (1, 2, 3)},
    }
    return DepthMetrics(points=len(true), **{name: float(value) for name, value in values.items()})


def known_points(predicted_m: np.ndarray, true_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that count, float64 (K',), (K',). ValueError: of unequal lengths."""
    predicted, true = np.asarray(predicted_m, np.float64), np.asarray(true_m, np.float64)
    if predicted.shape != true.shape or predicted.ndim != 1:
        raise ValueError(f"{predicted.shape} predicted and {true.shape} true depths: expected (K,) of both")
    counts = np.isfinite(predicted) & np.isfinite(true) & (predicted > 0) & (true > 0)
    return predicted[counts], true[counts]


def split_images(image: np.ndarray) -> list[np.ndarray]:
    """The points of each image, by index. image: (K,) integers, equal for the points of one image."""
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.diff(np.asarray(image)[order])) + 1
    return np.split(order, starts) if len(order) else []


def per_image(predicted_m: np.ndarray, true_m: np.ndarray, image: np.ndarray) -> DepthMetrics:
    """Metrics of each image, then their mean over the images with a point. image: as in split_images()."""
    each = [depth_metrics(predicted_m[points], true_m[points]) for points in split_images(image)]
    each = [values for values in each if values.points]
    means = {name: float(np.mean([getattr(values, name) for values in each])) if each else None for name in METRICS}
    return DepthMetrics(images=len(each), **means)


def bias(predicted_m: np.ndarray, true_m: np.ndarray) -> float | None:
    """Median of p/t; None of no point."""
    predicted, true = known_points(predicted_m, true_m)
    return float(np.median(predicted / true)) if len(true) else None


def correlation(predicted_m: np.ndarray, true_m: np.ndarray, image: np.ndarray) -> float | None:
    """Of ln p and ln t, each less its mean over the image, all images together: whether near is told from far. None
    where either does not vary. image: as in split_images()."""
    product = np.zeros(3)
    for points in split_images(image):
        p, t = (np.log(column) for column in known_points(predicted_m[points], true_m[points]))
        if len(t):
            p, t = p - p.mean(), t - t.mean()
            product += p @ t, p @ p, t @ t
    spread = math.sqrt(product[1] * product[2])
    return float(product[0] / spread) if spread > 1e-9 else None


def by_range(predicted_m: np.ndarray, true_m: np.ndarray) -> dict[str, DepthMetrics]:
    """Metrics over the points whose true depth lies in 0–10, 10–30 and 30+ m (lower end included)."""
    ranges = {name: (true_m >= low) & (true_m < high) for name, (low, high) in RANGES_M.items()}
    return {name: depth_metrics(predicted_m[inside], true_m[inside]) for name, inside in ranges.items()}


def mean_error_below(predicted_m: np.ndarray, true_m: np.ndarray) -> dict[str, float | None]:
    """Mean |p − t|, m, over the points with true depth below 10, 20 and 30 m."""
    return {f"{limit:g}": depth_metrics(predicted_m[true_m < limit], true_m[true_m < limit]).mae for limit in BELOW_M}


def error_by_depth(predicted_m: np.ndarray, true_m: np.ndarray) -> list[DepthClass]:
    """The error in classes of true depth that grow by √2, for a curve; classes without a point are left out."""
    predicted, true = known_points(predicted_m, true_m)
    number = np.floor(2 * np.log2(true)).astype(np.int64)
    rows = []
    for step in np.unique(number).tolist():
        p, t = predicted[number == step], true[number == step]
        log_error = np.percentile(np.log(p / t), (10, 50, 90)).tolist()
        abs_rel = float(np.mean(np.abs(p - t) / t))
        rows.append(DepthClass(2 ** (step / 2), 2 ** ((step + 1) / 2), len(t), abs_rel, *log_error))
    return rows


def align(predicted_m: np.ndarray, true_m: np.ndarray, how: str, farthest_m: float = FARTHEST_M) -> np.ndarray:
    """The prediction of one image fitted to its truth, (K,) metres. how: one of ALIGNMENTS.

    "median": times median t / median p. "scale-and-shift": s/p + b in place of 1/p, by least squares to 1/t (Ranftl et
    al. 2020, arXiv:1907.01341, Eq. 4); where that is nearer to 0 than 1/farthest_m, the answer is farthest_m.
    """
    if how not in ALIGNMENTS:
        raise ValueError(f"alignment {how!r}: must be one of {', '.join(ALIGNMENTS)}")
    predicted, true = known_points(predicted_m, true_m)
    if how == "none" or len(true) == 0:
        return predicted_m
    if how == "median":
        return predicted_m * (np.median(true) / np.median(predicted))
    columns = np.stack((1 / predicted, np.ones_like(predicted)), axis=1)
    (scale, shift), *_ = np.linalg.lstsq(columns, 1 / true, rcond=None)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = scale / np.asarray(predicted_m, np.float64) + shift
    return 1 / np.maximum(inverse, 1 / farthest_m)


def align_images(predicted_m: np.ndarray, true_m: np.ndarray, image: np.ndarray, how: str) -> np.ndarray:
    """align() of each image on its own."""
    aligned = np.array(predicted_m, np.float64)
    for points in split_images(image):
        aligned[points] = align(predicted_m[points], true_m[points], how)
    return aligned
