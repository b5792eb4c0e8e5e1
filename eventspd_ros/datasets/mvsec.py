"""MVSEC (Zhu et al. 2018, https://daniilidis-group.github.io/mvsec): DAVIS 346×260, LiDAR depth in the raw frame.

NAME_data.hdf5                   davis/left/events (N, 4) float64: x, y, t s (Unix time), p ±1; no index by time;
                                 davis/left/image_raw (M, H, W) uint8, through the same pixels; image_raw_ts (M,) s
NAME_gt.hdf5                     davis/left/depth_image_raw (M, H, W) m, NaN where unknown; depth_image_raw_ts (M,) s
camchain-imucam-SCENE.yaml       Kalibr; cam0 is the left DAVIS (in the calibration archive of the scene)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventspd_ros.datasets.calibration import camera, read_yaml
from eventspd_ros.datasets.sample import Windowing
from eventspd_ros.datasets.sequence import Sequence, grey_image, ordered_times
from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.checks import seconds_in_ns
from eventspd_ros.events.files.layouts import MVSEC

DEPTH, IMAGE = "davis/left/depth_image_raw", "davis/left/image_raw"
DATA_ENDING, DEPTH_ENDING = "_data.hdf5", "_gt.hdf5"


class MvsecSequence(Sequence):
    """The left DAVIS of one recording. path: its NAME_data.hdf5, the ground truth beside it.

    calibration: the scene's camchain-imucam-*.yaml; by default the only one in the folder of path.
    """

    dataset = "mvsec"

    def __init__(
        self,
        path: Path | str,
        windowing: Windowing | None = None,
        pseudo_labels: Path | None = None,
        calibration: Path | None = None,
    ):
        path = Path(path)
        if not path.name.endswith(DATA_ENDING):
            raise ValueError(f"{path}: expected a file named NAME{DATA_ENDING}")
        name = path.name.removesuffix(DATA_ENDING)
        self.path, self.depth_path = path, path.with_name(name + DEPTH_ENDING)
        calibration = Path(calibration) if calibration else _only_calibration(path.parent)
        intrinsics = camera(calibration, read_yaml(calibration), "cam0", "intrinsics")
        self.shape = (None, intrinsics.height, intrinsics.width)
        events = MVSEC.open(path, intrinsics.width, intrinsics.height)
        times_ns = _times_ns(self.depth_path, DEPTH)
        h5_file.find(self.depth_path, DEPTH, (len(times_ns), *self.shape[1:]), "f")
        super().__init__(name, events, intrinsics, times_ns, windowing or Windowing(), pseudo_labels)

    def read_depth(self, label: int) -> np.ndarray:
        return h5_file.read(self.depth_path, DEPTH, self.shape, label, "f")

    def find_images(self) -> np.ndarray:
        times_ns = _times_ns(self.path, IMAGE)
        h5_file.find(self.path, IMAGE, (len(times_ns), *self.shape[1:]), "u")
        return times_ns

    def read_image(self, number: int) -> np.ndarray:
        return grey_image(h5_file.read(self.path, IMAGE, self.shape, number, "u"))


def _times_ns(path: Path, key: str) -> np.ndarray:
    seconds = h5_file.read(path, key + "_ts", (None,), kinds="f")
    return ordered_times(path, key + "_ts", seconds_in_ns(f"{path}: {key}_ts", seconds))


def _only_calibration(folder: Path) -> Path:
    found = sorted(folder.glob("camchain-imucam-*.yaml"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{folder}: expected one camchain-imucam-*.yaml, found {names}; name it as calibration")
    return found[0]


def find_sequences(folder: Path) -> list[Path]:
    """NAME_data.hdf5 files below a folder that have their ground truth beside them."""
    found = sorted(Path(folder).rglob("*" + DATA_ENDING))
    return [path for path in found if path.with_name(path.name.removesuffix(DATA_ENDING) + DEPTH_ENDING).exists()]
