"""Requests of one stream: each gets exactly one answer, in order of arrival, whatever happens meanwhile."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from eventspd_ros.motion.depth_from_motion import Basis
from eventspd_ros.predictor import Answer, Status

# What may wait at the very most, 20 bytes a point: beyond it nothing waits any longer.
MAX_HELD_POINTS = 4_000_000
MAX_HELD_REQUESTS = 10_000
NO_WINDOW = (0, 0)


@dataclass(slots=True, eq=False)
class Request:
    """points: float32 (K, 2) px, or None for one of `count` points that cannot be answered. stamp_ns: when they were
    observed. ids: (K,), of the front-end's tracks.

    received_s: time.monotonic() of arrival. refusal: the status of all its points where it is not worth computing, and
    reason, one line, why.
    """

    message: object
    points: np.ndarray | None
    count: int
    stamp_ns: int
    received_s: float = field(default_factory=time.monotonic)
    refusal: Status | None = None
    reason: str = "keypoints: id, u and v are not of one length"
    ids: np.ndarray | None = None


class RequestDesk:
    """put() by the executor, take() and answer() by one thread. publish(message, answer, window_ns) is called under
    a lock of its own, so that answers leave in order and a slow one does not keep requests from coming in.

    received, answered, overloaded: requests so far. points_by_status, points_by_basis: points answered, a point for
    each bit of its basis. publish_errors: answers that could not be published.
    """

    def __init__(self, publish: Callable[[object, Answer, tuple[int, int]], None], max_waiting: int):
        self._publish, self._max_waiting = publish, max_waiting
        self._waiting: deque[Request] = deque()
        self._in_hand: Request | None = None
        self._held_points = 0
        self._changed = threading.Condition()
        self._leaving = threading.Lock()  # taken before the condition, never after
        self._closed = False
        self.received = self.answered = self.overloaded = self.publish_errors = 0
        self.points_by_status = dict.fromkeys(Status, 0)
        self.points_by_basis = {basis: 0 for basis in Basis if basis}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, request: Request) -> None:
        """Take a request in. Where too much waits it is marked to be answered OVERLOADED at its turn."""
        with self._changed:
            self.received += 1
            if request.points is None:
                request.refusal = request.refusal or Status.MALFORMED
            elif len(self._waiting) >= self._max_waiting:
                request.refusal = Status.OVERLOADED
            self._waiting.append(request)
            self._held_points += request.count
            too_much = self._held_points > MAX_HELD_POINTS or len(self._waiting) > MAX_HELD_REQUESTS
            closed = self._closed
            self._changed.notify()
        if closed:  # the thread may be gone: no request goes unanswered
            self.refuse_all(Status.NO_CACHE)
        elif too_much:
            self.refuse_all(Status.OVERLOADED)

    def take(self) -> Request | None:
        """The oldest request; waits for one. None once the desk is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._in_hand = self._waiting.popleft() if self._waiting else None
            return self._in_hand

    def answer(self, request: Request, answer: Answer, window_ns: tuple[int, int]) -> None:
        """Publish the answer, unless the request was refused while it was worked on."""
        with self._leaving:
            with self._changed:
                if request is not self._in_hand:
                    return
                self._in_hand = None
            self._leave(request, answer, window_ns)

    def close(self) -> None:
        """Let the thread answer what waits and then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def refuse_all(self, status: Status) -> None:
        """Answer all that waits, and what is being worked on, now and without depths."""
        with self._leaving:
            with self._changed:
                refused = [*([self._in_hand] if self._in_hand else []), *self._waiting]
                self._in_hand = None
                self._waiting.clear()
            for request in refused:
                self._leave(request, Answer.refused(request.count, request.refusal or status), NO_WINDOW)

    def _leave(self, request: Request, answer: Answer, window_ns: tuple[int, int]) -> None:
        with self._changed:
            self._held_points -= request.count
        for status, count in zip(*np.unique(answer.status, return_counts=True), strict=True):
            self.points_by_status[Status(status)] += int(count)
        for basis in self.points_by_basis:
            self.points_by_basis[basis] += int(np.count_nonzero(answer.basis & basis))
        self.overloaded += bool(request.count) and answer.status[0] == Status.OVERLOADED
        try:
            self._publish(request.message, answer, window_ns)
            self.answered += 1
        except Exception:  # of a publisher whose context is gone: the others must still be told
            self.publish_errors += 1
