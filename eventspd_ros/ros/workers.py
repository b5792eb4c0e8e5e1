"""Threads that do not die unseen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from eventspd_ros.text import one_line

# How often a cause that repeats is logged.
LOG_PERIOD_S = 10.0
MAX_LINE = 400
JOIN_S = 10.0


class Reporter:
    """Logs each cause at most every ten seconds, on one line, whatever a peer put into it."""

    def __init__(self, logger, prefix: str = ""):
        self._logger, self._prefix = logger, prefix
        self._logged_s: dict[str, float] = {}

    def error(self, cause: str, text: str) -> None:
        self._say(self._logger.error, cause, text)

    def warning(self, cause: str, text: str) -> None:
        self._say(self._logger.warning, cause, text)

    def once(self, cause: str, text: str) -> None:
        """A warning that is said a single time."""
        if cause not in self._logged_s:
            self.warning(cause, text)

    def _say(self, say: Callable, cause: str, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s.get(cause, float("-inf")) >= LOG_PERIOD_S:
            self._logged_s[cause] = now_s
            say(self._prefix + one_line(text, MAX_LINE))


class Worker:
    """A thread that calls step() until it returns False. An error in a step is reported and the next step comes;
    at anything worse than an Exception the thread ends and on_fault(reason) is called."""

    def __init__(self, name: str, step: Callable[[], bool], reporter: Reporter, on_fault: Callable[[str], None]):
        self._step, self._reporter, self._on_fault = step, reporter, on_fault
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float = JOIN_S) -> bool:
        """Whether the thread has ended, or never began."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        name = self._thread.name
        try:
            while True:
                try:
                    if not self._step():
                        return
                except Exception as error:
                    self._reporter.error(name, f"{name}: {type(error).__name__}: {error}")
        except BaseException as error:  # the thread ends here: the node must know
            self._on_fault(f"thread {name} died: {type(error).__name__}: {error}")


class FaultCounter:
    """Says when failures have come so often in a row that trying again is no use."""

    def __init__(self, what: str, limit: int, on_fault: Callable[[str], None]):
        self.failures = 0
        self._what, self._limit, self._on_fault = what, limit, on_fault
        self._in_a_row = 0

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self, error: Exception) -> None:
        self.failures += 1
        self._in_a_row += 1
        if self._in_a_row == self._limit:
            self._on_fault(f"{self._what} failed {self._limit} times in a row: {type(error).__name__}: {error}")
