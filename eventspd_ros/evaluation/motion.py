"""The questions of an evaluation once more, with the set's poses: what motion makes of the depths that the judged model
has answered.

What `eventspd evaluate --motion` and `--pose-errors` run. docs/evaluation.md defines every number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eventspd_ros.cores import cores
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.answers import worker_pool
from eventspd_ros.evaluation.asking.motion_stream import (
    BY_EVENTS,
    EXACT,
    TIMED,
    Asked,
    Columns,
    Moved,
    PoseVariant,
    ask_with_motion,
)
from eventspd_ros.evaluation.asking.questions import WindowedScene
from eventspd_ros.evaluation.evaluate import Evaluation
from eventspd_ros.evaluation.results import MotionCost, MotionResult, PoseErrorScores
from eventspd_ros.evaluation.scoring.motion_tables import classes_of, motion_tables, score_class
from eventspd_ros.evaluation.sweeps import few_of_each
from eventspd_ros.simulation.odometry import OdometryConfig

POSES = (
    EXACT,
    *(PoseVariant(f"white {deg}°", OdometryConfig(white_rotation_deg=deg)) for deg in (0.05, 0.2)),
    *(
        PoseVariant(f"drift {deg}° in 100 ms{said}", OdometryConfig(drift_rotation_deg_per_100ms=deg), bool(said))
        for deg in (0.05, 0.2)
        for said in ("", ", declared")
    ),
    BY_EVENTS,
    PoseVariant("translation 2 % long", OdometryConfig(drift_translation_share=0.02)),
    *(PoseVariant(f"stamped {ms} ms late", OdometryConfig(time_offset_ms=ms)) for ms in (2, 5)),
    PoseVariant("arriving 70 ms late", OdometryConfig(delay_ms=70)),
    *(PoseVariant(f"{rate_hz} Hz", OdometryConfig(rate_hz=rate_hz)) for rate_hz in (30, 5)),
)
SWEPT = ("1+", "0.3-1")

Progress = Callable[[int, int], object]


def check_poses(sequences: list[Sequence]) -> None:
    """ValueError: none of them has poses."""
    if all(sequence.poses() is None for sequence in sequences):
        kind = sequences[0].dataset if sequences else "no"
        raise ValueError(f"{len(sequences)} {kind} sequences without poses; leave out --motion and --pose-errors")


def evaluate_motion(evaluation: Evaluation, progress: Progress | None = None) -> MotionResult:
    """Tables of the judged model's depths, of motion's and of both. progress: called with (scenes done since the last
    call, scenes in all)."""
    scenes = _scenes(evaluation, evaluation.sequences)
    found = _ask(scenes, (EXACT,), progress)
    return MotionResult(
        scenes=len(scenes),
        scenes_left_out=len(evaluation.sequences) - len(scenes),
        scenes_that_do_not_say_what_moves=sum(not moved.says_what_moves for moved in found),
        cost=_cost(found),
        tables=motion_tables(Columns.joined([moved.columns for moved in found])),
    )


def sweep_pose_errors(evaluation: Evaluation, progress: Progress | None = None) -> list[PoseErrorScores]:
    """Rows for the static points with parallax of a few scenes of each domain, when poses have errors."""
    scenes, rows = _scenes(evaluation, few_of_each(evaluation.sequences)), []
    found = _ask(scenes, POSES, progress)
    for number, poses in enumerate(POSES):
        own = Columns.joined([moved.columns for moved in found[number * len(scenes) :][: len(scenes)]])
        classes = classes_of(own)
        scored = {name: score_class(own, name, classes[name]) for name in SWEPT}
        rows.append(PoseErrorScores(poses.name, poses.odometry, poses.declared, scored))
    return rows


def _scenes(evaluation: Evaluation, sequences: list[Sequence]) -> list[Asked]:
    """Those with poses that were asked something."""
    judged, answers = evaluation.methods[0], {answer.name: answer for answer in evaluation.answers}
    windowing, out = (judged.model.config.window_ms, judged.model.config.stride_ms), []
    for sequence in sequences:
        own = answers[sequence.name]
        if sequence.poses() is not None and len(own.questions.true_m):
            scene = WindowedScene(sequence, *windowing, evaluation.settings)
            columns = own.depth_m, own.log_stddev, own.scale_stddev
            out.append(Asked(scene, own.questions, *(column[judged.name] for column in columns)))
    return out


def _ask(scenes: list[Asked], poses: tuple[PoseVariant, ...], progress: Progress | None) -> list[Moved]:
    """Every scene with the first poses, then every scene with the next; a process a core."""
    work = [(scene, each) for each in poses for scene in scenes]
    found = []
    with worker_pool(min(cores(), len(scenes))) as each:
        for moved in each(ask_with_motion, *zip(*work, strict=True)):
            found.append(moved)
            if progress:
                progress(1, len(work))
    return found


def _cost(found: list[Moved]) -> MotionCost:
    keypoints, events = ([moved.us_per_keypoint for moved in found], [moved.ns_per_event for moved in found])
    return MotionCost(TIMED, *(float(np.median(np.concatenate(times))) for times in (keypoints, events)))
