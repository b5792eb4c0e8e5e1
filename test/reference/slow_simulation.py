"""Slow, readable twins of the ray caster and the event sensor."""

import math

import numpy as np

from eventspd_ros.simulation.renderer import Renderer


def cast_rays(scene, camera, pose):
    """Depth (H, W) m, NaN where there is nothing, and plane index (H, W): every plane against every ray, in float64."""
    rays_C = np.concatenate([camera.rays(camera.pixel_grid()), np.ones((camera.height, camera.width, 1))], -1)
    rays_W = rays_C @ pose.rotation_WC.T
    depth, index = np.full(rays_W.shape[:2], np.inf), np.full(rays_W.shape[:2], -1)
    for k, plane in enumerate(scene.planes):
        normal = np.cross(plane.axis_s, plane.axis_t)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = normal @ (plane.centre_W - pose.position_W) / (rays_W @ normal)
            from_centre = pose.position_W + z[..., None] * rays_W - plane.centre_W
            inside = abs(from_centre @ plane.axis_s) <= plane.half_size_m[0]
            inside &= abs(from_centre @ plane.axis_t) <= plane.half_size_m[1]
        nearer = inside & (z > 0) & (z < depth)
        depth[nearer], index[nearer] = z[nearer], k
    return np.where(np.isfinite(depth), depth, np.nan), index


def assert_cast_alike(scene, camera, pose, least_share):
    """The renderer sees the same planes in that share of the pixels, and there the same depths."""
    expected, plane = cast_rays(scene, camera, pose)
    frame = Renderer(scene, camera).render(pose)
    same = frame.plane == plane
    assert same.mean() > least_share
    np.testing.assert_allclose(frame.depth_m[same], expected[same], rtol=1e-4)


def pixel_events(times_ns, levels, thresholds, refractory_ns):
    """Events (t in ns, p) of one pixel whose log intensity is piecewise linear. thresholds: (darker, brighter)."""
    levels, thresholds = [float(level) for level in levels], [float(threshold) for threshold in thresholds]
    reference, last_ns, events = levels[0], -math.inf, []
    for t0, t1, before, after in zip(times_ns, times_ns[1:], levels, levels[1:], strict=False):
        while True:
            p = int(after > reference)
            threshold = thresholds[p]
            if abs(after - reference) < threshold:
                break
            reference = reference + threshold if p else reference - threshold
            t_ns = t0 + int((reference - before) / (after - before) * (t1 - t0))
            if t_ns - last_ns >= refractory_ns:
                last_ns = t_ns
                events.append((min(t_ns // 1000 * 1000, t1 - 1000), p))
    return events
