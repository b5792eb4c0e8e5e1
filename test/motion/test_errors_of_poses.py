"""Errors of the poses, declared and not, and what they do to depth and its uncertainty."""

from dataclasses import replace

import numpy as np
import pytest
from reference.gliding_hall import ASKED_NS, CAMERA, MS, OFFSET_NS, RECORDED, ask, same, stream, wrong

from eventspd_ros import rotations
from eventspd_ros.evaluation.scoring.uncertainty import interval_half_width
from eventspd_ros.motion.depth_from_motion import Basis, PoseErrors
from eventspd_ros.motion.learned_scale import MIN_TRUST
from eventspd_ros.motion.rotation_drift import RotationDrift

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("rad_s", [0.03, 0.1])
def test_a_drifting_rotation_is_an_error_of_depth_that_no_number_of_neighbours_makes_smaller(rad_s):
    """A displacement of f δθ against that of a depth's own, twice its parallax to the double; never wider than what is
    known without motion. Of δθ what events do not show counts, along the points' way."""
    points, _ = wrong(0.0, 0.05, 0.3)
    motion = stream(errors=PoseErrors(rotation_rad_s=rad_s))
    answer = ask(motion, points)
    moved = (answer.basis & Basis.MOTION) > 0
    left_rad_s = np.sqrt(np.linalg.eigvalsh(motion.drift.covariance))
    assert moved.any() and (left_rad_s <= 1.01 * rad_s).all()
    assert rad_s > 0.05 or left_rad_s[0] < 0.2 * rad_s  # where it may be huge no point is sharp enough to tell
    way = CAMERA.rays(points.uv_px) * 0.2 - (0.6, 0.05)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    px_s = motion.drift.stddev_px_s(CAMERA.rays(points.uv_px), way, (CAMERA.fx, CAMERA.fy))[moved]
    drift = px_s * 0.08 / (2 * answer.parallax_px[moved])
    assert ((answer.depth_stddev_m / answer.depth_m)[moved] > 0.9 * np.minimum(drift, MIN_TRUST * 0.3)).all()


def test_a_drift_that_nobody_declared_is_seen_and_taken_out(monkeypatch):
    """Poses that turn by 2 °/s too much about an oblique axis, asked for 0.2 s; what is not seen of it is in σ."""
    points, truth = wrong(0.3)
    found = {}
    for learns in (True, False):
        if not learns:
            monkeypatch.setattr(RotationDrift, "learn", lambda *args: None)
        motion = stream(poses=turning(np.radians([1.0, 1.5, 1.0])))
        for t_ns in range(ASKED_NS - 200 * MS, ASKED_NS, 33 * MS):
            motion.answer(points, t_ns, t_ns, OFFSET_NS)
        answer = ask(motion, points)
        moved = (answer.basis & Basis.MOTION) > 0
        error = np.abs(np.log(answer.depth_m) - truth)[moved]
        inside = error < interval_half_width((answer.depth_stddev_m / answer.depth_m)[moved], 0.95)
        found[learns] = np.median(error), inside.mean()
    assert found[True][0] < 0.05 < 0.08 < found[False][0]
    assert found[True][1] > 0.9 > 0.5 > found[False][1]


def turning(rate_rad_s):
    """The poses, with a rotation that runs away at that rate (camera)."""
    for pose in RECORDED.poses():
        turn = rotations.from_rotation_vector(rate_rad_s * (pose.stamp_ns - OFFSET_NS) * 1e-9)
        yield replace(pose, quaternion=rotations.multiply(pose.quaternion, turn))


def test_what_is_declared_of_the_poses_errors_widens_the_answer():
    points, truth = wrong(0.2)
    exact = ask(stream(), points)
    moved = (exact.basis & Basis.MOTION) > 0
    for errors in (
        PoseErrors(rotation_rad_s=0.1),
        PoseErrors(translation_share=0.3),
        PoseErrors(white_rotation_rad=0.02),
        PoseErrors(translation_m_s=0.5),
        PoseErrors(white_translation_m=0.05),
    ):
        wide = ask(stream(errors=errors), points)
        ratio = (wide.depth_stddev_m / wide.depth_m)[moved] / (exact.depth_stddev_m / exact.depth_m)[moved]
        assert np.median(ratio) > 1.3, errors
    said = stream(poses=[replace(pose, rate_stddev_rad_s=0.1) for pose in RECORDED.poses()])
    same(ask(said, points), ask(stream(errors=PoseErrors(rotation_rad_s=0.1)), points))
    half_95 = interval_half_width((exact.depth_stddev_m / exact.depth_m)[moved], 0.95)
    assert (np.abs(np.log(exact.depth_m) - truth)[moved] < half_95).mean() > 0.85
