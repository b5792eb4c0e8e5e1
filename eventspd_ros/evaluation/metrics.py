"""Depth metrics at the queries, by their standard definitions (Eigen et al. 2014, arXiv:1406.2283, section 4.1)."""

from __future__ import annotations

import numpy as np


def abs_rel(predicted_m: np.ndarray, true_m: np.ndarray) -> float | None:
    """Mean of |predicted − true| / true over the points where both are finite and true > 0; None where there is none.

    predicted_m, true_m: (K,), metres.
    """
    valid = np.isfinite(predicted_m) & np.isfinite(true_m) & (true_m > 0)
    if not valid.any():
        return None
    predicted, true = predicted_m[valid].astype(np.float64), true_m[valid].astype(np.float64)
    return float(np.mean(np.abs(predicted - true) / true))
