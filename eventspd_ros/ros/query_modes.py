"""Waiting for what a request wants: for its cache `covering` and `exact` may have to, for its pose all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from eventspd_ros.events.types import EventWindow
from eventspd_ros.inputs.intake import Intake
from eventspd_ros.model.feature_cache import FeatureCache
from eventspd_ros.predictor import Predictor, QueryMode


class CacheWait:
    """Between the answer thread, which waits, the intake, which cuts exact windows, and the encoder and the poses,
    which notify.

    expired: requests whose window did not come in time, or could not be cut; the newest cache answers them then.
    expired_poses: requests whose pose did not come in time.
    """

    def __init__(self):
        self.expired = self.expired_poses = 0
        self._changed = threading.Condition()
        self._wanted_ns: int | None = None  # end of the exact window still to be cut
        self._gone = self._stopped = False

    def wait(self, predictor: Predictor, t_ns: int, deadline_s: float, nudge: Callable) -> FeatureCache | None:
        """The cache for points observed at t_ns (sensor clock), by time.monotonic() = deadline_s; else the newest one.

        nudge(): make the intake call serve() soon.
        """
        if predictor.mode == QueryMode.LATEST:
            return predictor.cache_for(t_ns)
        resets = predictor.resets
        with self._changed:
            self._gone = False
            cache = predictor.cache_for(t_ns)
            if cache is None and predictor.mode == QueryMode.EXACT:
                self._wanted_ns = t_ns
                nudge()
            while cache is None and not (self._gone or self._stopped) and predictor.resets == resets:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
                cache = predictor.cache_for(t_ns)
            self._wanted_ns = None
            self.expired += cache is None
            return cache or predictor.cache

    def wait_for_pose(self, predictor: Predictor, is_due: Callable[[], bool], deadline_s: float) -> None:
        """Until is_due() no longer says that a pose may be on its way; until time.monotonic() = deadline_s at most."""
        resets = predictor.resets
        with self._changed:
            while is_due() and not self._stopped and predictor.resets == resets:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    self.expired_poses += 1
                    return
                self._changed.wait(left_s)

    def serve(self, intake: Intake) -> EventWindow | None:
        """Called in the intake's thread: the exact window asked for, once, as soon as all its events have come."""
        with self._changed:
            if self._wanted_ns is None or not intake.has_reached(self._wanted_ns):
                return None
            window = intake.cut(self._wanted_ns)
            self._wanted_ns = None
            if window is None:
                self._gone = True
                self._changed.notify_all()
            return window

    def notify(self) -> None:
        """A cache or a pose is there, or the stream was reset."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody waits any longer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
