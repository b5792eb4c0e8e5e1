"""Motion in an evaluation: a scene asked with its poses, and the command on a set simulated for the test."""

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
from eventspd_ros.evaluation.asking.motion_stream import EXACT, METHODS, Asked, PoseVariant, ask_with_motion, lens_of
from eventspd_ros.evaluation.asking.questions import Settings, WindowedScene
from eventspd_ros.evaluation.scoring.motion_tables import motion_tables
from eventspd_ros.evaluation.showing.motion_text import TITLES
from eventspd_ros.lens import FisheyeLens, PolynomialLens
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
from eventspd_ros.simulation.odometry import OdometryConfig


def test_lenses_of_the_datasets():
    uv_px = np.array([[3.0, 4.0], [60.0, 40.0]])
    plain = lens_of(Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0))
    assert plain.rays(uv_px) == pytest.approx((uv_px - (32, 24)) / (50, 60))
    bent = lens_of(Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0, (-0.1, 0.01, 0.0, 0.0), "radtan"))
    assert bent.rays(uv_px) != pytest.approx(plain.rays(uv_px), abs=1e-3)
    assert bent.to_pixels(bent.rays(uv_px), "normalized") == pytest.approx(uv_px, abs=1e-4)
    assert isinstance(bent.lens, PolynomialLens)
    equidistant = lens_of(Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0, (0.0,) * 4, "equidistant"))
    assert isinstance(equidistant.lens, FisheyeLens)


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
    by_events = rows.pop("none: motion by events")
    assert by_events["motion"]["abs_log"] is None, "without poses nothing is known but for a network"
    assert by_events["fused"]["points"] == rows["exact"]["fused"]["points"]
    assert by_events["fused"]["abs_log"] != rows["exact"]["fused"]["abs_log"]
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
    scene = WindowedScene(sequence, 20.0, 8.333, Settings(uniform=100, every=6))
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
    late = ask(folder, PoseVariant("late", OdometryConfig(delay_ms=200.0))).columns
    assert np.isnan(late.depth_m["motion"]).all()
    assert late.depth_m["fused"] == pytest.approx(late.depth_m["learned"])


def test_a_request_waits_for_a_pose_as_long_as_the_node_does(folder):
    on_time, waited = (
        ask(folder, poses).columns for poses in (EXACT, PoseVariant("waited", OdometryConfig(delay_ms=40.0)))
    )
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
