"""Where a scene is asked: the windows that lead through it, and pixels with known depth at some of its labels.

Depends on the scene and the settings alone, so that every model and baseline answers the same questions.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from eventspd_ros.datasets.queries import depth_edges
from eventspd_ros.datasets.sample import cut_windows, known_depth
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.events.support import support_ns
from eventspd_ros.events.types import EventWindow
from eventspd_ros.nanoseconds import NS_PER_MS
from eventspd_ros.simulation.keypoints import event_corners

UNIFORM, KEYPOINT = 0, 1
NEAR_EDGE_PX = 3
ALL = 10**9  # more pixels than any image has
KINDS = {"uniform": UNIFORM, "keypoints": KEYPOINT}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How scenes are asked.

    uniform: pixels drawn at a label, without replacement, among those with known depth; a number larger than the
    image asks all of them. keypoints: at most so many corners of the window's events. every: every how many labels.
    warm_up: windows that only fill the memory before the first question. centred: windows end half their length after
    their label, as F³ does; they then hold events of the future. support_filter_ms: of the events that models are
    given, as the node's parameter; the questions are those of all events.
    """

    uniform: int = 512
    keypoints: int = 150
    every: int = 4
    warm_up: int = 8
    seed: int = 0
    centred: bool = False
    support_filter_ms: float = 0.0

    def __post_init__(self) -> None:
        support_ns(self.support_filter_ms)
        for name in ("uniform", "keypoints", "warm_up", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: must not be negative")
        if self.every < 1:
            raise ValueError(f"every {self.every}: must be at least 1")


@dataclass(frozen=True)
class Questions:
    """All K questions of a scene, in order of time.

    uv_px: float32 (K, 2). true_m: float32 (K,). kind: uint8 (K,), UNIFORM or KEYPOINT. on_event: bool (K,), whether the
    window has an event at that pixel. at_edge: bool (K,), near_edges(). window: int64 (K,), the number of the window
    that answers.
    """

    uv_px: np.ndarray
    true_m: np.ndarray
    kind: np.ndarray
    on_event: np.ndarray
    at_edge: np.ndarray
    window: np.ndarray


class WindowedScene:
    """One sequence as a stream: windows end stride_ms apart, and one of them at (or, centred, around) every label.

    Between labels that lie further apart than the stride, windows are counted back from the later label.
    """

    def __init__(self, sequence: Sequence, window_ms: float, stride_ms: float, settings: Settings):
        self.sequence, self.settings = sequence, settings
        self.window_ns = round(window_ms * NS_PER_MS)
        self.ends_ns, self.labels = _windows(sequence, self.window_ns, stride_ms * NS_PER_MS, settings)

    def __len__(self) -> int:
        return len(self.ends_ns)

    @property
    def name(self) -> str:
        return self.sequence.name

    @property
    def domain(self) -> str:
        """What kind of scene it is: the simulator's domain, or the dataset's name."""
        return getattr(self.sequence, "domain", self.sequence.dataset)

    @property
    def size(self) -> tuple[int, int]:
        return self.sequence.intrinsics.height, self.sequence.intrinsics.width

    def window(self, number: int) -> EventWindow:
        end_ns = int(self.ends_ns[number])
        bounds = np.array([[end_ns - self.window_ns, end_ns]])
        return cut_windows(self.sequence.events.read(*bounds[0].tolist()), bounds)[0]

    def asked(self) -> np.ndarray:
        """Numbers of the windows that answer questions."""
        with_label = np.flatnonzero(self.labels >= 0)
        return with_label[with_label >= self.settings.warm_up][:: self.settings.every]

    def questions(self, numbers: list[int] | None = None) -> Questions:
        """Reads the labels and windows that are asked, or those given. Of a scene too short for the warm-up: none."""
        numbers = self.asked().tolist() if numbers is None else numbers
        nothing = (
            np.empty((0, 2), np.float32),
            np.empty(0, np.float32),
            *(np.empty(0, t) for t in ("u1", "?", "?", "i8")),
        )
        parts = [self._ask(number) for number in numbers] or [nothing]
        return Questions(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _ask(self, number: int) -> tuple[np.ndarray, ...]:
        settings, window, label = self.settings, self.window(number), int(self.labels[number])
        height, width = self.size
        depth_m = known_depth(self.sequence.read_depth(int(self.sequence.depth_labels[label])))
        seed = (settings.seed, zlib.crc32(self.name.encode()), label)
        uniform = draw_labelled_pixels(depth_m, settings.uniform, seed)
        corners = np.rint(event_corners(window, height, width, settings.keypoints)).astype(np.int64)
        corners = corners[np.isfinite(depth_m[corners[:, 1], corners[:, 0]])]
        uv = np.concatenate((uniform, corners))
        u, v = uv.T
        return (
            uv.astype(np.float32),
            depth_m[v, u],
            np.repeat(np.array([UNIFORM, KEYPOINT], np.uint8), (len(uniform), len(corners))),
            event_pixels(window)[v, u],
            near_edges(depth_m)[v, u],
            np.full(len(uv), number),
        )


def draw_labelled_pixels(depth_m: np.ndarray, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """At most count pixels with known depth, without replacement, int64 (K, 2). depth_m: (H, W), NaN where unknown."""
    known = np.flatnonzero(np.isfinite(depth_m))
    drawn = np.random.default_rng(seed).choice(known, min(count, len(known)), replace=False)
    return np.stack((drawn % depth_m.shape[1], drawn // depth_m.shape[1]), axis=1)


def near_edges(depth_m: np.ndarray) -> np.ndarray:
    """Known pixels (H, W) within 3 px of which depths differ by more than a factor of 1.28, bool."""
    return depth_edges(depth_m, 2 * NEAR_EDGE_PX + 1)


def event_pixels(window: EventWindow) -> np.ndarray:
    """Where the window has an event, bool (H, W)."""
    seen = np.zeros((window.height, window.width), bool)
    seen[window.y, window.x] = True
    return seen


def _windows(sequence: Sequence, window_ns: int, stride_ns: float, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Ends of all windows (n,), ns, and the label each answers for, −1 for none."""
    ahead_ns = window_ns // 2 if settings.centred else 0
    first_ns, last_ns = sequence.recorded_ns
    label_ends = sequence.times_ns + ahead_ns
    inside = (label_ends - window_ns >= first_ns) & (label_ends <= last_ns) & (sequence.depth_labels >= 0)
    ends, labels, before_ns = [], [], first_ns + window_ns - stride_ns
    for label in np.flatnonzero(inside).tolist():
        end_ns = int(label_ends[label])
        # Half a stride of tolerance: labels of 8,333 µs go with a stride of 8.333 ms, and labels closer still get
        # one window each.
        count = max(1, int((end_ns - before_ns) / stride_ns + 0.5))
        ends += [end_ns - round(back * stride_ns) for back in range(count - 1, -1, -1)]
        labels += [-1] * (count - 1) + [label]
        before_ns = end_ns
    ends_ns = np.array(ends, np.int64)
    covered = ends_ns - window_ns >= first_ns
    return ends_ns[covered], np.array(labels, np.int64)[covered]
