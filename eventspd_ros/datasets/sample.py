"""What every dataset gives: a label with the events that led up to it.

Everything is in the raw, distorted sensor frame. Pixel (0, 0) is the CENTRE of the top-left pixel. Sizes are (H, W),
points are (x, y) = (u, v). Unknown depth is NaN, never 0, so that forgetting a mask shows at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from eventspd_ros.events.types import EventArray, EventWindow
from eventspd_ros.nanoseconds import NS_PER_MS

DISTORTION_COEFFICIENTS = {"none": 0, "radtan": 4, "equidistant": 4}


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A camera. fx, fy, cx, cy: pixels of the raw image.

    distortion_model: "none"; "radtan" with (k1, k2, p1, p2); "equidistant" with (k1, k2, k3, k4), both as in OpenCV.
    """

    width: int
    height: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...] = ()
    distortion_model: str = "none"

    def __post_init__(self) -> None:
        numbers = (self.fx_px, self.fy_px, self.cx_px, self.cy_px, *self.distortion)
        if min(self.width, self.height) < 1 or not (
            self.fx_px > 0 and self.fy_px > 0 and all(map(math.isfinite, numbers))
        ):
            raise ValueError(
                f"intrinsics fx={self.fx_px}, fy={self.fy_px}, cx={self.cx_px}, cy={self.cy_px} of "
                f"{self.width}x{self.height} px, distortion {self.distortion}: must be finite, focal lengths positive"
            )
        expected = DISTORTION_COEFFICIENTS.get(self.distortion_model)
        if expected is None or len(self.distortion) != expected:
            raise ValueError(
                f"distortion model {self.distortion_model!r} with {len(self.distortion)} coefficients: known are "
                + ", ".join(f"{name} with {count}" for name, count in DISTORTION_COEFFICIENTS.items())
            )

    @property
    def metric_per_canonical(self) -> float:
        """fx / W: metric depth = canonical depth (what the network answers) times this."""
        return self.fx_px / self.width


@dataclass(frozen=True, slots=True)
class Windowing:
    """n windows of window_ms, ending stride_ms apart, the last one at the label's time: no event of the future."""

    count: int = 1
    window_ms: float = 20.0
    stride_ms: float = 8.333

    def __post_init__(self) -> None:
        if self.count < 1 or not (self.window_ms > 0 and self.stride_ms > 0):
            raise ValueError(f"{self}: count must be at least 1, window_ms and stride_ms positive")

    def bounds_ns(self, t_ns: int) -> np.ndarray:
        """[start, end) of the windows that lead up to t_ns, int64 (n, 2), oldest first."""
        back_ns = [round((self.count - 1 - k) * self.stride_ms * NS_PER_MS) for k in range(self.count)]
        ends = int(t_ns) - np.array(back_ns, np.int64)
        return np.stack((ends - round(self.window_ms * NS_PER_MS), ends), axis=1)


def cut_windows(events: EventArray, bounds_ns: np.ndarray) -> list[EventWindow]:
    """The windows [start, end) of a span of events: views, without copies. bounds_ns: int64 (n, 2)."""
    windows = []
    for start_ns, end_ns in bounds_ns.tolist():
        part = slice(*np.searchsorted(events.t_ns, (start_ns, end_ns)).tolist())
        columns = (column[part] for column in (events.x, events.y, events.p, events.t_ns))
        windows.append(EventWindow(*columns, events.width, events.height, start_ns, end_ns))
    return windows


@dataclass(frozen=True, slots=True)
class Sample:
    """One depth label and the events of the n windows before it.

    events: of all windows together, each once, in order of time. window_bounds_ns: int64 (n, 2), [start, end) of each
    window, oldest first; the last one ends at t_ns. depth_m: float32 (H, W), metres along the optical axis, NaN where
    unknown. pseudo_inverse_depth: float32 (H, W), a dense label that is only relative: larger is nearer, true up to an
    unknown scale and shift, NaN where unknown; None without one. t_ns: the label's time on the sensor clock.
    index: the label's number in its sequence. image: uint8 (H, W, 3), RGB, what a camera sees through the same pixels
    at that time; None without one, or where images were not asked for. scale_told: whether what is seen tells how large
    it is, as it does everywhere but in scenes that were simulated so.
    """

    events: EventArray
    window_bounds_ns: np.ndarray
    depth_m: np.ndarray
    intrinsics: Intrinsics
    dataset: str
    sequence: str
    index: int
    t_ns: int
    pseudo_inverse_depth: np.ndarray | None = None
    image: np.ndarray | None = None
    scale_told: bool = True

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.sequence}/{self.index:06d}"

    @property
    def windows(self) -> list[EventWindow]:
        """The n windows, oldest first; those without an event are in it, so that n is always n."""
        return cut_windows(self.events, self.window_bounds_ns)

    @property
    def valid(self) -> np.ndarray:
        """Where metric depth is known, bool (H, W)."""
        return np.isfinite(self.depth_m)

    @property
    def event_counts(self) -> np.ndarray:
        """Events of the last window at each pixel, int64 (H, W)."""
        window = cut_windows(self.events, self.window_bounds_ns[-1:])[0]
        flat = window.y.astype(np.int64) * window.width + window.x
        return np.bincount(flat, minlength=window.height * window.width).reshape(window.height, window.width)

    @property
    def event_mask(self) -> np.ndarray:
        """Event pixels: those where the last window has an event, bool (H, W)."""
        return self.event_counts > 0

    def with_events(self, x, y, p, t_ns) -> Sample:
        """The same label with other events of the same sensor, in order of time."""
        return replace(self, events=EventArray(x, y, p, t_ns, self.events.width, self.events.height))


def known_depth(depth: np.ndarray) -> np.ndarray:
    """Depth as stored (inf, NaN, 0 or less where unknown) to float32 with NaN where unknown."""
    depth = np.array(depth, np.float32)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth
