"""What stands on desks and hangs on walls, in the sizes it is sold in, and what is printed on it.

As in things.py: on y = 0 about the origin, facing −z. Prints are fine: from 30 cm away a pixel is a millimetre wide.
"""

from __future__ import annotations

import numpy as np

from eventspd_ros.simulation.materials import TEXELS, Materials
from eventspd_ros.simulation.scenes import panel
from eventspd_ros.simulation.textures import octave_noise, ripmap
from eventspd_ros.simulation.things import Planes, block, place, slab


def _text(rng: np.random.Generator) -> np.ndarray:
    """32 lines of dark letters, with gaps between the words, some lines short, some empty."""
    letters = (rng.random((32, TEXELS // 2)) < 0.65) & np.repeat(rng.random((32, TEXELS // 4)) > 0.15, 2, 1)
    letters &= np.arange(TEXELS // 2) < rng.choice([0, 60, 110, 122], (32, 1), p=[0.12, 0.2, 0.34, 0.34])
    return -1.7 * np.kron(letters, np.ones((8, 2))) * (np.arange(TEXELS) % 8 < 4)[:, None]


def _print(rng: np.random.Generator) -> np.ndarray:
    """A poster's picture: rectangles and discs over each other, blots with sharp rims, fine noise."""
    picture = 0.35 * np.tanh(5 * octave_noise(rng, 4, 5, 0.7, TEXELS))
    for k in range(46):
        at, size = rng.integers(0, TEXELS, (2, 1, 1)), rng.integers(5, 56, (2, 1, 1))
        away = abs((np.mgrid[:TEXELS, :TEXELS] - at) % TEXELS - TEXELS // 2)
        inside = (away < size / 2).all(0) if k % 3 else np.hypot(*away) < size[0] / 2
        picture[inside] = rng.normal(0, 0.8) + 0.3 * picture[inside]
    return picture + 0.12 * octave_noise(rng, 16, 4, 0.8, TEXELS)


PRINTS = {"text": (_text, 0.2), "print": (_print, 0.5)}  # name → (log reflectance, length of one period in m)


class Prints:
    """A scene's materials and others beside them, such as PRINTS; where Materials is asked for, this does."""

    def __init__(self, rng: np.random.Generator, materials: Materials, others: dict = PRINTS) -> None:
        self._rng, self._materials, self.any, self.plain = rng, materials, materials.any, materials.look("plain")
        self._others = others
        tiles = [np.exp(draw(rng)) for draw, _ in others.values()]
        prints = np.stack([ripmap((tile / tile.mean()).astype(np.float32)) for tile in tiles])
        self.ripmaps = np.concatenate([materials.ripmaps, prints])

    def look(self, name: str, shift: tuple[float, float] | None = None, tile_m: float | None = None) -> dict:
        """A plane's tile, tile_m and shift. tile_m: the length of one period, if not the material's own."""
        if name not in self._others:
            look = self._materials.look(name, shift)
            return {**look, "tile_m": tile_m} if tile_m and np.isfinite(look["tile_m"]) else look
        tile, shift = len(self._materials.ripmaps) + list(self._others).index(name), shift or self._rng.uniform(0, 1, 2)
        return {"tile": tile, "tile_m": tile_m or self._others[name][1], "shift": tuple(shift)}

    def picture(self, wide_m: float) -> dict:
        """What a picture of this width may show, so large that it fills it."""
        name = str(self._rng.choice(["print", "leaves", "rough", "books", "facade", "text"], p=[0.5, *[0.1] * 5]))
        return self.look(name, None, wide_m * self._rng.uniform(0.6, 1.2))


def tube(radius_m: float, tall_m: float, base_m: float, gain: float, look: dict, sides: int = 8) -> Planes:
    """An upright tube of flat sides, its lower end base_m above the ground, lit from one side."""
    wide, centre, planes = 2 * radius_m * np.tan(np.pi / sides), (0, -base_m - tall_m / 2, radius_m), []
    for yaw in np.arange(sides) * 2 * np.pi / sides:
        planes += place([panel(centre, (wide, tall_m), gain=gain * (0.85 + 0.3 * np.sin(yaw)), **look)], 0, 0, yaw)
    return planes


def pillar(rng: np.random.Generator, m: Prints, tall_m: float = 3.0) -> Planes:
    """30 to 60 cm wide, from the floor to the ceiling: round, or with six sides."""
    return tube(rng.uniform(0.15, 0.3), tall_m, 0.0, rng.uniform(0.3, 0.9), m.any(), int(rng.choice([6, 12])))


def mug(rng: np.random.Generator, m: Prints) -> Planes:
    """8 to 9.5 cm wide, 9 to 10.5 cm high, with a picture, and a handle of 3 cm; dark inside."""
    radius, tall, gain = rng.uniform((0.04, 0.09, 0.1), (0.047, 0.105, 0.95))
    planes = tube(radius, tall, 0, gain, m.plain) + block(radius + 0.015, 0, (0.03, 0.06, 0.012), 0.02, gain, m.plain)
    planes += tube(radius + 1e-3, tall / 2, tall / 4, 0.5, m.look("print", None, 0.2))
    return [*planes, slab(0, 0, (1.4 * radius, 1.4 * radius), 0.85 * tall, 0.05, m.plain)]


def book(rng: np.random.Generator, m: Prints) -> Planes:
    """1.5 to 5 cm thick, 18 to 30 cm high, ⅔ as deep; its spine, with the title on it, to the front."""
    thick, tall, gain, ink = rng.uniform((0.015, 0.18, 0.08, 0.05), (0.05, 0.30, 0.9, 1.0))
    title = panel((0, -0.6 * tall, -tall / 3 - 1e-3), (thick * 0.7, tall * 0.4), gain=ink, **m.look("text"))
    return [*block(0, 0, (thick, tall, tall / 1.5), 0.0, gain, m.plain)[:4], title]


def pile(rng: np.random.Generator, m: Prints) -> Planes:
    """One to four books that lie on each other, each 15 to 22 × 21 to 30 cm and 1.5 to 5 cm thick."""
    planes, base = [], 0.0
    for _ in range(int(rng.integers(1, 5))):
        wide, deep, thick, gain = rng.uniform((0.15, 0.21, 0.015, 0.1), (0.22, 0.30, 0.05, 0.9))
        cover = slab(0, 0, (wide * 0.8, deep * 0.7), base + thick + 1e-3, 0.6, m.picture(wide))
        one = [*block(0, 0, (wide, thick, deep), base, gain, m.plain), cover]
        planes, base = planes + place(one, *rng.normal(0, 0.01, 2), rng.normal(0, 0.2)), base + thick + 2e-3
    return planes


def keyboard(rng: np.random.Generator, m: Prints) -> Planes:
    """44 × 13 cm, 2 cm high, a key every 19 mm: the windows of a facade, four a period."""
    gain, keys = float(rng.choice([0.06, 0.1, 0.7])), m.look("facade", None, 4 * 0.019)
    return [*block(0, 0, (0.44, 0.02, 0.13), 0, gain, m.plain), slab(0, 0, (0.42, 0.11), 0.021, 2 * gain, keys)]


def screen(rng: np.random.Generator, m: Prints) -> Planes:
    """22 to 27 inches, 49 to 60 cm wide, on a foot of 10 to 15 cm; a picture and up to three windows shine on it."""
    wide, foot, gain = *rng.uniform((0.49, 0.1), (0.6, 0.15)), float(rng.choice([0.05, 0.08, 0.6]))
    size, at = np.array([wide, 0.57 * wide]), np.array([0, -foot - 0.285 * wide, -0.016])
    planes = block(0, 0, (*size, 0.03), foot, gain, m.plain, True) + block(0, 0.03, (0.05, 0.2, 0.02), 0, gain, m.plain)
    planes += block(0, 0.02, (0.24, 0.01, 0.18), 0, gain, m.plain)
    planes.append(panel(at, size - 0.025, gain=rng.uniform(0.2, 1.2), **m.picture(wide)))
    for name in rng.choice(["text", "text", "print", "plain"], int(rng.integers(0, 4))):
        at, (x, y), window = at - (0, 0, 1e-3), rng.uniform(-0.2, 0.2, 2) * size, rng.uniform(0.25, 0.5, 2) * size
        planes.append(panel(at + (x, y, 0), window, gain=rng.uniform(0.1, 1.6), **m.look(str(name))))
    return planes


def lamp(rng: np.random.Generator, m: Prints) -> Planes:
    """A desk lamp: a foot of 18 cm, a pole 35 to 48 cm high, an arm of 25 cm, a shade of 16 cm that shines down."""
    tall, gain = rng.uniform((0.35, 0.05), (0.48, 0.8))
    boxes = ((0, (0.18, 0.02, 0.18), 0), (0, (0.02, tall, 0.02), 0), (-0.12, (0.25, 0.015, 0.015), tall))
    planes = [plane for x, size, base in boxes for plane in block(x, 0, size, base, gain, m.plain)]
    shade = tube(0.08, 0.1, tall - 0.1, gain, m.plain)
    return [*planes, *place([*shade, slab(0, 0, (0.11, 0.11), tall - 0.08, 2.5, m.plain)], -0.2, 0)]


def carton(rng: np.random.Generator, m: Prints) -> Planes:
    """A parcel of 12 to 35 × 8 to 30 × 10 to 25 cm, with a label."""
    size, gain, look = rng.uniform((0.12, 0.08, 0.1), (0.35, 0.3, 0.25)), rng.uniform(0.15, 0.8), m.any()
    at, share = (0, -size[1] / 2, -size[2] / 2 - 1e-3), rng.uniform(0.3, 0.8, 2)
    return [*block(0, 0, size, 0, gain, look), panel(at, size[:2] * share, gain=0.7, **m.picture(0.2))]


def poster(rng: np.random.Generator, m: Prints, longs_m: tuple[float, ...] = (0.297, 0.42, 0.594, 0.841)) -> Planes:
    """A4 to A1, upright or across: white paper, a picture, a bar with the title. For a wall at z = 0."""
    long_m, paper, ink, bar = float(rng.choice(longs_m)), *rng.uniform((0.5, 0.25, 0.0), (1.0, 0.7, 1.0))
    wide, tall = (long_m / 2**0.5, long_m) if rng.random() < 0.7 else (long_m, long_m / 2**0.5)
    picture = panel((0, -0.46 * tall, -4e-3), (0.9 * wide, 0.8 * tall), gain=ink, **m.picture(wide))
    title = panel((0, -0.91 * tall, -4e-3), (0.7 * wide, 0.05 * tall), gain=bar, **m.plain)
    return [panel((0, -tall / 2, -2e-3), (wide, tall), gain=paper, **m.plain), picture, title]


def odds(rng: np.random.Generator, m: Prints) -> Planes:
    """Sheets of A4, a telephone of 7 × 15 cm, notes of 7.6 cm, pens of 14 cm, strewn over 30 × 30 cm."""
    kinds, planes = (("text", 0.21, 0.297), ("print", 0.07, 0.15), ("plain", 0.076, 0.076), ("plain", 0.009, 0.14)), []
    for k, kind in enumerate(rng.integers(4, size=int(rng.integers(2, 7)))):
        (name, wide, deep), (x, z, yaw, gain) = kinds[kind], rng.uniform((-0.1, -0.1, -3, 0.1), (0.1, 0.1, 3, 0.9))
        planes += place([slab(0, 0, (wide, deep), 2e-3 * (k + 1), gain, m.look(name))], x, z, yaw)
    return planes
