"""Slow, readable twins of what eventspd_ros/motion computes: slices, ℓ(ρ), its fusion with a prior, triangulation."""

import itertools
from collections import defaultdict

import numpy as np
from scipy import optimize, stats

from eventspd_ros.motion import likelihood, patches, slices


def add_saturating(image: np.ndarray, at: tuple, p: np.ndarray) -> None:
    """±1 at every event's place, kept within int8 event by event."""
    order_free = np.zeros(image.shape, np.int64)
    np.add.at(order_free, at, 1)
    if order_free.max(initial=0) < 100:  # nothing comes near the limits
        np.add.at(image, at, np.where(p != 0, 1, -1).astype(image.dtype))
        return
    for *place, sign in zip(*at, np.where(p != 0, 1, -1), strict=True):
        image[tuple(place)] = np.clip(int(image[tuple(place)]) + sign, -128, 127)


class SlowSlices:
    """All events of the stream, by the finest slice they count in; whatever is asked for is counted anew."""

    def __init__(self, height: int, width: int, pixel_map: np.ndarray | None = None):
        self.height, self.width = height, width
        self.pixel_map = np.moveaxis(np.mgrid[:height, :width][::-1], 0, 2) if pixel_map is None else pixel_map
        self.restart()

    def restart(self) -> None:
        self.events, self.first, self.newest = defaultdict(list), None, None

    def advance_to(self, t_ns: int) -> None:
        if self.newest is not None:
            self.newest = max(self.newest, t_ns // slices.SLICE_NS)

    def add(self, x, y, p, t_ns) -> None:
        for one_x, one_y, one_p, one_t_ns in zip(x.tolist(), y.tolist(), p.tolist(), t_ns.tolist(), strict=True):
            index = one_t_ns // slices.SLICE_NS
            self.newest = index if self.newest is None else max(index, self.newest)
            self.first = self.newest if self.first is None else self.first
            u, v = self.pixel_map[one_y, one_x].tolist()
            if 0 <= u < self.width and 0 <= v < self.height:
                self.events[self.newest].append((v, u, one_p))

    def counts(self, level: int, index: int, half: bool) -> np.ndarray:
        """Slice `index` of a level, (H, W) int8; half: at half the size, a larger half where a side is odd."""
        if level == 0:
            divide = 2 if half else 1
            image = np.zeros((-(-self.height // divide), -(-self.width // divide)), np.int8)
            if events := self.events.get(index):
                v, u, p = np.array(events).T
                add_saturating(image, (v // divide, u // divide), p)
            return image
        early, late = (self.counts(level - 1, 2 * index + i, half).astype(np.int64) for i in (0, 1))
        return np.clip(early + late, -128, 127).astype(np.int8)

    def look(self, until_ns: int | None = None) -> list[range] | None:
        """None, or of each level the indices of its slices."""
        if until_ns is not None:
            self.advance_to(until_ns)
        if self.newest is None:
            return None
        end = self.newest if until_ns is None else until_ns // slices.SLICE_NS
        if (self.newest - end) * slices.SLICE_NS > slices.LATE_NS:
            return None
        return [range((end >> level) - slices.SLICES, end >> level) for level in range(slices.LEVELS)]

    def known(self, level: int, index: int) -> bool:
        return index << level >= self.first


def pictures(filled, look, level, half):
    """The level's slices as images (H, W), or at half the size."""
    flat, at, stride = (
        (look.half, look.half_at, filled.half_stride) if half else (look.full, look.full_at, filled.stride)
    )
    rows = (-(-filled.height // 2) if half else filled.height) + 2 * slices.MARGIN
    whole = [flat[int(begin) : int(begin) + rows * stride].reshape(rows, stride) for begin in at[level]]
    return [image[slices.MARGIN : -slices.MARGIN, slices.MARGIN : -slices.MARGIN] for image in whole]


def project(rotation, translation, camera, ray, rho):
    """c(ρ), px, (2,); None where the point is behind the camera or all but."""
    place = rotation @ [*ray, 1.0] + rho * translation
    if place[2] < patches.NEAR_Z:
        return None
    return np.array([camera.fx * place[0] / place[2] + camera.cx, camera.fy * place[1] / place[2] + camera.cy])


def patch(image: np.ndarray, centre_px: np.ndarray, reach: int) -> np.ndarray:
    """Bilinear values (2 reach + 1, 2 reach + 1) around a place (u, v); zero outside the image."""
    padded = np.pad(image.astype(np.float64), reach + 2)
    u, v = centre_px + reach + 2
    left, top = int(np.floor(u)), int(np.floor(v))
    fu, fv = u - left, v - top
    whole = padded[top - reach : top + reach + 2, left - reach : left + reach + 2]
    rows = (1 - fv) * whole[:-1] + fv * whole[1:]
    return (1 - fu) * rows[:, :-1] + fu * rows[:, 1:]


def gaussian(reach: int, stddev_px: float) -> np.ndarray:
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.exp(-0.5 * (x**2 + y**2) / stddev_px**2)


def ways(places_px) -> list[float]:
    """Of each slice 1, or −1 where the point moved against the way that it moved fastest."""
    steps = [b - a for a, b in itertools.pairwise(places_px) if a is not None and b is not None]
    fastest = max(steps, key=lambda step: step @ step, default=np.zeros(2))
    out = []
    for j in range(len(places_px)):
        before, after = places_px[max(j - 1, 0)], places_px[min(j + 1, len(places_px) - 1)]
        out.append(-1.0 if before is not None and after is not None and (after - before) @ fastest < 0 else 1.0)
    return out


def correlation(images, places_px, size, coarse: bool) -> tuple[float, int]:
    """r of the patches around one place (or None) in each full-size or half-size image, and how many are inside.

    size: (H, W) of the full images, in whose pixels the places are.
    """
    reach, stddev_px = (3, 1.5) if coarse else (6, 3.0)
    seen = []
    for image, place, sign in zip(images, places_px, ways(places_px), strict=True):
        if place is None or not ((place > -0.5) & (place < np.array(size)[::-1] - 0.5)).all():
            continue
        seen.append(sign * patch(image, (place - 0.5) / 2 if coarse else place, reach))
    if len(seen) < 2:
        return 0.0, len(seen)
    w, v, n = gaussian(reach, stddev_px), np.array(seen), len(seen)
    pattern, energy = (w * v.sum(axis=0) ** 2).sum(), (w * (v**2).sum(axis=0)).sum()
    return (pattern - energy) / ((n - 1) * (energy + patches.ENERGY_0)), n


def log_likelihood(r: float, seen: int) -> float:
    """ℓ above its floor, for so many of a level's slices."""
    if seen < patches.MIN_SLICES:
        return 0.0
    share = (seen - 1) / (slices.SLICES - 1)
    return -patches.N * share * np.log(max(1 - r, 1e-3)) - patches.FLOOR


def beside_path(images, size, camera, motion, lag_s, ray, rho):
    """ℓ of one point at a ray and inverse depth as a function of (a, s): its log inverse depth more by a times what
    moves it by one px in the oldest slice, its path further by s px to the side there, in proportion to a slice's lag.
    Also the direction of that side, (2,). motion: (rotation, translation) of each slice, None where it is not known."""
    oldest = next(j for j in range(len(motion)) if motion[j] is not None)
    way = project(*motion[oldest], camera, ray, rho) - project(*motion[oldest], camera, ray, 0.0)
    length = np.hypot(*way)
    side = np.array([-way[1], way[0]]) / length

    def ell(a, s):
        other = rho * np.exp(a / length)
        places = []
        for j, each in enumerate(motion):
            place = None if each is None else project(*each, camera, ray, other)
            places.append(None if place is None else place + s * side * lag_s[j] / lag_s[oldest])
        return log_likelihood(*correlation(images, places, size, coarse=False))

    return ell, side


class SlowPosterior:
    """The mixture over log depth as weights of many quantiles of its prior."""

    def __init__(self, low, width, log_density, log_uniform, mean, stddev, outlier, draws=60_001):
        prior = stats.t(likelihood.STUDENT)
        self.z = mean + stddev / prior.std() * prior.ppf((np.arange(draws) + 0.5) / draws)
        bins = np.floor((self.z - low) / width)
        inside = (bins >= 0) & (bins < len(log_density))
        inlier = (1 - outlier) * np.where(inside, np.exp(log_density[np.where(inside, bins, 0).astype(int)]), 0.0)
        away = outlier * np.exp(log_uniform)
        weight = inlier + away
        self.below = (np.cumsum(weight) - weight / 2) / weight.sum()
        self.outlier = away * draws / weight.sum()

    def quantile(self, share: float) -> float:
        return float(np.interp(share, self.below, self.z))


def triangulate(ray, rays, rotations, translations, noise, max_residual=np.inf) -> float:
    """Inverse depth at which a point on `ray` is seen nearest to its rays in other cameras, by search over all of them.

    Beyond max_residual (of the noise) what an observation is off by counts less and less (Geman-McClure).
    """

    def cost(rho):
        places = rotations @ [*ray, 1.0] + rho * translations
        off = (((places[:, :2] / places[:, 2:] - rays) / noise) ** 2).sum(axis=1)
        return (off / (1 + off / (2 * max_residual**2))).sum()

    grid = np.geomspace(1e-3, 1e1, 500)
    best = int(np.argmin([cost(rho) for rho in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return optimize.minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x


def shared_error(at, others, uv, log_depth, width, state, ratio, noise, own_share, reach):
    """Mean and variance of f at point `at` of a stream whose learned depths err together (learned_scale.py), from
    others' measurements (ratio, noise variance) by the rules of conditional normal laws. state: mean and variance of
    the scale before. reach: (widths, log depth) over which errors are shared. Also the scale's own mean and variance.
    """
    scale, variance = state

    def covariance(i, k):
        apart = np.hypot(*(uv[i] - uv[k])) / reach[0] + abs(log_depth[i] - log_depth[k]) / reach[1]
        own = own_share if i == k else 0.0
        return variance + width[i] * width[k] * ((1 - own_share) * np.exp(-apart) + own)

    joint = np.array([[covariance(i, k) for k in others] for i in others]) + np.diag(noise[others])
    of_point, of_scale = np.array([covariance(at, k) for k in others]), np.full(len(others), variance)
    found = []
    for own, cross in ((covariance(at, at), of_point), (variance, of_scale)):
        found.append(scale + cross @ np.linalg.solve(joint, ratio[others] - scale))
        found.append(own - cross @ np.linalg.solve(joint, cross))
    return found
