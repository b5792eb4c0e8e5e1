"""M3ED (Chaney et al. 2023, https://m3ed.io): Prophesee 1280×720, LiDAR depth in the distorted frame.

NAME_data.h5      prophesee/left/{x, y, t µs, p, ms_map_idx}, prophesee/left/calib/…
NAME_depth_gt.h5  depth/prophesee/left (N, H, W) m, +inf where unknown; ts (N,) µs; ts_map_prophesee_left (N,)

No image is aligned with the event pixels: the RGB camera stands beside the event camera, and to carry its pixels over
needs the depth of every pixel, of which the LiDAR gives a twentieth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventspd_ros.datasets.sample import Intrinsics, Windowing
from eventspd_ros.datasets.sequence import Sequence, ordered_times
from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.layouts import M3ED
from eventspd_ros.nanoseconds import NS_PER_US

DEPTH = "depth/prophesee/left"
DATA_ENDING, DEPTH_ENDING = "_data.h5", "_depth_gt.h5"


class M3edSequence(Sequence):
    """The left event camera of one recording. path: its NAME_data.h5; the depth file lies beside it."""

    dataset = "m3ed"

    def __init__(self, path: Path | str, windowing: Windowing | None = None, pseudo_labels: Path | None = None):
        path = Path(path)
        if not path.name.endswith(DATA_ENDING):
            raise ValueError(f"{path}: expected a file named NAME{DATA_ENDING}")
        name = path.name.removesuffix(DATA_ENDING)
        self.depth_path = path.with_name(name + DEPTH_ENDING)
        intrinsics = read_calibration(path)
        self.shape = (None, intrinsics.height, intrinsics.width)
        events = M3ED.open(path, intrinsics.width, intrinsics.height)
        times_us = h5_file.read(self.depth_path, "ts", (None,), kinds="iu").astype(np.int64)
        times_ns = ordered_times(self.depth_path, "ts", times_us * NS_PER_US)
        h5_file.find(self.depth_path, DEPTH, (len(times_ns), *self.shape[1:]), "f")
        at_event = h5_file.read(self.depth_path, "ts_map_prophesee_left", (len(times_ns),), kinds="iu")
        if len(at_event) and int(at_event[-1]) > events.count:
            raise ValueError(
                f"{self.depth_path}: ts_map_prophesee_left: points at event {at_event[-1]}, but {path} has "
                f"{events.count}; the two files are of different recordings"
            )
        super().__init__(name, events, intrinsics, times_ns, windowing or Windowing(), pseudo_labels)

    def read_depth(self, label: int) -> np.ndarray:
        return h5_file.read(self.depth_path, DEPTH, self.shape, label, "f")


def read_calibration(path: Path) -> Intrinsics:
    """Kalibr's calibration as M3ED stores it. ValueError: a key is missing or holds something else."""
    calib = f"{M3ED.events}/calib"
    width, height = M3ED.resolution(path)
    intrinsics = h5_file.read(path, f"{calib}/intrinsics", (4,)).tolist()
    distortion = tuple(h5_file.read(path, f"{calib}/distortion_coeffs", (4,)).tolist())
    model = h5_file.read_text(path, f"{calib}/distortion_model")
    try:
        return Intrinsics(width, height, *intrinsics, distortion, model)
    except ValueError as error:
        raise ValueError(f"{path}: {calib}: {error}") from error


def find_sequences(folder: Path) -> list[Path]:
    """NAME_data.h5 files below a folder that have their depth beside them."""
    found = sorted(Path(folder).rglob("*" + DATA_ENDING))
    return [path for path in found if path.with_name(path.name.removesuffix(DATA_ENDING) + DEPTH_ENDING).exists()]
