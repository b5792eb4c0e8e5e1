"""`jumble`: things of any size anywhere, of any material, so that nothing tells how far away what is seen may be.

A network that knows streets, yards and rooms takes whatever else it sees for one of them, and is sure of it. Here
sizes, patterns and the camera's height all follow one length that is drawn anew for each scene; what shows is no more
than how things lie before each other. A real place is full of few kinds of things (stones, shelves, cables, reeds), so
what kinds there are, how large, how many and of what is drawn for the scene, not for each thing: scenes of everything
at once look all alike. As in worlds.py the path comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventspd_ros.simulation import paths
from eventspd_ros.simulation.camera import Pose, rotation_from_vector
from eventspd_ros.simulation.materials import EXCHANGED, TEXELS
from eventspd_ros.simulation.paths import SplinePath
from eventspd_ros.simulation.scenes import Scene, box, panel
from eventspd_ros.simulation.small_things import PRINTS, Prints, tube
from eventspd_ros.simulation.stage import SceneBuilder
from eventspd_ros.simulation.textures import octave_noise
from eventspd_ros.simulation.things import Planes, block, carried, place, slab
from eventspd_ros.simulation.variety import AS_IT_IS, Drawn

REACH_M = (1.5, 60.0)  # how far away the furthest things are
SPEED_M_S = (0.2, 6.0)
KINDS = ("block", "bar", "board", "tube", "heap", "scraps")  # the last two: blocks, or boards, in one another
Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Style:
    """What the things of one scene have in common."""

    kinds: np.ndarray  # (6,) the share of each of KINDS
    size_m: tuple[float, float]  # least and greatest
    looks: list[dict]
    gain: tuple[float, float]
    standing: float  # share of the things; the others hang in the air, turned anyhow
    turned_rad: float  # about the vertical: those that stand all face one way, or every way

    def look(self, rng: Generator) -> dict:
        return self.looks[int(rng.integers(len(self.looks)))]


def _style(rng: Generator, m: Prints, reach_m: float) -> Style:
    middle, spread = reach_m * _even(rng, 0.012, 0.2), _even(rng, 1.2, 6.0)
    dark, light = np.sort(rng.uniform(0.05, 0.9, 2))
    return Style(
        kinds=rng.dirichlet(np.full(len(KINDS), 0.35)),
        size_m=(middle / spread, min(middle * spread, 0.3 * reach_m)),
        looks=[_look(rng, m, reach_m) for _ in range(int(np.ceil(_even(rng, 0.5, 12))))],
        gain=(dark, light),
        standing=float(rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.3, 0.5])),
        turned_rad=rng.choice([0.1, np.pi]),
    )


def jumble(rng: Generator, duration_s: float, how: Drawn = AS_IT_IS) -> tuple[Scene, SplinePath]:
    """25 to 400 things that stand on a floor or hang in the air, before walls or before nothing."""
    reach_m = _even(rng, *REACH_M)
    camera, m = how.adjust(_path(rng, duration_s, reach_m)), Prints(rng, how.materials(rng), PATTERNS)
    stage, middle = SceneBuilder(camera, m, min(0.4, 0.03 * reach_m)), camera.positions.mean(0) * (1, 0, 1)
    if rng.random() < 0.7:
        size = (3.0 * reach_m, 3.0 * reach_m)
        stage.planes.append(slab(middle[0], middle[2], size, 0.0, rng.uniform(0.1, 0.6), _look(rng, m, reach_m)))
    stage.planes += _rim(rng, m, middle, reach_m)
    style, crowd = _style(rng, m, reach_m), rng.uniform(0.4, 1.6)
    heading, wide = camera.knots[0, 3], rng.uniform(0.5, 1.5)
    for _ in range(round(_even(rng, 25, 400))):
        away, angle = reach_m * rng.uniform(0.03, 1) ** crowd, heading + rng.normal(0, wide)
        thing = _thing(rng, style)
        if rng.random() < style.standing:
            high = 0.0
        else:
            turn = rotation_from_vector(rng.normal(0, 1.0, 3))
            thing, high = carried(thing, Pose(turn, np.zeros(3))), reach_m * rng.uniform(0.0, 0.6)
        x, z = middle[0] + away * np.sin(angle), middle[2] + away * np.cos(angle)
        facing = heading + style.turned_rad * rng.uniform(-1, 1)
        stage.put(place(thing, x, z, facing, -high), rng.random() < 0.7)
    for _ in range(int(rng.integers(0, 4))):
        _put_moving(rng, style, stage, middle, reach_m, paths.knot_times(duration_s))
    return stage.scene(rng.uniform(0.4, 1.3)), camera


def _even(rng: Generator, low: float, high: float) -> float:
    """A number drawn evenly in the logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _path(rng: Generator, duration_s: float, reach_m: float) -> SplinePath:
    """Somebody or something that moves any way, at a height that goes with the length of the scene."""
    speed = min(_even(rng, *SPEED_M_S), 0.5 * reach_m) * np.array([1.0, 0.5, 1.0])
    knots = paths.wander(rng, duration_s, speed, np.array([1.3, 0.6, 0.4]), rng.uniform(-np.pi, np.pi))
    start, free = np.array([0, -reach_m * _even(rng, 0.02, 0.35), 0]), reach_m * np.array([0.25, 0.3, 0.25])
    high = np.array([free[0], 0.3 * start[1], free[2]])  # never on the floor
    knots[:, :3] = paths.within(knots[:, :3], start, start - free, high)
    knots[:, 4] = paths.limited(knots[:, 4] + rng.normal(0, 0.25), 0.7)
    knots[:, 5] = paths.limited(knots[:, 5] + rng.normal(0, 0.15), 0.5)
    shake = np.array([0.006, 0.006, 0.006, 0.012, 0.012, 0.012])
    return SplinePath(knots + paths.sway(rng, paths.knot_times(duration_s), shake, (0.5, 2.5)))


def _pattern(rng: Generator) -> np.ndarray:
    """Log reflectance that is like nothing: blots, strokes or discs over noise, some drawn out one way."""
    noise = octave_noise(rng, int(2 ** rng.integers(1, 5)), 4, rng.uniform(0.4, 0.95), TEXELS)
    picture = np.tanh(_even(rng, 0.5, 8.0) * (noise - rng.uniform(-0.7, 0.7)))
    along, across = np.mgrid[:TEXELS, :TEXELS] / TEXELS
    drawn, long, broad = int(_even(rng, 3, 120)), _even(rng, 0.02, 0.5), _even(rng, 0.01, 0.08)
    one_way, spread = rng.uniform(0, np.pi), rng.choice([0.1, 0.5, np.pi])
    for _ in range(drawn * int(rng.random() < 0.6)):
        way, at = one_way + spread * rng.uniform(-1, 1), rng.random(2)
        t, s = (along - at[0] + 0.5) % 1 - 0.5, (across - at[1] + 0.5) % 1 - 0.5
        inside = abs(t * np.cos(way) + s * np.sin(way)) < long / 2
        inside &= abs(s * np.cos(way) - t * np.sin(way)) < broad / 2
        picture[inside] = rng.normal(0, 1.0)
    return rng.uniform(0.1, 0.8) * picture / max(picture.std(), 1e-3)


# Those of Prints, and three that are new in every scene.
PATTERNS = {**PRINTS, **{f"pattern {k}": (_pattern, 1.0) for k in range(3)}}


def _look(rng: Generator, m: Prints, reach_m: float) -> dict:
    """Any material, its pattern as coarse as the scene is long."""
    name, draw = "plain", rng.random()
    if draw > 0.15:
        name = str(rng.choice([*EXCHANGED, "facade", *PRINTS] if draw < 0.6 else list(PATTERNS)[len(PRINTS) :]))
    return m.look(name, None, reach_m * _even(rng, 0.01, 0.5))


def _rim(rng: Generator, m: Prints, middle: np.ndarray, reach_m: float) -> Planes:
    """What stands behind everything: nothing, boards all around of one material or of several, or four walls."""
    kind, planes = rng.choice(["nothing", "boards", "walls"], p=[0.25, 0.45, 0.3]), []
    if kind == "nothing":
        return planes
    looks = [_look(rng, m, reach_m) for _ in range(int(rng.integers(1, 5)))]
    tall, turned = reach_m * _even(rng, 0.15, 2.0), rng.uniform(-np.pi, np.pi)
    step, wide = (0.22, 0.3) if kind == "boards" else (np.pi / 2, 2.4)
    for angle in np.arange(0, 2 * np.pi - 1e-6, step):
        look, gain = looks[int(rng.integers(len(looks)))], rng.uniform(0.1, 0.6)
        away, high = reach_m * (1.2 + (kind == "boards") * rng.uniform(-0.2, 0.2)), tall * rng.uniform(0.6, 1.0)
        board = panel((0, -high / 2, 0), (wide * reach_m, high), gain=gain, **look)
        way = angle + turned
        planes += place([board], middle[0] + away * np.sin(way), middle[2] + away * np.cos(way), way)
    return planes


def _thing(rng: Generator, style: Style) -> Planes:
    """One of KINDS, about the origin or upon it."""
    size, gain, look = _even(rng, *style.size_m), rng.uniform(*style.gain), style.look(rng)
    kind = rng.choice(KINDS, p=style.kinds)
    if kind == "block":
        return block(0, 0, tuple(size * rng.uniform(0.3, 1.0, 3)), 0.0, gain, look, bottom=True)
    if kind == "bar":
        return block(0, 0, tuple(rng.permutation(size * np.array([2.5, 0.15, 0.15]))), 0.0, gain, look, bottom=True)
    if kind == "board":
        wide, high = size * rng.uniform(0.3, 1.5, 2)
        return [panel((0, -high / 2, 0), (wide, high), gain=gain, **look)]
    if kind == "tube":
        return tube(size * rng.uniform(0.05, 0.3), size * rng.uniform(0.5, 1.5), 0.0, gain, look, 6)
    planes = []
    for _ in range(int(rng.integers(3, 7))):
        turn, at = rotation_from_vector(rng.normal(0, 1.0, 3)), size * rng.normal(0, 0.3, 3) - (0, 0.4 * size, 0)
        if kind == "heap":
            part = box((0, 0, 0), tuple(size * rng.uniform(0.3, 0.8, 3)), 0.0, gain, **look)
        else:
            part = [panel((0, 0, 0), tuple(size * rng.uniform(0.1, 0.5, 2)), gain=rng.uniform(*style.gain), **look)]
        planes += carried(part, Pose(turn, at))
    return planes


def _put_moving(
    rng, style: Style, stage: SceneBuilder, middle: np.ndarray, reach_m: float, times_s: np.ndarray
) -> None:
    """A thing that goes straight on, if there is room."""
    away, angle, heading = reach_m * rng.uniform(0.15, 0.9), *rng.uniform(-np.pi, np.pi, 2)
    knots = np.zeros((len(times_s), 6))
    knots[:, 0], knots[:, 2] = middle[0] + away * np.sin(angle), middle[2] + away * np.cos(angle)
    way = reach_m * rng.uniform(0.05, 0.4) * np.stack([np.sin(heading), np.cos(heading)])
    knots[:, [0, 2]] += (times_s - times_s[0])[:, None] * way
    knots[:, 3] = heading + np.pi
    stage.put_moving(_thing(rng, style), SplinePath(knots))
