"""A scene's windows as a model sees them: after what happens to its events, filtered, and at its pixel pitch."""

from __future__ import annotations

import numpy as np

from eventspd_ros.datasets.sample import cut_windows
from eventspd_ros.evaluation.asking.disturbances import Disturbance
from eventspd_ros.evaluation.asking.questions import WindowedScene
from eventspd_ros.events.pitch import CellSums, pixel_pitch
from eventspd_ros.events.support import support_filter
from eventspd_ros.events.types import EventArray, EventWindow
from eventspd_ros.nanoseconds import NS_PER_MS

SPAN_NS = 100 * NS_PER_MS  # read at once at most


class View:
    """Windows of a scene for the model of that ModelConfig, asked for in order of time.

    Where the model sees cells of pixels, their sums run through the scene from its first window on, as in a stream;
    and so does the support filter where the scene's settings ask for it. disturbance: what happens to the sensor's
    events; may change between two windows.
    """

    def __init__(self, scene: WindowedScene, config, disturbance: Disturbance | None = None):
        self.scene, self.disturbance = scene, disturbance
        self.pitch = pixel_pitch(config, *scene.size)
        support = support_filter(*scene.size, scene.settings.support_filter_ms)
        cells = None if self.pitch is None else CellSums(self.pitch)
        self._sieves = [sieve for sieve in (support, cells) if sieve is not None]
        self._until_ns = int(scene.ends_ns[0]) - scene.window_ns if len(scene) else 0
        self._held: list[EventArray] = []

    def window(self, number: int) -> EventWindow:
        """The scene's window of that number."""
        return self.window_ending(int(self.scene.ends_ns[number]))

    def window_ending(self, end_ns: int) -> EventWindow:
        start_ns = end_ns - self.scene.window_ns
        if not self._sieves:
            return self._disturbed(start_ns, end_ns)
        while self._until_ns < end_ns:
            until_ns = min(end_ns, self._until_ns + SPAN_NS)
            span = self._disturbed(self._until_ns, until_ns)
            for sieve in self._sieves:
                span = sieve.of(span)
            self._held.append(span)
            self._until_ns = until_ns
        self._held = [span for span in self._held if len(span) and span.t_ns[-1] >= start_ns]
        columns = [
            np.concatenate([getattr(span, name) for span in self._held] or [np.empty(0, kind)])
            for name, kind in (("x", np.uint16), ("y", np.uint16), ("p", np.uint8), ("t_ns", np.int64))
        ]
        part = slice(*np.searchsorted(columns[3], (start_ns, end_ns)))
        height, width = self.scene.size if self.pitch is None else (self.pitch.height, self.pitch.width)
        return EventWindow(*(column[part] for column in columns), width, height, start_ns, end_ns, pitch=self.pitch)

    def _disturbed(self, start_ns: int, end_ns: int) -> EventWindow:
        events = self.scene.sequence.events.read(start_ns, end_ns)
        window = cut_windows(events, np.array([[start_ns, end_ns]]))[0]
        return window if self.disturbance is None else self.disturbance(window, self.scene.sequence.recorded_ns[0])
