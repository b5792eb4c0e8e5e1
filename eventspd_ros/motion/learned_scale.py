"""What a stream has learnt about its learned depths: their common scale, how they err across the image, how far to
trust them.

The ratio of true to learned log depth at point i is taken as

    f_i = S + κ σ_i g_i,   g ~ GP(0, (1 − ν) exp(−|u_i − u_k| / D − |z_i − z_k| / Z) + ν δ_ik),

S the stream's scale (a random walk), σ_i what the network declares, κ how much that is too small here, g an error that
neighbours of like depth share, as one surface is misread as a whole (measured on simulated scenes and on real events:
the semivariance grows from ν near 0 to 1 over a few tenths of the image). Points whose likelihood from motion is sharp
measure f. From these anchors follows each point's prior, an anchor's own without itself (leave-one-out; Rasmussen and
Williams, Gaussian Processes for Machine Learning, eq. 5.12).

A thing that moves by itself shows as anchors that disagree with the learned depth by far more than the others of the
stream do. They are kept out, and are told to trust the learned depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from eventspd_ros.motion.compiled import inner, loop

START_STDDEV = 0.3  # of S, before anything is known, where the network does not tell
WALK = 0.03  # of S from one request to the next
SHARED_WIDTHS = 0.15  # D, image widths
SHARED_LOG_DEPTH = 0.5  # Z
OWN_SHARE = 0.1  # ν
LEAST_OWN_SHARE = 0.6  # of a network's σ that is taken for the point's own, whatever it says of its scale
MAX_ANCHORS = 96
CELLS = 12  # across the width: at most one anchor in each cell
MIN_ANCHORS = 8
ANCHOR_STDDEV = 0.02  # added to what an anchor's likelihood says
GATE = 3.5  # standard deviations from what the other anchors say
MIN_TRUST, MAX_TRUST = 0.7, 6.0  # κ
TRUST_GAIN = 0.6
TRUST_QUANTILE, TRUST_NORMAL = 0.5, 0.6745  # of |error|, and what it is of a normal law
# Movers: conflict with the learned depth, averaged over neighbours, in standard deviations.
NEIGHBOUR_WIDTHS, NEIGHBOUR_LOG_DEPTH = 0.06, 0.3
SUSPECT, SUSPECT_WIDTH = 1.8, 0.25
OUTLIER, MAX_OUTLIER = 0.1, 0.9
DOUBT, DOUBT_FROM = 0.8, 0.8  # of the network's σ that is added for each standard deviation of conflict from there on
FAR_STDDEV = 0.2  # by which the scale of far points differs from that of near ones


@dataclass(frozen=True, slots=True)
class Prior:
    """Of K points. mean, stddev: of log depth; outlier: probability that the likelihood is not of the point's depth;
    conflict: with the learned depth, standard deviations, averaged over neighbours; doubt: standard deviation of log
    depth that this adds to what is answered."""

    mean: np.ndarray
    stddev: np.ndarray
    outlier: np.ndarray
    conflict: np.ndarray
    doubt: np.ndarray

    @classmethod
    def flat(cls, mean: np.ndarray, stddev: np.ndarray) -> Prior:
        """Of points without learned depths."""
        zero = np.zeros(len(mean))
        return cls(mean, stddev, np.full(len(mean), OUTLIER), zero, zero)

    def where(self, other_holds: np.ndarray, other: Prior) -> Prior:
        """This one, but the other where that holds, (K,) bool."""
        names = ("mean", "stddev", "outlier", "conflict", "doubt")
        return Prior(*(np.where(other_holds, getattr(other, name), getattr(self, name)) for name in names))


class LearnedScale:
    """scale, variance: of S. trust: κ."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Another scene."""
        self.scale, self.variance, self.trust = 0.0, START_STDDEV**2, 1.0
        self._asked, self._told, self._most = 0, False, START_STDDEV**2

    def expect(self, scale_stddev: float | None) -> None:
        """What the network says of its scale in this request; None: it does not, and that is somewhere in its σ_i."""
        # Its word is a prior, which holds until something has been measured.
        self._told = scale_stddev is not None
        self._most = (START_STDDEV if scale_stddev is None else scale_stddev) ** 2
        if not self._asked:
            self.variance = self._most

    def own(self, stddev: np.ndarray) -> np.ndarray:
        """σ_i: of the network's whole standard deviation of log depth, (K,), what is not of the scale; but never less
        than a share of it, as a network that is lost can be wrong within the image, too."""
        if not self._told:
            return stddev
        return np.maximum(np.sqrt(np.maximum(stddev**2 - self._most, 0.0)), LEAST_OWN_SHARE * stddev)

    def rough(self, log_depth: np.ndarray, stddev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of log depth before this request's likelihoods are known."""
        return log_depth + self.scale, np.sqrt((self.trust * stddev) ** 2 + self.variance)

    def alone(self, log_depth: np.ndarray, stddev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation where motion tells nothing. Such points are mostly far ones; the scale, measured
        on near ones, is theirs as far as it stands out of what the two differ by."""
        share = self.scale**2 / (self.scale**2 + FAR_STDDEV**2)
        doubt = (1 - share) ** 2 * self.scale**2
        unknown = share * self.variance if self._asked else 0.0  # what is not known yet is in the network's own σ
        if self._told:  # there it is not; near points say of far ones how they are but for what both differ by
            unknown = share * self.variance + (1 - share) * min(self._most, self.variance + FAR_STDDEV**2)
        return log_depth + share * self.scale, np.sqrt((self.trust * stddev) ** 2 + unknown + doubt)

    def learn(
        self,
        uv_widths: np.ndarray,
        *,
        log_depth: np.ndarray,
        stddev: np.ndarray,
        measured: np.ndarray,
        measured_stddev: np.ndarray,
        sharp: np.ndarray,
    ) -> Prior:
        """Take a request's likelihoods, and give its points their priors.

        uv_widths: (K, 2) places, in image widths. log_depth, stddev: the network's. measured, measured_stddev: log
        depth by motion; sharp: bool (K,), which of these are to be learnt from.
        """
        self.variance = min(self.variance + WALK**2, max(self._most, self.variance))
        ratio = measured - log_depth
        conflict = np.zeros(len(ratio))
        if sharp.sum() >= MIN_ANCHORS:
            conflict = self._conflicts(uv_widths, log_depth, stddev, ratio, measured_stddev, sharp)
        suspicion = MAX_OUTLIER / (1 + np.exp(-(conflict - SUSPECT) / SUSPECT_WIDTH))
        suspect = conflict >= SUSPECT
        width = self.trust * stddev
        mean, variance = np.full(len(ratio), self.scale), self.variance + width**2
        anchors = spread(uv_widths, measured_stddev, sharp & ~suspect)[:MAX_ANCHORS]
        if len(anchors) >= MIN_ANCHORS:
            noise = measured_stddev[anchors] ** 2 + ANCHOR_STDDEV**2
            mean, variance = self._predict(uv_widths, log_depth, width, anchors, ratio[anchors], noise)
        mean = np.where(suspect, self.scale, mean)
        variance = np.where(suspect, self.variance + width**2, variance)
        doubt = DOUBT * np.maximum(conflict - DOUBT_FROM, 0.0) * stddev
        return Prior(log_depth + mean, np.sqrt(variance), np.maximum(OUTLIER, suspicion), conflict, doubt)

    def _conflicts(self, uv, log_depth, stddev, ratio, measured_stddev, sharp) -> np.ndarray:
        """How far sharp points lie from the stream's scale, in the stream's standard deviations, seen from each."""
        middle = np.median(ratio[sharp])
        doubt = 0.02 + (1.48 * np.median(np.abs(ratio[sharp] - middle))) ** 2 / 8
        middle = (self.scale / self.variance + middle / doubt) / (1 / self.variance + 1 / doubt)
        away = np.abs(ratio - middle)
        spread = np.quantile((away / np.hypot(stddev, measured_stddev))[sharp], TRUST_QUANTILE)
        seen = np.clip(spread / TRUST_NORMAL, MIN_TRUST, MAX_TRUST)
        self.trust += (TRUST_GAIN if self._asked else 1.0) * (seen - self.trust)
        self._asked += 1
        away = np.minimum(away / np.hypot(self.trust * stddev, measured_stddev), 6.0)
        which = np.flatnonzero(sharp)
        return _mean_of_neighbours(uv, log_depth, uv[which], log_depth[which], away[which])

    def _predict(self, uv, log_depth, width, anchors, ratio, noise) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of f at all points, from the anchors that agree with one another; the scale learns too."""
        kept = np.ones(len(anchors), bool)
        for last in (False, True):
            chosen = anchors[kept]
            columns = uv[chosen], log_depth[chosen], width[chosen], ratio[kept] - self.scale, noise[kept]
            weights, left_out, factor = _fit(*columns, self.variance)
            far = np.abs(weights) * np.sqrt(left_out) > GATE
            if last or not far.any() or far.all():
                break
            kept[np.flatnonzero(kept)[far]] = False
        mean, variance = _read(uv, log_depth, width, *columns[:3], weights, factor, self.variance)
        mean += self.scale
        mean[chosen] = ratio[kept] - weights * left_out
        variance[chosen] = left_out - noise[kept]
        # The scale's covariance with every anchor is its own variance.
        self.scale += float(self.variance * weights.sum())
        self.variance = max(self.variance - float(((factor @ np.full(len(chosen), self.variance)) ** 2).sum()), 1e-5)
        return mean, np.maximum(variance, 1e-4)


@inner
def _covariance(right, down, apart, widths, variance):
    """Of f at two places; apart: of their log depths, widths: product of κ σ of both."""
    distance = math.sqrt(right * right + down * down) / SHARED_WIDTHS + abs(apart) / SHARED_LOG_DEPTH
    return variance + (1 - OWN_SHARE) * widths * math.exp(-distance)


@loop
def _fit(uv, log_depth, width, residual, noise, variance):
    """A Gaussian process on A anchors: weights C⁻¹ r, (A,); each anchor's variance seen from the others, 1 / C⁻¹_ii,
    (A,); and L⁻¹ of C = L Lᵀ. Compiled, as a library's threads would wait for one another on a busy computer."""
    count = len(uv)
    factor, inverse = np.zeros((count, count)), np.zeros((count, count))
    for i in range(count):
        for k in range(i + 1):
            apart = uv[i, 0] - uv[k, 0], uv[i, 1] - uv[k, 1], log_depth[i] - log_depth[k]
            total = _covariance(*apart, width[i] * width[k], variance)
            if i == k:
                total += noise[i] + OWN_SHARE * width[i] ** 2
            for m in range(k):
                total -= factor[i, m] * factor[k, m]
            factor[i, k] = math.sqrt(max(total, 1e-12)) if i == k else total / factor[k, k]
    for i in range(count):
        inverse[i, i] = 1 / factor[i, i]
        for k in range(i):
            scale = factor[i, k] / factor[i, i]
            for m in range(k + 1):
                inverse[i, m] -= scale * inverse[k, m]
    weights, left_out = np.zeros(count), np.zeros(count)
    for i in range(count):
        total = 0.0
        for m in range(i + 1):
            total += inverse[i, m] * residual[m]
        for m in range(i + 1):
            weights[m] += inverse[i, m] * total
            left_out[m] += inverse[i, m] * inverse[i, m]
    return weights, 1 / left_out, inverse


@loop
def _read(uv, log_depth, width, other_uv, other_log_depth, other_width, weights, factor, variance):
    """Mean, less the scale, and variance of f at places (K,) from the anchors of _fit()."""
    count = len(weights)
    mean, out, row = np.zeros(len(uv)), np.zeros(len(uv)), np.zeros(count)
    for n in range(len(uv)):
        for k in range(count):
            apart = uv[n, 0] - other_uv[k, 0], uv[n, 1] - other_uv[k, 1], log_depth[n] - other_log_depth[k]
            row[k] = _covariance(*apart, width[n] * other_width[k], variance)
            mean[n] += row[k] * weights[k]
        out[n] = variance + width[n] ** 2
        for i in range(count):
            total = 0.0
            for m in range(i + 1):
                total += factor[i, m] * row[m]
            out[n] -= total * total
    return mean, out


@njit(nogil=True, cache=True, error_model="numpy")
def _mean_of_neighbours(uv, log_depth, other_uv, other_log_depth, values):
    """Of values (A,) at other places, weighted by how near those are; towards 0 where none is."""
    out = np.zeros(len(uv))
    for n in range(len(uv)):
        total, weight = 0.0, 0.05
        for k in range(len(values)):
            right, down = uv[n, 0] - other_uv[k, 0], uv[n, 1] - other_uv[k, 1]
            square = (right * right + down * down) / NEIGHBOUR_WIDTHS**2
            if square < 9.0:
                w = math.exp(-square - abs(log_depth[n] - other_log_depth[k]) / NEIGHBOUR_LOG_DEPTH)
                total += w * values[k]
                weight += w
        out[n] = total / weight
    return out


def spread(uv_widths: np.ndarray, stddev: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Indices of the sharpest candidate in each cell of the image."""
    which = np.flatnonzero(candidates)
    which = which[np.argsort(stddev[which], kind="stable")]
    cell = np.floor(uv_widths[which] * CELLS).astype(np.int64)
    _, first = np.unique(cell[:, 0] * 1000 + cell[:, 1], return_index=True)
    return which[np.sort(first)]
