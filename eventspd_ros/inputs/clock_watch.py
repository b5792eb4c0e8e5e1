"""Whether keypoints are stamped by the clock that stamps the camera's messages."""

from __future__ import annotations

from eventspd_ros.inputs.intake import Reports

# Stamps that lie that much further apart than arrivals; one request may overtake the packets of a bag's other place.
APART_S = 2.0
REQUESTS_APART = 5


class ClockWatch:
    """Says once that all answers are and will be STALE_CACHE, and why. Times of arrival (s) are of any steady clock."""

    def __init__(self, what: str, reporter: Reports):
        """what: the camera's messages, in the plural."""
        self._what, self._reporter = what, reporter
        self._heard: tuple[int, float] | None = None
        self._requests_apart = 0  # in a row

    def heard(self, stamp_ns: int, at_s: float) -> None:
        """A message of the camera came."""
        self._heard = (stamp_ns, at_s)

    def answered(self, stamp_ns: int, at_s: float, is_stale: bool) -> None:
        """A request that came at_s was answered from a window."""
        if self._heard is None or not is_stale:
            self._requests_apart = 0
            return
        heard_ns, heard_s = self._heard
        is_apart = abs((stamp_ns - heard_ns) / 1e9 - (at_s - heard_s)) > APART_S
        self._requests_apart = self._requests_apart + 1 if is_apart else 0
        if self._requests_apart == REQUESTS_APART:
            self._reporter.once(
                "clocks",
                f"{self._what} and keypoints are of different clocks: {self._what} are stamped {heard_ns / 1e9:.3f} s, "
                f"keypoints {stamp_ns / 1e9:.3f} s, so that answers are STALE_CACHE; have both stamped in ROS time",
            )
