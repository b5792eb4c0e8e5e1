"""Packed windows unpack to what gathering them gives, whole and in part."""

import pytest
import torch
from reference.windows import hand_window, random_window

from eventspd_ros.model.event_tensors import PackedEvents, gather_events

CPU = torch.device("cpu")


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


def test_packed_windows_are_the_windows():
    windows = [random_window(45, 31, count, seed=count, end_ns=20_000_000 + count) for count in (500, 0, 1, 90)]
    packed = PackedEvents.of(windows)
    assert packed.words.dtype == torch.int32 and packed.counts.tolist() == [500, 0, 1, 90]
    assert_same(packed.tensors(CPU), gather_events(windows, 20))
    assert_same(packed.part(1, 3).tensors(CPU), gather_events(windows[1:3], 20))
    assert_same(packed.part(0, 2).part(1, 2).tensors(CPU), gather_events(windows[1:2], 20))


def test_windows_that_cannot_be_packed_are_named():
    with pytest.raises(ValueError, match="holds events of 0…20000000"):
        PackedEvents.of([hand_window([(0, 0, 0), (0, 0, 20_000_000)], 8, 8)])
    with pytest.raises(ValueError, match=r"\(8, 3\), outside its 8x8"):
        PackedEvents.of([random_window(8, 8, 3), hand_window([(8, 3, 0)], 8, 8)])
