"""TartanAir v2 (https://tartanair.org): simulated, 640×640, f = 320 px, dense depth at 10 Hz, no distortion.

P000/depth_lcam_front/000000_lcam_front_depth.png …   four 8-bit channels: the bytes of a little-endian float32, m
P000/image_lcam_front/000000_lcam_front.png …         colour, of the same frames and pixels (only where asked for)
P000/events/*.h5 (one file)                           events/{x, y, t ns, p}, ms_to_idx; t = 0 at frame 0
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eventspd_ros.datasets.sample import Intrinsics, Windowing, known_depth
from eventspd_ros.datasets.sequence import Sequence, ordered_times
from eventspd_ros.events.files.layouts import TARTANAIR

SIZE_PX, FOCAL_PX = TARTANAIR.sensor_hw[0], 320.0
FRAME_NS = 100_000_000
FAR_M = 1000.0  # sky is stored as a very large depth
DEPTH_FOLDER, DEPTH_ENDING = "depth_lcam_front", "_lcam_front_depth.png"
IMAGE_FOLDER, IMAGE_ENDING = "image_lcam_front", "_lcam_front.png"


class TartanAirSequence(Sequence):
    """The front left camera of one trajectory. path: the trajectory's folder, ENVIRONMENT/Data_easy/P000."""

    dataset = "tartanair"

    def __init__(self, path: Path | str, windowing: Windowing | None = None, pseudo_labels: Path | None = None):
        path = Path(path)
        centre = (SIZE_PX - 1) / 2  # the middle of the image, where (0, 0) is a pixel's centre
        intrinsics = Intrinsics(SIZE_PX, SIZE_PX, FOCAL_PX, FOCAL_PX, centre, centre)
        events_path = _only_events(path)
        events = TARTANAIR.open(events_path, SIZE_PX, SIZE_PX)
        self.image_folder, self.image_paths = path / IMAGE_FOLDER, []
        self.depth_paths, times_ns = _frames(path / DEPTH_FOLDER, DEPTH_ENDING)
        name = "_".join(path.resolve().parts[-3:])
        super().__init__(name, events, intrinsics, times_ns, windowing or Windowing(), pseudo_labels)

    def read_depth(self, label: int) -> np.ndarray:
        return read_depth_png(self.depth_paths[label])

    def find_images(self) -> np.ndarray:
        self.image_paths, times_ns = _frames(self.image_folder, IMAGE_ENDING)
        return times_ns

    def read_image(self, number: int) -> np.ndarray:
        blue_first = _read_png(self.image_paths[number], 3)
        return np.ascontiguousarray(blue_first[..., ::-1])


def read_depth_png(path: Path) -> np.ndarray:
    """Depth float32 (640, 640), m, NaN for sky. ValueError: not such an image."""
    depth = known_depth(np.ascontiguousarray(_read_png(path, 4)).view("<f4")[..., 0])
    depth[depth > FAR_M] = np.nan
    return depth


def _read_png(path: Path, channels: int) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path}: not a readable PNG, or cut off; fetch it again")
    if image.dtype != np.uint8 or image.shape != (SIZE_PX, SIZE_PX, channels):
        expected = f"uint8 of shape {(SIZE_PX, SIZE_PX, channels)}"
        raise ValueError(f"{path}: {image.dtype} of shape {image.shape}; expected {expected}")
    return image


def _frames(folder: Path, ending: str) -> tuple[list[Path], np.ndarray]:
    """The files of a folder, NUMBER then the ending, and their times in ns, in order."""
    paths = sorted(folder.glob("*" + ending))
    if not paths:
        raise ValueError(f"{folder}: no images *{ending}")
    numbers = [path.name.removesuffix(ending) for path in paths]
    for path, number in zip(paths, numbers, strict=True):
        if not number.isdigit():
            raise ValueError(f"{path}: expected a name like 000000{ending}")
    return paths, ordered_times(folder, "frames", np.array(numbers, np.int64) * FRAME_NS)


def _only_events(path: Path) -> Path:
    found = sorted((path / "events").glob("*.h5"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(f"{path / 'events'}: expected one HDF5 file of events (*.h5), found {names}")
    return found[0]


def find_sequences(folder: Path) -> list[Path]:
    """Trajectory folders at or below a folder that hold depth and events."""
    found = sorted(path.parent for path in Path(folder).rglob(DEPTH_FOLDER))
    return [path for path in found if (path / "events").is_dir()]
