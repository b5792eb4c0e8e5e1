"""Simulated scenes, as `eventspd simulate` writes them: one HDF5 file a scene, a set is a folder of them.

docs/simulation.md has the layout. Depth is exact and dense, in the raw frame; it is unknown where there is nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventspd_ros.datasets import hdf5
from eventspd_ros.datasets.event_store import EventStore
from eventspd_ros.datasets.sample import Intrinsics, Windowing
from eventspd_ros.datasets.sequence import Sequence, grey_image, ordered_times
from eventspd_ros.simulation.scene_file import decode_depth

FORMAT, VERSION = "eventspd-simulated", 1
CODE, MOVING, IMAGE, POSE = "depth/code", "depth/moving", "image/grey", "pose/T_WC"


class SimulatedSequence(Sequence):
    """One simulated scene. path: its file, DOMAIN_SEED.h5. domain: drive, indoor or fly."""

    dataset = "simulated"

    def __init__(self, path: Path | str, windowing: Windowing | None = None, pseudo_labels: Path | None = None):
        path = Path(path)
        found = (hdf5.attribute(path, "format", str), hdf5.attribute(path, "format_version", int))
        if found != (FORMAT, VERSION):
            raise ValueError(f"{path}: format {found[0]!r} version {found[1]}; expected {FORMAT!r} version {VERSION}")
        self.path, self.domain = path, hdf5.attribute(path, "domain", str)
        self.near_m = hdf5.attribute(path, "near_m", float, "depth")
        self.steps_per_log = hdf5.attribute(path, "steps_per_log", float, "depth")
        width, height = hdf5.read(path, "calib/resolution", (2,), kinds="iu").tolist()
        intrinsics = Intrinsics(
            width,
            height,
            *hdf5.read(path, "calib/intrinsics", (4,), kinds="f").tolist(),
            tuple(hdf5.read(path, "calib/distortion_coeffs", (4,), kinds="f").tolist()),
            hdf5.attribute(path, "distortion_model", str, "calib"),
        )
        self.shape = (None, height, width)
        offset_us = int(hdf5.read(path, "t_offset", (), kinds="iu"))
        events = EventStore(path, "events", width, height, 1000, offset_us * 1000, "ms_to_idx")
        times_us = hdf5.read(path, "depth/t", (None,), kinds="iu").astype(np.int64) + offset_us
        times_ns = ordered_times(path, "depth/t", times_us * 1000)
        hdf5.find(path, CODE, (len(times_ns), height, width), "u")
        # A scene may begin or end with a camera at rest, which makes no events; it is recorded all the same.
        recorded_ns = (offset_us * 1000, (offset_us + hdf5.attribute(path, "duration_us", int)) * 1000)
        self.label_ns = times_ns
        super().__init__(path.stem, events, intrinsics, times_ns, windowing or Windowing(), pseudo_labels, recorded_ns)

    def read_depth(self, label: int) -> np.ndarray:
        return decode_depth(hdf5.read(self.path, CODE, self.shape, label, "u"), self.near_m, self.steps_per_log)

    def read_moving(self, label: int) -> np.ndarray | None:
        """Which pixels (H, W) of a label show a body that moves on its own; None in files from before this was kept."""
        if MOVING not in hdf5.open_file(self.path):
            return None
        return hdf5.read(self.path, MOVING, self.shape, label, "bu") != 0

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        return self.label_ns, hdf5.read(self.path, POSE, (len(self.label_ns), 4, 4), kinds="f")

    def find_images(self) -> np.ndarray:
        if "image" not in hdf5.open_file(self.path):
            raise ValueError(f"{self.path}: image: missing; make the set with eventspd simulate --images")
        hdf5.find(self.path, IMAGE, (len(self.label_ns), *self.shape[1:]), "u")
        return self.label_ns

    def read_image(self, number: int) -> np.ndarray:
        return grey_image(hdf5.read(self.path, IMAGE, self.shape, number, "u"))


def find_sequences(folder: Path) -> list[Path]:
    """The finished scene files of a set: unfinished ones are hidden, pseudo-labels have no number at their end."""
    found = (path for path in Path(folder).glob("*_*.h5") if not path.name.startswith("."))
    return sorted(path for path in found if path.stem.rsplit("_", 1)[1].isdigit())
