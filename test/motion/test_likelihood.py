"""The likelihood of depth from events: its parts against a slow twin, and walls of marks whose depth is known."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_motion
from reference.moving_camera import Path, Wall

from eventspd_ros import rotations
from eventspd_ros.motion import likelihood, patches
from eventspd_ros.motion.likelihood import BINS, Likelihoods, SeenScene, UndistortedCamera, depth_likelihoods
from eventspd_ros.motion.patches import MAX_NODES, MIN_SLICES
from eventspd_ros.motion.slices import LEVELS, SLICE_NS, SLICES, SPANS_NS, EventSlices
from eventspd_ros.motion.trajectory import Motion

FIELDS = [field.name for field in fields(Likelihoods)]
STRONG = 6.0  # nats; noise has fewer
ACROSS = Wall(Path((0.6, 0, 0)))


def ask(slices, motion, camera, rays, mean, stddev=0.5, error_px=0.1, look=None):
    """motion: Motion, or a function of the slices' middles that gives it."""
    look = look or slices.look()
    motion = motion(look.middle_ns.ravel()) if callable(motion) else motion
    rays, count = np.asarray(rays, np.float64).reshape(-1, 2), np.size(mean)
    errors_px = np.full(count, error_px), np.zeros(count)
    scene = SeenScene.of(look, slices, motion, camera)
    return depth_likelihoods(scene, rays, (mean, np.broadcast_to(stddev, count)), errors_px)


@cache
def filled(wall):
    return wall.slices()


def ask_wall(wall, bias=0.3, stddev=0.5, path=None, **keypoints):
    """Likelihoods at the wall's marks for a prior that is off by so much, and the true log depths."""
    uv_px, log_depth = wall.keypoints(**keypoints)
    path = path or wall.path
    found = ask(
        filled(wall),
        lambda times_ns: path.motion(wall.duration_ns, times_ns),
        wall.camera,
        wall.camera.rays(uv_px),
        log_depth + bias,
        stddev,
    )
    return found, log_depth


def assert_equal(a, b):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def noise(seed=0, height=40, width=57, per_slice=400, slices=130):
    rng = np.random.default_rng(seed)
    filled = EventSlices(height, width)
    t_ns = np.sort(rng.integers(0, slices * SLICE_NS, per_slice * slices))
    x, y, p = (rng.integers(0, high, len(t_ns)).astype(np.uint16) for high in (width, height, 2))
    filled.add(x, y, p, t_ns)
    filled.advance_to(slices * SLICE_NS)
    return filled


def lateral(look, velocity, turn_rad_s=(0.0, 0.0, 0.0), t_ns=None):
    """The motion to the middles of a look's slices, from its end."""
    path = Path(tuple(velocity), tuple(turn_rad_s))
    return path.motion(int(look.middle_ns.max() + SLICE_NS) if t_ns is None else t_ns, look.middle_ns.ravel())


# Parts


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, LEVELS - 1),
    st.booleans(),
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(st.floats(-6, 62), st.floats(-6, 45)),
)
def test_every_hypothesis_has_the_twin_s_place_correlation_and_likelihood(seed, level, coarse, velocity, rate, uv_px):
    """On noise, of which some patches are outside the image, or behind the camera, and some slices are not known."""
    slices = noise(seed % 3)
    look, camera = slices.look(), UndistortedCamera(61.0, 57.0, 27.3, 19.1)
    motion = lateral(look, velocity, rate)
    known = np.random.default_rng(seed).random(SLICES) < 0.8
    x, y = camera.rays(np.array(uv_px))
    shape = look.known.shape
    known = np.broadcast_to(known, shape).copy()
    rotation, translation = motion.rotation.reshape(*shape, 3, 3), motion.translation_m.reshape(*shape, 3)
    scene = look.full, look.half, look.full_at, look.half_at, known, rotation, translation
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy, slices.height, slices.width], np.float64)
    rhos, ells = np.full(MAX_NODES, np.nan), np.full(MAX_NODES, np.nan)
    scratch = np.empty(SLICES, np.uint64), np.zeros((SLICES, 4), np.float32), np.empty((SLICES, 2))
    strides = np.uint64(slices.stride), np.uint64(slices.half_stride)
    far, near = 0.05, 3.0
    nodes, step_px = patches.scan(scene, strides, lens, level, x, y, far, near, coarse, rhos, ells, scratch)
    images = slow_motion.pictures(slices, look, level, coarse)

    def places(rho):
        found = []
        for j in range(SLICES):
            place = slow_motion.project(rotation[level, j], translation[level, j], camera, (x, y), rho)
            found.append(place if known[level, j] else None)
        return found

    ends = [(a, b) for a, b in zip(places(far), places(near), strict=True) if a is not None and b is not None]
    if not ends:
        assert nodes == 0
        return
    longest_px = max(np.linalg.norm(b - a) for a, b in ends)
    assert step_px * (nodes - 1) == pytest.approx(longest_px, rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(rhos[[0, nodes - 1]], [far, near], rtol=1e-9)
    size = slices.height, slices.width
    expected = [
        slow_motion.log_likelihood(*slow_motion.correlation(images, places(rho), size, coarse)) for rho in rhos[:nodes]
    ]
    np.testing.assert_allclose(ells[:nodes], expected, rtol=0, atol=2e-3)
    # Even in displacement, in the slice where they lie furthest apart.
    widest = max(range(len(ends)), key=lambda j: np.linalg.norm(ends[j][1] - ends[j][0]))
    slice_of = [
        j for j, (a, b) in enumerate(zip(places(far), places(near), strict=True)) if a is not None and b is not None
    ]
    path = np.array([places(rho)[slice_of[widest]] for rho in rhos[:nodes]])
    np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), step_px, rtol=1e-4, atol=1e-6)


def test_rays_are_those_of_the_pixels():
    camera = UndistortedCamera(100.0, 50.0, 31.5, 23.5)
    rays = camera.rays(np.array([[31.5, 23.5], [131.5, -26.5]]))
    np.testing.assert_array_equal(rays, [[0, 0], [1, -1]])


# Scenes


@pytest.mark.parametrize(
    "wall",
    [
        ACROSS,
        replace(ACROSS, path=Path((1.5, 0, 0)), depth_m=3.0),
        replace(ACROSS, path=Path((6, 0, 0))),
        replace(ACROSS, path=Path((3, 0, 0)), depth_m=8.0),
        replace(ACROSS, path=Path((0.2, 0, 0)), depth_m=0.5, focal_px=80.0),
        replace(ACROSS, path=Path((1.5, 0.5, 0.3)), depth_m=20.0, focal_px=500.0),
        replace(ACROSS, path=Path((0, -0.6, 0)), depth_m=1.5, width=161, height=121),
        replace(ACROSS, tilt=0.4),
    ],
    ids=["across", "3 m", "fast", "8 m", "near, wide", "far, narrow", "up, odd", "tilted"],
)
@pytest.mark.parametrize("bias", [-0.4, 0.4])
def test_depth_across_the_way_is_found_within_two_percent(wall, bias):
    found, truth = ask_wall(wall, bias)
    assert (found.level >= 0).all() and (found.parallax_px > 0.4).all()
    assert_found(found, truth, 0.02, 0.05)
    assert np.median(found.strength) > 5


@pytest.mark.parametrize(
    ("velocity", "rate"),
    [
        ((0, 0, 3.0), (0, 0, 0)),
        ((0, 0, -3.0), (0, 0, 0)),
        ((0.6, 0, 1.0), (0, 0, 0)),
        ((0.8, 0, 0), (0, 0.5, 0)),
        ((0.8, 0.2, 0.5), (0.3, -0.4, 0.5)),
    ],
    ids=["forward", "backward", "obliquely", "panning", "all"],
)
def test_depth_along_the_way_and_while_turning_is_found_within_four_percent(velocity, rate):
    found, truth = ask_wall(Wall(Path(velocity, rate)))
    told = (found.parallax_px > 0.5) & (found.strength > STRONG)  # at the focus of expansion nothing is
    assert told.mean() > 0.5
    assert_found(found.of(told), truth[told], 0.04, 0.12)


def assert_found(found, truth, median, most):
    """Errors of the peaks, their median and 90 % of them, and that they are as large as they say."""
    error = np.abs(found.peak - truth)
    assert np.median(error) < median and np.quantile(error, 0.9) < most
    assert np.mean(error < 3 * np.hypot(found.stddev, 0.02)) > 0.85
    z = found.low[:, None] + (np.arange(BINS) + 0.5) * found.width[:, None]
    highest = z[np.arange(len(z)), found.log_density.argmax(axis=1)]
    assert np.quantile(np.abs(highest - truth), 0.8) < most + found.width.max()


def test_a_density_over_the_displacement_sums_to_one():
    """∫ e^ℓ du over the bins, and what is left for the rest of the range, which is at the floor."""
    found, _ = ask_wall(ACROSS)
    assert (found.level == found.level[0]).all()
    lever_px = displacement_m_px(ACROSS, found.level[0])
    edges = np.exp(-(found.low[:, None] + np.arange(BINS + 1) * found.width[:, None])) * lever_px
    inside = (np.exp(found.log_density) * -np.diff(edges, axis=1)).sum(axis=1)
    assert (inside < 1 + 1e-3).all() and (inside[found.strength > STRONG] > 0.9).all()
    assert (found.strength > STRONG).mean() > 0.8
    truth = ACROSS.keypoints()[1] + 0.3
    reach = likelihood.REACH * max(0.5, likelihood.MIN_STDDEV)
    range_px = lever_px * (np.exp(reach - truth) - np.exp(-reach - truth))
    np.testing.assert_allclose(found.log_uniform, -np.log(range_px), atol=1e-6)


def displacement_m_px(wall, level):
    """Of the oldest slice, px for each unit of inverse depth, under lateral motion."""
    oldest_s = (SPANS_NS[level] - SPANS_NS[level] / SLICES / 2) * 1e-9
    late_s = (wall.duration_ns - (wall.duration_ns // (SLICE_NS << level)) * (SLICE_NS << level)) * 1e-9
    return wall.focal_px * np.linalg.norm(wall.path.velocity) * (oldest_s + late_s)


def test_parallax_is_that_of_a_depth_and_its_double_over_80_ms():
    """The middle of the first of four slices of 20 ms, to the end."""
    found, truth = ask_wall(ACROSS, bias=0.0)
    late_s = ACROSS.duration_ns % 20_000_000 * 1e-9
    expected = ACROSS.focal_px * 0.6 * (0.07 + late_s) / 2 * np.exp(-truth)
    np.testing.assert_allclose(found.parallax_px, expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [(0.0, 0.5, 0.3), (0.0, 0.0, 1.0)])
def test_pure_rotation_has_no_parallax_and_no_opinion(rate):
    found, _ = ask_wall(Wall(Path((0, 0, 0), rate)))
    assert (found.parallax_px < 1e-6).all()
    assert (np.ptp(found.log_density, axis=1) < 1e-3).all()
    # A flat ℓ is worth what an even one is worth, so that prior and posterior are the same.
    assert (found.stddev[found.strength > 0.5] > 0.5).all()


def test_at_rest_nothing_is_seen_and_there_is_no_opinion():
    slices = noise(per_slice=1)
    rays = np.array([[0.0, 0.0], [0.1, -0.2]])
    found = ask(
        slices, lambda times_ns: Path().motion(10**9, times_ns), UndistortedCamera(50, 50, 28, 20), rays, np.zeros(2)
    )
    np.testing.assert_array_equal(found.parallax_px, 0)
    assert (np.ptp(found.log_density, axis=1) < 1e-3).all()


def test_noise_supports_no_depth():
    """Strength, nats, of 300 points; the scenes above have 10 and more."""
    slices = noise(5, 120, 160, per_slice=300)
    rng = np.random.default_rng(0)
    camera = UndistortedCamera(150, 150, 79.5, 59.5)
    uv_px = rng.uniform((10, 10), (150, 110), (300, 2))
    found = ask(slices, lateral(slices.look(), (0.6, 0, 0)), camera, camera.rays(uv_px), np.full(300, 0.7))
    assert (found.level >= 0).all()
    assert np.median(found.strength) < STRONG / 2 and np.quantile(found.strength, 0.95) < STRONG


def test_where_nothing_happens_nothing_is_known():
    slices = EventSlices(40, 57)
    one = np.zeros(1, np.uint16)
    slices.add(one, one, one, np.zeros(1, np.int64))
    slices.advance_to(200 * SLICE_NS)
    found = ask(
        slices, lateral(slices.look(), (1, 0, 0)), UndistortedCamera(50, 50, 28, 20), np.zeros((1, 2)), np.zeros(1)
    )
    assert found.strength[0] <= 0
    assert np.ptp(found.log_density[0]) < 1e-3


@pytest.mark.parametrize(
    "path", [Path(shake_m=0.05), Path((0.1, 0.3, 0), shake_m=0.03, shake_hz=5.0)], ids=["to and fro", "in curves"]
)
def test_a_hand_that_shakes_sees_depth_as_well(path):
    """Events change their sign with the direction of motion, so before and after a reversal a pattern is its negative.
    Where the way bends it is neither; what is strong must not be wrong."""
    found, truth = ask_wall(Wall(path))
    error = np.abs(found.peak - truth)
    assert np.median(error) < 0.12 and np.median(found.strength) > STRONG
    assert (error[(found.strength > STRONG) & (found.stddev < 0.3)] < 0.3).mean() > 0.95


# Odd points, poses and ranges


def test_each_point_is_answered_for_itself():
    """To the bit, in any order and company."""
    found, _ = ask_wall(ACROSS)
    uv_px, log_depth = ACROSS.keypoints()
    order = np.random.default_rng(0).permutation(len(uv_px))

    def some(which):
        def motion(times_ns):
            return ACROSS.path.motion(ACROSS.duration_ns, times_ns)

        rays = ACROSS.camera.rays(uv_px[which])
        return ask(filled(ACROSS), motion, ACROSS.camera, rays, log_depth[which] + 0.3)

    assert_equal(some(order), found.of(order))
    for which in ([3], [3, 3], [40, 2]):
        assert_equal(some(which), found.of(which))
    assert len(some([]).level) == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"ray": (np.nan, 0.1)},
        {"ray": (0.1, np.nan)},
        {"ray": (np.inf, 0.1)},
        {"mean": np.nan},
        {"mean": -np.inf},
        {"stddev": np.nan},
        {"ray": (30.0, 0.1)},
        {"ray": (-0.7, 0.6)},
        {"mean": 12.0},
        {"mean": -9.0},
        {"stddev": 1e-6},
        {"stddev": 40.0},
    ],
    ids=str,
)
def test_an_odd_point_tells_nothing_false_and_harms_no_other(odd):
    rays, mean, stddev = np.array([[0.0, 0.0], [0.1, -0.1], [0.2, 0.2]]), np.full(3, 1.0), np.full(3, 0.5)
    args = filled(ACROSS), lambda times_ns: ACROSS.path.motion(ACROSS.duration_ns, times_ns), ACROSS.camera
    normal = ask(*args, rays, mean, stddev)
    assert (normal.level >= 0).all()
    rays[1] = odd.get("ray", rays[1])
    mean[1], stddev[1] = odd.get("mean", 1.0), odd.get("stddev", 0.5)
    found = ask(*args, rays, mean, stddev)
    assert_equal(found.of([0, 2]), normal.of([0, 2]))
    if not np.isfinite([*rays[1], mean[1], stddev[1]]).all():
        assert_equal(found.of([1]), Likelihoods.empty(1))
    assert_sound(found)


def assert_sound(found):
    for name in FIELDS:
        assert np.isfinite(getattr(found, name)).all(), name
    assert (found.stddev[found.level >= 0] > 0).all() and (found.parallax_px >= 0).all()
    assert (np.abs(found.log_density) < 1e3).all()
    nothing = found.level < 0
    np.testing.assert_array_equal(found.strength[nothing], 0)
    np.testing.assert_array_equal(found.log_density[nothing], 0)


@pytest.mark.parametrize("uv_px", [(0, 0), (159, 119), (0.4, 60), (158.6, 60), (80, -0.4), (-0.6, 60), (200, 60)])
def test_at_and_beyond_the_border_what_is_not_seen_does_not_count(uv_px):
    """Moving right a point now at the left border was inside before; one beyond it was too, and may be answered."""
    rays = ACROSS.camera.rays(np.array([uv_px], float))
    found = ask(
        filled(ACROSS),
        lambda times_ns: ACROSS.path.motion(ACROSS.duration_ns, times_ns),
        ACROSS.camera,
        rays,
        np.array([np.log(2.0)]),
    )
    assert_sound(found)
    if uv_px[0] == 200:
        assert np.ptp(found.log_density) < 1e-3  # neither now nor before
    elif found.strength[0] > 6:
        assert abs(found.peak[0] - np.log(2.0)) < 0.15


@pytest.mark.parametrize("velocity", [3.0, 7.0, 20.0, 60.0])
@pytest.mark.parametrize("stddev", [0.3, 1.0, 2.0])
def test_driving_backward_hypotheses_that_were_behind_the_camera_are_left_out(velocity, stddev):
    """A near hypothesis was behind the camera in some or all slices. Alone and after another point: the same."""
    slices, camera = noise(2), UndistortedCamera(50, 50, 28, 20)
    motion = lateral(slices.look(), (0, 0, -velocity))
    alone = ask(slices, motion, camera, [[0.1, 0.1]], np.zeros(1), stddev)
    after = ask(slices, motion, camera, [[0.2, 0.1], [0.1, 0.1]], np.array([3.0, 0.0]), np.array([0.3, stddev]))
    assert_equal(after.of([1]), alone)
    assert_sound(alone)
    assert_sound(after)


def test_where_the_answer_is_much_nearer_than_the_prior_and_fast_it_is_described_in_full():
    """At the depth that the coarse search finds even the shortest slices are smeared, at the prior's they are not: what
    the coarse search found stands, of its own slices."""
    too_fast_m_s = 1.3 * patches.MAX_PX_PER_SLICE / (SLICE_NS * 1e-9) * 1.5 / 150
    wall = Wall(Path((too_fast_m_s, 0, 0)), depth_m=1.5, width=320, height=80, seed=3)
    found, truth = ask_wall(wall, 0.8, 0.5)
    assert_sound(found)
    told = (found.level == 0) & (found.strength > STRONG) & (found.stddev < 0.3)
    assert told.mean() > 0.3
    assert np.median(np.abs(found.peak - truth)[told]) < 0.1
    lever_px = displacement_m_px(wall, 0)
    range_px = lever_px * (np.exp(1.5 - truth - 0.8) - np.exp(-1.5 - truth - 0.8))
    np.testing.assert_allclose(found.log_uniform[told], -np.log(range_px)[told], atol=1e-6)


@pytest.mark.parametrize("known", ["newest", "oldest", "every other", "none"])
def test_slices_of_unknown_pose_are_left_out(known):
    """What these hold, and which poses are said for them, changes nothing."""
    uv_px, log_depth = ACROSS.keypoints()
    look = filled(ACROSS).look()
    whole = ACROSS.path.motion(ACROSS.duration_ns, look.middle_ns.ravel())
    age_ns = ACROSS.duration_ns - look.middle_ns.ravel()
    mask = {
        "newest": age_ns < 150_000_000,
        "oldest": age_ns > 50_000_000,
        "every other": np.arange(len(age_ns)) % 2 == 0,
        "none": np.zeros(len(age_ns), bool),
    }[known]

    def answered(filler):
        rotation, translation = whole.rotation.copy(), whole.translation_m.copy()
        rotation[~mask], translation[~mask] = filler, filler
        motion = Motion(rotation, translation, mask)
        return ask(filled(ACROSS), motion, ACROSS.camera, ACROSS.camera.rays(uv_px), log_depth + 0.3)

    found = answered(np.nan)
    assert_equal(found, answered(0.37))
    assert_sound(found)
    enough = (mask.reshape(LEVELS, SLICES).sum(axis=1) >= MIN_SLICES).any()
    assert ((found.level >= 0) == enough).all()
    if known == "none":
        np.testing.assert_array_equal(found.parallax_px, 0)
    elif known != "every other":
        told = found.strength > STRONG
        assert told.mean() > 0.3
        assert np.median(np.abs(found.peak - log_depth)[told]) < 0.1


def test_a_larger_error_of_the_poses_widens_the_likelihood_and_moves_it_little():
    uv_px, log_depth = ACROSS.keypoints()
    answers = [
        ask(
            filled(ACROSS),
            lambda times_ns: ACROSS.path.motion(ACROSS.duration_ns, times_ns),
            ACROSS.camera,
            ACROSS.camera.rays(uv_px),
            log_depth,
            0.5,
            error_px,
        )
        for error_px in (0.0, 1.0, 3.0)
    ]
    widths = [np.median(found.stddev) for found in answers]
    assert widths[0] * 1.5 < widths[1] < widths[2]
    lever_px = displacement_m_px(ACROSS, answers[1].level[0]) * np.exp(-np.median(log_depth))
    assert widths[1] > 0.7 * 1.0 / lever_px
    assert np.median(np.abs(answers[1].peak - log_depth)) < 0.05


def test_the_world_s_unit_is_free():
    """Twice as far at twice the speed is the same picture: depth and nothing else doubles."""
    found, _ = ask_wall(ACROSS)
    uv_px, log_depth = ACROSS.keypoints()
    look = filled(ACROSS).look()
    motion = ACROSS.path.motion(ACROSS.duration_ns, look.middle_ns.ravel())
    larger = replace(motion, translation_m=2 * motion.translation_m)
    double = ask(filled(ACROSS), larger, ACROSS.camera, ACROSS.camera.rays(uv_px), log_depth + 0.3 + np.log(2))
    np.testing.assert_array_equal(double.level, found.level)
    np.testing.assert_allclose(double.peak - found.peak, np.log(2), atol=1e-4)
    np.testing.assert_allclose(double.stddev, found.stddev, rtol=1e-2)
    np.testing.assert_allclose(double.parallax_px, found.parallax_px, rtol=1e-6)


def test_the_polarity_s_sign_is_free_but_a_pattern_is_one_of_both_signs():
    """ON and OFF swapped gives the same; ON and OFF by chance gives much less."""
    x, y, p, t_ns = ACROSS.events
    uv_px, log_depth = ACROSS.keypoints()
    strengths, answers = [], []
    for polarity in (p, 1 - p, np.random.default_rng(0).integers(0, 2, len(p)).astype(np.uint8)):
        slices = EventSlices(ACROSS.height, ACROSS.width)
        slices.add(x, y, polarity, t_ns)
        slices.advance_to(ACROSS.duration_ns)
        answers.append(
            ask(
                slices,
                lambda times_ns: ACROSS.path.motion(ACROSS.duration_ns, times_ns),
                ACROSS.camera,
                ACROSS.camera.rays(uv_px),
                log_depth,
            )
        )
        strengths.append(np.median(answers[-1].strength))
    np.testing.assert_allclose(answers[1].peak, answers[0].peak, atol=1e-5)
    assert strengths[2] < 0.4 * strengths[0]


def test_rotations_agree_with_the_paths():
    """The scenes' own motion against the room's: a point at ray x and inverse depth ρ is where the camera sees it."""
    path = Path((0.4, -0.2, 0.7), (0.3, -0.5, 0.2))
    motion = path.motion(300_000_000, np.array([0, 100_000_000]))
    point = np.array([[0.3, -0.2, 3.0]])
    now = path.to_camera(point, 300_000_000)[0]
    for j, t_ns in enumerate((0, 100_000_000)):
        np.testing.assert_allclose(motion.rotation[j] @ now + motion.translation_m[j], path.to_camera(point, t_ns)[0])
    np.testing.assert_allclose(rotations.to_matrix(path.pose(0)[0]), np.eye(3))
