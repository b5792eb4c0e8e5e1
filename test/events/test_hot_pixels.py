import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventspd_ros.events.buffer import EventBuffer
from eventspd_ros.events.hot_pixels import HotPixelFilter, hot_pixels, read_hot_pixels
from eventspd_ros.events.types import EventArray

H, W = 24, 32
MS = 1_000_000


def events(x, y, t_ns):
    x, y = np.asarray(x, np.uint16), np.asarray(y, np.uint16)
    return EventArray(x, y, np.arange(len(x)).astype(np.uint8) % 2, np.asarray(t_ns, np.int64), W, H)


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(0, 100))
@settings(deadline=None)
def test_exactly_the_masked_events_go_and_the_rest_keeps_its_order(seed, count, kept):
    rng = np.random.default_rng(seed)
    mask = rng.random((H, W)) < 0.4
    all_events = events(rng.integers(0, W, count), rng.integers(0, H, count), np.sort(rng.integers(0, 10**9, count)))
    first = min(kept, count)  # events before it are not looked at
    buffer = EventBuffer(W, H, 512)
    buffer.append(all_events)
    one = HotPixelFilter(mask)
    one.apply(buffer, first)
    stays = np.arange(count) < first
    stays |= ~mask[all_events.y, all_events.x]
    found = buffer.view(buffer.begin, buffer.end)
    for name in ("x", "y", "p", "t_ns"):
        np.testing.assert_array_equal(getattr(found, name), getattr(all_events, name)[stays])
    assert one.events_removed == count - stays.sum()


def test_pixels_are_learned_from_the_first_seconds():
    rng = np.random.default_rng(0)
    one, buffer = HotPixelFilter(np.zeros((H, W), bool), learn_s=0.5), EventBuffer(W, H, 1 << 16)
    for k in range(100):  # 1 s; pixel (3, 7) fires at 10 kHz, the scene at 10 events a pixel and second
        t_ns = np.sort(rng.integers(k * 10 * MS, (k + 1) * 10 * MS, 177))
        x, y = rng.integers(0, W, 177), rng.integers(0, H, 177)
        x[:100], y[:100] = 3, 7
        first = buffer.end
        buffer.append(events(x, y, t_ns))
        one.apply(buffer, first)
        assert one.learning == (k < 50)
    assert np.argwhere(one.mask).tolist() == [[7, 3]] and one.pixels == 1
    assert one.events_removed >= 45 * 100


def test_an_even_scene_has_no_hot_pixels_however_busy():
    counts = np.random.default_rng(0).poisson(1000, (H, W))
    assert not hot_pixels(counts, 1.0).any()
    assert not hot_pixels(np.zeros((H, W), np.int64), 1.0).any()


@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_a_pixel_is_hot_by_its_rate_however_long_it_was_watched(seconds):
    counts = np.ones((H, W), np.int64)
    counts[7, 3], counts[8, 4] = 52 * seconds, 48 * seconds
    assert np.argwhere(hot_pixels(counts, seconds)).tolist() == [[7, 3]]


def test_a_file_of_pixels(tmp_path):
    path = tmp_path / "hot.txt"
    path.write_text("# found on Monday\n3 7\n\n31, 23  # corner\n")
    assert np.argwhere(read_hot_pixels(path, H, W)).tolist() == [[7, 3], [23, 31]]


@pytest.mark.parametrize("line", ["32 0", "0 24", "-1 0", "1", "1 2 3", "a b", "1.5 2"])
def test_a_line_that_is_no_pixel_is_named(tmp_path, line):
    path = tmp_path / "hot.txt"
    path.write_text(f"1 1\n{line}\n")
    with pytest.raises(ValueError, match="line 2") as error:
        read_hot_pixels(path, H, W)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no\.txt"):
        read_hot_pixels("no.txt", H, W)
