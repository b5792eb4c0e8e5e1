"""What is exactly known of a point, by closed forms."""

import math

import numpy as np
import pytest

from eventspd_ros.evaluation.asking import motion_truth
from eventspd_ros.simulation.camera import rotation_from_vector

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
