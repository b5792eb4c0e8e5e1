"""Two domains inside closed rooms: `desk`, things of real size within reach of a hand, and `hall`, where little stands.

As in worlds.py the path comes first, here with what a Drawn made of it, and the room is built around it: wherever
above the floor that path goes, no wall, no desk and no ceiling is in its way.
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.simulation import furniture, paths, small_things, things
from eventspd_ros.simulation.scenes import Scene, TexturedPlane, X, Z, panel
from eventspd_ros.simulation.small_things import Prints
from eventspd_ros.simulation.stage import SceneBuilder, extent
from eventspd_ros.simulation.things import Planes, block, place, slab
from eventspd_ros.simulation.variety import AS_IT_IS, Drawn

DESK_M = 0.74  # the height of its top
NEAR_M = 0.28  # how far things keep away from the desk's camera: 0.18 m along its axis, in a corner of a wide image
MANY = 190  # planes: from here on a row of books is one block
# Least and greatest: the distance of the wall or the shelf's front, the camera's height, in m; its pitch, in rad.
LAYOUTS = {
    "desk": ((0.55, 1.03, -0.5), (1.3, 1.3, -0.17)),
    "shelf": ((0.3, 0.5, -0.3), (0.8, 1.7, 0.0)),
    "posters": ((0.4, 0.9, -0.17), (1.4, 1.7, 0.0)),
}
Generator, Made = np.random.Generator, tuple[Scene, paths.SplinePath]


def desk(rng: Generator, duration_s: float, how: Drawn = AS_IT_IS) -> Made:
    """A desk, a shelf's front or a wall of posters, 0.2 to 2.5 m away, and the path of the hand or slider before it."""
    kind = str(rng.choice(list(LAYOUTS), p=[0.5, 0.2, 0.3]))
    away_m, height_m, pitch = rng.uniform(*LAYOUTS[kind])
    camera = how.adjust(_near_path(rng, duration_s, away_m, height_m, pitch))
    m, at = Prints(rng, how.materials(rng)), camera.positions
    stage, front_z = SceneBuilder(camera, m, NEAR_M), at[:, 2].max() + away_m
    # Where the camera looks, on the wall ahead.
    x = at[:, 0].mean() + np.clip(np.tan(camera.knots[:, 3].mean()), -0.5, 0.5) * (front_z - at[:, 2].mean())
    wall_z = {"desk": _desk, "shelf": _shelves, "posters": _posters}[kind](rng, m, stage, at, x, front_z)
    low = np.minimum(at.min(0), (x, -rng.uniform(2.0, 2.5), wall_z - 1.3)) - (rng.uniform(0.9, 2.0), 0.4, 0.5)
    high = np.array([max(at[:, 0].max(), x) + rng.uniform(0.9, 2.0), 0.0, wall_z])
    stage.planes += _room(rng, m, low, high, str(rng.choice(["plain", "soft", "soft", "noise", "brick"])))
    for thing in (furniture.chair, furniture.clutter, things.person):
        _strew(rng, stage, place(thing(rng, m), 0, 0, rng.uniform(-3, 3)), low[[0, 2]], high[[0, 2]] - (0, 0.4))
    return stage.scene(0.5), camera


def _near_path(rng: Generator, duration_s: float, away_m: float, height_m: float, pitch: float) -> paths.SplinePath:
    """A hand, or a slider that goes straight and does not turn: at most 0.6 m/s and 60 °/s, and slower where near."""
    times_s = paths.knot_times(duration_s)
    pace = rng.uniform(0.2, 1.0) * min(1.0, 0.4 + 0.6 * away_m)
    if rng.random() < 0.4:
        knots, way = np.zeros((len(times_s), 6)), rng.normal(0, (1.0, 0.3, 0.3))
        onward = np.where(times_s < rng.uniform(0, 2) * duration_s, 1.0, rng.choice([-1.0, 0.0]))
        driven = np.cumsum(0.58 * pace * paths.KNOT_S * paths.smoothed(onward))
        knots[:, :3] = driven[:, None] * way / np.linalg.norm(way)
    else:
        most = pace * np.array([0.48, 0.22, 0.28, 1.3, 0.7, 0.5])  # m/s, rad/s
        knots = paths.wander(rng, duration_s, most[:3], most[3:], 0.0)
        knots[:, 2] *= rng.choice([-1, 1])  # wander goes forward rather than back
        knots += paths.sway(rng, times_s, np.array([0.003, 0.003, 0.003, 0.006, 0.006, 0.004]), (0.6, 2.0))
    start, reach = np.array([0.0, -height_m, 0.0]), min(0.8, away_m) * np.array([0.7, 0.25, 0.5])
    knots[:, :3] = paths.within(knots[:, :3], start, start - reach, start + reach)
    knots[:, 3:] = paths.limited(knots[:, 3:], 0.22) + (rng.uniform(-0.15, 0.15), pitch, 0.0)
    return paths.SplinePath(knots)


def _desk(rng: Generator, m: Prints, stage: SceneBuilder, at: np.ndarray, x: float, front_z: float) -> float:
    """A desk of 1.2–2 × 0.6–0.9 m before a wall, things on it. at: the camera's places. Gives the wall's z."""
    length, deep, gap = rng.uniform(1.2, 2.0), rng.uniform(0.6, 0.9), 0.18  # the gap is for a window's radiator
    # The camera passes over the desk, or else stays before its edge.
    over = -at[:, 1].max() > DESK_M + NEAR_M + 0.01
    wall_z = max(front_z, at[:, 2].max() + (0.0 if over else deep + gap) + NEAR_M + 0.01)
    middle, gain = np.array([x + rng.uniform(-0.3, 0.3), wall_z - gap - deep / 2]), rng.uniform(0.2, 0.85)
    wood = m.look(str(rng.choice(["planks", "soft", "plain", "noise"])), None, 1.2)
    planes = block(0, 0, (length, 0.03, deep), DESK_M - 0.03, gain, wood, True)
    for side in (-0.5, 0.5):
        planes += block(side * (length - 0.1), 0, (0.06, DESK_M - 0.03, deep - 0.1), 0.0, gain / 2, m.plain)
    stage.put(place(planes, *middle))
    if rng.random() < 0.3:
        stage.put(place(furniture.window(rng, m), x + rng.uniform(-0.6, 0.6), wall_z))
    _hang(rng, m, stage, x, wall_z)
    low, high = middle - (length / 2, deep / 2), middle + (length / 2, deep / 2)
    low[1] = max(low[1], at[:, 2].min() + 0.1)  # what is behind the camera is not seen
    kinds = [small_things.screen, small_things.lamp, small_things.carton, small_things.screen, small_things.pile]
    for thing in rng.permutation(kinds)[: rng.integers(2, 5)]:
        _strew(rng, stage, place(thing(rng, m), 0, 0, rng.normal(0, 0.3)), (low[0], middle[1]), high, DESK_M)
    low[0], high[0] = max(low[0], x - 0.6), min(high[0], x + 0.6)
    left = rng.uniform(low[0], high[0])
    _row(rng, m, stage, left, min(left + 0.5, high[0]), high[1] - 0.12, DESK_M)
    kinds = [small_things.keyboard, small_things.mug, small_things.pile, small_things.odds, small_things.carton]
    for thing in [kinds[0], *rng.permutation(kinds[1:] * 4)][: rng.integers(7, 18)]:
        _strew(rng, stage, place(thing(rng, m), 0, 0, rng.normal(0, 0.35)), low, high, DESK_M)
    return wall_z


def _shelves(rng: Generator, m: Prints, stage: SceneBuilder, at: np.ndarray, x: float, front_z: float) -> float:
    """Three shelves side by side, 30 cm deep, a board every 32 to 40 cm, filled where the camera looks first."""
    wide, step, gain = rng.uniform((0.7, 0.32, 0.2), (1.0, 0.4, 0.9))
    wood, z = m.look(str(rng.choice(["planks", "plain", "soft"]))), front_z + 0.15
    lefts, boards = x + wide * np.arange(-1.5, 2.0), np.arange(6) * step + 0.06
    for left in lefts:
        stage.put(block(left, z, (0.02, 5 * step + 0.1, 0.3), 0.0, gain, wood), False)
    for level in boards:
        stage.put(block(x, z, (3 * wide, 0.02, 0.3), level, gain, wood, True), False)
    for level in boards[np.argsort(abs(boards + step / 2 + at[:, 1].mean()))[:4]]:
        for left in lefts[[1, 0, 2]]:
            _row(rng, m, stage, left + 0.02, left + wide - 0.02, z, level + 0.02)
    return front_z + 0.31


def _posters(rng: Generator, m: Prints, stage: SceneBuilder, at: np.ndarray, x: float, front_z: float) -> float:
    """A wall full of posters; before it boards on poles and boxes, in directions and distances of their own."""
    up, start = 0.4, at.mean(0)
    while up < 2.3:
        left, tall = x - 1.6, 0.0
        while left < x + 1.5:
            sheet = small_things.poster(rng, m, (0.42, 0.594, 0.594, 0.841))
            low, high = extent(sheet)
            stage.put(place(sheet, left - low[0], front_z, 0.0, -up))
            left, tall = left + high[0] - low[0] + rng.exponential(0.04), max(tall, -low[1])
        up += tall + 0.03
    for _ in range(int(rng.integers(2, 8))):
        away = rng.uniform(0.35, 0.9) * (front_z - start[2])
        there = start[0] + (x - start[0] + rng.uniform(-0.6, 0.6)) * away
        wide, base = away * rng.uniform(0.15, 0.35), max(0.1, away * rng.uniform(-0.5, 0.1) - start[1])
        tall, gain, look = wide * rng.uniform(0.7, 1.5), rng.uniform(0.2, 0.9), m.picture(wide)
        if rng.random() < 0.5:
            planes = [panel((0, -base - tall / 2, 0), (wide, tall), gain=gain, **look)]
            planes += block(0, 0.015, (0.03, base + tall / 2, 0.02), 0.0, 0.2, m.plain)
        else:
            planes = block(0, 0, (wide, tall, wide), base, gain, look, True)
            planes += block(0, 0, (0.9 * wide, base, 0.9 * wide), 0.0, 0.5, m.look("soft"))
        stage.put(place(planes, there, start[2] + away, rng.uniform(-0.6, 0.6)))
    return front_z


def _hang(rng: Generator, m: Prints, stage: SceneBuilder, x: float, wall_z: float) -> None:
    """A shelf and posters on the wall above a desk."""
    left, height, gain = rng.uniform((-1.0, 1.25, 0.2), (0.2, 1.6, 0.9)) + (x, 0, 0)
    board = block(left + 0.4, wall_z - 0.11, (0.8, 0.02, 0.22), height, gain, m.any(), True)
    if rng.random() < 0.4 and stage.put(board):
        _row(rng, m, stage, left + 0.02, left + 0.78, wall_z - 0.11, height + 0.02)
    for _ in range(int(rng.integers(3, 30))):
        sheet = small_things.poster(rng, m, (0.297, 0.297, 0.42, 0.594))
        stage.put(place(sheet, x + rng.uniform(-1.1, 1.1), wall_z, 0.0, -rng.uniform(0.8, 1.7)))


def _row(rng: Generator, m: Prints, stage: SceneBuilder, left: float, right: float, z: float, height: float) -> None:
    """Fills a board from left to right: books one by one or as a block, other things, gaps."""
    kinds = ("books", None, small_things.carton, small_things.pile, small_things.mug, *[small_things.book] * 6)
    while left < right:
        kind = kinds[int(rng.integers(len(kinds) if len(stage.planes) < MANY else 2))]
        for _ in range(int(rng.integers(2, 8)) if kind is small_things.book else 1):
            size = rng.uniform((0.1, 0.2, 0.18), (0.4, 0.29, 0.2))
            planes = kind(rng, m) if callable(kind) else block(0, 0, size, 0, 0.5, m.look("books"))
            low, high = extent(planes)
            if kind and left + high[0] - low[0] < right:
                stage.put(place(planes, left - low[0], z - rng.uniform(0, 0.03), 0.0, -height - 1e-3))
            left += high[0] - low[0] + 1e-3


def _strew(rng: Generator, stage: SceneBuilder, planes: Planes, low_xz, high_xz, height: float = 0.0) -> None:
    """Puts a thing on a level rectangle, without sticking out, if one of three places is free."""
    low, high = extent(planes)
    free = np.subtract(high_xz, low_xz) - (high - low)[[0, 2]]
    for _ in range(3 * int((free > 0).all())):
        x, z = low_xz - low[[0, 2]] + rng.uniform(0, 1, 2) * free
        if stage.put(place(planes, x, z, 0.0, -height - 1e-3)):
            return


def _room(rng: Generator, m: Prints, low: np.ndarray, high: np.ndarray, wall: str, floor: dict | None = None) -> Planes:
    """Floor, ceiling and four walls, which reach 5 cm into each other; mostly with skirting of 8 cm."""
    (x, y, z), (wide, tall, deep) = (low + high) / 2, high - low + (0.1, 0, 0.1)
    floor = floor or m.look(str(rng.choice(["tiles", "planks", "soft", "noise"])))
    half, gain, skirting = (wide / 2, deep / 2), rng.uniform(0.4, 0.9), rng.random() < 0.7
    planes = [TexturedPlane(np.array([x, high[1], z]), X, Z, half, rng.uniform(0.2, 0.6), **floor)]
    planes.append(TexturedPlane(np.array([x, low[1], z]), X, Z, half, 0.95, **m.plain))
    for k, light in enumerate(rng.permutation([1.0, 0.9, 0.78, 0.66])):
        across, end = k % 2, (low, high)[k // 2]
        size, yaw, inward = ((wide, deep)[across], tall), across * np.pi / 2, 0.01 * (1 if k < 2 else -1)
        at = np.array([end[0] if across else x, y, z if across else end[2]])
        planes.append(panel(at, size, yaw, gain=gain * light, **m.look(wall)))
        if skirting:
            foot = np.array([at[0] + inward * across, high[1] - 0.04, at[2] + inward * (1 - across)])
            planes.append(panel(foot, (size[0], 0.08), yaw, gain=0.25, **m.plain))
    return planes


def hall(rng: Generator, duration_s: float, how: Drawn = AS_IT_IS) -> Made:
    """A bare hall, 4 to 15 m from wall to wall and 2.6 to 6 m high, with up to six things."""
    half, ceiling = 2.0 * 3.75 ** rng.uniform(0, 1, 2), rng.uniform(2.6, 4.0) + rng.choice([0, 2.0])
    camera = how.adjust(_hall_path(rng, duration_s, half))
    at = abs(camera.positions).max(0)
    half, ceiling = np.maximum(half, at[[0, 2]] + 0.6), max(ceiling, at[1] + 0.5)
    m, corner = Prints(rng, how.materials(rng)), np.array([half[0], 0, half[1]])
    floor = str(rng.choice(["noise", "grass", "asphalt", "plain", "tiles", "soft"]))
    stage = SceneBuilder(camera, m, 0.5)
    speckles_m = rng.uniform(0.15, 0.8) if floor in ("noise", "grass", "asphalt") else None
    wall = str(rng.choice(["plain", "soft", "brick", "noise"], p=[0.6, 0.25, 0.08, 0.07]))
    stage.planes += _room(rng, m, -corner - (0, ceiling, 0), corner, wall, m.look(floor, None, speckles_m))
    for x in np.arange(1.2 - half[0], half[0] - 0.5, rng.uniform(2.4, 4.0)):
        for z in np.arange(1.2 - half[1], half[1] - 0.5, rng.uniform(2.4, 5.0)):
            stage.planes += place(furniture.ceiling_lamp(rng, m), x, z, 0.0, -ceiling)
    _mark(rng, m, stage, half, int(rng.choice([2, 3, 6] if floor == "plain" else [0, 0, 1, 3])))
    free = (things.person, furniture.chair, furniture.table, furniture.clutter, small_things.pillar)
    fixed = (furniture.door, furniture.door, furniture.picture, furniture.window)
    for _ in range(int(rng.integers(0, 7))):
        if rng.random() < 0.6:
            thing = free[int(rng.integers(len(free)))]
            planes = small_things.pillar(rng, m, ceiling) if thing is small_things.pillar else thing(rng, m)
            _strew(rng, stage, place(planes, 0, 0, rng.uniform(-3, 3)), -half, half)
        else:
            k, thing, at = int(rng.integers(4)), fixed[int(rng.integers(len(fixed)))], rng.uniform(-1, 1)
            planes = place(thing(rng, m), at * (half[k % 2] - 1.0), half[(k + 1) % 2])
            stage.put(place(planes, 0, 0, k * np.pi / 2))
    return stage.scene(0.5), camera


def _hall_path(rng: Generator, duration_s: float, half: np.ndarray) -> paths.SplinePath:
    """Walking, rolling or flying 0.2 to 2 m above the floor; as fast as walk_path, but level where it is low."""
    knots, kind = paths.walk_path(rng, duration_s, half, 2.6).knots.copy(), str(rng.choice(["walk", "roll", "fly"]))
    knots[:, 1] -= knots[:, 1].mean()
    if kind == "roll":
        knots[:, [1, 4, 5]] *= 0.05
    knots[:, 1] -= rng.uniform(*{"walk": (0.9, 1.7), "roll": (0.22, 0.7), "fly": (0.55, 1.7)}[kind])
    # So that the floor in the lowest row of a wide image is 0.3 m away.
    steepest = 0.6 - np.arcsin(min(1.0, -2.7 * knots[:, 1].max()))
    knots[:, 4] += max(0.0, steepest - knots[:, 4].min())
    return paths.SplinePath(knots)


def _mark(rng: Generator, m: Prints, stage: SceneBuilder, half: np.ndarray, lines: int) -> None:
    """A stripe along the walls, perhaps, and lines on the floor, as gyms have them, 4 to 25 cm wide."""
    if rng.random() < 0.4:
        height, wide, gain = rng.uniform((0.3, 0.04, 0.05), (1.5, 0.25, 0.9))
        for k in range(4):
            stripe = panel((0, -height, half[(k + 1) % 2] - 0.01), (2 * half[k % 2], wide), gain=gain, **m.plain)
            stage.planes += place([stripe], 0, 0, k * np.pi / 2)
    for k in range(lines):
        across, wide, at, gain = rng.random() < 0.5, *rng.uniform((0.04, -0.9, 0.0), (0.12, 0.9, 1.0))
        x, z, *size = (0, at * half[1], 2 * half[0], wide) if across else (at * half[0], 0, wide, 2 * half[1])
        stage.planes.append(slab(x, z, size, 0.003 + 0.001 * k, gain, m.plain))
