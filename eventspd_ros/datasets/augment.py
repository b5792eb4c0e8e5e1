"""Augmentation: other samples that could have been recorded, from those that were.

Each function returns a new sample and leaves its argument alone. All act on the span of events before it is cut into
windows, so that windows that overlap keep telling the same story.

What a zoom does to depth: metric depth is a property of the scene and stays. fx changes while W does not, so the
canonical depth that the network answers, metric · W/fx, changes: that is the augmentation's point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eventspd_ros.datasets.sample import Intrinsics, Sample
from eventspd_ros.events.pitch import CellSums
from eventspd_ros.events.types import EventArray, PixelPitch
from eventspd_ros.nanoseconds import NS_PER_S, NS_PER_US


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the image in pixels: columns [left, left + width), rows [top, top + height)."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How samples are varied. A probability is of a sample; ranges are drawn from uniformly.

    largest_zoom: a crop of 1/zoom of the image is scaled to the whole, zoom in 1 … largest_zoom; 1: never.
    least_kept, dropped: with probability `dropped`, only least_kept … 1 of the events are kept.
    noise_hz: background events per pixel and second, 0 … noise_hz. jitter_us: standard deviation of times, likewise.
    """

    flip: float = 0.5
    largest_zoom: float = 1.5
    dropped: float = 0.5
    least_kept: float = 0.25
    noise_hz: float = 0.5
    polarity_flip: float = 0.5
    jitter_us: float = 200.0

    def __post_init__(self) -> None:
        for name in ("flip", "dropped", "polarity_flip", "least_kept"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation: {name}={getattr(self, name)}: must be in 0…1")
        if not (self.largest_zoom >= 1 and self.noise_hz >= 0 and self.jitter_us >= 0):
            raise ValueError(f"{self}: largest_zoom must be at least 1, noise_hz and jitter_us not negative")


def augment(sample: Sample, rng: np.random.Generator, how: Augmentation) -> Sample:
    """One variation of a sample, of the same size, the same for the same state of rng."""
    if rng.random() < how.flip:
        sample = flip_horizontally(sample)
    if how.largest_zoom > 1:
        sample = zoom(sample, random_box(sample.intrinsics, rng.uniform(1, how.largest_zoom), rng), rng)
    if rng.random() < how.dropped:
        sample = drop_events(sample, rng.uniform(how.least_kept, 1), rng)
    if how.noise_hz > 0:
        sample = add_noise(sample, rng.uniform(0, how.noise_hz), rng)
    if rng.random() < how.polarity_flip:
        sample = flip_polarity(sample)
    if how.jitter_us > 0:
        sample = jitter_times(sample, rng.uniform(0, how.jitter_us), rng)
    return sample


def flip_horizontally(sample: Sample) -> Sample:
    """The scene in a mirror: column u becomes W − 1 − u. Twice is the identity."""
    camera = sample.intrinsics
    distortion = camera.distortion
    if camera.distortion_model == "radtan":
        # x' = x·radial + 2·p1·x·y + p2·(r² + 2x²): with x → −x, p1 keeps and p2 changes its sign.
        distortion = (*distortion[:3], -distortion[3])
    mirrored = replace(camera, cx_px=camera.width - 1 - camera.cx_px, distortion=distortion)
    maps = _each_map(sample, lambda pixels: np.ascontiguousarray(pixels[:, ::-1]))
    return replace(sample, events=mirror(sample.events), intrinsics=mirrored, **maps)


def mirror(events: EventArray) -> EventArray:
    """Column u becomes W − 1 − u; a window stays a window."""
    return replace(events, x=(events.width - 1 - events.x).astype(events.x.dtype))


def random_box(camera: Intrinsics, factor: float, rng: np.random.Generator) -> Box:
    """A box of 1/factor of the image's width and height, rounded to pixels, anywhere inside it."""
    width, height = max(round(camera.width / factor), 1), max(round(camera.height / factor), 1)
    left, top = rng.integers(0, camera.width - width + 1), rng.integers(0, camera.height - height + 1)
    return Box(int(left), int(top), width, height)


def zoom(sample: Sample, box: Box, rng: np.random.Generator, height: int = 0, width: int = 0) -> Sample:
    """The part `box` of the sample, scaled to height × width pixels (0: the sample's own size).

    An event lands at a random place of what its pixel became, so that no grid of holes appears. Labels and the image
    take the value of the pixel they fall in, which never blends across an edge. Metric depth stays; focal length
    scales with the box.
    """
    camera, events = sample.intrinsics, sample.events
    if not (0 <= box.left <= box.left + box.width <= camera.width and box.width > 0):
        raise ValueError(f"{box} does not lie inside the {camera.width}x{camera.height} px of {sample.name}")
    if not (0 <= box.top <= box.top + box.height <= camera.height and box.height > 0):
        raise ValueError(f"{box} does not lie inside the {camera.width}x{camera.height} px of {sample.name}")
    height, width = height or camera.height, width or camera.width
    scale_x, scale_y = width / box.width, height / box.height
    x, y = events.x.astype(np.int64) - box.left, events.y.astype(np.int64) - box.top
    inside = (x >= 0) & (x < box.width) & (y >= 0) & (y < box.height)
    count = int(inside.sum())
    new_x = np.minimum((x[inside] + rng.random(count)) * scale_x, width - 1).astype(events.x.dtype)
    new_y = np.minimum((y[inside] + rng.random(count)) * scale_y, height - 1).astype(events.y.dtype)
    columns = box.left + ((np.arange(width) + 0.5) / scale_x).astype(np.int64)
    rows = box.top + ((np.arange(height) + 0.5) / scale_y).astype(np.int64)
    return replace(
        sample,
        events=EventArray(new_x, new_y, events.p[inside], events.t_ns[inside], width, height),
        intrinsics=_zoomed_camera(camera, box, height, width),
        **_each_map(sample, lambda pixels: pixels[np.ix_(rows, columns)]),
    )


def _zoomed_camera(camera: Intrinsics, box: Box, height: int, width: int) -> Intrinsics:
    """Of continuous coordinates, pixel + 0.5: X' = (X − left)·scale."""
    scale_x, scale_y = width / box.width, height / box.height
    return replace(
        camera,
        width=width,
        height=height,
        fx_px=camera.fx_px * scale_x,
        fy_px=camera.fy_px * scale_y,
        cx_px=(camera.cx_px + 0.5 - box.left) * scale_x - 0.5,
        cy_px=(camera.cy_px + 0.5 - box.top) * scale_y - 0.5,
    )


def in_cells(sample: Sample, pitch: PixelPitch, rng: np.random.Generator) -> Sample:
    """What a model of that pixel pitch sees of a sample: a sample of a coarser sensor, with rows of nothing where the
    picture has such. Sums begin as they are in the middle of a stream. A cell has the label of its middle pixel."""
    camera, n = sample.intrinsics, pitch.n
    rows = np.minimum(np.arange(pitch.height - pitch.top) * n + n // 2, camera.height - 1)
    rows = rows[: -(-camera.height // n)]
    columns = np.minimum(np.arange(pitch.width) * n + n // 2, camera.width - 1)

    def coarser(pixels: np.ndarray) -> np.ndarray:
        seen = np.full((pitch.height, pitch.width, *pixels.shape[2:]), np.nan if pixels.dtype.kind == "f" else 0)
        seen = seen.astype(pixels.dtype)
        seen[pitch.top : pitch.top + len(rows)] = pixels[np.ix_(rows, columns)]
        return seen

    # Cells that reach over the edge make the picture a little wider than the sensor.
    whole = Box(0, 0, pitch.width * n, len(rows) * n)
    seen_by = _zoomed_camera(camera, whole, len(rows), pitch.width)
    return replace(
        sample,
        events=CellSums(pitch, rng).of(sample.events),
        intrinsics=replace(seen_by, height=pitch.height, cy_px=seen_by.cy_px + pitch.top),
        **_each_map(sample, coarser),
    )


def drop_events(sample: Sample, kept: float, rng: np.random.Generator) -> Sample:
    """Each event stays with probability `kept`, on its own."""
    return _select(sample, rng.random(len(sample.events)) < kept)


def add_noise(sample: Sample, rate_hz: float, rng: np.random.Generator) -> Sample:
    """Background activity: Poisson events of rate_hz per pixel, uniform over the image and the span of the windows."""
    events = sample.events
    start_ns, end_ns = _span(sample)
    count = rng.poisson(rate_hz * events.width * events.height * (end_ns - start_ns) / NS_PER_S)
    t_ns = np.sort(rng.integers(start_ns, end_ns, count))
    at = np.searchsorted(events.t_ns, t_ns)
    return sample.with_events(
        np.insert(events.x, at, rng.integers(0, events.width, count, events.x.dtype)),
        np.insert(events.y, at, rng.integers(0, events.height, count, events.y.dtype)),
        np.insert(events.p, at, rng.integers(0, 2, count, events.p.dtype)),
        np.insert(events.t_ns, at, t_ns),
    )


def flip_polarity(sample: Sample) -> Sample:
    """Brighter becomes darker, as in a negative of the scene. Twice is the identity.

    The image stays as it is: a teacher that looks at it knows no negatives, and the scene is the same.
    """
    events = sample.events
    return sample.with_events(events.x, events.y, 1 - events.p, events.t_ns)


def jitter_times(sample: Sample, stddev_us: float, rng: np.random.Generator) -> Sample:
    """Each time moves by a normal error, and is reflected at the ends of the span: no event is lost, none is late."""
    events = sample.events
    start_ns, end_ns = _span(sample)
    moved = events.t_ns + np.rint(rng.normal(0, stddev_us * NS_PER_US, len(events))).astype(np.int64)
    moved = start_ns + np.abs(moved - start_ns)
    moved = np.clip((end_ns - 1) - np.abs(end_ns - 1 - moved), start_ns, end_ns - 1)
    order = np.argsort(moved, kind="stable")
    return sample.with_events(events.x[order], events.y[order], events.p[order], moved[order])


def _each_map(sample: Sample, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray | None]:
    """What a sample holds for each pixel, changed in the same way."""
    maps = {name: getattr(sample, name) for name in ("depth_m", "pseudo_inverse_depth", "image")}
    return {name: None if pixels is None else change(pixels) for name, pixels in maps.items()}


def _span(sample: Sample) -> tuple[int, int]:
    return int(sample.window_bounds_ns[0, 0]), int(sample.window_bounds_ns[-1, 1])


def _select(sample: Sample, which: np.ndarray) -> Sample:
    events = sample.events
    return sample.with_events(events.x[which], events.y[which], events.p[which], events.t_ns[which])
