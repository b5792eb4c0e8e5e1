"""TartanAir v2 (https://tartanair.org): simulated, 640×640, f = 320 px, dense depth at 10 Hz, no distortion.

P000/depth_lcam_front/000000_lcam_front_depth.png …   four 8-bit channels: the bytes of a little-endian float32, m
P000/events/*.h5 (one file)                           events/{x, y, t ns, p}, ms_to_idx; t = 0 at frame 0
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eventspd_ros.datasets import hdf5
from eventspd_ros.datasets.event_store import EventStore
from eventspd_ros.datasets.sample import Intrinsics, Windowing, known_depth
from eventspd_ros.datasets.sequence import Sequence

SIZE_PX, FOCAL_PX = 640, 320.0
FRAME_NS = 100_000_000
FAR_M = 1000.0  # sky is stored as a very large depth
DEPTH_FOLDER, DEPTH_ENDING = "depth_lcam_front", "_lcam_front_depth.png"


class TartanAirSequence(Sequence):
    """The front left camera of one trajectory. path: the trajectory's folder, ENVIRONMENT/Data_easy/P000."""

    dataset = "tartanair"

    def __init__(self, path: Path | str, windowing: Windowing | None = None, pseudo_labels: Path | None = None):
        path = Path(path)
        centre = (SIZE_PX - 1) / 2  # the middle of the image, where (0, 0) is a pixel's centre
        intrinsics = Intrinsics(SIZE_PX, SIZE_PX, FOCAL_PX, FOCAL_PX, centre, centre)
        events_path = _only_events(path)
        index = "ms_to_idx" if "ms_to_idx" in hdf5.open_file(events_path) else None
        events = EventStore(events_path, "events", SIZE_PX, SIZE_PX, ns_per_tick=1, ms_index=index)
        self.depth_paths = sorted((path / DEPTH_FOLDER).glob("*" + DEPTH_ENDING))
        if not self.depth_paths:
            raise ValueError(f"{path / DEPTH_FOLDER}: no images *{DEPTH_ENDING}")
        frames = np.array([_frame(file) for file in self.depth_paths], np.int64)
        name = "_".join(path.resolve().parts[-3:])
        super().__init__(name, events, intrinsics, frames * FRAME_NS, windowing or Windowing(), pseudo_labels)

    def read_depth(self, label: int) -> np.ndarray:
        return read_depth_png(self.depth_paths[label])


def read_depth_png(path: Path) -> np.ndarray:
    """Depth float32 (640, 640), m, NaN for sky. ValueError: not such an image."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path}: not a readable PNG, or cut off; fetch it again")
    if image.dtype != np.uint8 or image.shape != (SIZE_PX, SIZE_PX, 4):
        expected = f"uint8 of shape {(SIZE_PX, SIZE_PX, 4)}"
        raise ValueError(f"{path}: {image.dtype} of shape {image.shape}; expected {expected}")
    depth = known_depth(np.ascontiguousarray(image).view("<f4")[..., 0])
    depth[depth > FAR_M] = np.nan
    return depth


def _frame(path: Path) -> int:
    number = path.name.removesuffix(DEPTH_ENDING)
    if not number.isdigit():
        raise ValueError(f"{path}: expected a name like 000000{DEPTH_ENDING}")
    return int(number)


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
