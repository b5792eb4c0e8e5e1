"""Simulated scenes, as `eventspd simulate` writes them: one HDF5 file a scene, a set is a folder of them.

docs/simulation.md has the layout. Depth is exact and dense, in the raw frame; it is unknown where there is nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventspd_ros.datasets.sample import Intrinsics, Windowing
from eventspd_ros.datasets.sequence import Sequence, grey_image, ordered_times
from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.layouts import SIMULATED, SIMULATED_FORMAT
from eventspd_ros.nanoseconds import NS_PER_US
from eventspd_ros.simulation.scene_file import decode_depth

VERSION = 1
CODE, MOVING, IMAGE, POSE = "depth/code", "depth/moving", "image/grey", "pose/T_WC"


class SimulatedSequence(Sequence):
    """One simulated scene. path: its file, DOMAIN_SEED.h5. domain: drive, indoor or fly."""

    dataset = "simulated"

    def __init__(self, path: Path | str, windowing: Windowing | None = None, pseudo_labels: Path | None = None):
        path = Path(path)
        found = (h5_file.attribute(path, "format", str), h5_file.attribute(path, "format_version", int))
        if found != (SIMULATED_FORMAT, VERSION):
            raise ValueError(
                f"{path}: format {found[0]!r} version {found[1]}; expected {SIMULATED_FORMAT!r} version {VERSION}"
            )
        self.path, self.domain = path, h5_file.attribute(path, "domain", str)
        # Of the scenes of `jumble` and of those made larger or smaller (--scale) nobody could know the scale.
        scaled = "scale" in h5_file.open_file(path).attrs and h5_file.attribute(path, "scale", float) != 1.0
        self.scale_told = self.domain != "jumble" and not scaled
        self.near_m = h5_file.attribute(path, "near_m", float, "depth")
        self.steps_per_log = h5_file.attribute(path, "steps_per_log", float, "depth")
        width, height = SIMULATED.resolution(path)
        intrinsics = Intrinsics(
            width,
            height,
            *h5_file.read(path, "calib/intrinsics", (4,), kinds="f").tolist(),
            tuple(h5_file.read(path, "calib/distortion_coeffs", (4,), kinds="f").tolist()),
            h5_file.attribute(path, "distortion_model", str, "calib"),
        )
        self.shape = (None, height, width)
        offset_us = int(h5_file.read(path, SIMULATED.offset, (), kinds="iu"))
        events = SIMULATED.open(path, width, height)
        times_us = h5_file.read(path, "depth/t", (None,), kinds="iu").astype(np.int64) + offset_us
        times_ns = ordered_times(path, "depth/t", times_us * NS_PER_US)
        h5_file.find(path, CODE, (len(times_ns), height, width), "u")
        # A scene may begin or end with a camera at rest, which makes no events; it is recorded all the same.
        recorded_ns = (offset_us * NS_PER_US, (offset_us + h5_file.attribute(path, "duration_us", int)) * NS_PER_US)
        self.label_ns = times_ns
        super().__init__(path.stem, events, intrinsics, times_ns, windowing or Windowing(), pseudo_labels, recorded_ns)

    def read_depth(self, label: int) -> np.ndarray:
        return decode_depth(h5_file.read(self.path, CODE, self.shape, label, "u"), self.near_m, self.steps_per_log)

    def read_moving(self, label: int) -> np.ndarray | None:
        """Which pixels (H, W) of a label show a body that moves on its own; None in files from before this was kept."""
        if MOVING not in h5_file.open_file(self.path):
            return None
        return h5_file.read(self.path, MOVING, self.shape, label, "bu") != 0

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        return self.label_ns, h5_file.read(self.path, POSE, (len(self.label_ns), 4, 4), kinds="f")

    def find_images(self) -> np.ndarray:
        if "image" not in h5_file.open_file(self.path):
            raise ValueError(f"{self.path}: image: missing; make the set with eventspd simulate --images")
        h5_file.find(self.path, IMAGE, (len(self.label_ns), *self.shape[1:]), "u")
        return self.label_ns

    def read_image(self, number: int) -> np.ndarray:
        return grey_image(h5_file.read(self.path, IMAGE, self.shape, number, "u"))


def find_sequences(folder: Path) -> list[Path]:
    """The finished scene files of a set: unfinished ones are hidden, pseudo-labels have no number at their end."""
    found = (path for path in Path(folder).glob("*_*.h5") if not path.name.startswith("."))
    return sorted(path for path in found if path.stem.rsplit("_", 1)[1].isdigit())
