"""What a stream learns of its learned depths, on depths that are wrong in known ways."""

from dataclasses import dataclass, fields

import numpy as np
import pytest
from reference.slow_motion import shared_error

from eventspd_ros.motion.learned_scale import (
    ANCHOR_STDDEV,
    CELLS,
    LEAST_OWN_SHARE,
    MAX_OUTLIER,
    MAX_TRUST,
    MIN_ANCHORS,
    MIN_TRUST,
    OUTLIER,
    OWN_SHARE,
    SHARED_LOG_DEPTH,
    SHARED_WIDTHS,
    START_STDDEV,
    WALK,
    LearnedScale,
    Prior,
)

MEASURED_STDDEV = 0.03
FIELDS = [field.name for field in fields(Prior)]


@dataclass
class Request:
    """ratio: true minus learned log depth, (K,)."""

    uv_widths: np.ndarray
    log_depth: np.ndarray
    stddev: np.ndarray
    measured: np.ndarray
    measured_stddev: np.ndarray
    sharp: np.ndarray
    ratio: np.ndarray

    @classmethod
    def of(cls, rng, ratio, count=160, stddev=0.25, sharp=0.6):
        """ratio: a function of places and log depth. A share of the points is sharp."""
        uv, log_depth = rng.uniform((0, 0), (1, 0.75), (count, 2)), rng.uniform(0, 3, count)
        truth = ratio(uv, log_depth)
        measured = log_depth + truth + rng.normal(0, MEASURED_STDDEV, count)
        return cls(
            uv,
            log_depth,
            np.full(count, stddev),
            measured,
            np.full(count, MEASURED_STDDEV),
            rng.random(count) < sharp,
            truth,
        )

    def learnt_by(self, scale: LearnedScale) -> Prior:
        return scale.learn(
            self.uv_widths,
            log_depth=self.log_depth,
            stddev=self.stddev,
            measured=self.measured,
            measured_stddev=self.measured_stddev,
            sharp=self.sharp,
        )

    def part(self, which):
        return Request(*(getattr(self, field.name)[which] for field in fields(self)))


def constant(ratio):
    return lambda uv, log_depth: np.full(len(uv), ratio)


def smooth(uv, log_depth):
    return 0.25 + 0.4 * np.sin(2.5 * uv[:, 0]) - 0.3 * uv[:, 1]


@pytest.mark.parametrize("ratio", [-1.2, -0.4, 0.0, 0.3, 0.9])
def test_a_constant_factor_is_learnt_within_a_few_requests(ratio):
    scale, rng = LearnedScale(), np.random.default_rng(0)
    for _ in range(4):
        request = Request.of(rng, constant(ratio))
        prior = request.learnt_by(scale)
    assert scale.scale == pytest.approx(ratio, abs=0.08)
    assert scale.variance < START_STDDEV**2 / 4
    error = np.abs(prior.mean - request.log_depth - request.ratio)
    assert np.quantile(error, 0.95) < 0.1 and (prior.stddev[~request.sharp] > 0).all()
    assert (prior.outlier < 0.5).all()
    mean, _ = scale.rough(request.log_depth, request.stddev)
    np.testing.assert_allclose(mean, request.log_depth + scale.scale)


@pytest.mark.parametrize("trust", [0.3, 1.0, 2.0, 4.0])
def test_trust_is_what_residuals_are_in_the_network_s_standard_deviations(trust):
    """Independent errors of so many σ: 1 where the network is better than it says."""
    scale, rng = LearnedScale(), np.random.default_rng(1)
    for _ in range(8):
        Request.of(rng, lambda uv, _: rng.normal(0, trust * 0.15, len(uv)), 300, stddev=0.15).learnt_by(scale)
    assert scale.trust == pytest.approx(max(trust, MIN_TRUST), rel=0.2)
    assert abs(scale.scale) < 0.3


def test_trust_has_a_limit_and_comes_back():
    scale, rng = LearnedScale(), np.random.default_rng(2)
    for _ in range(6):
        Request.of(rng, lambda uv, _: rng.normal(0, 2, len(uv)), stddev=0.1).learnt_by(scale)
    assert 0.8 * MAX_TRUST < scale.trust <= MAX_TRUST
    for _ in range(10):
        Request.of(rng, constant(0.0), stddev=0.1).learnt_by(scale)
    assert scale.trust < 1.3


def test_an_error_that_neighbours_share_is_corrected_for_those_that_nothing_measured():
    scale, rng = LearnedScale(), np.random.default_rng(3)
    for _ in range(3):
        request = Request.of(rng, smooth, 250)
        prior = request.learnt_by(scale)
    others = ~request.sharp
    corrected = np.abs(prior.mean - request.log_depth - request.ratio)[others]
    by_scale = np.abs(request.ratio - scale.scale)[others]
    assert np.median(corrected) < 0.6 * np.median(by_scale)
    normalised = (prior.mean - request.log_depth - request.ratio)[others] / prior.stddev[others]
    assert 0.2 < normalised.std() < 1.2
    assert np.median(prior.stddev[others]) < request.stddev[0]


def consistent_request(seed, count=40):
    """Errors drawn from the law that is assumed, one point in a cell, so that all are anchors and none is suspected."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(CELLS * (CELLS // 2), count, replace=False)
    uv = (np.stack([cells % CELLS, cells // CELLS], axis=1) + rng.uniform(0.1, 0.9, (count, 2))) / CELLS
    log_depth, stddev = rng.uniform(0, 1, count), rng.uniform(0.2, 0.3, count)
    apart = np.linalg.norm(uv[:, None] - uv, axis=2) / SHARED_WIDTHS
    apart += np.abs(log_depth[:, None] - log_depth) / SHARED_LOG_DEPTH
    law = (1 - OWN_SHARE) * np.exp(-apart) + OWN_SHARE * np.eye(count)
    ratio = 0.1 + 0.5 * MIN_TRUST * stddev * (np.linalg.cholesky(law) @ rng.normal(size=count))
    measured_stddev = rng.uniform(0.02, 0.1, count)
    measured = log_depth + ratio + 0.5 * rng.normal(0, measured_stddev)
    return Request(uv, log_depth, stddev, measured, measured_stddev, rng.random(count) < 0.7, ratio)


@pytest.mark.parametrize("seed", range(5))
def test_each_point_s_prior_is_that_of_all_anchors_but_itself(seed):
    """Also an anchor's: the same as if it had not been measured, by the rules of conditional normal laws."""
    scale, request = LearnedScale(), consistent_request(seed)
    scale.scale, scale.variance = 0.05, 0.04
    prior = request.learnt_by(scale)
    assert (prior.outlier < 0.5).all()
    before = 0.05, 0.04 + WALK**2
    anchors = np.flatnonzero(request.sharp)
    ratio, noise = request.measured - request.log_depth, request.measured_stddev**2 + ANCHOR_STDDEV**2
    arguments = request.uv_widths, request.log_depth, scale.trust * request.stddev, before, ratio, noise
    for i in range(len(ratio)):
        others = anchors[anchors != i]
        mean, variance, _, _ = shared_error(i, others, *arguments, OWN_SHARE, (SHARED_WIDTHS, SHARED_LOG_DEPTH))
        assert prior.mean[i] - request.log_depth[i] == pytest.approx(mean, abs=1e-9)
        assert prior.stddev[i] == pytest.approx(np.sqrt(variance), rel=1e-6)
    _, _, mean, variance = shared_error(0, anchors, *arguments, OWN_SHARE, (SHARED_WIDTHS, SHARED_LOG_DEPTH))
    assert (scale.scale, scale.variance) == (pytest.approx(mean, abs=1e-9), pytest.approx(variance, rel=1e-6))


def with_movers(rng, size=0.2, shift=-1.2, count=50):
    """A still scene that the network reads well, and a patch of sharp points that are off by far more."""
    request = Request.of(rng, lambda uv, _: rng.normal(0, 0.12, len(uv)), 250, stddev=0.2)
    movers = np.arange(count)
    request.uv_widths[movers] = (0.4, 0.3) + rng.uniform(-size / 2, size / 2, (count, 2))
    request.log_depth[movers] = rng.uniform(1.5, 1.6, count)
    request.measured[movers] = request.log_depth[movers] + shift
    request.sharp[movers] = True
    return request, movers


def test_things_that_move_by_themselves_are_suspected_and_drag_neither_the_scale_nor_their_neighbours():
    scale, rng = LearnedScale(), np.random.default_rng(4)
    for _ in range(6):
        request, movers = with_movers(rng)
        prior = request.learnt_by(scale)
        still = np.setdiff1d(np.arange(250), movers)
        away = still[np.linalg.norm(request.uv_widths[still] - (0.4, 0.3), axis=1) > 0.3]
        assert abs(scale.scale) < 0.1 and scale.trust < 2
        assert (prior.outlier[movers] > 0.5).all() and np.mean(prior.outlier[away] < 0.3) > 0.95
        np.testing.assert_allclose(prior.mean - request.log_depth, 0, atol=0.3)
        assert (prior.stddev[movers] > 0.15).all()
        assert np.median(prior.conflict[movers]) > prior.conflict[away].max()
        assert np.median(prior.doubt[movers]) > prior.doubt[away].max()


def test_where_the_network_is_wrong_everywhere_motion_is_not_suspected():
    """The same conflict in σ, shared by all: on real events the network is off by so much."""
    scale, rng = LearnedScale(), np.random.default_rng(5)
    for _ in range(5):
        request = Request.of(rng, lambda uv, _: rng.normal(-1.0, 0.6, len(uv)), 200, stddev=0.15)
        prior = request.learnt_by(scale)
    assert scale.trust > 2.5 and np.median(prior.outlier) < 0.3
    assert scale.scale == pytest.approx(-1.0, abs=0.3)


def test_one_anchor_that_is_far_off_the_others_around_it_does_not_count():
    scale, request = LearnedScale(), consistent_request(11)
    clean = request.learnt_by(scale)
    lone = np.flatnonzero(request.sharp)[0]
    request.measured[lone] += 1.5
    spoilt = request.learnt_by(other := LearnedScale())
    away = np.arange(len(clean.mean)) != lone
    assert abs(other.scale - scale.scale) < 0.05
    assert np.abs(spoilt.mean - clean.mean)[away].max() < 0.2


def test_the_order_of_points_is_free():
    rng = np.random.default_rng(6)
    one, other = LearnedScale(), LearnedScale()
    for _ in range(3):
        request, _ = with_movers(rng)
        order = rng.permutation(len(request.ratio))
        request.measured_stddev = rng.permutation(np.linspace(0.01, 0.1, len(order)))  # no two are equally sharp
        a, b = request.learnt_by(one), request.part(order).learnt_by(other)
        for name in FIELDS:
            np.testing.assert_allclose(getattr(a, name)[order], getattr(b, name), rtol=1e-6, atol=1e-9, err_msg=name)
    assert one.scale == pytest.approx(other.scale, abs=1e-9)


def test_another_unit_of_length_shifts_the_means_and_nothing_else():
    rng = np.random.default_rng(7)
    one, other = LearnedScale(), LearnedScale()
    request = Request.of(rng, smooth)
    a = request.learnt_by(one)
    request.log_depth, request.measured = request.log_depth + 2.5, request.measured + 2.5
    b = request.learnt_by(other)
    np.testing.assert_allclose(b.mean - a.mean, 2.5, atol=1e-9)
    for name in FIELDS[1:]:
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-6, atol=1e-9, err_msg=name)


def test_before_anything_is_known_the_learned_depth_is_its_own():
    scale = LearnedScale()
    log_depth, stddev = np.linspace(-1, 3, 5), np.linspace(0.1, 1, 5)
    for _ in range(2):
        mean, width = scale.alone(log_depth, stddev)
        np.testing.assert_array_equal(mean, log_depth)
        np.testing.assert_allclose(width, stddev, rtol=1e-15)
        mean, width = scale.rough(log_depth, stddev)
        np.testing.assert_array_equal(mean, log_depth)
        assert (width >= stddev).all()
        for _ in range(3):
            Request.of(np.random.default_rng(0), constant(0.9)).learnt_by(scale)
        assert np.abs(scale.alone(log_depth, stddev)[0] - log_depth).min() > 0.3
        scale.restart()


def test_a_scale_that_is_far_from_1_is_that_of_far_points_too_and_a_small_one_is_not():
    scale = LearnedScale()
    scale.scale, scale.variance, scale._asked = -1.5, 1e-4, 5
    mean, width = scale.alone(np.zeros(1), np.full(1, 0.2))
    assert mean[0] == pytest.approx(-1.5, abs=0.1) and width[0] > 0.2
    scale.scale = 0.05
    mean, width = scale.alone(np.zeros(1), np.full(1, 0.2))
    assert abs(mean[0]) < 0.02 and 0.2 < width[0] < 0.22


@pytest.mark.parametrize("count", [0, 1, MIN_ANCHORS - 1])
@pytest.mark.parametrize("sharp", [0.0, 1.0])
def test_few_points_or_none_are_answered(count, sharp):
    scale = LearnedScale()
    request = Request.of(np.random.default_rng(8), constant(0.5), count, sharp=sharp)
    for _ in range(3):
        prior = request.learnt_by(scale)
        assert all(getattr(prior, name).shape == (count,) for name in FIELDS)
        assert np.isfinite(prior.mean).all() and (prior.stddev > 0).all()
        assert (prior.outlier >= OUTLIER).all() and (prior.outlier <= MAX_OUTLIER).all()
    assert np.isfinite([scale.scale, scale.variance, scale.trust]).all()


def test_where_nothing_is_sharp_nothing_is_learnt_however_long_and_what_was_learnt_fades_within_bounds():
    """An hour at rest, at 30 Hz for some of it."""
    scale, rng = LearnedScale(), np.random.default_rng(9)
    for _ in range(5):
        Request.of(rng, constant(0.5)).learnt_by(scale)
    known = scale.scale
    request = Request.of(rng, constant(-2.0), 20, sharp=0.0)
    for _ in range(3000):
        prior = request.learnt_by(scale)
    assert scale.scale == known and scale.variance <= START_STDDEV**2 * (1 + 1e-9)
    np.testing.assert_allclose(prior.mean, request.log_depth + known)
    assert (scale.rough(request.log_depth, request.stddev)[1] < 1.5 * np.hypot(START_STDDEV, 0.25)).all()
    assert (scale.alone(request.log_depth, request.stddev)[1] < 1.5 * np.hypot(START_STDDEV, 0.25)).all()


def test_odd_measurements_of_points_that_are_not_sharp_change_nothing():
    rng = np.random.default_rng(10)
    request = Request.of(rng, smooth)
    a = request.learnt_by(one := LearnedScale())
    request.measured[~request.sharp] = rng.choice([0.0, -50.0, 1e6], (~request.sharp).sum())
    request.measured_stddev[~request.sharp] = 1e-3
    b = request.learnt_by(other := LearnedScale())
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (one.scale, one.variance, one.trust) == (other.scale, other.variance, other.trust)


# What the network says of its scale


def test_what_the_network_says_of_its_scale_is_the_start_and_bounds_what_is_not_known():
    scale = LearnedScale()
    scale.expect(0.8)
    assert scale.variance == pytest.approx(0.64)
    stddev = np.array([1.0, 0.8, 0.5])
    np.testing.assert_allclose(scale.own(stddev), [0.6, LEAST_OWN_SHARE * 0.8, LEAST_OWN_SHARE * 0.5])
    # Before anything is measured the two parts are the whole again.
    for _, whole in (scale.rough(np.zeros(1), scale.own(stddev[:1])), scale.alone(np.zeros(1), scale.own(stddev[:1]))):
        np.testing.assert_allclose(whole, 1.0)
    scale.expect(None)
    assert scale.own(stddev) is stddev and scale.variance == START_STDDEV**2


@pytest.mark.parametrize("ratio", [-1.5, 1.5])
def test_a_scale_that_may_be_far_off_is_found_at_once(ratio):
    """And measured, it is as narrow as any."""
    scale, rng = LearnedScale(), np.random.default_rng(4)
    for _ in range(3):
        scale.expect(1.0)
        request = Request.of(rng, constant(ratio))
        request.learnt_by(scale)
    assert scale.scale == pytest.approx(ratio, abs=0.1) and scale.variance < START_STDDEV**2 / 4


def test_where_the_network_knows_its_scale_a_stream_does_not_forget_it_beyond_that():
    scale, rng = LearnedScale(), np.random.default_rng(5)
    for _ in range(200):
        scale.expect(0.1)
        Request.of(rng, constant(0.05)).part(np.arange(3)).learnt_by(scale)  # too few to measure
    assert scale.variance == pytest.approx(0.01)
