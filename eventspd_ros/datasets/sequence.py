"""One recording of a dataset: labels by number, each with the events that led up to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventspd_ros.datasets.sample import Intrinsics, Sample, Windowing, known_depth
from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.event_store import EventStore
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_US

MATCH_NS = NS_PER_MS  # labels that close in time are of one moment
IMAGE_NS = 10_000_000  # an image further from its label than that, half a window, shows another place


class Sequence:
    """len(sequence) samples; sequence[i] reads one, and only that, from disk. A map-style dataset for a DataLoader.

    A dataset's file fills in read_depth(). There is a sample for each depth label, and with a file of pseudo-labels
    one more for each of those that has no depth label within 1 ms. Labels whose windows are not covered by the
    recording (before the first event, after the last) are left out.

    A layout with images that are aligned with the event pixels fills in find_images() and read_image(). Samples bring
    the image nearest to their label, within 10 ms, once open_images() was called. image_times_ns: int64 (M,), when the
    images were taken; None before that.
    """

    dataset = ""
    scale_told = True  # False: simulated so that nothing seen tells how large it is
    image_times_ns: np.ndarray | None = None

    def __init__(
        self,
        name: str,
        events: EventStore,
        intrinsics: Intrinsics,
        label_times_ns: np.ndarray,
        windowing: Windowing,
        pseudo_labels: Path | None = None,
        recorded_ns: tuple[int, int] | None = None,
    ):
        """label_times_ns: of the depth labels, in order. pseudo_labels: a file as PseudoLabels reads it. recorded_ns:
        from when to when the sensor was on; by default from the first event to the last, within a millisecond."""
        self.name, self.events, self.intrinsics, self.windowing = name, events, intrinsics, windowing
        self.pseudo = None
        if pseudo_labels is not None:
            self.pseudo = PseudoLabels(Path(pseudo_labels), intrinsics.height, intrinsics.width)
        self.times_ns, self.depth_labels, self.pseudo_labels = _match(
            np.asarray(label_times_ns, np.int64), None if self.pseudo is None else self.pseudo.times_ns
        )
        if recorded_ns is None and events.count == 0:
            raise ValueError(f"{events.path}: {events.group}: holds no events")
        self.recorded_ns = recorded_ns or (events.first_ns - MATCH_NS, events.last_ns + MATCH_NS)
        first_ns, last_ns = self.recorded_ns
        covered = (self.times_ns + windowing.bounds_ns(0)[0, 0] >= first_ns) & (self.times_ns <= last_ns)
        self.labels = np.flatnonzero(covered)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> Sample:
        label = self.labels[number]
        t_ns = int(self.times_ns[label])
        bounds_ns = self.windowing.bounds_ns(t_ns)
        depth_label, pseudo_label = int(self.depth_labels[label]), int(self.pseudo_labels[label])
        shape = (self.intrinsics.height, self.intrinsics.width)
        return Sample(
            self.events.read(int(bounds_ns[0, 0]), t_ns),
            bounds_ns,
            np.full(shape, np.nan, np.float32) if depth_label < 0 else known_depth(self.read_depth(depth_label)),
            self.intrinsics,
            self.dataset,
            self.name,
            int(label),
            t_ns,
            None if pseudo_label < 0 else self.pseudo.read(pseudo_label),
            self._image_at(t_ns),
            self.scale_told,
        )

    def read_depth(self, label: int) -> np.ndarray:
        """Depth (H, W), metres, of a depth label by its number in the file; anything not finite or <= 0: unknown."""
        raise NotImplementedError

    def poses(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Times int64 (P,), ns, sensor clock, in order, and the event camera's true poses then, T_WC float64 (P, 4, 4),
        camera → world; None where the dataset has none."""
        return None

    def read_moving(self, label: int) -> np.ndarray | None:
        """Which pixels (H, W) of a depth label show a body that moves on its own; None where that is not known."""
        return None

    def open_images(self) -> Sequence:
        """The same sequence, which brings images from now on. ValueError: its layout has some, but they are missing."""
        self.image_times_ns = self.find_images()
        return self

    def find_images(self) -> np.ndarray:
        """Times (ns, sensor clock) of the images, in order; none where the layout has no aligned ones."""
        return np.empty(0, np.int64)

    def read_image(self, number: int) -> np.ndarray:
        """Image uint8 (H, W, 3), RGB, by its number in image_times_ns; a grey one has three equal channels."""
        raise NotImplementedError

    def _image_at(self, t_ns: int) -> np.ndarray | None:
        if self.image_times_ns is None or not len(self.image_times_ns):
            return None
        number = int(_nearest(self.image_times_ns, np.array([t_ns]))[0])
        return self.read_image(number) if abs(int(self.image_times_ns[number]) - t_ns) <= IMAGE_NS else None


class PseudoLabels:
    """A file of dense relative labels: predictions (N, H, W, 1), mask (N, H, W) or (N, H, W, 1), True where invalid,
    and ts (N,), µs on the clock of the depth labels. Predictions are relative inverse depth, larger is nearer.

    Values of 0 and less, which have no logarithm, are unknown too.
    """

    def __init__(self, path: Path, height: int, width: int):
        self.path, self.shape = path, (None, height, width)
        times_us = h5_file.read(path, "ts", (None,), kinds="iu").astype(np.int64)
        self.times_ns = ordered_times(path, "ts", times_us * NS_PER_US)
        h5_file.find(path, "predictions", (len(self.times_ns), height, width, 1))
        mask = h5_file.open_file(path).get("mask")
        self.mask_shape = (len(self.times_ns), height, width) + ((1,) if mask is not None and mask.ndim == 4 else ())
        h5_file.find(path, "mask", self.mask_shape, "biu")

    def read(self, label: int) -> np.ndarray:
        """Relative inverse depth, float32 (H, W), NaN where unknown."""
        values = known_depth(h5_file.read(self.path, "predictions", (*self.shape, 1), label)[..., 0])
        mask = h5_file.read(self.path, "mask", self.mask_shape, label, "biu")
        values[mask.reshape(values.shape) != 0] = np.nan
        return values


def ordered_times(path: Path, key: str, times_ns: np.ndarray) -> np.ndarray:
    """The times, if each is later than the one before. ValueError otherwise."""
    if len(times_ns) > 1 and (np.diff(times_ns) <= 0).any():
        where = int((np.diff(times_ns) <= 0).argmax())
        raise ValueError(f"{path}: {key}: entry {where + 1} is not later than entry {where}; labels must be in order")
    return times_ns


def grey_image(values: np.ndarray) -> np.ndarray:
    """uint8 (H, W) -> (H, W, 3), what read_image() gives."""
    return np.repeat(values[..., None], 3, axis=-1)


def _match(depth_ns: np.ndarray, pseudo_ns: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times of all labels in order, and of each the number of its depth label and of its pseudo-label, −1 for none."""
    depth_numbers = np.arange(len(depth_ns))
    if pseudo_ns is None or not len(pseudo_ns):
        return depth_ns, depth_numbers, np.full(len(depth_ns), -1)
    nearest = _nearest(pseudo_ns, depth_ns)
    near = np.abs(pseudo_ns[nearest] - depth_ns) <= MATCH_NS if len(depth_ns) else np.zeros(0, bool)
    alone = np.setdiff1d(np.arange(len(pseudo_ns)), nearest[near])
    times = np.concatenate((depth_ns, pseudo_ns[alone]))
    order = np.argsort(times, kind="stable")
    depth = np.concatenate((depth_numbers, np.full(len(alone), -1)))
    pseudo = np.concatenate((np.where(near, nearest, -1), alone))
    return times[order], depth[order], pseudo[order]


def _nearest(sorted_values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the entry of sorted_values nearest to each wanted value."""
    after = np.clip(np.searchsorted(sorted_values, wanted), 1, max(len(sorted_values) - 1, 1))
    after = np.minimum(after, len(sorted_values) - 1)
    before = np.maximum(after - 1, 0)
    closer_before = np.abs(sorted_values[before] - wanted) <= np.abs(sorted_values[after] - wanted)
    return np.where(closer_before, before, after)
