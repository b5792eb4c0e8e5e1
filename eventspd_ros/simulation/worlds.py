"""Scenes with the cues of driving, walking and flying, and the camera's path through them, all from one seed.

`drive`: a street of lanes 3.5 m wide, seen from 1.65 m ± 5 %. `indoor`: a furnished room. `fly`: a yard with houses,
trees and cars. Depths go from 0.5 to about 80 m. `desk` and `hall`: interiors.py; `forest` and `jumble`: theirs. The
path comes first; what would stand in its way is left out, and so is what would stand inside another thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from eventspd_ros.simulation import furniture, things
from eventspd_ros.simulation.forest import forest
from eventspd_ros.simulation.interiors import desk, hall
from eventspd_ros.simulation.jumble import jumble
from eventspd_ros.simulation.materials import Materials
from eventspd_ros.simulation.paths import SplinePath, drive_path, flight_path, knot_times, smoothed, walk_path
from eventspd_ros.simulation.scenes import Scene, TexturedPlane, X, Z, panel
from eventspd_ros.simulation.stage import SceneBuilder, extent
from eventspd_ros.simulation.things import Planes, place, slab
from eventspd_ros.simulation.variety import AS_IT_IS, Drawn

COMMON_DOMAINS = ("drive", "indoor", "fly")
HELD_OUT_DOMAINS = ("forest",)  # for judging alone: never train on them (docs/simulation.md)
DOMAINS = (*COMMON_DOMAINS, "desk", "hall", *HELD_OUT_DOMAINS, "jumble")
FAR_M = 78.0  # where the skyline stands
LANE_M = 3.5


def make_world(domain: str, seed: int, duration_s: float, how: Drawn = AS_IT_IS) -> tuple[Scene, SplinePath]:
    """The scene and the camera's path from 0 to duration_s. how: where they are other than the domain's own. ValueError
    for another domain than DOMAINS."""
    if domain not in DOMAINS:
        raise ValueError(f"domain {domain!r}: must be one of {', '.join(DOMAINS)}")
    rng = np.random.default_rng([seed, 10 + DOMAINS.index(domain)])
    # A camera that is faster gets further along its path, which would end and leave it at rest.
    return how.scaled(*MAKERS[domain](rng, duration_s * max(how.pace or 1.0, 1.0), how))


def _skyline(rng: np.random.Generator, m: Materials, centre: np.ndarray, along_m: float) -> Planes:
    """Houses and woods about 78 m away, all around: where the ground ends."""
    planes = []
    for angle in np.arange(0, 2 * np.pi, 0.22):
        distance = FAR_M * rng.uniform(0.94, 1.0)
        at = centre + np.array([np.sin(angle) * distance, 0, np.cos(angle) * (distance + along_m / 2)])
        tall = float(rng.choice([6.0, 9.0, 12.0, 15.0]))
        kind = str(rng.choice(["facade", "leaves", "rough", "soft"], p=[0.4, 0.3, 0.15, 0.15]))
        width = (FAR_M + along_m / 2) * 0.24
        board = panel((0, -tall / 2, 0), (width, tall), gain=rng.uniform(0.2, 0.6), **m.look(kind))
        planes += place([board], at[0], at[2], angle)
    return planes


class Road:
    """The camera's way as a line on the ground that goes on straight at both ends. d: metres to the right of it."""

    def __init__(self, camera: SplinePath) -> None:
        at, yaw = camera.positions[:, [0, 2]], camera.knots[:, 3]
        heading = np.stack([np.sin(yaw), np.cos(yaw)], 1)
        ahead = at[-1] + np.linspace(0.5, 200, 400)[:, None] * heading[-1]
        behind = at[0] - np.linspace(60, 0.5, 120)[:, None] * heading[0]
        line = np.concatenate([behind, at, ahead])
        steps = np.hypot(*np.diff(line, axis=0).T)
        new = np.concatenate([[True], steps > 1e-6])
        self._line = line[new]
        self._yaw = np.concatenate([np.full(120, yaw[0]), yaw, np.full(400, yaw[-1])])[new]
        self._s = np.concatenate([[0], np.cumsum(steps[steps > 1e-6])]) - np.hypot(*(behind[0] - at[0]))
        self.length_m = float(np.hypot(*np.diff(at, axis=0).T).sum())

    def at(self, s: float, d: float) -> tuple[float, float, float]:
        """x, z and heading of the place d to the right at s metres along the way."""
        x, z, yaw = (np.interp(s, self._s, column) for column in (*self._line.T, self._yaw))
        return float(x + d * np.cos(yaw)), float(z - d * np.sin(yaw)), float(yaw)

    def drive(self, times_s: np.ndarray, s: np.ndarray, d: float, backwards: bool) -> SplinePath:
        """The path of a car whose place along the way is s (N,) at the knots."""
        knots = np.zeros((len(times_s), 6))
        for row, where in zip(knots, s, strict=True):
            row[[0, 2, 3]] = self.at(where, d)
        knots[:, 3] += np.pi if not backwards else 0.0  # things face −z
        return SplinePath(knots)


def _street(rng: np.random.Generator, duration_s: float, how: Drawn) -> tuple[Scene, SplinePath]:
    driven, m = drive_path(rng, duration_s), how.materials(rng)
    camera = how.adjust(driven)
    road, stage = Road(driven), SceneBuilder(camera, m, 0.5)
    end = road.length_m + 75.0
    middle = np.array([road.at(road.length_m / 2, 0)[i] for i in (0, 1)])
    stage.planes.append(_ground(middle, FAR_M + road.length_m / 2 + 4, 0.012, 0.35, m.look("grass")))
    stage.planes += _skyline(rng, m, np.array([middle[0], 0, middle[1]]), road.length_m)
    _pave(rng, m, road, stage, end)
    _traffic(rng, m, road, stage, driven, knot_times(duration_s))
    for side, kerb in ((1, LANE_M / 2), (-1, 1.5 * LANE_M)):
        garden_m = rng.uniform(0.0, 16.0)
        # (thing, from the kerb in m, every … m, share that is there, turned by)
        rows = (
            (things.house, 11.0 + garden_m, 16.0, rng.uniform(0.3, 1.0), -side * np.pi / 2),
            (things.car, 1.05, 6.5, rng.uniform(0, 0.6), 0.0),
            (things.lamp, 2.4, 28.0, 1.0, 0.0 if side > 0 else np.pi),
            (things.sign, 2.5, 22.0, 0.5, 0.0),
            (things.person, 3.4, 7.0, 0.25, np.pi / 2),
            (things.bin_, 4.2, 9.0, 0.3, np.pi / 2),
            (things.tree, 6.0, 11.0, rng.uniform(0, 0.8), 0.0),
            (things.fence, 7.5, 6.5, 0.4, np.pi / 2),
        )
        for thing, away, every, share, turn in rows:
            for s in np.arange(-4.0 + rng.uniform(0, every), end, every):
                if rng.random() < share:
                    x, z, yaw = road.at(s, side * (kerb + away + rng.uniform(-0.1, 0.1)))
                    stage.put(place(thing(rng, m), x, z, yaw + turn))
    return stage.scene(rng.uniform(0.7, 1.3)), camera


def _ground(middle: np.ndarray, half_m: float, y: float, gain: float, look: dict) -> TexturedPlane:
    return TexturedPlane(np.array([middle[0], y, middle[1]]), X, Z, (half_m, half_m), gain, **look)


def _pave(rng: np.random.Generator, m: Materials, road: Road, stage: SceneBuilder, end: float) -> None:
    """Two lanes, their marks (3 m long every 9 m, 12 cm wide), kerbs 12 cm high and pavements 2.5 m wide."""
    asphalt, plain, brick = m.look("asphalt"), m.look("plain"), m.look(str(rng.choice(["tiles", "brick", "soft"])))
    for s in np.arange(-6.0, end, 5.0):
        x, z, yaw = road.at(s, -LANE_M / 2)
        surface = replace(slab(0, 0, (2 * LANE_M + 4.2, 5.4), 0.0, 0.25, asphalt), shift=(0.0, float(s / 2.0 % 1)))
        stage.planes += place([surface], x, z, yaw)
        for d in (LANE_M / 2 - 0.15, -1.5 * LANE_M + 0.15):
            x, z, yaw = road.at(s, d)
            stage.planes += place([slab(0, 0, (0.12, 5.1), 0.004, 0.85, plain)], x, z, yaw)
        for d in (LANE_M / 2 + 2.2 + 1.25, -1.5 * LANE_M - 2.2 - 1.25):
            x, z, yaw = road.at(s, d)
            stage.planes += place(things.block(0, 0, (2.5, 0.12, 5.2), 0.0, 0.5, brick), x, z, yaw)
    for s in np.arange(-6.0, end, 9.0):
        x, z, yaw = road.at(s, -LANE_M / 2)
        stage.planes += place([slab(0, 0, (0.12, 3.0), 0.004, 0.9, plain)], x, z, yaw)


def _traffic(rng, m: Materials, road: Road, stage: SceneBuilder, camera: SplinePath, times_s: np.ndarray) -> None:
    """A car ahead that keeps about the camera's speed, cars that come the other way, and people who walk."""
    driven = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(camera.positions[:, [0, 2]], axis=0).T))])
    if rng.random() < 0.5:
        gap = rng.uniform(8, 30) + smoothed(rng.uniform(-2.0, 4.0) * times_s)
        thing = things.truck if rng.random() < 0.2 else things.car
        stage.put_moving(thing(rng, m), road.drive(times_s, driven + gap + 2.0, 0.0, False))
    for k in range(int(rng.integers(0, 4))):
        s = rng.uniform(12, 30) + 22 * k - rng.uniform(4, 14) * times_s
        stage.put_moving(things.car(rng, m), road.drive(times_s, s, -LANE_M, True))
    for _ in range(int(rng.integers(0, 3))):
        d, s = rng.choice([LANE_M / 2 + 3.0, -1.5 * LANE_M - 3.0]), rng.uniform(6, 30)
        onward = rng.random() < 0.5
        walked = s + (1 if onward else -1) * rng.uniform(0.9, 1.6) * times_s
        stage.put_moving(things.person(rng, m), road.drive(times_s, walked, d, not onward))


def _room(rng: np.random.Generator, duration_s: float, how: Drawn) -> tuple[Scene, SplinePath]:
    half = np.exp(rng.uniform(np.log(1.3), np.log([6.5, 9.0])))  # from a kitchen over a corridor to a hall
    ceiling = rng.uniform(2.4, 3.0) + 0.25 * max(0.0, half.min() - 3.0)
    camera, m = how.adjust(walk_path(rng, duration_s, half, ceiling), ceiling), how.materials(rng)
    stage = SceneBuilder(camera, m, 0.65)
    floor = str(rng.choice(["tiles", "planks", "soft", "noise"]))
    wall = [m.look(str(rng.choice(["plain", "soft", "soft", "noise", "brick"]))) for _ in range(4)]
    gain = rng.uniform(0.4, 0.9)
    stage.planes += [
        TexturedPlane(np.zeros(3), X, Z, tuple(half), rng.uniform(0.2, 0.6), **m.look(floor)),
        TexturedPlane(
            np.array([0, -ceiling, 0]), X, Z, tuple(half), 0.95, **m.look(str(rng.choice(["plain", "soft"])))
        ),
    ]
    for k, yaw in enumerate(np.arange(4) * np.pi / 2):
        away, wide = (half[1], half[0]) if k % 2 == 0 else (half[0], half[1])
        turned = place(
            [panel((0, -ceiling / 2, away), (2 * wide, ceiling), gain=gain * (1 - 0.12 * k), **wall[k])], 0, 0, yaw
        )
        skirting = place([panel((0, -0.04, away - 0.01), (2 * wide, 0.08), gain=0.3, **m.look("plain"))], 0, 0, yaw)
        stage.planes += turned + skirting
        _furnish_wall(rng, m, stage, away, wide, yaw)
    for thing in rng.permutation([furniture.table, furniture.chair, furniture.clutter, furniture.sofa, things.person]):
        for _ in range(2 + int(half.prod() / 10)):
            x, z = rng.uniform(-0.8, 0.8, 2) * (half - 0.3)
            _put_inside(stage, place(thing(rng, m), x, z, rng.uniform(-np.pi, np.pi)), half)
    for x in np.arange(-half[0] + 1.0, half[0] - 0.5, 2.4):
        stage.planes += place(furniture.ceiling_lamp(rng, m), x, 0, 0.0, -ceiling)
    if rng.random() < 0.4:
        _somebody_walks(rng, m, stage, half, knot_times(duration_s))
    return stage.scene(0.5), camera


def _furnish_wall(rng, m: Materials, stage: SceneBuilder, away: float, wide: float, yaw: float) -> None:
    """Doors, windows, pictures on a wall, and what stands before it, from left to right."""
    kinds = (
        (furniture.door, 1.1, 0.0), (furniture.window, 1.4, 0.0), (furniture.picture, 1.3, 0.0),
        (furniture.shelf, 0.9, 0.16), (furniture.cupboard, 1.1, 0.27), (furniture.table, 1.7, 0.45),
        (furniture.sofa, 2.0, 0.45), (furniture.bed, 1.5, 1.06), (furniture.clutter, 0.7, 0.25),
    )  # fmt: skip
    at = -wide + 0.15
    while at < wide - 0.8:
        thing, width, depth = kinds[int(rng.integers(len(kinds)))]
        if at + width > wide - 0.1:
            break
        stage.put(place(place(thing(rng, m), at + width / 2, away - depth), 0, 0, yaw))
        at += width + rng.uniform(0.05, 0.6)


def _put_inside(stage: SceneBuilder, planes: Planes, half: np.ndarray) -> None:
    """Puts a thing where it does not reach through a wall."""
    low, high = extent(planes)
    if (low[[0, 2]] > -half).all() and (high[[0, 2]] < half).all():
        stage.put(planes)


def _somebody_walks(rng, m: Materials, stage: SceneBuilder, half: np.ndarray, times_s: np.ndarray) -> None:
    for _ in range(12):
        start, heading = rng.uniform(-0.9, 0.9, 2) * (half - 0.4), rng.uniform(-np.pi, np.pi)
        knots = np.zeros((len(times_s), 6))
        way = np.stack([np.sin(heading), np.cos(heading)]) * rng.uniform(0.5, 1.4)
        knots[:, [0, 2]] = start + np.cumsum(np.tile(way / 30, (len(times_s), 1)), 0)
        knots[:, 3] = heading + np.pi
        inside = (abs(knots[:, [0, 2]]) < half - 0.3).all()
        if inside and stage.put_moving(things.person(rng, m), SplinePath(knots)):
            return


def _yard(rng: np.random.Generator, duration_s: float, how: Drawn) -> tuple[Scene, SplinePath]:
    camera, m = how.adjust(flight_path(rng, duration_s)), how.materials(rng)
    stage = SceneBuilder(camera, m, 0.8)
    stage.planes.append(
        _ground(np.zeros(2), FAR_M + 4, 0.0, 0.35, m.look(str(rng.choice(["grass", "asphalt", "noise"]))))
    )
    stage.planes += _skyline(rng, m, np.zeros(3), 0.0)
    yaw = rng.uniform(-np.pi, np.pi)
    stage.planes += place([slab(0, 0, (7.0, 140.0), 0.006, 0.25, m.look("asphalt"))], 0, 0, yaw)
    for z in np.arange(-68, 70, 9.0):
        stage.planes += place(place([slab(0, 0, (0.12, 3.0), 0.012, 0.9, m.look("plain"))], 0, z), 0, 0, yaw)
    for _ in range(int(rng.integers(0, 4))):  # cars on the road, one way or the other
        times_s, onward = knot_times(duration_s), rng.choice([-1, 1])
        s = rng.uniform(-40, 40) + onward * rng.uniform(3, 14) * times_s
        knots = np.zeros((len(times_s), 6))
        knots[:, 0] = np.sin(yaw) * s + onward * 1.75 * np.cos(yaw)
        knots[:, 2] = np.cos(yaw) * s - onward * 1.75 * np.sin(yaw)
        knots[:, 3] = yaw + (np.pi if onward > 0 else 0)
        stage.put_moving(things.car(rng, m), SplinePath(knots))
    kinds = (
        (things.house, 9), (things.tree, 22), (things.container, 6), (things.car, 12), (things.lamp, 8),
        (things.person, 10), (things.fence, 8), (things.bin_, 6), (things.truck, 2), (things.sign, 5),
    )  # fmt: skip
    heading = camera.knots[0, 3]
    for thing, most in kinds:
        for _ in range(int(rng.integers(most // 2, most + 1))):
            # Dense near the path, and rather ahead of it than behind.
            distance, angle = 55 * rng.uniform(0.05, 1) ** 1.3, heading + rng.normal(0, 1.1)
            x, z = distance * np.sin(angle), distance * np.cos(angle)
            if abs(x * np.cos(yaw) - z * np.sin(yaw)) > 6:
                stage.put(place(thing(rng, m), x, z, rng.uniform(-np.pi, np.pi)))
    return stage.scene(rng.uniform(0.7, 1.3)), camera


MAKERS: dict[str, Callable] = {
    "drive": _street, "indoor": _room, "fly": _yard, "desk": desk, "hall": hall, "forest": forest,
    "jumble": jumble,
}  # fmt: skip
