"""`forest`: a wood, where no edge is long and straight and nothing has a known size. Held out: for judging alone.

What training saw is built: walls, roads, furniture. Here trunks of all widths lean, boughs and leaves cross at any
angle, the ground is uneven, and noise textures have periods of 0.4 to 4 m. As in worlds.py the path comes first.
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.simulation import paths
from eventspd_ros.simulation.camera import Pose, rotation_from_vector
from eventspd_ros.simulation.materials import TEXELS
from eventspd_ros.simulation.scenes import Scene, box, panel
from eventspd_ros.simulation.small_things import Prints, tube
from eventspd_ros.simulation.stage import SceneBuilder
from eventspd_ros.simulation.textures import octave_noise
from eventspd_ros.simulation.things import Planes, carried, place, slab
from eventspd_ros.simulation.variety import AS_IT_IS, Drawn

REACH_M = 34.0  # trees stand up to here, the edge of what is seen behind them
NEAR_M = 14.0  # to here trees have boughs and bend
CLEARANCE_M = 0.4
# Greatest speed to the right, down, forward in m/s and of yaw, pitch, roll in rad/s; least and greatest height in m.
GAITS = {
    "walk": ((0.5, 0.2, 1.5), (1.2, 0.5, 0.3), (0.9, 1.8)),
    "roll": ((0.0, 0.03, 1.2), (0.9, 0.1, 0.1), (0.3, 0.8)),
    "fly": ((1.5, 0.8, 4.0), (1.5, 0.5, 0.5), (0.9, 4.0)),
}
Generator = np.random.Generator


def _bark(rng: Generator) -> np.ndarray:
    """Furrows that run along the trunk."""
    furrows = octave_noise(rng, 16, 4, 0.8, TEXELS)
    furrows = sum(np.roll(furrows, k, 0) for k in range(28))
    return 0.25 * np.tanh(1.5 * furrows / furrows.std()) + 0.05 * octave_noise(rng, 8, 5, 0.8, TEXELS)


def _thicket(rng: Generator) -> np.ndarray:
    """Stems behind stems, some bent, behind leaves."""
    picture, across = np.zeros((TEXELS, TEXELS)), np.arange(TEXELS)
    bend = np.cumsum(np.roll(octave_noise(rng, 3, 2, 0.5, TEXELS)[0], 7)) * 0.06
    for _ in range(40):
        middle = rng.uniform(0, TEXELS) + rng.uniform(-1, 1) * (bend - np.linspace(0, bend[-1], TEXELS))
        away = abs((across - middle[:, None] + TEXELS / 2) % TEXELS - TEXELS / 2)
        picture[away < np.exp(rng.uniform(0.0, 2.0))] = rng.normal(-0.3, 0.25)
    leaves = octave_noise(rng, 8, 5, 0.8, TEXELS)
    return np.where(leaves > 0.3, 0.2 * leaves, picture)


WILD = {"bark": (_bark, 0.8), "thicket": (_thicket, 14.0)}  # name → (log reflectance, length of one period in m)


def forest(rng: Generator, duration_s: float, how: Drawn = AS_IT_IS) -> tuple[Scene, paths.SplinePath]:
    """A wood of 40 to 120 trees around the path of somebody who walks, of a robot on wheels, or of a drone."""
    camera, m = how.adjust(_path(rng, duration_s)), Prints(rng, how.materials(rng), WILD)
    stage, middle = SceneBuilder(camera, m, CLEARANCE_M), camera.positions.mean(0) * (1, 0, 1)
    soil, period_m = str(rng.choice(["grass", "rough", "noise", "asphalt", "soft"])), rng.uniform(1.0, 4.0)
    gain = rng.uniform(0.15, 0.35)
    ground = slab(middle[0], middle[2], (110.0, 110.0), 0.0, gain, m.look(soil, None, period_m))
    stage.planes += [ground, *_edge(rng, m, middle)]
    for _ in range(int(rng.integers(100, 200))):
        stage.put(_at(rng, _mound(rng, gain, m.look(soil, None, period_m)), middle), False)
    for _ in range(int(rng.integers(40, 121))):
        x, _, z = _somewhere(rng, middle)
        near = bool((np.hypot(*(camera.positions - (x, 0, z))[:, [0, 2]].T) < NEAR_M).any())
        stem, crown = _tree(rng, m, near)
        if stage.put(place(stem, x, z)):
            for bough in crown:  # one by one: those in the way are broken off
                stage.put(place(bough, x, z), False)
    for thing, most in ((_fern, 70), (_rock, 16), (_log, 8)):
        for _ in range(int(rng.integers(most // 5, most + 1))):
            stage.put(_at(rng, thing(rng, m), middle), False)
    return stage.scene(rng.uniform(0.6, 1.2)), camera


def _path(rng: Generator, duration_s: float) -> paths.SplinePath:
    speed, turn, height_m = GAITS[str(rng.choice(list(GAITS)))]
    pace = rng.uniform(0.3, 1.0)
    knots = paths.wander(rng, duration_s, pace * np.array(speed), np.array(turn), rng.uniform(-np.pi, np.pi))
    start = np.array([0, -rng.uniform(*height_m), 0])
    reach = np.array([15, 0, 15])
    low, high = -reach - (0, max(height_m[1], 2.0), 0), reach - (0, height_m[0], 0)
    knots[:, :3] = paths.within(knots[:, :3], start, low, high)
    knots[:, 4] = paths.limited(knots[:, 4] + rng.uniform(-0.25, 0.1) * (height_m[1] > 1), 0.4)
    knots[:, 5] = paths.limited(knots[:, 5], 0.25)
    shake = np.array([0.012, 0.015, 0.01, 0.012, 0.015, 0.012])
    return paths.SplinePath(knots + paths.sway(rng, paths.knot_times(duration_s), shake, (0.6, 2.5)))


def _look(rng: Generator, m: Prints, name: str) -> dict:
    """A material at a size of its own."""
    return m.look(name, None, float(np.exp(rng.uniform(np.log(0.4), np.log(4.0)))))


def _somewhere(rng: Generator, middle: np.ndarray) -> np.ndarray:
    """Dense about the middle."""
    away, angle = REACH_M * rng.uniform(0.02, 1) ** 0.7, rng.uniform(0, 2 * np.pi)
    return middle + away * np.array([np.sin(angle), 0, np.cos(angle)])


def _at(rng: Generator, planes: Planes, middle: np.ndarray) -> Planes:
    x, _, z = _somewhere(rng, middle)
    return place(planes, x, z, rng.uniform(-np.pi, np.pi))


def _edge(rng: Generator, m: Prints, middle: np.ndarray) -> Planes:
    """More wood, 34 to 48 m away, all around and in two rows."""
    planes = []
    for angle in np.arange(0, 4 * np.pi, 0.21):
        away, tall = REACH_M + rng.uniform(0, 14), rng.uniform(9, 24)
        board = panel((0, -tall / 2, 0), (14.0, tall), gain=rng.uniform(0.1, 0.4), **m.look("thicket"))
        x, _, z = middle + away * np.array([np.sin(angle), 0, np.cos(angle)])
        planes += place([board], x, z, angle + rng.normal(0, 0.3))
    return planes


def _mound(rng: Generator, gain: float, soil: dict) -> Planes:
    """Ground that rises out of the ground, at most 12° steep."""
    wide, deep, height, light = rng.uniform((1.5, 1.5, -0.15, 0.8), (8.0, 8.0, 0.1, 1.2))
    tilt = rotation_from_vector(rng.uniform(-0.15, 0.15, 3) * (1, 0, 1))
    return carried([slab(0, 0, (wide, deep), 0.0, gain * light, soil)], Pose(tilt, np.array([0, -height, 0])))


def _stem(rng: Generator, m: Prints, radius_m: float, tall_m: float, parts: int, sides: int) -> tuple[Planes, list]:
    """A trunk of parts that lean more and more and grow thinner, and the places along it, (3,) m each."""
    lean, foot, planes, along = rng.normal(0, 0.05, 2), np.array([0, 0.1, 0]), [], []
    bark, gain = m.look("bark", None, max(0.3, 5 * radius_m)), rng.uniform(0.08, 0.5)
    for k in range(parts):
        long = tall_m * (1.0 if parts == 1 else (0.12, 0.25, 0.63)[k])
        pose = Pose(rotation_from_vector(np.array([lean[0], 0, lean[1]])), foot)
        planes += carried(tube(radius_m * (1 - 0.15 * k), long * 1.02, 0.0, gain, bark, sides), pose)
        along += [pose.to_world(np.array([0, -share * long, 0])) for share in (0.3, 0.6, 0.9)]
        foot, lean = pose.to_world(np.array([0, -long, 0])), lean + rng.normal(0, 0.07, 2)
    return planes, along


def _tree(rng: Generator, m: Prints, near: bool) -> tuple[Planes, list[Planes]]:
    """A trunk 6 to 90 cm wide, and one by one its boughs and the leaves of its crown."""
    radius = 0.5 * np.exp(rng.uniform(np.log(0.06), np.log(0.9)))
    tall = float(np.clip(40 * radius**0.5 * rng.uniform(0.7, 1.3), 2.5, 26))
    stem, along = _stem(rng, m, radius, tall, 3 if near else 1, 6 if near else 4)
    crown, leaves = [], rng.uniform(0.2, 1.0)  # bare or dense
    for at in along:
        thin = min(0.6 * radius, rng.uniform(0.008, 0.05))
        for _ in range(int(rng.integers(0, 3)) if near else 0):
            tip, bough = _bough(rng, m, at, thin)
            crown.append(bough)
            if rng.random() < leaves:
                crown.append(_spray(rng, m, tip, 4, 0.25, 0.4))
    for _ in range(int(9 * leaves)):
        at = along[-1] * rng.uniform(0.3, 1.0)
        crown.append(_spray(rng, m, at, 3, 0.08 * tall, min(0.8, 0.1 * tall)))
    return stem, crown


def _bough(rng: Generator, m: Prints, at: np.ndarray, radius_m: float) -> tuple[np.ndarray, Planes]:
    """Where a bough ends, and the bough: 0.4 to 2.5 m long, level or upwards."""
    angle, long = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 2.5)
    pose = Pose(rotation_from_vector(rng.uniform(0.5, 1.8) * np.array([np.cos(angle), 0, np.sin(angle)])), at)
    look = m.look("bark", None, 0.4)
    return pose.to_world(np.array([0, -long, 0])), carried(
        tube(radius_m, long, 0.0, rng.uniform(0.1, 0.4), look, 3), pose
    )


def _spray(rng: Generator, m: Prints, at: np.ndarray, count: int, spread_m: float, leaf_m: float) -> Planes:
    """Leaves about a place, each a scrap that faces anywhere."""
    planes = []
    for _ in range(count):
        size, look = leaf_m * rng.uniform(0.3, 1.0, 2), _look(rng, m, str(rng.choice(["grass", "leaves", "soft"])))
        scrap = panel(np.zeros(3), tuple(size), gain=rng.uniform(0.08, 0.5), **look)
        planes += carried([scrap], Pose(rotation_from_vector(rng.normal(0, 1.2, 3)), at + rng.normal(0, spread_m, 3)))
    return planes


def _fern(rng: Generator, m: Prints) -> Planes:
    """Undergrowth, 20 cm to 1.2 m high."""
    tall = np.exp(rng.uniform(np.log(0.2), np.log(1.2)))
    return _spray(rng, m, np.array([0, -0.4 * tall, 0]), int(rng.integers(4, 11)), 0.35 * tall, 0.6 * tall)


def _rock(rng: Generator, m: Prints) -> Planes:
    """Four blocks in one another, half in the ground, 20 cm to 1.5 m wide."""
    wide, planes = np.exp(rng.uniform(np.log(0.2), np.log(1.5))), []
    look, gain = _look(rng, m, str(rng.choice(["rough", "soft", "noise"]))), rng.uniform(0.2, 0.6)
    for _ in range(4):
        block = box((0, 0, 0), tuple(wide * rng.uniform(0.4, 1.0, 3)), 0.0, gain, **look)
        planes += carried(block, Pose(rotation_from_vector(rng.normal(0, 0.8, 3)), np.zeros(3)))
    return planes


def _log(rng: Generator, m: Prints) -> Planes:
    """A trunk on the ground, 10 to 60 cm wide, 1.5 to 8 m long."""
    radius, long = rng.uniform((0.05, 1.5), (0.3, 8.0))
    pose = Pose(
        rotation_from_vector(np.array([np.pi / 2 + rng.normal(0, 0.05), 0, 0])), np.array([0, -0.8 * radius, 0])
    )
    stem, _ = _stem(rng, m, radius, long, 3, 6)
    return carried(stem, pose)
