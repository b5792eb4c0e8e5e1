"""One stream's poses off the executor: messages of a topic, or look-ups of tf, to the camera's trajectory.

put(raw) → [messages] → pose thread: deserialize, to the camera's pose → Trajectory → who waits for it is told
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from eventspd_ros.inputs.odometry import PoseIntake, is_pose_due
from eventspd_ros.nanoseconds import NS_PER_MS
from eventspd_ros.ros.messages import read_message
from eventspd_ros.ros.queues import WorkQueue
from eventspd_ros.ros.workers import Reporter, Worker

MAX_WAITING = 1000


class Messages(Protocol):
    """Where poses come from. name: for people."""

    name: str

    @property
    def dropped(self) -> int:
        """How many messages waited too long."""

    def get(self) -> Any | None:
        """The next message; waits for it. None once closed. ValueError, one line: what came is none."""

    def ros_clock_fell(self) -> None:
        """What came before is of another time."""

    def close(self) -> None:
        """Let go of the thread that waits."""


class TopicMessages:
    """Serialized messages of a topic."""

    def __init__(self, name: str, message_type: type):
        self.name, self.message_type = name, message_type
        self._waiting = WorkQueue(MAX_WAITING)

    @property
    def dropped(self) -> int:
        return self._waiting.dropped

    def put(self, raw: bytes) -> None:
        self._waiting.put(raw)

    def get(self) -> Any | None:
        raw = self._waiting.get()
        return None if raw is None else read_message(raw, self.message_type)

    def ros_clock_fell(self) -> None:
        """Messages have stamps: the trajectory sees it by itself."""

    def close(self) -> None:
        self._waiting.close()


class Poses:
    """Fills the intake's trajectory from start() to close(), in a thread of its own.

    on_pose: called whenever the trajectory has grown.
    """

    def __init__(self, messages: Messages, intake: PoseIntake, reporter: Reporter, on_fault: Callable[[str], None]):
        self.messages, self.intake, self._reporter = messages, intake, reporter
        self.trajectory = intake.trajectory
        self.on_pose: Callable[[], None] = lambda: None
        self._heard_s: float | None = None
        self._silent = False
        self._worker = Worker("poses", self._step, reporter, on_fault)

    @property
    def age_s(self) -> float | None:
        """Since the newest one came; None before the first."""
        return None if self._heard_s is None else time.monotonic() - self._heard_s

    def are_coming(self, max_silence_ms: float) -> bool:
        """Whether one came within that time."""
        age_s = self.age_s
        return age_s is not None and age_s <= 1e-3 * max_silence_ms

    def start(self) -> None:
        self._worker.start()

    def close(self) -> bool:
        """Whether the thread ended."""
        self.messages.close()
        return self._worker.join()

    def ros_clock_fell(self, now_ns: int) -> None:
        self.messages.ros_clock_fell()
        self.intake.ros_clock_fell(now_ns)

    def is_due(self, stamp_ns: int, max_silence_ns: int) -> bool:
        """Whether a request of that stamp should wait for a pose. Says once that poses went silent, each time."""
        newest_ns = self.trajectory.newest_ns
        silent = newest_ns is None or stamp_ns > newest_ns + max_silence_ns
        if silent and not self._silent:
            last = "none came yet"
            if newest_ns is not None:
                last = f"the last is {(stamp_ns - newest_ns) / NS_PER_MS:.0f} ms older"
            text = (
                f"no pose of {self.messages.name} for the keypoints: {last}; until they come, depth is the learned one"
            )
            self._reporter.warning("poses", text)
        self._silent = silent
        return is_pose_due(self.trajectory, stamp_ns, max_silence_ns)

    def _step(self) -> bool:
        try:
            message = self.messages.get()
        except ValueError as error:
            self.intake.reject(str(error))
            return True
        if message is None:
            return False
        accepted = self.intake.accepted
        self.intake.take(message)
        if self.intake.accepted > accepted:
            self._heard_s = time.monotonic()
            self.on_pose()
        return True
