from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.models import small_model

from eventspd_ros.events.types import EventArray, EventWindow, ImageWindow
from eventspd_ros.events.windows import WindowSlicer, window_slicer
from eventspd_ros.model.config import PitchConfig
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import build_model, preset_config
from eventspd_ros.motion.learned_scale import START_STDDEV
from eventspd_ros.predictor import EXACT_WINDOWS_BACK, RECENT_CACHES, Answer, Predictor, Status

WIDTH, HEIGHT = 64, 48
MS = 1_000_000


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("minimal")


def random_events(count: int, start_ns: int, end_ns: int, seed: int = 0) -> EventArray:
    rng = np.random.default_rng(seed)
    return EventArray(
        rng.integers(0, WIDTH, count).astype(np.uint16),
        rng.integers(0, HEIGHT, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        np.sort(rng.integers(start_ns, end_ns, count)),
        WIDTH,
        HEIGHT,
    )


def columns_of(events: EventArray) -> tuple:
    return events.x, events.y, events.p, events.t_ns


def part(events: EventArray, first: int, last: int) -> EventArray:
    return EventArray(*(c[first:last] for c in columns_of(events)), WIDTH, HEIGHT)


def predictor(model, **changes) -> Predictor:
    return Predictor(model, HEIGHT, WIDTH, **({"fx_px": 60.0, "allow_untrained": True} | changes))


def slicer_of(model) -> WindowSlicer:
    return window_slicer(model.config, HEIGHT, WIDTH)


def windows_of(model, *given) -> list[EventWindow]:
    """Of random_events(*given)."""
    return slicer_of(model).push(random_events(*given))


def run(one: Predictor, events: EventArray, cuts: list[int]) -> list[tuple[int, int, np.ndarray]]:
    """Push the events cut at these places; every window with the depths asked of it."""
    found, slicer = [], slicer_of(one.model)
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        for window in slicer.push(part(events, first, last)):
            one.encode(window)
            found.append((window.start_ns, window.end_ns, one.query([[3.5, 4.5], [60, 40]]).depth_m))
    return found


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=30).map(sorted))
def test_packet_sizes_do_not_matter(cuts):
    torch.manual_seed(0)
    model = build_model("minimal")
    events = random_events(5000, 0, 100 * MS)
    expected = run(predictor(model), events, [])
    found = run(predictor(model), events, cuts)
    assert [f[:2] for f in found] == [e[:2] for e in expected] and len(expected) >= 10
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[2], other[2], rtol=1e-6)


def test_an_answer_is_the_models_depth_times_fx_over_width(model):
    one = predictor(model, fx_px=90.0)
    (window, *_) = windows_of(model, 3000, 0, 40 * MS)
    cache = one.encode(window)
    uv = np.array([[1.0, 2.0], [63.4, 47.4], [-0.5, -0.5]], np.float32)
    answer = one.query(uv)
    with torch.inference_mode():
        (expected_cache,), _ = model.encode([window], [StreamState()])
        depth, stddev = model.decode(expected_cache, torch.from_numpy(uv))
    np.testing.assert_allclose(answer.depth_m, depth.numpy() * 90.0 / WIDTH, rtol=1e-6)
    np.testing.assert_allclose(answer.depth_stddev_m, stddev.numpy() * 90.0 / WIDTH, rtol=1e-6)
    assert answer.status.tolist() == [Status.OK] * 3
    assert (answer.window_start_ns, answer.window_end_ns) == (cache.start_ns, cache.end_ns)
    assert cache.end_ns - cache.start_ns == 20 * MS


@pytest.mark.parametrize("fx_px", [None, 120.0])
def test_a_focal_length_that_changes_meanwhile_is_that_of_the_next_answer(model, monkeypatch, fx_px):
    """camera_info comes in another thread than requests, and may be a wrong one."""
    one, uv_px = predictor(model), np.array([[3.5, 4.5], [60.0, 40.0]])
    one.encode(windows_of(model, 2000, 0, 30 * MS)[0])
    wanted = one.query(uv_px)
    decode = model.decode

    def changing(*args):
        one.fx_px = fx_px
        return decode(*args)

    monkeypatch.setattr(model, "decode", changing)
    np.testing.assert_array_equal(one.query(uv_px).depth_m, wanted.depth_m)


def test_what_the_depths_share_is_said_by_the_model_or_assumed(model):
    one, other = predictor(model), predictor(small_model(parametrization="log", prior=True, shared_scale=True))
    for each in (one, other):
        cache = each.encode(windows_of(each.model, 3000, 0, 40 * MS)[0])
        said = cache.scale_stddev
        answer = each.query([[20.0, 20.0]])
        assert answer.log_scale_stddev == (START_STDDEV if said is None else said)
    assert said is not None and answer.depth_stddev_m[0] > said * answer.depth_m[0]


def test_a_fine_sensor_is_a_coarse_one_of_the_same_view():
    """A model that sees cells of 2×2 pixels, and the same weights on a sensor whose pixels are those cells."""
    torch.manual_seed(0)
    fine = build_model(replace(preset_config("minimal"), pitch=PitchConfig(columns=WIDTH // 2)))
    coarse = build_model("minimal")
    coarse.load_state_dict(fine.state_dict())
    events = random_events(50_000, 0, 60 * MS)
    one = Predictor(fine, HEIGHT, WIDTH, fx_px=60.0, allow_untrained=True)
    other = Predictor(coarse, HEIGHT // 2, WIDTH // 2, fx_px=30.0, allow_untrained=True)
    for window in slicer_of(fine).push(events):
        one.encode(window)
        other.encode(replace(window, pitch=None))
    uv_px = np.array([[20.5, 30.5], [21.5, 31.5], [-0.5, 5.25], [63.4, 47.4]], np.float32)
    answers = one.query(uv_px), other.query((uv_px + 0.5) / 2 - 0.5)
    assert answers[0].status.tolist() == [Status.OK] * 4 and answers[0].window_end_ns
    np.testing.assert_allclose(answers[0].depth_m, answers[1].depth_m, rtol=1e-5)
    np.testing.assert_allclose(answers[0].depth_stddev_m, answers[1].depth_stddev_m, rtol=1e-5)
    # The sensor's size is the stream's: the same events as they are, or in other cells, are refused.
    (window, *_) = slicer_of(coarse).push(events)
    with pytest.raises(ValueError, match=r"window of 64x48 of a sensor of 64x48 px: minimal sees that in 32x24 cells"):
        one.encode(window)
    with pytest.raises(ValueError, match="window of 32x24 px: this stream is 64x48"):
        one.encode(replace(slicer_of(fine).push(events)[0], pitch=None))


def test_reasons_in_their_order(model):
    points = [[np.nan, 0], [WIDTH, 0], [5, 5]]
    own = [Status.NOT_FINITE, Status.OUT_OF_IMAGE]
    one = predictor(model)
    assert one.query(points).status.tolist() == [*own, Status.NO_CACHE]
    one.encode(windows_of(model, 1000, 0, 30 * MS)[0])
    end_ns = one.cache.end_ns
    assert one.query(points, end_ns + 200 * MS).status.tolist() == [*own, Status.OK]
    assert one.query(points, end_ns + 200 * MS + 1).status.tolist() == [*own, Status.STALE_CACHE]
    assert one.query(points, end_ns - 200 * MS - 1).status.tolist() == [*own, Status.STALE_CACHE]
    one.fx_px = None
    assert one.query(points, end_ns + 10**12).status.tolist() == [*own, Status.UNCALIBRATED]
    one.allow_untrained = False
    assert one.query(points, end_ns + 10**12).status.tolist() == [*own, Status.UNTRAINED]


def test_no_points_no_depths(model):
    one = predictor(model)
    one.encode(windows_of(model, 1000, 0, 30 * MS)[0])
    answer = one.query(np.empty((0, 2)))
    assert [len(c) for c in (answer.depth_m, answer.depth_stddev_m, answer.status)] == [0, 0, 0]


def test_what_is_forgotten_answers_no_longer(model):
    one = predictor(model)
    one.encode(windows_of(model, 3000, 0, 30 * MS)[0])
    one.state.memory = torch.ones(1)
    one.forget()
    assert one.cache is None and one.state.memory is None
    assert one.query([[5, 5]]).status.tolist() == [Status.NO_CACHE]


def test_latest_takes_of_the_caches_there_are_the_one_nearest_to_the_points(model):
    one = predictor(model)
    assert one.cache_for(5 * MS) is None
    ends_ns = [one.encode(window).end_ns for window in windows_of(model, 3000, 0, 150 * MS)]
    kept = ends_ns[-RECENT_CACHES:]
    assert len(kept) < len(ends_ns) and one.cache_for(ends_ns[-1] + 50 * MS) is one.cache
    for t_ns in range(0, ends_ns[-1] + 20 * MS, MS):
        nearest_ns = min(abs(end_ns - t_ns) for end_ns in kept)
        assert abs(one.cache_for(t_ns).end_ns - t_ns) == nearest_ns
    one.forget()
    assert one.cache_for(5 * MS) is None


def test_a_window_of_a_newer_epoch_forgets_all_before_it(model):
    one, slicer = predictor(model), slicer_of(model)
    (first, *_) = slicer.push(random_events(3000, 10**9, 10**9 + 30 * MS))
    one.encode(first)
    job, resets = one.job(first), one.resets
    one.state = StreamState(torch.ones(1))
    (second, *_) = slicer.push(random_events(3000, 0, 30 * MS, seed=1))[-2:]
    assert (first.epoch, second.epoch) == (0, 1)
    one.begin(0)
    assert not job.void and one.cache is not None
    one.begin(1)
    assert job.void and one.cache is None and one.state.memory is None
    one.encode(second)
    one.begin(1)
    assert one.cache.end_ns == second.end_ns and one.resets == resets + 1, "each epoch forgets once"


@pytest.mark.parametrize("how", ["falls", "reset"])
def test_a_slicers_new_stream_is_forgotten_by_its_first_window(model, how):
    one, slicer = predictor(model), slicer_of(model)
    one.encode(slicer.push(random_events(3000, 10**9, 10**9 + 30 * MS))[0])
    state = one.state = StreamState(torch.ones(1))
    if how == "reset":
        slicer.reset()
    last = slicer.push(random_events(3000, 0, 30 * MS, seed=1))[-1]
    assert one.state_for(one.job(last)) is not state and last.epoch == 1


def test_images_of_a_newer_epoch_forget_too():
    one = predictor(small_model(image=True))
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    one.encode(ImageWindow(image, 10))
    resets = one.resets
    one.encode(ImageWindow(image, 20))
    assert one.resets == resets
    one.encode(ImageWindow(image, 5, epoch=1))
    assert one.resets == resets + 1 and one.cache.end_ns == 6


@pytest.mark.parametrize("max_cache_age_ms", [200.0, 5000.0])
def test_an_exact_window_starts_from_a_memory_or_is_gone(model, max_cache_age_ms):
    one, slicer = predictor(model, mode="exact", max_cache_age_ms=max_cache_age_ms), slicer_of(model)
    slicer.history_ns = one.history_ns
    for first in range(0, 1000, 20):
        for window in slicer.push(random_events(500, first * MS, (first + 20) * MS, seed=first)):
            one.encode(window)
    oldest_ns = one._memories[0][0]
    gone = [slicer.cut(end_ns) is None for end_ns in range(40 * MS, one.cache.end_ns, 5 * MS)]
    assert gone == sorted(gone, reverse=True)
    earliest_ns = 40 * MS + 5 * MS * gone.index(False)
    assert earliest_ns > oldest_ns
    back_ms = (one.cache.end_ns - earliest_ns) / MS
    assert back_ms == pytest.approx(min(max_cache_age_ms, EXACT_WINDOWS_BACK * 8.333), abs=20)


def test_a_window_encoded_during_a_reset_does_not_come_back(model):
    one = predictor(model)
    window = windows_of(model, 3000, 0, 30 * MS)[0]
    encode = model.encode
    model.encode = lambda *a: (one.forget(), encode(*a))[1]
    try:
        one.encode(window)
    finally:
        model.encode = encode
    assert one.cache is None


def test_sensor_size_is_checked(model):
    with pytest.raises(ValueError, match="0x48"):
        Predictor(model, 48, 0)
    events = EventArray(*(np.zeros(1, t) for t in ("u2", "u2", "u1", "i8")), 65, 48)
    with pytest.raises(ValueError, match="65x48"):
        slicer_of(model).push(events)
    with pytest.raises(ValueError, match="window of 65x48 px: this stream is 64x48"):
        predictor(model).encode(EventWindow(*columns_of(events), 65, 48, 0, 1))


def test_refused_answers_hold_no_depth():
    answer = Answer.refused(3, Status.OVERLOADED)
    assert np.isnan(answer.depth_m).all() and np.isnan(answer.depth_stddev_m).all()
    assert answer.status.tolist() == [Status.OVERLOADED] * 3
