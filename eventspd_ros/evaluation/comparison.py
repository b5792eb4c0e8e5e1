"""Two methods on the same scenes: how much better, how often, and how sure that is."""

from __future__ import annotations

import numpy as np

RESAMPLES = 2_000


def compare(own: np.ndarray, other: np.ndarray, stratum: np.ndarray, seed: int = 0) -> dict:
    """own, other: (S,) errors of S scenes, less is better. stratum: (S,), the domain of each scene.

    ratio: mean own / mean other. interval: 95 % of that ratio under resampling of scenes (percentile bootstrap, Efron
    1979; pairs stay together and domains keep their size); None, both of them, where the other makes no error at all.
    won: share of scenes with own < other.
    """
    rng = np.random.default_rng(seed)
    own, other = np.asarray(own, np.float64), np.asarray(other, np.float64)
    draws = []
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        draws.append(members[rng.integers(len(members), size=(RESAMPLES, len(members)))])
    drawn = np.concatenate(draws, axis=1)
    won = float(np.mean(own < other))
    if not (other > 0).all():
        return {"scenes": len(own), "ratio": None, "interval": None, "won": won}
    ratios = own[drawn].mean(axis=1) / other[drawn].mean(axis=1)
    return {
        "scenes": len(own),
        "ratio": float(own.mean() / other.mean()),
        "interval": [float(bound) for bound in np.percentile(ratios, (2.5, 97.5))],
        "won": won,
    }


def paired_difference(own: np.ndarray, other: np.ndarray) -> dict:
    """own, other: (S,) values of S scenes, NaN where a scene has none; only scenes with both count.

    difference: mean of own − other. standard_error: sample deviation of that over scenes / √S; None of fewer than two.
    """
    each = (np.asarray(own, np.float64) - np.asarray(other, np.float64)).ravel()
    each = each[np.isfinite(each)]
    return {
        "scenes": len(each),
        "difference": float(each.mean()) if len(each) else None,
        "standard_error": float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else None,
    }
