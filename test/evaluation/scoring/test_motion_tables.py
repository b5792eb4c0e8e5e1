"""Tables of motion from points made by hand."""

import json
import math

import numpy as np
import pytest

from eventspd_ros.evaluation.asking.motion_stream import METHODS, Columns
from eventspd_ros.evaluation.results import MotionCost, MotionResult, to_json
from eventspd_ros.evaluation.scoring.motion_tables import classes_of, motion_tables
from eventspd_ros.evaluation.scoring.uncertainty import interval_half_width
from eventspd_ros.evaluation.showing.motion_text import motion_text


def columns(**given) -> Columns:
    """Points of 2 m, answered exactly, with what is given in place."""
    count = len(next(iter(given.values())))
    own = {"kind": np.zeros(count, np.uint8), "domain": np.repeat("drive", count), "true_m": np.full(count, 2.0)}
    own |= {name: np.zeros(count, bool) for name in ("moving", "beside_moving", "at_rest")}
    own |= {"parallax_px": np.full(count, 2.0)} | {k: v for k, v in given.items() if k not in METHODS}
    own = {"nearest_m": own["true_m"], "farthest_m": own["true_m"]} | own
    depth_m = {method: np.asarray(given.get(method, own["true_m"]), float) for method in METHODS}
    return Columns(**own, depth_m=depth_m, log_stddev={method: np.full(count, 0.1) for method in METHODS})


def test_bins_hold_their_lower_end():
    parallax = np.array([0.0, 0.29, 0.3, 0.99, 1.0, 2.99, 3.0, 5.9, 6.0, 1e3, np.nan])
    classes = classes_of(columns(parallax_px=parallax))
    counts = {name: int(which.sum()) for name, which in classes.items()}
    assert counts == {
        **{"0-0.3": 2, "0.3-1": 2, "1-3": 2, "3-6": 2, "6+": 2, "1+": 6},
        **{"edges": 0, "edges_either": 0, "moving": 0, "at_rest": 0, "pooled": 11},
    }


def test_bins_leave_out_edges_and_what_moves():
    edge, moving, beside = np.eye(4, dtype=bool)[:3]
    own = columns(
        farthest_m=np.where(edge, 2.21, 2.19),
        moving=moving,
        beside_moving=beside,
        at_rest=np.ones(4, bool),
    )
    found = {name: np.flatnonzero(which).tolist() for name, which in classes_of(own).items() if which.any()}
    expected = {"1-3": [3], "1+": [3], "edges": [0], "edges_either": [0], "moving": [1], "at_rest": [3]}
    assert found == expected | {"pooled": [0, 1, 2, 3]}


def test_edges_are_scored_against_the_nearer_surface_and_against_either():
    """Of 2 and 8 m: the near one, the far one, and one between that is nearer to the far one in its logarithm."""
    own = columns(fused=np.array([2.0, 8.0, 5.0]), farthest_m=np.full(3, 8.0))
    rows = motion_tables(own)["pooled"]["all"]
    nearer, either = rows["edges"]["fused"], rows["edges_either"]["fused"]
    assert nearer.abs_log == pytest.approx((math.log(4) + math.log(2.5)) / 3)
    assert either.abs_log == pytest.approx(math.log(1.6) / 3) and either.off_by_quarter == pytest.approx(1 / 3)


def test_a_row_says_what_it_says():
    factors = np.array([1.0, 1.09, 1.11, 0.76, 0.74, 1.26])
    own = columns(fused=2 * factors, learned=np.full(6, 2 * math.e))
    row = motion_tables(own)["drive"]["uniform"]["1+"]["fused"]
    assert row.points == 6 and row.answered == 1
    assert row.within_10 == pytest.approx(2 / 6) and row.off_by_quarter == pytest.approx(2 / 6)
    assert row.abs_rel == pytest.approx(np.abs(factors - 1).mean()) and row.delta1 == pytest.approx(3 / 6)
    assert row.abs_log == row.ratio_to_learned == pytest.approx(np.abs(np.log(factors)).mean())
    inside = [np.mean(np.abs(np.log(factors)) <= interval_half_width(0.1, level)) for level in (0.68, 0.95)]
    assert [row.in_68, row.in_95] == inside and inside[0] != inside[1]


def test_the_ratio_is_over_points_that_both_answer():
    own = columns(motion=np.array([2.2, np.nan]), learned=np.array([2.2 * 1.1, 200.0]))
    row = motion_tables(own)["pooled"]["all"]["pooled"]["motion"]
    assert row.points == 1 and row.answered == 0.5 and row.ratio_to_learned == pytest.approx(0.5)


def test_nothing_answered_is_none_and_no_nan():
    tables = motion_tables(columns(motion=np.full(2, np.nan)))
    row = tables["pooled"]["keypoints"]["1+"]["motion"]
    assert row.points == 0 and row.in_68 is None and row.abs_log is None
    json.dumps(to_json(tables), allow_nan=False)
    [first, *_] = motion_text(MotionResult(1, 0, 0, MotionCost(256, 30.0, 80.0), tables), None)
    assert "motion" not in {row[1] for row in first.rows} and all(len(row) == len(first.head) for row in first.rows)
