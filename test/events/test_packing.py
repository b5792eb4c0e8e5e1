"""Packed events hold what the window held, and padding that counts nothing."""

from dataclasses import replace

import numpy as np
import pytest
from reference.windows import hand_window, random_window

from eventspd_ros.events.packing import PADDING, pack_events


def test_every_event_can_be_read_back():
    window = random_window(1280, 720, 5000)
    packed = np.empty(6000, np.int32)
    assert pack_events(window, packed)
    pixel = window.y.astype(np.int64) * 1280 + window.x
    np.testing.assert_array_equal(packed[:5000] >> 5, pixel)
    np.testing.assert_array_equal(packed[:5000] & 31, (window.end_ns - 1 - window.t_ns) // 1_000_000)
    assert (packed[5000:] == PADDING).all()


@pytest.mark.parametrize("event", [(8, 0, 5), (0, 6, 5), (0, 0, -1), (0, 0, 20_000_000)])
def test_an_event_outside_is_told(event):
    packed = np.empty(3, np.int32)
    assert pack_events(hand_window([(7, 5, 0), (0, 0, 19_999_999)], 8, 6), packed)
    assert not pack_events(hand_window([(7, 5, 0), event], 8, 6), packed)


def test_what_cannot_be_packed_is_named():
    window = hand_window([(0, 0, 5)], 8, 6)
    with pytest.raises(ValueError, match="window of 40 ms"):
        pack_events(replace(window, end_ns=40_000_000), np.empty(1, np.int32))
    with pytest.raises(ValueError, match="sensor of 9000x9000"):
        pack_events(replace(window, width=9000, height=9000), np.empty(1, np.int32))
