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

# Limits of what may wait, at 20 bytes a point. Beyond them all waiting requests are answered OVERLOADED at once.
MAX_HELD_POINTS = 4_000_000
MAX_HELD_REQUESTS = 10_000
NO_WINDOW = (0, 0)


@dataclass(slots=True, eq=False)
class Request:
    """A request for depth at K points.

    message: what publish() is given with the answer. points: float32 (K, 2) px; None: the request cannot be read, and
    `count` says how many points are to be refused. stamp_ns: when the points were observed. received_s: when the
    request came, by time.monotonic(). refusal: the status that all its points get without computing anything; reason:
    why, in one line. ids: (K,), the front-end's track ids.
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
    """The executor calls put(); one thread calls take() and answer().

    publish(message, answer, window_ns) runs under a lock of its own: answers leave in order, and a slow publish() does
    not keep new requests out. received, answered, overloaded: counts of requests. points_by_status, points_by_basis:
    counts of answered points; a point counts once for each bit of its basis. publish_errors: answers that could not be
    published.
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
        """Queue a request. If too many wait already, it is marked and will be answered OVERLOADED at its turn."""
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
        if closed:  # the answering thread may have ended, and every request must be answered
            self.refuse_all(Status.NO_CACHE)
        elif too_much:
            self.refuse_all(Status.OVERLOADED)

    def take(self) -> Request | None:
        """Wait for a request and return the oldest. None: the desk is closed and empty."""
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
        """Let the thread answer the waiting requests and then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def refuse_all(self, status: Status) -> None:
        """Answer all waiting requests, and the one being worked on, at once and without depths."""
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
        except Exception:  # e.g. the publisher's context is gone; the other requests must still be answered
            self.publish_errors += 1
