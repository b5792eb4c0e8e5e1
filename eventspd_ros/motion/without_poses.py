"""What events show of points where no poses are: near and far, by the camera's own motion (own_motion.py), at the scale
of the learned depths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventspd_ros.motion.flow import corner_flow
from eventspd_ros.motion.likelihood import Likelihoods, SeenScene, UndistortedCamera, are_sharp, depth_likelihoods
from eventspd_ros.motion.own_motion import Twist, own_twist
from eventspd_ros.motion.slices import EventSlices, Look
from eventspd_ros.motion.trajectory import Motion

SEARCHED = 1.0  # standard deviation of log depth that is searched at most
LEAST = 16  # points with a learned depth, and such that show parallax
FARTHEST = 12.0  # log depth: 160 km, and 6 µm
WIDEST = 100.0  # x and y of a ray; beyond that a point is far outside any picture
NOISE_PX = 0.1  # of patterns' places, as with poses


def shape_likelihoods(
    look: Look,
    slices: EventSlices,
    camera: UndistortedCamera,
    t_ns: int,
    points: tuple[np.ndarray, np.ndarray, np.ndarray],
    before: Twist | None,
) -> tuple[Likelihoods, np.ndarray, Twist] | None:
    """points: rays (K, 2), learned log depth and its own standard deviation, (K,), NaN where there is none. look: of
    slices, copied.

    Likelihoods at the scale of the learned depths, and what errors of the motion do to log depth, (K,), but for that
    scale. None: events do not show how the camera moves, or there is no parallax.
    """
    rays, log_depth, stddev = points
    usable = (np.abs(log_depth) < FARTHEST) & (stddev > 0) & np.isfinite(stddev) & (np.abs(rays) < WIDEST).all(axis=1)
    known = np.flatnonzero(usable)
    if len(known) < LEAST:
        return None
    twist = _twist(look, slices, camera, t_ns, (rays[known], log_depth[known], stddev[known]), before)
    if twist is None:
        return None
    scene = SeenScene.of(look, slices, twist.relative(t_ns, look.middle_ns.ravel()), camera)
    inverse_depth, places = np.exp(-log_depth), np.zeros(rays.shape)
    places[known] = rays[known]
    blur_px_s = twist.log_stddev(places, inverse_depth, scene.focal_px) * twist.px_s(
        places, inverse_depth, scene.focal_px
    )
    errors_px = np.full(len(rays), NOISE_PX), blur_px_s
    likelihoods = depth_likelihoods(scene, rays, (log_depth, np.minimum(stddev, SEARCHED)), errors_px)
    seen = likelihoods.level >= 0
    drift = twist.log_stddev(places, np.where(seen, np.exp(-likelihoods.peak), inverse_depth), scene.focal_px)
    sharp = are_sharp(likelihoods, np.hypot(likelihoods.stddev, drift))
    if sharp.sum() < LEAST:
        return None
    off = np.median((likelihoods.peak - log_depth)[sharp])
    return replace(likelihoods, low=likelihoods.low - off, peak=likelihoods.peak - off), drift, twist


def _twist(look, slices, camera, t_ns, points, before) -> Twist | None:
    """By corners of the events' own; learned depths are those of the nearest points."""
    rays, log_depth, stddev = points
    still = SeenScene.of(look, slices, Motion.still(look.middle_ns.size), camera)
    flow = corner_flow(look, slices, still, t_ns)
    at = camera.rays(flow.uv_px)
    nearest = np.argmin(((at[:, None] - rays[None]) ** 2).sum(axis=2), axis=1)
    return own_twist(t_ns, flow, at, still.focal_px, (log_depth[nearest], stddev[nearest]), before)
