"""Ray casting of textured planes: exact Z-depth and anti-aliased brightness at any pose.

For a plane with normal n' and centre c' in the camera frame the ray (x, y, 1) meets it at inverse depth
(n'·ray)/(n'·c'), and the place on the plane, times that inverse depth, is linear in the ray as well. So a plane is
three linear forms N, S, T in (x, y, 1): inverse depth w = N·ray, s = S·ray / w and t = T·ray / w metres from the
centre along the plane's axes; the nearest plane has the greatest w. Rays, not pixels, enter the kernels: a lens with
distortion needs other rays and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from eventspd_ros.simulation.camera import PinholeCamera, Pose
from eventspd_ros.simulation.scenes import Scene
from eventspd_ros.simulation.textures import sample_ripmap

NEAR_M = 1e-3
SEAM = 1e-5  # rectangles are this much larger than asked, so that no ray slips between two faces of a box
FORM_WIDTH = 11  # N (3), S (3), T (3), half size along s and t
# Four sub-rays of a pixel that sees more than one plane: a rotated grid, in pixels.
SUB_PIXELS = np.array([(-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125)], np.float32)


@dataclass(frozen=True, slots=True)
class Frame:
    """One view, arrays of shape (H, W). log_intensity: float32, natural logarithm of the brightness.

    inverse_depth: float32, 1/m along the optical axis, 0 where there is nothing. plane: int32, -1 where nothing.
    """

    pose: Pose
    log_intensity: np.ndarray
    inverse_depth: np.ndarray
    plane: np.ndarray

    @property
    def depth_m(self) -> np.ndarray:
        """(H, W) float32, metres along the optical axis, NaN where there is nothing (REP-117)."""
        return _depth_m(self.inverse_depth).astype(np.float32)


class Renderer:
    """One scene seen through one camera."""

    def __init__(self, scene: Scene, camera: PinholeCamera) -> None:
        self.scene, self.camera = scene, camera
        planes = scene.planes
        self._centre_W = np.stack([plane.centre_W for plane in planes])
        self._axes_W = np.stack([(plane.axis_s, plane.axis_t) for plane in planes])
        self._half_m = np.array([plane.half_size_m for plane in planes], np.float64)
        self._look = np.array([(p.tile, 1 / p.tile_m, *p.shift, p.gain) for p in planes], np.float32)
        rays = camera.rays(camera.pixel_grid())
        self._rays = np.ascontiguousarray(rays.transpose(2, 0, 1), np.float32)
        self._pixel = np.array([1 / camera.fx, 1 / camera.fy], np.float32)

    def render(self, pose: Pose) -> Frame:
        """Brightness and depth of every pixel."""
        forms, boxes = self._forms(pose).astype(np.float32), self._boxes(pose)
        inverse_depth, plane = _cast(self._rays, forms, boxes)
        args = (self._rays, self._pixel, forms, self._look, self.scene.ripmaps, np.float32(self.scene.sky))
        return Frame(pose, _shade(inverse_depth, plane, *args), inverse_depth, plane)

    def depth_m(self, pose: Pose) -> np.ndarray:
        """Z-depth of every pixel, (H, W) float32 m, NaN where there is nothing."""
        inverse_depth, _ = _cast(self._rays, self._forms(pose).astype(np.float32), self._boxes(pose))
        return _depth_m(inverse_depth).astype(np.float32)

    def depth_at(self, pose: Pose, uv_px: np.ndarray) -> np.ndarray:
        """Z-depth at pixels (K, 2), also between pixel centres or outside the image; (K,) float64 m or NaN."""
        rays = self.camera.rays(uv_px).T.reshape(2, 1, -1)
        everything = np.tile(np.array([0, 1, 0, rays.shape[2]], np.int32), (len(self._half_m), 1))
        inverse_depth, _ = _cast(rays, self._forms(pose), everything)
        return _depth_m(inverse_depth[0])

    def points_at(self, pose: Pose, uv_px: np.ndarray) -> np.ndarray:
        """The points of the scene seen at pixels (K, 2), (K, 3) float64 m in the world, NaN where there is nothing."""
        rays = self.camera.rays(uv_px)
        depth = self.depth_at(pose, uv_px)[:, None]
        return pose.to_world(np.concatenate([rays * depth, depth], 1))

    def largest_shift_px(self, frame: Frame, pose: Pose) -> float:
        """How far, at most, a point seen in the frame moves in the image when the camera goes to the given pose."""
        relative = pose.rotation_WC.T @ frame.pose.rotation_WC
        offset = pose.rotation_WC.T @ (frame.pose.position_W - pose.position_W)
        to_pose = np.concatenate([relative, offset[:, None]], 1).astype(np.float32)
        return float(_largest_shift(self._rays, frame.inverse_depth, to_pose, self._pixel))

    def _forms(self, pose: Pose) -> np.ndarray:
        """The linear forms of every plane, (P, FORM_WIDTH) float64."""
        centre, axes = pose.to_camera(self._centre_W), self._axes_W @ pose.rotation_WC
        normal = np.cross(axes[:, 0], axes[:, 1])
        distance = (normal * centre).sum(-1, keepdims=True)
        # A plane seen exactly edge-on has no inverse depth; put it so close that its rectangle holds no ray.
        distance = np.where(np.abs(distance) < 1e-9, 1e-9, distance)
        forms = np.empty((len(centre), FORM_WIDTH))
        forms[:, 0:3] = normal / distance
        for first, axis in ((3, axes[:, 0]), (6, axes[:, 1])):
            forms[:, first : first + 3] = axis - (axis * centre).sum(-1, keepdims=True) * forms[:, 0:3]
        forms[:, 9:] = self._half_m * (1 + SEAM)
        return forms

    def _boxes(self, pose: Pose) -> np.ndarray:
        """A pixel box around every plane's image, (P, 4) int32: first and end row, first and end column."""
        signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
        corners = self._centre_W[:, None] + (signs * self._half_m[:, None]) @ self._axes_W
        corners = pose.to_camera(corners)
        size = np.array((self.camera.width, self.camera.height))
        in_front = corners[..., 2] > NEAR_M
        uv = self.camera.project(np.where(in_front[..., None], corners, 1.0))
        low = np.clip(np.floor(uv.min(1)), 0, size)
        high = np.clip(np.ceil(uv.max(1)) + 1, 0, size)
        reaches_behind = ~in_front.all(1)
        low[reaches_behind], high[reaches_behind] = 0, size
        high[~in_front.any(1)] = 0
        return np.stack([low[:, 1], high[:, 1], low[:, 0], high[:, 0]], 1).astype(np.int32)


def _depth_m(inverse_depth: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(inverse_depth > 0, 1 / inverse_depth, np.nan)


# The kernels use one core each and hold no lock: views are what runs in parallel (simulator.py), which needs no barrier
# in every view and does not stall on a machine that has other work. They index whole arrays (forms[k, 0], not
# forms[k]), as a view costs two atomic operations; the loop over a row is a function so that it is vectorised.
# "contract" lets a·b + c be one instruction; the numpy error model leaves out a test for zero before every division.
KERNEL = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit(inline="always")
def _form(forms, k):
    f = forms
    return f[k, 0], f[k, 1], f[k, 2], f[k, 3], f[k, 4], f[k, 5], f[k, 6], f[k, 7], f[k, 8], f[k, 9], f[k, 10]


@njit(inline="always")
def _inverse_depth(form, x, y):
    """Inverse depth at which the ray (x, y, 1) meets a rectangle, 0 if it does not."""
    w = form[0] * x + form[1] * y + form[2]
    s = form[3] * x + form[4] * y + form[5]
    t = form[6] * x + form[7] * y + form[8]
    hit = (abs(s) <= form[9] * w) & (abs(t) <= form[10] * w)
    return w if hit else w - w  # a zero of the same type


@njit(**KERNEL)
def _cast_row(form, k, xs, ys, nearest, plane):
    for c in range(len(xs)):
        w = _inverse_depth(form, xs[c], ys[c])
        nearer = w > nearest[c]
        nearest[c] = w if nearer else nearest[c]
        plane[c] = np.int32(k) if nearer else plane[c]


@njit(**KERNEL)
def _cast(rays, forms, boxes):
    """Nearest plane of every ray. rays: (2, R, C); boxes: (P, 4) where each plane can be → (R, C) w, (R, C) plane."""
    rows, columns = rays.shape[1:]
    inverse_depth = np.zeros((rows, columns), rays.dtype)
    plane = np.full((rows, columns), -1, np.int32)
    for r in range(rows):
        for k in range(len(forms)):
            if boxes[k, 0] <= r < boxes[k, 1]:
                a, b = boxes[k, 2], boxes[k, 3]
                row = (rays[0, r, a:b], rays[1, r, a:b], inverse_depth[r, a:b], plane[r, a:b])
                _cast_row(_form(forms, k), k, row[0], row[1], row[2], row[3])
    return inverse_depth, plane


@njit(**KERNEL)
def _brightness(form, look, k, w, x, y, pixel, ripmaps):
    """Texture of plane k at the ray (x, y, 1), averaged over the pixel's footprint on the plane."""
    s = (form[3] * x + form[4] * y + form[5]) / w
    t = (form[6] * x + form[7] * y + form[8]) / w
    # d(S·ray / w) = (S − s N)·d(ray) / w: metres on the plane for a step of one pixel along u and along v.
    su, sv = (form[3] - s * form[0]) * pixel[0], (form[4] - s * form[1]) * pixel[1]
    tu, tv = (form[6] - t * form[0]) * pixel[0], (form[7] - t * form[1]) * pixel[1]
    scale = look[k, 1]
    footprint_s = scale / w * math.sqrt(su * su + sv * sv)
    footprint_t = scale / w * math.sqrt(tu * tu + tv * tv)
    s, t = s * scale + look[k, 2], t * scale + look[k, 3]
    return look[k, 4] * sample_ripmap(ripmaps, int(look[k, 0]), s, t, footprint_s, footprint_t)


@njit(**KERNEL)
def _shade(inverse_depth, plane, rays, pixel, forms, look, ripmaps, sky):
    """Log brightness of every ray, (R, C) float32; a ray beside another plane is averaged over SUB_PIXELS."""
    rows, columns = plane.shape
    out = np.empty((rows, columns), np.float32)
    for r in range(rows):
        up, down = max(r - 1, 0), min(r + 1, rows - 1)
        for c in range(columns):
            k, left, right = plane[r, c], plane[r, max(c - 1, 0)], plane[r, min(c + 1, columns - 1)]
            x, y, w = rays[0, r, c], rays[1, r, c], inverse_depth[r, c]
            near = (k, left, right, plane[up, c], plane[down, c])
            if k != left or k != right or k != near[3] or k != near[4]:
                value = _rim_brightness(near, x, y, pixel, forms, look, ripmaps, sky)
            else:
                value = _brightness(_form(forms, k), look, k, w, x, y, pixel, ripmaps) if k >= 0 else sky
            out[r, c] = math.log(value)
    return out


@njit(**KERNEL)
def _rim_brightness(near, x, y, pixel, forms, look, ripmaps, sky):
    """Mean brightness of SUB_PIXELS, each of which sees one of the planes that the pixel and its neighbours see."""
    total = np.float32(0.0)
    for i in range(len(SUB_PIXELS)):
        sub_x, sub_y = x + SUB_PIXELS[i, 0] * pixel[0], y + SUB_PIXELS[i, 1] * pixel[1]
        best, which = np.float32(0.0), -1
        for k in near:
            w = _inverse_depth(_form(forms, k), sub_x, sub_y) if k >= 0 else np.float32(0.0)
            if w > best:
                best, which = w, k
        if which >= 0:
            total += _brightness(_form(forms, which), look, which, best, sub_x, sub_y, pixel, ripmaps)
        else:
            total += sky
    return total / np.float32(len(SUB_PIXELS))


@njit(**KERNEL)
def _largest_shift(rays, inverse_depth, to_pose, pixel):
    """Largest image motion of the points at (R, C) inverse depths, px. to_pose: (3, 4), old camera frame → new one."""
    most, m = np.float32(0.0), to_pose
    focal_u, focal_v = np.float32(1.0) / pixel[0], np.float32(1.0) / pixel[1]
    for r in range(inverse_depth.shape[0]):
        for c in range(inverse_depth.shape[1]):
            x, y, w = rays[0, r, c], rays[1, r, c], inverse_depth[r, c]
            # The point (x, y, 1)/w, moved and multiplied by w: also right for w = 0, at infinity.
            px = m[0, 0] * x + m[0, 1] * y + m[0, 2] + m[0, 3] * w
            py = m[1, 0] * x + m[1, 1] * y + m[1, 2] + m[1, 3] * w
            pz = m[2, 0] * x + m[2, 1] * y + m[2, 2] + m[2, 3] * w
            du, dv = (px / pz - x) * focal_u, (py / pz - y) * focal_v
            most = max(most, du * du + dv * dv)
    return math.sqrt(most)
