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
