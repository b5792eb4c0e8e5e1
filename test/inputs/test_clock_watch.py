"""Stamps and arrivals: which differences are another clock's, and which a silence's, a latency's or a seek's."""

import pytest

from eventspd_ros.inputs.clock_watch import ClockWatch

S = 1_000_000_000


class Lines(list):
    def once(self, cause, text):
        if cause not in [said for said, _ in self]:
            self.append((cause, text))


def said_of(requests, heard=(100 * S, 7.0)):
    lines = Lines()
    watch = ClockWatch("events", lines)
    watch.answered(0, 0.0, True)  # nothing was heard yet
    watch.heard(*heard)
    for stamp_s, at_s, is_stale in requests:
        watch.answered(round(stamp_s * S), at_s, is_stale)
    return [text for _, text in lines]


@pytest.mark.parametrize("apart_s", [-1e9, -2.1, 2.1, 1e9])
def test_stamps_further_apart_than_arrivals_are_of_two_clocks(apart_s):
    (line,) = said_of([(100 + apart_s + k, 7.0 + k, True) for k in range(20)])
    assert line.startswith("events and keypoints are of different clocks: events are stamped 100.000 s, keypoints ")


@pytest.mark.parametrize(
    "requests",
    [
        [(100 + k, 7.0 + k, True) for k in range(60)],
        [(101.5 + k, 7.0 + k, True) for k in range(60)],
        [(500.0, 7.0, True)] * 4,
        [(500.0, 7.0, k % 5 != 0) for k in range(60)],
    ],
    ids=["a camera that went silent", "latency", "before the packets of a seek", "answers now and then"],
)
def test_what_is_no_other_clock(requests):
    assert said_of(requests) == []
