"""Tiny recordings written in the layout of each dataset, with the truth beside them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import hdf5plugin
import numpy as np
import yaml

WIDTH, HEIGHT, DURATION_MS, LABEL_MS = 40, 32, 500, 100
UNIX_S = 1_506_117_894  # MVSEC's clock: seconds since 1970
DSEC_OFFSET_US = 57_000_000_123
DISTORTION = [-0.2, 0.05, 0.001, -0.002]
FOCAL = {"m3ed": (30.0, 31.0, 15.2, 11.7), "dsec": (30.0, 31.0, 15.2, 11.7), "mvsec": (22.6, 22.6, 16.1, 12.4)}


@dataclass
class Recording:
    """What was written: events on the sensor clock (ns), depth (m, NaN unknown) at label_ns, images at image_ns."""

    path: Path
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    t_ns: np.ndarray
    label_ns: np.ndarray
    depth_m: np.ndarray
    image_ns: np.ndarray | None = None
    images: np.ndarray | None = None


def random_events(seed=0, width=WIDTH, height=HEIGHT, count=20_000):
    """x, y, p and t (µs from 0), in order, over DURATION_MS."""
    rng = np.random.default_rng(seed)
    t_us = np.sort(rng.integers(0, DURATION_MS * 1000, count))
    t_us[0], t_us[-1] = 0, DURATION_MS * 1000 - 1
    return rng.integers(0, width, count), rng.integers(0, height, count), rng.integers(0, 2, count), t_us


def random_depth(seed=0, height=HEIGHT, width=WIDTH):
    """Depth (labels, H, W) float32 with a fifth unknown (NaN), at LABEL_MS, 2·LABEL_MS, …"""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 50, (DURATION_MS // LABEL_MS, height, width)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.2] = np.nan
    return depth


def random_images(count, seed=0, height=HEIGHT, width=WIDTH):
    """(count, H, W) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width), np.uint8)


def label_times_us():
    return np.arange(1, DURATION_MS // LABEL_MS + 1, dtype=np.int64) * LABEL_MS * 1000


def ms_index(t_us):
    """Entry ms: the first event with t >= ms milliseconds."""
    return np.searchsorted(t_us, np.arange(DURATION_MS + 1) * 1000).astype(np.uint64)


def write_m3ed(folder, name="car_tiny"):
    x, y, p, t_us = random_events()
    depth, label_us = random_depth(), label_times_us()
    path = folder / f"{name}_data.h5"
    with h5py.File(path, "w") as file:
        left = file.create_group("prophesee/left")
        for key, values, dtype in (("x", x, "u2"), ("y", y, "u2"), ("t", t_us, "i8"), ("p", p, "i1")):
            left.create_dataset(key, data=values.astype(dtype), chunks=(4000,), compression="lzf")
        left["ms_map_idx"] = ms_index(t_us)
        calib = left.create_group("calib")
        calib["resolution"] = np.array([WIDTH, HEIGHT])
        calib["intrinsics"], calib["distortion_coeffs"] = np.array(FOCAL["m3ed"]), np.array(DISTORTION)
        calib["camera_model"], calib["distortion_model"] = "pinhole", "radtan"
    with h5py.File(folder / f"{name}_depth_gt.h5", "w") as file:
        stored = np.where(np.isfinite(depth), depth, np.inf).astype("f4")
        file.create_dataset("depth/prophesee/left", data=stored, chunks=(1, HEIGHT, WIDTH))
        file["ts"], file["ts_map_prophesee_left"] = label_us, np.searchsorted(t_us, label_us).astype("u8")
    return Recording(path, x, y, p, t_us * 1000, label_us * 1000, depth)


def write_mvsec(folder, name="outdoor_tiny"):
    x, y, p, t_us = random_events()
    depth, label_s = random_depth(), UNIX_S + label_times_us() / 1e6
    image_us = np.arange(0, DURATION_MS, 30) * 1000  # 10, 10, 0, 10 and 20 ms from the labels
    images = random_images(len(image_us))
    rows = np.stack((x, y, UNIX_S + t_us / 1e6, np.where(p, 1.0, -1.0)), axis=1)
    path = folder / f"{name}_data.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("davis/left/events", data=rows, chunks=(3000, 4), compression="gzip")
        file["davis/left/image_raw"], file["davis/left/image_raw_ts"] = images, UNIX_S + image_us / 1e6
    with h5py.File(folder / f"{name}_gt.hdf5", "w") as file:
        file["davis/left/depth_image_raw"], file["davis/left/depth_image_raw_ts"] = depth, label_s
    camera = {"resolution": [WIDTH, HEIGHT], "intrinsics": list(FOCAL["mvsec"]), "distortion_coeffs": DISTORTION}
    calibration = {"cam0": camera | {"camera_model": "pinhole", "distortion_model": "equidistant"}}
    (folder / "camchain-imucam-tiny.yaml").write_text(yaml.safe_dump(calibration))
    start_ns = UNIX_S * 10**9
    times_ns = (start_ns + times_us * 1000 for times_us in (t_us, label_times_us(), image_us))
    events_ns, label_ns, image_ns = times_ns
    return Recording(path, x, y, p, events_ns, label_ns, depth, image_ns, np.stack([images] * 3, axis=-1))


def write_tartanair(folder):
    x, y, p, t_us = random_events(width=640, height=640)
    frames = DURATION_MS // LABEL_MS
    rng = np.random.default_rng(0)
    depth = np.kron(rng.uniform(1, 50, (frames, 16, 16)), np.ones((40, 40))).astype(np.float32)
    depth[:, :40] = np.nan
    images = np.kron(rng.integers(0, 256, (frames, 32, 32, 3)), np.ones((1, 20, 20, 1))).astype(np.uint8)
    path = folder / "Tiny/Data_easy/P000"
    (path / "events").mkdir(parents=True)
    (path / "depth_lcam_front").mkdir()
    (path / "image_lcam_front").mkdir()
    with h5py.File(path / "events/events.h5", "w") as file:
        for key, values, dtype in (("x", x, "u2"), ("y", y, "u2"), ("t", t_us * 1000, "i8"), ("p", p, "i1")):
            file[f"events/{key}"] = values.astype(dtype)
        file["ms_to_idx"] = ms_index(t_us)
    for frame in range(frames):
        stored = np.nan_to_num(depth[frame], nan=65504.0).astype("<f4")
        image = stored[..., None].view(np.uint8)
        assert cv2.imwrite(str(path / f"depth_lcam_front/{frame:06d}_lcam_front_depth.png"), image)
        blue_first = np.ascontiguousarray(images[frame, ..., ::-1])
        assert cv2.imwrite(str(path / f"image_lcam_front/{frame:06d}_lcam_front.png"), blue_first)
    frame_ns = np.arange(frames) * 100_000_000
    return Recording(path, x, y, p, t_us * 1000, frame_ns, depth, frame_ns, images)


def write_simulated(folder, domain="drive", seed=0):
    x, y, p, t_us = random_events(seed)
    depth, label_us = random_depth(seed), label_times_us()
    steps, near = 1024.0, 0.1
    code = np.where(np.isfinite(depth), np.rint(np.log(depth / near) * steps) + 1, 0).astype("u2")
    images = random_images(len(label_us), seed)
    path = folder / f"{domain}_{seed:06d}.h5"
    zstd = hdf5plugin.Blosc(cname="zstd", clevel=1)
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "eventspd-simulated", "format_version": 1, "domain": domain, "preset": "normal"})
        file.attrs.update({"seed": seed, "duration_us": DURATION_MS * 1000, "label_period_us": LABEL_MS * 1000})
        for key, values, dtype in (("x", x, "u2"), ("y", y, "u2"), ("t", t_us, "u4"), ("p", p, "u1")):
            file.create_dataset(f"events/{key}", data=values.astype(dtype), chunks=(4096,), compression=zstd)
        file["ms_to_idx"], file["t_offset"] = ms_index(t_us), np.int64(0)
        file["depth/t"] = label_us
        file.create_dataset("depth/code", data=code, chunks=(1, HEIGHT, WIDTH), compression=zstd)
        file["depth"].attrs.update({"near_m": near, "steps_per_log": steps, "far_m": 200.0})
        file["image/grey"] = images
        file["pose/T_WC"] = np.tile(np.eye(4), (len(label_us), 1, 1))
        file["calib/resolution"] = np.array([WIDTH, HEIGHT])
        file["calib/intrinsics"] = np.array([24.0, 24.0, 15.5, 11.5])
        file["calib/distortion_coeffs"] = np.array(DISTORTION)
        file["calib"].attrs["distortion_model"] = "radtan"
    read_back = np.where(code > 0, near * np.exp((code.astype(np.float64) - 1) / steps), np.nan)
    times_ns = label_us * 1000
    return Recording(path, x, y, p, t_us * 1000, times_ns, read_back, times_ns, np.stack([images] * 3, axis=-1))


def rectified_rotation():
    """R_rect0: a rotation of several degrees about a skew axis, raw camera → rectified camera."""
    return cv2.Rodrigues(np.array([0.03, -0.05, 0.02]))[0]


def write_dsec(folder, normal=(0.1, -0.3, -1.0), distance_m=9.0):
    """A plane normal·P = −distance (raw camera's frame) seen through distortion and rectification.

    Disparity is stored for each rectified pixel; its depth in the raw frame is what the plane says, in closed form.
    """
    x, y, p, t_us = random_events()
    normal, rotation = np.array(normal), rectified_rotation()
    fx, fy, cx, cy = FOCAL["dsec"]
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    focal, centre, baseline_m = 28.0, (16.0, 12.5), 8.0
    grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).astype(np.float64)
    rays = np.dstack(((grid - centre) / focal, np.ones((HEIGHT, WIDTH))))  # rectified camera's frame
    depth_rect = -distance_m / (rays @ rotation @ normal)
    disparity = focal * baseline_m / depth_rect
    raw = cv2.undistortPoints(grid.reshape(-1, 1, 2), matrix, np.array(DISTORTION)).reshape(HEIGHT, WIDTH, 2)
    raw_rays = np.dstack((raw, np.ones((HEIGHT, WIDTH))))
    depth_raw = -distance_m / (raw_rays @ normal)
    turned = raw_rays @ rotation.T
    rectified_xy = turned[..., :2] / turned[..., 2:] * focal + centre

    path = folder / "tiny_00_a"
    for name in ("events/left", "disparity/event", "calibration"):
        (path / name).mkdir(parents=True)
    zstd = hdf5plugin.Blosc(cname="zstd")
    with h5py.File(path / "events/left/events.h5", "w") as file:
        for key, values, dtype in (("x", x, "u2"), ("y", y, "u2"), ("t", t_us, "u4"), ("p", p, "u1")):
            file.create_dataset(f"events/{key}", data=values.astype(dtype), chunks=(4096,), compression=zstd)
        file["ms_to_idx"], file["t_offset"] = ms_index(t_us), np.int64(DSEC_OFFSET_US)
    with h5py.File(path / "events/left/rectify_map.h5", "w") as file:
        file["rectify_map"] = rectified_xy.astype("f4")
    label_us = label_times_us() + DSEC_OFFSET_US
    stored = np.rint(disparity * 256).astype(np.uint16)
    stored[:, :3] = 0  # unknown
    for number in range(len(label_us)):
        assert cv2.imwrite(str(path / f"disparity/event/{2 * number:06d}.png"), stored)
    (path / "disparity/timestamps.txt").write_text("\n".join(map(str, label_us)) + "\n")
    to_point = np.array([[1, 0, 0, -centre[0]], [0, 1, 0, -centre[1]], [0, 0, 0, focal], [0, 0, 1 / baseline_m, 0]])
    camera = {"camera_matrix": list(FOCAL["dsec"]), "distortion_coeffs": DISTORTION, "distortion_model": "radtan"}
    calibration = {
        "intrinsics": {"cam0": camera | {"resolution": [WIDTH, HEIGHT]}},
        "extrinsics": {"R_rect0": rotation.tolist()},
        "disparity_to_depth": {"cams_03": to_point.tolist()},
    }
    (path / "calibration/cam_to_cam.yaml").write_text(yaml.safe_dump(calibration))
    nearest = np.rint(rectified_xy).astype(int)
    inside = ((nearest >= (3, 0)) & (nearest < (WIDTH, HEIGHT))).all(-1)
    depth = np.repeat(np.where(inside, depth_raw, np.nan)[None], len(label_us), axis=0)
    offset_ns = DSEC_OFFSET_US * 1000
    # The reader skips the first disparity.
    return Recording(path, x, y, p, t_us * 1000 + offset_ns, label_us[1:] * 1000, depth[1:])


def write_pseudo(path, times_us, height=HEIGHT, width=WIDTH, seed=5):
    """A pseudo-label file; returns relative inverse depth (N, H, W) with NaN where masked or 0."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3000, (len(times_us), height, width, 1)).astype(np.uint16)
    mask = rng.random(values.shape[:3]) < 0.3
    with h5py.File(path, "w") as file:
        file["predictions"], file["mask"], file["ts"] = values, mask, np.asarray(times_us, np.int64)
    return np.where(mask | (values[..., 0] == 0), np.nan, values[..., 0].astype(np.float32))
