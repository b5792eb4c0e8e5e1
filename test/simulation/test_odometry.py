"""The odometry of a known path, and its errors in closed form."""

from dataclasses import replace

import numpy as np
import pytest

from eventspd_ros.simulation.camera import PinholeCamera, Pose, handheld, rotation_from_vector
from eventspd_ros.simulation.odometry import OdometryConfig, OdometryMessage, erroneous, odometry_messages, velocity
from eventspd_ros.simulation.paths import drive_path, flight_path, walk_path
from eventspd_ros.simulation.scene_file import LABEL_PERIOD_US
from eventspd_ros.simulation.stream import SimulationConfig, simulate_recording

END_NS = 1_000_000_000
TIMES_NS = OdometryConfig().times_ns(END_NS)
PATH = handheld(np.random.default_rng(1), 2.0, 1.0)


def true_pose(t_ns):
    return PATH.pose(t_ns / 1e9)


TRUE = np.array([true_pose(t_ns).matrix for t_ns in TIMES_NS.tolist()])


def told(seed=0, **errors):
    return erroneous(TRUE, TIMES_NS, OdometryConfig(**errors), np.random.default_rng(seed))


def angle_deg(one, other):
    """Between rotations (..., 3, 3); exact for small angles too."""
    return np.degrees(2 * np.arcsin(np.linalg.norm(one - other, axis=(-2, -1)) / np.sqrt(8)))


def steps(T_WC, count):
    """How the camera moves within `count` poses, seen from where it begins: (P − count, 4, 4)."""
    return np.linalg.inv(T_WC[:-count]) @ T_WC[count:]


def test_without_errors_the_poses_come_back_to_the_bit():
    odometry = told()
    np.testing.assert_array_equal(odometry.T_WC, TRUE)
    np.testing.assert_array_equal(odometry.stamp_ns, TIMES_NS)
    np.testing.assert_array_equal(odometry.arrival_ns, TIMES_NS)
    assert TIMES_NS.tolist() == list(range(0, END_NS + 1, 5_000_000))


@pytest.mark.parametrize("drift_deg", [0.05, 0.2, 3.0])
def test_a_drifting_rotation_is_off_by_so_much_after_any_100_ms(drift_deg):
    drifted = told(drift_rotation_deg_per_100ms=drift_deg).T_WC
    assert angle_deg(drifted[20, :3, :3], TRUE[20, :3, :3]) == pytest.approx(drift_deg, abs=1e-6)
    within = angle_deg(steps(drifted, 20)[:, :3, :3], steps(TRUE, 20)[:, :3, :3])
    np.testing.assert_allclose(within, drift_deg, atol=1e-6)
    np.testing.assert_array_equal(drifted[0], TRUE[0])


def test_the_drift_of_another_recording_has_another_axis():
    axes = [told(seed, drift_rotation_deg_per_100ms=1.0).T_WC[20, :3, :3] for seed in (0, 0, 1)]
    assert (axes[0] == axes[1]).all()
    assert angle_deg(axes[0], axes[2]) > 0.1


@pytest.mark.parametrize("share", [0.02, -0.1])
def test_a_wrong_scale_makes_every_way_longer_by_its_share(share):
    scaled = told(drift_translation_share=share).T_WC
    np.testing.assert_array_equal(scaled[:, :3, :3], TRUE[:, :3, :3])
    np.testing.assert_allclose(np.diff(scaled[:, :3, 3], axis=0), (1 + share) * np.diff(TRUE[:, :3, 3], axis=0))


def test_a_drifting_heading_is_the_one_it_walks_along():
    """Seen from the camera a short step is as true at the end, when the heading is 30° off, as at the start."""
    drifted = steps(told(drift_rotation_deg_per_100ms=3.0).T_WC, 1)[:, :3, 3]
    true = steps(TRUE, 1)[:, :3, 3]
    error = np.linalg.norm(drifted - true, axis=1) / np.linalg.norm(true, axis=1)
    assert error.max() <= np.radians(0.15) / 2  # half of what it turns within a step


def test_white_errors_have_their_size_about_every_axis_and_no_memory():
    many_ns = np.arange(20_000) * 5_000_000
    still = np.tile(TRUE[7], (len(many_ns), 1, 1))
    config = OdometryConfig(white_rotation_deg=0.2, white_translation_m=0.01)
    noisy = erroneous(still, many_ns, config, np.random.default_rng(3)).T_WC
    relative = TRUE[7, :3, :3].T @ noisy[:, :3, :3]
    vectors_deg = np.degrees(np.stack([relative[:, 2, 1], relative[:, 0, 2], relative[:, 1, 0]], 1))
    for errors, size in ((vectors_deg, 0.2), (noisy[:, :3, 3] - TRUE[7, :3, 3], 0.01)):
        np.testing.assert_allclose(errors.std(0), size, rtol=0.03)
        assert np.abs(errors.mean(0)).max() < 0.03 * size
        assert abs(np.corrcoef(errors[1:, 0], errors[:-1, 0])[0, 1]) < 0.03
    np.testing.assert_allclose(np.linalg.det(noisy[:, :3, :3]), 1)


def test_errors_of_any_size_have_the_same_directions():
    small, large = (told(white_translation_m=size).T_WC[:, :3, 3] - TRUE[:, :3, 3] for size in (1e-3, 1e-2))
    np.testing.assert_allclose(large, 10 * small, rtol=1e-9)


def test_delay_changes_the_arrival_only_and_an_offset_the_stamp_only():
    for errors, stamp_ns, arrival_ns in (({"delay_ms": 12.5}, 0, 12_500_000), ({"time_offset_ms": -2}, -2_000_000, 0)):
        odometry = told(**errors)
        np.testing.assert_array_equal(odometry.T_WC, TRUE)
        np.testing.assert_array_equal(odometry.stamp_ns - TIMES_NS, stamp_ns)
        np.testing.assert_array_equal(odometry.arrival_ns - TIMES_NS, arrival_ns)


@pytest.mark.parametrize(("rate_hz", "each"), [(1000, 1), (200, 1), (100, 2), (50, 4), (5, 40)])
def test_a_lower_rate_takes_every_so_manyeth_pose(rate_hz, each):
    odometry = told(rate_hz=rate_hz)
    np.testing.assert_array_equal(odometry.stamp_ns, TIMES_NS[::each])
    np.testing.assert_array_equal(odometry.T_WC, TRUE[::each])


def test_every_pose_of_its_own_rate_is_told():
    for rate_hz in (30.0, 60.0, 120.0, 150.0, 333.0, 1000.0):
        config = OdometryConfig(rate_hz=rate_hz)
        times_ns = config.times_ns(10 * END_NS)
        poses = np.tile(np.eye(4), (len(times_ns), 1, 1))
        assert len(erroneous(poses, times_ns, config, np.random.default_rng(0)).stamp_ns) == 10 * rate_hz + 1


def test_label_times_are_close_enough_that_paths_may_be_interpolated():
    """Half-way between two poses 8.333 ms apart, where a chord is furthest from its arc."""
    rng, step_s = np.random.default_rng(0), LABEL_PERIOD_US / 1e6
    for make in (drive_path, flight_path, lambda rng, s: walk_path(rng, s, np.array([3.0, 4.0]), 2.6)):
        for path in (make(rng, 1.0) for _ in range(15)):
            for t_s in np.arange(0, 1 - step_s, step_s):
                first, middle, last = (path.pose(t_s + part * step_s) for part in (0, 0.5, 1))
                turned = first.rotation_WC.T @ last.rotation_WC
                skew = (turned - turned.T) / 2
                half = rotation_from_vector(np.array([skew[2, 1], skew[0, 2], skew[1, 0]]) / 2)
                assert angle_deg(first.rotation_WC @ half, middle.rotation_WC) < 0.005
                chord = (first.position_W + last.position_W) / 2
                assert np.linalg.norm(chord - middle.position_W) < 3e-4


def test_no_poses_are_no_odometry():
    odometry = erroneous(np.zeros((0, 4, 4)), np.zeros(0, np.int64), OdometryConfig(), np.random.default_rng(0))
    assert [len(column) for column in odometry] == [0, 0, 0]


def test_the_velocity_of_a_circle_is_along_it_and_about_its_axis():
    """Radius 2 m at 0.5 rad/s about y; x looks outward, so that it moves along −z, to its front at −1 m/s."""

    def circle(t_ns):
        turn = rotation_from_vector(np.array([0, 0.5 * t_ns / 1e9, 0]))
        return Pose(turn, turn @ [2.0, 0, 0])

    for t_ns in (0, 300_000_000, 4_000_000_000):
        np.testing.assert_allclose(velocity(circle, t_ns), [0, 0, -1, 0, 0.5, 0], atol=1e-6)


def test_the_velocity_leads_from_each_pose_to_the_next():
    twists = [velocity(true_pose, int(t_ns)) for t_ns in TIMES_NS]
    for k in range(len(TIMES_NS) - 1):
        mean = 0.005 * (twists[k] + twists[k + 1]) / 2
        step = np.linalg.inv(TRUE[k]) @ TRUE[k + 1]
        np.testing.assert_allclose(rotation_from_vector(mean[3:]), step[:3, :3], atol=1e-5)
        np.testing.assert_allclose(mean[:3], step[:3, 3], atol=2e-4)


def test_covariances_declare_white_errors_of_the_pose_and_drift_of_the_rates():
    config = OdometryConfig(
        white_rotation_deg=2, white_translation_m=0.1, drift_rotation_deg_per_100ms=3, drift_translation_share=0.5
    )
    _, message = next(odometry_messages(true_pose, END_NS, config, np.random.default_rng(0), 0))
    np.testing.assert_allclose(message.pose_covariance, np.diag([0.01] * 3 + [np.radians(2) ** 2] * 3))
    speed = np.linalg.norm(message.twist_C[:3])
    along = np.append(message.twist_C[:3] / speed, np.zeros(3))
    assert along @ message.twist_covariance @ along == pytest.approx((0.5 * speed) ** 2)
    # 30 °/s about an axis that may be any: a third of its square about each.
    np.testing.assert_allclose(message.twist_covariance[3:, 3:], np.eye(3) * np.radians(30) ** 2 / 3)
    _, exact = next(odometry_messages(true_pose, END_NS, OdometryConfig(), np.random.default_rng(0), 0))
    assert not exact.pose_covariance.any() and not exact.twist_covariance.any()


def test_in_a_recording_poses_come_when_they_arrive_ahead_of_what_comes_with_them():
    config = SimulationConfig(PinholeCamera.centred(64, 48), duration_s=0.2, seed=4)
    for delay_ms in (0.0, 33.0):
        odometry = OdometryConfig(delay_ms=delay_ms)
        recording = list(simulate_recording(replace(config, odometry=odometry)))
        arrivals = [item.arrival_ns - config.start_ns for item in recording]
        assert arrivals == sorted(arrivals)
        found = {}
        for item in recording:
            found.setdefault(item.arrival_ns - config.start_ns, []).append(item.message)
        poses = {at: m[0].stamp_ns - config.start_ns for at, m in found.items() if isinstance(m[0], OdometryMessage)}
        assert len(poses) == sum(isinstance(item.message, OdometryMessage) for item in recording)
        late_ns = int(delay_ms * 1e6)
        assert poses == {t + late_ns: t for t in range(0, 200_000_001 - late_ns, 5_000_000)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate_hz": 0.0}, "odometry rate_hz 0.0: must be positive"),
        ({"delay_ms": -1.0}, "odometry delay_ms -1.0: must be at least 0"),
        ({"white_rotation_deg": float("nan")}, "odometry white_rotation_deg nan: must be at least 0"),
        ({"time_offset_ms": float("inf")}, "odometry time_offset_ms inf: must be a number"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        OdometryConfig(**change)


def test_settings_are_read_from_text():
    assert OdometryConfig.parse([]) == OdometryConfig()
    parsed = OdometryConfig.parse(["rate_hz=100", "drift_translation_share=-0.02"])
    assert parsed == OdometryConfig(rate_hz=100.0, drift_translation_share=-0.02)
    for wrong in ("rate=100", "rate_hz", "rate_hz=fast", "=3"):
        with pytest.raises(ValueError, match=f"odometry '{wrong}': must be KEY=NUMBER, a KEY of rate_hz, delay_ms"):
            OdometryConfig.parse([wrong])
