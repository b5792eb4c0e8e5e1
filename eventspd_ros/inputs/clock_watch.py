"""Whether keypoints are stamped by the clock that stamps the camera's messages."""

from __future__ import annotations

from eventspd_ros.inputs.intake import Reports
from eventspd_ros.nanoseconds import NS_PER_S

# Clocks differ if stamps lie further apart than the messages' arrivals, by this much and for so many requests in a row.
# A single one may come ahead of its packets, e.g. when a bag jumps to another place.
APART_S = 2.0
REQUESTS_APART = 5


class ClockWatch:
    """Reports once that keypoints and the camera's messages are stamped by different clocks, which makes every answer
    STALE_CACHE. Times of arrival (s) may be of any steady clock."""

    def __init__(self, what: str, reporter: Reports):
        """what: the camera's messages, as the report calls them (a plural)."""
        self._what, self._reporter = what, reporter
        self._heard: tuple[int, float] | None = None
        self._requests_apart = 0  # in a row

    def heard(self, stamp_ns: int, at_s: float) -> None:
        """Note a message of the camera: its stamp, and when it came."""
        self._heard = (stamp_ns, at_s)

    def answered(self, stamp_ns: int, at_s: float, is_stale: bool) -> None:
        """Note a request that was answered from a window: its stamp, when it came, and whether that was STALE_CACHE."""
        if self._heard is None or not is_stale:
            self._requests_apart = 0
            return
        heard_ns, heard_s = self._heard
        is_apart = abs((stamp_ns - heard_ns) / NS_PER_S - (at_s - heard_s)) > APART_S
        self._requests_apart = self._requests_apart + 1 if is_apart else 0
        if self._requests_apart == REQUESTS_APART:
            self._reporter.once(
                "clocks",
                f"{self._what} and keypoints are of different clocks: {self._what} are stamped "
                f"{heard_ns / NS_PER_S:.3f} s, keypoints {stamp_ns / NS_PER_S:.3f} s, so that answers are STALE_CACHE; "
                "have both stamped in ROS time",
            )
