import numpy as np
import pytest

from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.evaluation.asking.questions import ALL, KEYPOINT, UNIFORM, Settings, WindowedScene
from eventspd_ros.nanoseconds import NS_PER_MS

WINDOW_MS, STRIDE_MS = 20.0, 8.333


@pytest.fixture
def sequence(tiny_set):
    return open_dataset("simulated", tiny_set)[0]


def test_a_window_ends_at_every_label_and_holds_its_events(sequence):
    scene = WindowedScene(sequence, WINDOW_MS, STRIDE_MS, Settings())
    np.testing.assert_array_equal(scene.ends_ns, sequence.times_ns[2:])  # the first two labels lack events before
    np.testing.assert_array_equal(scene.labels, np.arange(2, 12))
    window = scene.window(4)
    assert window.end_ns == sequence.times_ns[6] and window.end_ns - window.start_ns == WINDOW_MS * NS_PER_MS
    whole = sequence.events.read(window.start_ns, window.end_ns)
    np.testing.assert_array_equal(window.t_ns, whole.t_ns)
    assert len(window) and window.t_ns[0] >= window.start_ns and window.t_ns[-1] < window.end_ns


def test_between_rare_labels_the_stream_goes_on(sequence):
    """Labels 25 ms apart: three windows lead to each, 8.333 ms apart, the last one at the label."""
    sequence.times_ns, sequence.depth_labels = sequence.times_ns[2::3], sequence.depth_labels[2::3]
    scene = WindowedScene(sequence, WINDOW_MS, STRIDE_MS, Settings())
    np.testing.assert_array_equal(scene.labels, [0, -1, -1, 1, -1, -1, 2, -1, -1, 3])
    np.testing.assert_array_equal(scene.ends_ns[scene.labels >= 0], sequence.times_ns)
    assert set(np.diff(scene.ends_ns).tolist()) <= {8_333_000, 8_333_333}


def test_a_centred_window_reaches_half_its_length_past_the_label(sequence):
    scene = WindowedScene(sequence, WINDOW_MS, STRIDE_MS, Settings(centred=True))
    np.testing.assert_array_equal(scene.ends_ns, sequence.times_ns[scene.labels] + 10 * NS_PER_MS)
    # 10 ms of events are needed on either side, in 100 ms.
    np.testing.assert_array_equal(scene.labels, np.arange(1, 10))


def test_questions_are_pixels_with_their_own_depth(sequence):
    settings = Settings(uniform=50, keypoints=20, every=3, warm_up=2)
    scene = WindowedScene(sequence, WINDOW_MS, STRIDE_MS, settings)
    asked = scene.questions()
    assert set(asked.window.tolist()) == {2, 5, 8}
    for number in (2, 5, 8):
        here = asked.window == number
        assert (here & (asked.kind == UNIFORM)).sum() == 50 and (here & (asked.kind == KEYPOINT)).sum() > 0
        u, v = asked.uv_px[here].astype(int).T
        np.testing.assert_array_equal(asked.true_m[here], sequence.read_depth(int(scene.labels[number]))[v, u])
        window = scene.window(number)
        hit = np.isin(v * 64 + u, window.y.astype(int) * 64 + window.x)
        np.testing.assert_array_equal(asked.on_event[here], hit)
        depth_m = sequence.read_depth(int(scene.labels[number]))
        around = [depth_m[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] for x, y in zip(u, v, strict=True)]
        spans = [np.nanmax(box) / np.nanmin(box) for box in around]
        np.testing.assert_array_equal(asked.at_edge[here], np.array(spans) > np.exp(0.25))
    assert np.isfinite(asked.true_m).all() and 0 < asked.on_event.mean() < 1 and 0 < asked.at_edge.mean() < 1
    uniform = asked.uv_px[(asked.window == 2) & (asked.kind == UNIFORM)]
    assert len(np.unique(uniform, axis=0)) == 50, "without replacement"


def test_questions_follow_from_seed_and_scene_alone(tiny_set):
    settings = Settings(uniform=30)
    one, two = (open_dataset("simulated", tiny_set)[:2] for _ in range(2))
    ask = lambda sequence, s=settings: WindowedScene(sequence, WINDOW_MS, STRIDE_MS, s).questions().uv_px  # noqa: E731
    np.testing.assert_array_equal(ask(one[0]), ask(two[0]))
    assert not np.array_equal(ask(one[0])[:30], ask(one[1])[:30])
    assert not np.array_equal(ask(one[0])[:30], ask(one[0], Settings(uniform=30, seed=1))[:30])


def test_all_pixels_and_none(sequence):
    settings = Settings(uniform=ALL, keypoints=0, every=100, warm_up=0)
    asked = WindowedScene(sequence, WINDOW_MS, STRIDE_MS, settings).questions()
    assert len(asked.true_m) == np.isfinite(sequence.read_depth(2)).sum()
    nothing = WindowedScene(sequence, WINDOW_MS, STRIDE_MS, Settings(warm_up=50)).questions()
    assert nothing.uv_px.shape == (0, 2) and len(nothing.true_m) == len(nothing.window) == 0


@pytest.mark.parametrize("wrong", [{"every": 0}, {"uniform": -1}, {"warm_up": -1}, {"support_filter_ms": -1}])
def test_settings_that_make_no_sense_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))}"):
        Settings(**wrong)
