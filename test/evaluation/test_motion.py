"""Motion in an evaluation: what is exactly known of a point by closed forms, tables from hand-made points, and the
command on a set simulated for the test."""

import io
import json
import math
from contextlib import redirect_stdout

import numpy as np
import pytest
from reference.models import small_model
from reference.windows import randomise

from eventspd_ros.cli import main
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.sample import Intrinsics
from eventspd_ros.datasets.simulated import SimulatedSequence
from eventspd_ros.evaluation import motion
from eventspd_ros.evaluation.asking import motion_truth
from eventspd_ros.evaluation.asking.motion_stream import EXACT, Asked, Poses, ask_with_motion, lens_of
from eventspd_ros.evaluation.asking.questions import Scene, Settings
from eventspd_ros.evaluation.results import MotionCost, MotionResult, to_json
from eventspd_ros.evaluation.scoring.motion_tables import METHODS, TITLES, Columns, motion_tables, motion_text
from eventspd_ros.evaluation.scoring.uncertainty import interval_half_width
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.simulation.camera import PinholeCamera, rotation_from_vector
from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
from eventspd_ros.simulation.odometry import OdometryConfig

MS = 1_000_000
FOCAL_PX = (200.0, 250.0)
RAYS, DEPTH_M = np.array([[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4]]), np.array([1.0, 2.0, 8.0])


def path(velocity_m_s=(0.0, 0.0, 0.0), rate_rad_s=(0.0, 0.0, 0.0), period_ms=7, count=60):
    """Poses of a camera at constant velocity and rate, none of them 80 ms before another."""
    times_ns = np.arange(count) * period_ms * MS
    T_WC = np.tile(np.eye(4), (count, 1, 1))
    for pose, seconds in zip(T_WC, times_ns / 1e9, strict=True):
        pose[:3, 3] = np.array(velocity_m_s) * seconds
        pose[:3, :3] = rotation_from_vector(np.array(rate_rad_s) * seconds)
    return times_ns, T_WC


def test_parallax_of_a_sideways_step():
    """f · v · 80 ms · (1/z − 1/2z), at a time between two poses."""
    parallax = motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, path((0.5, 0.0, 0.0)), 200 * MS)
    assert parallax == pytest.approx(200 * 0.5 * 0.08 / (2 * DEPTH_M), rel=1e-9)
    parallax = motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, path((0.0, 0.5, 0.0)), 200 * MS)
    assert parallax == pytest.approx(250 * 0.5 * 0.08 / (2 * DEPTH_M), rel=1e-9)


def test_parallax_on_the_way_forward_grows_from_the_middle():
    """Back then a point at depth z was d further away: seen at x z / (z + d)."""
    parallax = motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, path((0.0, 0.0, 2.0)), 200 * MS)
    shrunk = DEPTH_M / (DEPTH_M + 0.16) - 2 * DEPTH_M / (2 * DEPTH_M + 0.16)
    assert parallax == pytest.approx(np.abs(shrunk) * np.linalg.norm(RAYS * FOCAL_PX, axis=1), rel=1e-9)
    assert parallax[0] == 0


def test_turning_alone_has_no_parallax_and_adds_none():
    turning = path(rate_rad_s=(0.0, 1.0, 0.0))
    assert motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, turning, 200 * MS) == pytest.approx(0, abs=1e-9)


def test_parallax_of_any_motion_between_two_poses():
    """Rates are constant, so that the poses of those times are known without the ones around them."""
    velocity_m_s, rate_rad_s, seen_px = np.array([0.5, -0.1, 1.0]), np.array([0.3, 1.0, -0.2]), []
    for point in (RAYS, 2 * RAYS):
        xyz = np.c_[point, np.full(3, point[1, 0] / RAYS[1, 0])] * DEPTH_M[:, None]
        world = xyz @ rotation_from_vector(rate_rad_s * 0.2).T + velocity_m_s * 0.2
        then = (world - velocity_m_s * 0.12) @ rotation_from_vector(rate_rad_s * 0.12)
        seen_px.append(then[:, :2] / then[:, 2:] * FOCAL_PX)
    parallax = motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, path(velocity_m_s, rate_rad_s), 200 * MS)
    assert parallax == pytest.approx(np.linalg.norm(seen_px[0] - seen_px[1], axis=1), rel=1e-9)


def test_where_poses_or_the_point_are_missing_parallax_is_not_known():
    poses = path((0.5, 0.0, 0.0))
    known = [np.isfinite(motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, poses, t * MS)) for t in (79, 80, 413, 414)]
    assert [own.all() for own in known] == [False, True, True, False]
    behind = motion_truth.parallax_px(RAYS, DEPTH_M, FOCAL_PX, path((0.0, 0.0, -20.0)), 200 * MS)
    assert np.isfinite(behind).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("velocity_m_s", "rate_rad_s", "rests"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), True),
        ((0.0, 0.019, 0.0), (0.0, 0.0, math.radians(0.49)), True),
        ((0.0, 0.021, 0.0), (0.0, 0.0, 0.0), False),
        ((0.0, 0.0, 0.0), (0.0, 0.0, math.radians(0.51)), False),
    ],
)
def test_a_camera_rests_below_two_speeds(velocity_m_s, rate_rad_s, rests):
    assert motion_truth.is_at_rest(path(velocity_m_s, rate_rad_s), 300 * MS) is rests


def test_a_camera_rests_once_it_has_for_long_enough():
    times_ns, T_WC = path(period_ms=10)
    T_WC[:20, 0, 3] = -1.0  # a jump from 190 to 200 ms
    assert [motion_truth.is_at_rest((times_ns, T_WC), t * MS) for t in (190, 200, 350, 360)] == [
        True,
        False,
        False,
        True,
    ]


def test_surfaces_around_a_pixel():
    depth_m = np.full((9, 12), 4.0, np.float32)
    depth_m[:, 6:] = 8.0
    depth_m[:, 11] = np.nan
    nearest, farthest = motion_truth.surfaces_m(depth_m)
    assert nearest[4].tolist() == [4] * 8 + [8] * 4 and farthest[4].tolist() == [4] * 4 + [8] * 8
    mask = np.zeros((9, 12), bool)
    mask[4, 4] = True
    assert motion_truth.near(mask).sum() == 25 and motion_truth.near(mask)[2:7, 2:7].all()


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
    classes = columns(parallax_px=parallax).classes()
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
    found = {name: np.flatnonzero(which).tolist() for name, which in own.classes().items() if which.any()}
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


def test_lenses_of_the_datasets():
    uv_px = np.array([[3.0, 4.0], [60.0, 40.0]])
    plain = lens_of(Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0))
    assert plain.rays(uv_px) == pytest.approx((uv_px - (32, 24)) / (50, 60))
    bent = lens_of(Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0, (-0.1, 0.01, 0.0, 0.0), "radtan"))
    assert bent.rays(uv_px) != pytest.approx(plain.rays(uv_px), abs=1e-3) and not bent.fisheye
    assert bent.to_pixels(bent.rays(uv_px), "normalized") == pytest.approx(uv_px, abs=1e-4)
    assert lens_of(Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0, (0.0,) * 4, "equidistant")).fisheye


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A drive for long enough to have parallax on few pixels."""
    folder = tmp_path_factory.mktemp("flown")
    simulate_set(folder, SetConfig(("drive",), 2, 1_500_102, 0.25, camera=PinholeCamera.centred(128, 96)), workers=1)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(randomise(small_model(parametrization="log")), path)
    return path


@pytest.fixture(scope="module")
def command(folder, weights, tmp_path_factory):
    """What `eventspd evaluate --motion --pose-errors` wrote and printed. One process, whose compiled loops are there
    already."""
    out = tmp_path_factory.mktemp("evaluation") / "out.json"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as shown:
        patch.setattr(motion, "cores", lambda: 1)
        command = ["evaluate", str(folder), "--weights", str(weights), "--every", "6", "--queries", "100"]
        assert main([*command, "--motion", "--pose-errors", "--out", str(out)]) == 0

    def refuse(word):
        raise AssertionError(f"{word} in the JSON")

    return json.loads(out.read_text(), parse_constant=refuse), shown.getvalue()


@pytest.fixture(scope="module")
def result(command):
    return command[0]


def test_the_command_writes_every_table(result):
    found = result["motion"]
    assert (found["scenes"], found["scenes_left_out"], found["scenes_that_do_not_say_what_moves"]) == (2, 0, 0)
    assert set(found["tables"]) == {"pooled", "drive"}
    for kinds in found["tables"].values():
        assert set(kinds) == {"all", "uniform", "keypoints"} and all(set(own) == set(TITLES) for own in kinds.values())
    rows = found["tables"]["pooled"]["all"]["1+"]
    assert list(rows) == list(METHODS) and rows["learned"]["points"] > 100
    assert all(0 <= rows[method][level] <= 1 for method in METHODS for level in ("in_68", "in_95"))
    assert found["cost"]["us_per_keypoint"] > 0 and found["cost"]["ns_per_event"] > 0


def test_learned_rows_are_the_evaluation(result):
    for kind in ("uniform", "keypoints"):
        plain = result["accuracy"][kind]["pooled"][result["judged"]]["plain"]
        row = result["motion"]["tables"]["pooled"][kind]["pooled"]["learned"]
        assert row["points"] == plain["points"] and row["abs_log"] == pytest.approx(plain["abs_log"], rel=1e-6)


def test_exact_poses_are_the_table_and_errors_change_it(result):
    rows = {row["poses"]: row["classes"]["1+"] for row in result["pose_errors"]}
    assert rows["exact"]["fused"] == result["motion"]["tables"]["pooled"]["all"]["1+"]["fused"]
    undeclared = [row["motion"]["abs_log"] for name, row in rows.items() if "declared" not in name]
    assert len(set(undeclared)) == len(undeclared) == 11
    assert len({row["learned"]["abs_log"] for row in rows.values()}) == 1
    drift, declared = (rows[f"drift 0.2° in 100 ms{said}"]["motion"] for said in ("", ", declared"))
    assert declared["in_95"] > drift["in_95"], "who knows of the drift is less sure"


def test_every_table_is_shown(command):
    titles = [line for line in command[1].splitlines() if line.startswith(("with motion: ", "poses with errors: "))]
    assert len(titles) == len(set(titles)) == 6 and "Motion, on one core: " in command[1]


def ask(folder, poses):
    """A network that takes everything for 1.4 times as far as it is."""
    [sequence, _] = open_dataset("simulated", folder)
    scene = Scene(sequence, 20.0, 8.333, Settings(uniform=100, every=6))
    questions = scene.questions()
    learned_m = 1.4 * questions.true_m.astype(float)
    return ask_with_motion(
        Asked(scene, questions, learned_m, np.full(len(learned_m), 0.5), np.full(len(learned_m), np.nan)), poses
    )


def test_motion_helps_where_there_is_parallax(folder):
    rows = motion_tables(ask(folder, EXACT).columns)["pooled"]["all"]["1+"]
    assert rows["learned"].points > 100 and rows["learned"].abs_log == pytest.approx(math.log(1.4), rel=1e-5)
    assert rows["fused"].answered == 1 and rows["fused"].ratio_to_learned < 0.4
    assert rows["motion"].ratio_to_learned < 0.5 and 0.2 < rows["motion"].answered < 0.9


def test_poses_that_come_too_late_leave_the_learned_depth(folder):
    late = ask(folder, Poses("late", OdometryConfig(delay_ms=200.0))).columns
    assert np.isnan(late.depth_m["motion"]).all()
    assert late.depth_m["fused"] == pytest.approx(late.depth_m["learned"])


def test_a_request_waits_for_a_pose_as_long_as_the_node_does(folder):
    on_time, waited = (ask(folder, poses).columns for poses in (EXACT, Poses("waited", OdometryConfig(delay_ms=40.0))))
    assert np.isfinite(on_time.depth_m["motion"]).any()
    np.testing.assert_array_equal(waited.depth_m["fused"], on_time.depth_m["fused"])


def test_a_set_without_poses_is_refused(folder, weights, monkeypatch, capsys):
    monkeypatch.setattr(SimulatedSequence, "poses", lambda self: None)
    assert main(["evaluate", str(folder), "--weights", str(weights), "--motion"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line == ("eventspd evaluate: 2 simulated sequences without poses; leave out --motion and --pose-errors")


def test_a_set_that_does_not_say_what_moves_is_told_so(folder, monkeypatch):
    monkeypatch.setattr(SimulatedSequence, "read_moving", lambda self, label: None)
    moved = ask(folder, EXACT)
    assert not moved.says_what_moves and not moved.columns.moving.any() and len(moved.columns.kind)
