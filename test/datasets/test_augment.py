"""Augmented samples are samples that could have been recorded: geometry, statistics and causality hold."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.samples import assert_same, make_sample

from eventspd_ros.datasets.augment import (
    Augmentation,
    Box,
    add_noise,
    augment,
    drop_events,
    flip_horizontally,
    flip_polarity,
    in_cells,
    jitter_times,
    random_box,
    zoom,
)
from eventspd_ros.events.types import PixelPitch

SEEDS = st.integers(0, 2**32 - 1)


def project(points, camera):
    """(N, 3) points in the camera frame to pixels (N, 2), by OpenCV's model."""
    matrix = np.array([[camera.fx_px, 0, camera.cx_px], [0, camera.fy_px, camera.cy_px], [0, 0, 1]])
    distortion = np.array(camera.distortion) if camera.distortion else None
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, distortion)[0][:, 0]


def points_before(camera, count=200, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.uniform(1, 20, count)
    rays = rng.uniform(-0.4, 0.4, (count, 2))
    return np.column_stack((rays * z[:, None], z))


@given(seed=SEEDS, width=st.integers(2, 40), pseudo=st.booleans())
@settings(max_examples=30, deadline=None)
def test_flipping_twice_is_the_identity(seed, width, pseudo):
    sample = make_sample(seed % 1000, width=width, pseudo=pseudo)
    sample = replace(sample, intrinsics=replace(sample.intrinsics, cx_px=15.5))  # binary fractions mirror exactly
    assert_same(flip_horizontally(flip_horizontally(sample)), sample)
    assert_same(flip_polarity(flip_polarity(sample)), sample)


def test_a_flipped_sample_shows_the_mirrored_scene():
    """A point at (X, Y, Z) seen at u is, in the mirror, (−X, Y, Z) seen at W − 1 − u: tangential distortion too."""
    sample = make_sample()
    flipped = flip_horizontally(sample)
    points = points_before(sample.intrinsics)
    before, after = project(points, sample.intrinsics), project(points * (-1, 1, 1), flipped.intrinsics)
    np.testing.assert_allclose(after[:, 0], sample.intrinsics.width - 1 - before[:, 0], atol=1e-9)
    np.testing.assert_allclose(after[:, 1], before[:, 1], atol=1e-9)
    for y, x in ((0, 0), (7, 20), (47, 63)):
        np.testing.assert_array_equal(flipped.depth_m[y, 63 - x], sample.depth_m[y, x])
        np.testing.assert_array_equal(flipped.pseudo_inverse_depth[y, 63 - x], sample.pseudo_inverse_depth[y, x])
        np.testing.assert_array_equal(flipped.image[y, 63 - x], sample.image[y, x])
    np.testing.assert_array_equal(flipped.event_counts, sample.event_counts[:, ::-1])


@given(seed=SEEDS, factor=st.floats(1, 4), size=st.sampled_from([(0, 0), (30, 40), (96, 128)]))
@settings(max_examples=40, deadline=None)
def test_a_zoomed_sample_shows_the_same_points_at_the_same_depth(seed, factor, size):
    """Every scene point keeps its metric depth, and lands where the new intrinsics say, with the label of its pixel."""
    sample, rng = make_sample(seed % 100), np.random.default_rng(seed)
    box = random_box(sample.intrinsics, factor, rng)
    zoomed = zoom(sample, box, rng, *size)
    camera, after = sample.intrinsics, zoomed.intrinsics
    assert (after.height, after.width) == zoomed.depth_m.shape == (size[0] or 48, size[1] or 64)
    scale = np.array((after.width / box.width, after.height / box.height))
    points = points_before(camera, seed=seed)
    before = project(points, camera)
    expected = (before + 0.5 - (box.left, box.top)) * scale - 0.5
    np.testing.assert_allclose(project(points, after), expected, atol=1e-8)
    rows, columns = np.mgrid[: after.height, : after.width]
    source = (np.stack((columns, rows), -1) + 0.5) / scale + (box.left, box.top)  # continuous, in the old image
    u, v = source.astype(int).transpose(2, 0, 1)
    np.testing.assert_array_equal(zoomed.depth_m, sample.depth_m[v, u])
    np.testing.assert_array_equal(zoomed.pseudo_inverse_depth, sample.pseudo_inverse_depth[v, u])
    np.testing.assert_array_equal(zoomed.image, sample.image[v, u])
    assert (zoomed.events.width, zoomed.events.height) == (after.width, after.height)


def test_zoom_changes_canonical_depth_by_the_focal_length():
    """Twice as large: metric depth as before, fx/W doubled, so what the network must answer is halved."""
    sample = make_sample()
    zoomed = zoom(sample, Box(16, 12, 32, 24), np.random.default_rng(0))
    assert zoomed.intrinsics.metric_per_canonical == 2 * sample.intrinsics.metric_per_canonical
    assert zoomed.intrinsics.fy_px == 2 * sample.intrinsics.fy_px
    canonical = lambda s: s.depth_m / s.intrinsics.metric_per_canonical  # noqa: E731
    np.testing.assert_allclose(canonical(zoomed)[::2, ::2], canonical(sample)[12:36, 16:48] / 2, rtol=1e-6)


def test_the_whole_image_zoomed_to_its_size_is_the_sample_itself():
    sample = make_sample()
    assert_same(zoom(sample, Box(0, 0, 64, 48), np.random.default_rng(0)), sample)


@given(seed=SEEDS, factor=st.floats(1, 4))
@settings(max_examples=30, deadline=None)
def test_zoomed_events_stay_inside_their_pixel(seed, factor):
    sample, rng = make_sample(seed % 100), np.random.default_rng(seed)
    box = random_box(sample.intrinsics, factor, rng)
    zoomed = zoom(sample, box, rng)
    x, y = sample.events.x.astype(int) - box.left, sample.events.y.astype(int) - box.top
    kept = (x >= 0) & (x < box.width) & (y >= 0) & (y < box.height)
    np.testing.assert_array_equal(zoomed.events.t_ns, sample.events.t_ns[kept])
    # New pixel [x', x' + 1) overlaps the old one's image [x·s, (x + 1)·s).
    for new, old, scale in ((zoomed.events.x, x, 64 / box.width), (zoomed.events.y, y, 48 / box.height)):
        low, high = old[kept] * scale, (old[kept] + 1) * scale
        assert (new + 1 > low - 1e-9).all() and (new < high + 1e-9).all()


def test_zoomed_events_leave_no_grid_of_holes():
    sample = make_sample(events=200_000)
    counts = zoom(sample, Box(0, 0, 32, 24), np.random.default_rng(1)).event_counts
    quarters = [counts[i::2, j::2].sum() for i in (0, 1) for j in (0, 1)]
    assert min(quarters) > 0.9 * max(quarters)


@pytest.mark.parametrize("kept", [0.25, 0.5, 1.0])
def test_dropping_keeps_each_event_with_the_same_chance(kept):
    sample = make_sample(events=40_000)
    dropped = drop_events(sample, kept, np.random.default_rng(3))
    deviation = np.sqrt(40_000 * kept * (1 - kept))
    assert abs(len(dropped.events) - 40_000 * kept) <= 4 * deviation
    early = np.searchsorted(dropped.events.t_ns, sample.events.t_ns[20_000])
    assert abs(early - 20_000 * kept) <= 4 * deviation, "in every part alike"
    if kept == 1:
        assert_same(dropped, sample)


def test_noise_has_the_rate_asked_for_and_leaves_the_rest():
    sample = make_sample(events=500)
    rate_hz, (start, end) = 20.0, (sample.window_bounds_ns[0, 0], sample.t_ns)
    noisy = add_noise(sample, rate_hz, np.random.default_rng(4))
    expected = rate_hz * 64 * 48 * (end - start) / 1e9
    added = len(noisy.events) - 500
    assert abs(added - expected) < 4 * np.sqrt(expected)
    rows = lambda e: np.stack((e.t_ns, e.x, e.y, e.p), 1)  # noqa: E731
    own = {tuple(row) for row in rows(sample.events).tolist()}
    everything = [tuple(row) for row in rows(noisy.events).tolist()]
    assert own <= set(everything)
    new = np.array([row for row in everything if row not in own])
    assert 0.4 < new[:, 3].mean() < 0.6 and abs(new[:, 1].mean() - 31.5) < 3 and abs(new[:, 2].mean() - 23.5) < 3
    assert abs(new[:, 0].mean() - (start + end) / 2) < 0.1 * (end - start)


def test_jitter_moves_times_by_the_deviation_asked_for():
    sample = make_sample(events=20_000)
    late = replace(sample.events, t_ns=np.full(20_000, sample.t_ns - 15_000_000))
    jittered = jitter_times(replace(sample, events=late), 300.0, np.random.default_rng(5))
    moved = jittered.events.t_ns - (sample.t_ns - 15_000_000)
    assert abs(moved.std() - 300_000) < 10_000 and abs(moved.mean()) < 10_000
    ends = (sample.window_bounds_ns[0, 0], sample.t_ns - 1)
    assert np.isin(jitter_times(sample, 3000.0, np.random.default_rng(6)).events.t_ns, ends).sum() < 5, "reflected"
    assert_same(jitter_times(sample, 0.0, np.random.default_rng(0)), sample)


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_whatever_augmentation_does_the_result_is_a_sample(seed):
    sample = make_sample(seed % 50, events=seed % 700)
    before = make_sample(seed % 50, events=seed % 700)
    how = Augmentation(largest_zoom=3, noise_hz=5, jitter_us=20_000)
    result = augment(sample, np.random.default_rng(seed), how)
    assert_same(sample, before)  # the argument is left alone
    events = result.events
    assert (np.diff(events.t_ns) >= 0).all()
    assert ((events.t_ns >= result.window_bounds_ns[0, 0]) & (events.t_ns < result.t_ns)).all(), "causal"
    assert (events.x < events.width).all() and (events.y < events.height).all() and (events.p <= 1).all()
    assert result.depth_m.shape == sample.depth_m.shape and result.depth_m.dtype == np.float32
    assert result.t_ns == sample.t_ns and len(result.windows) == 3
    known = result.depth_m[result.valid]
    assert np.isin(known, sample.depth_m).all(), "no depth was blended"
    assert_same(result, augment(sample, np.random.default_rng(seed), how))


def test_overlapping_windows_tell_one_story():
    """An event that is dropped, added or moved is so in every window that holds its time."""
    sample = augment(make_sample(events=5000), np.random.default_rng(8), Augmentation(noise_hz=20, jitter_us=500))
    first, second = sample.windows[1:]
    overlap = (
        slice(np.searchsorted(first.t_ns, second.start_ns), None),
        slice(np.searchsorted(second.t_ns, first.end_ns)),
    )
    assert len(first.t_ns[overlap[0]]) > 500
    for name in ("x", "y", "p", "t_ns"):
        np.testing.assert_array_equal(getattr(first, name)[overlap[0]], getattr(second, name)[overlap[1]])


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"largest_zoom": 0.9}, {"noise_hz": -1}, {"least_kept": -0.1}])
def test_impossible_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**wrong)
    with pytest.raises(ValueError, match="does not lie inside the 64x48 px of test/hand/000000"):
        zoom(make_sample(), Box(40, 0, 32, 24), np.random.default_rng(0))


@pytest.mark.parametrize(
    "pitch",
    [
        PixelPitch(n=2, sensor_height=48, sensor_width=64, height=24, width=32),
        PixelPitch(n=3, sensor_height=48, sensor_width=64, height=20, width=22, top=2),
    ],
)
def test_a_sample_in_cells_shows_the_scene_at_that_pitch(pitch):
    sample = make_sample(events=60_000)
    seen = in_cells(sample, pitch, np.random.default_rng(0))
    # Where a point falls, and that its label came with it.
    points = points_before(sample.intrinsics)
    before, after = project(points, sample.intrinsics), project(points, seen.intrinsics)
    np.testing.assert_allclose(after, pitch.to_cells(before), atol=1e-9)
    assert (seen.intrinsics.width, seen.intrinsics.height) == (pitch.width, pitch.height)
    assert (seen.events.width, seen.events.height) == seen.depth_m.shape[::-1] == (pitch.width, pitch.height)
    rows, n = 48 // pitch.n, pitch.n
    inside = slice(pitch.top, pitch.top + rows)
    middle = sample.depth_m[n // 2 :: n, n // 2 :: n]
    np.testing.assert_array_equal(seen.depth_m[inside, : middle.shape[1]], middle)
    outside = np.delete(np.arange(pitch.height), np.arange(pitch.height)[inside])
    assert np.isnan(seen.depth_m[outside]).all() and (seen.image[outside] == 0).all()
    assert set(np.unique(seen.events.y)) <= set(range(pitch.height)) - set(outside.tolist())
    # A cell's n² pixels make one event of n² steps of a walk: as many as in the middle of a stream.
    assert len(seen.events) == pytest.approx(len(sample.events) / n**4, rel=0.1)
    first, last = np.array_split(seen.events.t_ns, 2)
    assert (last[-1] - last[0]) == pytest.approx(first[-1] - first[0], rel=0.15), "no lull at its begin"
    assert_same(in_cells(sample, pitch, np.random.default_rng(0)), seen)
