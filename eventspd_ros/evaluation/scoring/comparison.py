"""Two methods on the same scenes: how much better, how often, and how sure that is."""

from __future__ import annotations

import numpy as np

from eventspd_ros.evaluation.results import Comparison, PairedDifference

RESAMPLES = 2_000


def compare(own: np.ndarray, other: np.ndarray, stratum: np.ndarray, seed: int = 0) -> Comparison:
    """own, other: (S,) errors of S scenes, less is better. stratum: (S,), the domain of each scene. The interval is a
    percentile bootstrap (Efron 1979): pairs stay together and domains keep their size."""
    rng = np.random.default_rng(seed)
    own, other = np.asarray(own, np.float64), np.asarray(other, np.float64)
    draws = []
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        draws.append(members[rng.integers(len(members), size=(RESAMPLES, len(members)))])
    drawn = np.concatenate(draws, axis=1)
    won = float(np.mean(own < other))
    if not (other > 0).all():
        return Comparison(len(own), None, None, won)
    ratios = own[drawn].mean(axis=1) / other[drawn].mean(axis=1)
    interval = [float(bound) for bound in np.percentile(ratios, (2.5, 97.5))]
    return Comparison(len(own), float(own.mean() / other.mean()), interval, won)


def paired_difference(own: np.ndarray, other: np.ndarray) -> PairedDifference:
    """own, other: (S,) values of S scenes, NaN where a scene has none; only scenes with both count."""
    each = (np.asarray(own, np.float64) - np.asarray(other, np.float64)).ravel()
    each = each[np.isfinite(each)]
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else None
    return PairedDifference(len(each), float(each.mean()) if len(each) else None, error)
