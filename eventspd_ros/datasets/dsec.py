"""DSEC (Gehrig et al. 2021, https://dsec.ifi.uzh.ch): Prophesee 640×480, disparity in the rectified frame.

    SEQUENCE/events/left/events.h5         events/{x, y, t µs, p}, ms_to_idx, t_offset µs
    SEQUENCE/events/left/rectify_map.h5    rectify_map (H, W, 2): raw pixel [y, x] → rectified (x, y)
    SEQUENCE/disparity/event/000000.png …  uint16, disparity·256, 0 where unknown
    SEQUENCE/disparity/timestamps.txt      µs, one line an image
    SEQUENCE/calibration/cam_to_cam.yaml   intrinsics.cam0, extrinsics.R_rect0, disparity_to_depth.cams_03

Samples are in the raw frame, so depth is brought back: the raw pixel's place in the rectified image gives a disparity,
cams_03 makes it a point, and R_rect0 turned back gives that point's depth along the raw camera's axis.

No image is aligned with the event pixels: the RGB camera stands beside the event camera, and to carry its pixels over
needs the depth of every pixel. Disparity covers a part of them and says nothing of what one camera sees and the other
does not; the homography of the points at infinity, which is known, is wrong for all that is near.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eventspd_ros.datasets.calibration import camera, entry, read_yaml
from eventspd_ros.datasets.sample import Windowing
from eventspd_ros.datasets.sequence import Sequence, ordered_times
from eventspd_ros.events.files import h5_file
from eventspd_ros.events.files.layouts import DSEC
from eventspd_ros.nanoseconds import NS_PER_US

DISPARITY_STEPS = 256  # of a pixel


class DsecSequence(Sequence):
    """The left event camera of one recording. path: the sequence's folder. The first disparity is skipped, as the
    benchmark does: it has no events before it."""

    dataset = "dsec"

    def __init__(self, path: Path | str, windowing: Windowing | None = None, pseudo_labels: Path | None = None):
        path = Path(path)
        self.events_path = path / "events/left/events.h5"
        self.map_path = path / "events/left/rectify_map.h5"
        calibration_path = path / "calibration/cam_to_cam.yaml"
        calibration = read_yaml(calibration_path)
        intrinsics = camera(calibration_path, calibration, "intrinsics/cam0", "camera_matrix")
        self.disparity_to_point = entry(calibration_path, calibration, "disparity_to_depth/cams_03", (4, 4))
        # R_rect0 turns raw camera coordinates into rectified ones; its third column is the raw optical axis in these.
        self.raw_axis = entry(calibration_path, calibration, "extrinsics/R_rect0", (3, 3))[:, 2]
        self.shape = (intrinsics.height, intrinsics.width)
        h5_file.find(self.map_path, "rectify_map", (*self.shape, 2), "f")
        events = DSEC.open(self.events_path, intrinsics.width, intrinsics.height)
        self.disparity_paths, times_ns = _disparities(path / "disparity")
        super().__init__(path.name, events, intrinsics, times_ns, windowing or Windowing(), pseudo_labels)

    def read_depth(self, label: int) -> np.ndarray:
        disparity = read_disparity(self.disparity_paths[label], self.shape)
        rectified_xy = h5_file.read(self.map_path, "rectify_map", (*self.shape, 2), kinds="f")
        return depth_in_raw_frame(disparity, rectified_xy, self.disparity_to_point, self.raw_axis)

    def disparity_px(self, uv_px: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """What the benchmark scores: depths (K,) at whole pixels uv_px (K, 2) of the raw image, as disparities (K,)."""
        rectified_xy = h5_file.read(self.map_path, "rectify_map", (*self.shape, 2), kinds="f")
        u, v = np.rint(uv_px).astype(np.int64).T
        constant = np.stack((*rectified_xy[v, u].T.astype(np.float64), np.zeros(len(u)), np.ones(len(u))))
        # depth = (n0 + n1·d) / (w0 + w1·d), solved for d.
        along_axis = self.raw_axis @ self.disparity_to_point[:3]
        n0, n1 = along_axis @ constant, along_axis[2]
        w0, w1 = self.disparity_to_point[3] @ constant, self.disparity_to_point[3, 2]
        return (n0 - depth_m * w0) / (depth_m * w1 - n1)


def depth_in_raw_frame(
    disparity_px: np.ndarray, rectified_xy: np.ndarray, disparity_to_point: np.ndarray, raw_axis: np.ndarray
) -> np.ndarray:
    """Disparity (H, W) of the rectified image, 0 where unknown, to depth (H, W) m of the raw image, NaN where unknown.

    rectified_xy: (H, W, 2), where each raw pixel lies in the rectified image. Disparity is taken from the nearest
    rectified pixel, never blended across an edge; the ray is the raw pixel's own. disparity_to_point: (4, 4),
    [X Y Z w] = Q [x y d 1]. raw_axis: (3,), the raw camera's optical axis in the rectified camera's frame.
    """
    height, width = disparity_px.shape
    x, y = np.rint(np.nan_to_num(rectified_xy, nan=-1.0)).astype(np.int64).transpose(2, 0, 1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    disparity = np.where(inside, disparity_px[np.where(inside, y, 0), np.where(inside, x, 0)], 0.0)
    known = disparity > 0
    image_points = np.stack((*rectified_xy[known].T.astype(np.float64), disparity[known], np.ones(known.sum())))
    points = disparity_to_point @ image_points
    depth = np.full((height, width), np.nan)
    depth[known] = raw_axis @ points[:3] / points[3]
    return depth


def read_disparity(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Disparity float64 (H, W), pixels, 0 where unknown. ValueError: not such an image."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path}: not a readable PNG, or cut off; fetch it again")
    if image.dtype != np.uint16 or image.shape != shape:
        raise ValueError(f"{path}: {image.dtype} of shape {image.shape}; expected uint16 of shape {shape}")
    return image / DISPARITY_STEPS


def _disparities(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Disparity images and their times in ns, without the first."""
    paths, times_path = sorted((folder / "event").glob("*.png")), folder / "timestamps.txt"
    try:
        times_us = [int(line) for line in times_path.read_text().split()]
    except FileNotFoundError as error:
        raise ValueError(f"{times_path}: no such file") from error
    except ValueError as error:
        raise ValueError(f"{times_path}: expected one time in µs a line ({error})") from error
    if len(paths) != len(times_us):
        raise ValueError(f"{times_path}: {len(times_us)} times for {len(paths)} images in {folder / 'event'}")
    return paths[1:], ordered_times(times_path, "times", np.array(times_us, np.int64) * NS_PER_US)[1:]


def find_sequences(folder: Path) -> list[Path]:
    """Folders at or below a folder that hold events and disparity of one sequence."""
    found = sorted(path.parents[2] for path in Path(folder).rglob("events/left/events.h5"))
    return [path for path in found if (path / "disparity/timestamps.txt").exists()]
