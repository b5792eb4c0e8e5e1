"""What is exactly known of a point that motion is asked for: its parallax, the surfaces around it, whether the camera
rests. From a set's own depth and poses, not from what motion/ makes of them. T_WC: camera → world, (P, 4, 4)."""

from __future__ import annotations

import cv2
import numpy as np

from eventspd_ros import rotations
from eventspd_ros.nanoseconds import NS_PER_S

PARALLAX_NS = 80_000_000
REST_NS = 160_000_000
REST_M_S, REST_RAD_S = 0.02, np.radians(0.5)
RADIUS_PX = 2  # around a point


def parallax_px(
    rays: np.ndarray,
    depth_m: np.ndarray,
    focal_px: tuple[float, float],
    poses: tuple[np.ndarray, np.ndarray],
    t_ns: int,
) -> np.ndarray:
    """How far apart points (K,) and the same twice as far away were seen PARALLAX_NS before t_ns, px of the undistorted
    image. rays: (K, 2), of the lens; depth_m: (K,), both at t_ns. poses: times (P,), ns, and T_WC. NaN where the poses
    do not reach back so far, or a point was behind the camera then."""
    now, then = (_pose_at(*poses, at_ns) for at_ns in (t_ns, t_ns - PARALLAX_NS))
    if now is None or then is None:
        return np.full(len(rays), np.nan)
    T_then_now = np.linalg.inv(then) @ now
    turned = np.concatenate((rays, np.ones((len(rays), 1))), axis=1) @ T_then_now[:3, :3].T
    seen = [turned + T_then_now[:3, 3] / (times * depth_m)[:, None] for times in (1, 2)]
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (np.where(xyz[:, 2:] > 0, xyz[:, :2] / xyz[:, 2:], np.nan) for xyz in seen)
    return np.linalg.norm((near - far) * focal_px, axis=1)


def is_at_rest(poses: tuple[np.ndarray, np.ndarray], t_ns: int) -> bool:
    """Whether the camera was slower than REST_M_S and REST_RAD_S all through the REST_NS before t_ns."""
    times_ns, T_WC = poses
    first, last = np.searchsorted(times_ns, (t_ns - REST_NS, t_ns + 1))
    if last - first < 2:
        return False
    seconds, T_WC = np.diff(times_ns[first:last]) / NS_PER_S, T_WC[first:last]
    moved_m = np.linalg.norm(np.diff(T_WC[:, :3, 3], axis=0), axis=1)
    q = rotations.from_matrix(T_WC[:, :3, :3])
    turned_rad = np.linalg.norm(
        rotations.to_rotation_vector(rotations.multiply(rotations.conjugate(q[:-1]), q[1:])), axis=1
    )
    return bool((moved_m < REST_M_S * seconds).all() and (turned_rad < REST_RAD_S * seconds).all())


def surfaces_m(depth_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest and the farthest known depth within RADIUS_PX of each pixel. depth_m: float32 (H, W), NaN unknown."""
    nearest = cv2.erode(np.where(np.isfinite(depth_m), depth_m, np.inf), _AROUND)
    farthest = cv2.dilate(np.where(np.isfinite(depth_m), depth_m, 0), _AROUND)
    return nearest, farthest


def near(mask: np.ndarray) -> np.ndarray:
    """Pixels with a set one within RADIUS_PX. mask: bool (H, W)."""
    return cv2.dilate(mask.astype(np.uint8), _AROUND) > 0


_AROUND = np.ones((2 * RADIUS_PX + 1, 2 * RADIUS_PX + 1), np.uint8)


def _pose_at(times_ns: np.ndarray, T_WC: np.ndarray, t_ns: int) -> np.ndarray | None:
    """T_WC at a time, between two poses at constant rates; None outside of them."""
    if not len(times_ns) or not times_ns[0] <= t_ns <= times_ns[-1]:
        return None
    after = max(int(np.searchsorted(times_ns, t_ns)), 1)
    if after == len(times_ns):
        return T_WC[0]
    share = (t_ns - times_ns[after - 1]) / (times_ns[after] - times_ns[after - 1])
    (a, b), out = T_WC[after - 1 : after + 1], np.eye(4)
    out[:3, 3] = a[:3, 3] + share * (b[:3, 3] - a[:3, 3])
    start, end = rotations.from_matrix(a[:3, :3]), rotations.from_matrix(b[:3, :3])
    out[:3, :3] = rotations.to_matrix(rotations.slerp(start, end, np.array(share)))
    return out
