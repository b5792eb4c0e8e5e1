"""What stands in rooms, in the sizes it is sold in. As in things.py: on y = 0 about the origin, facing −z."""

from __future__ import annotations

import numpy as np

from eventspd_ros.simulation.materials import Materials
from eventspd_ros.simulation.scenes import panel
from eventspd_ros.simulation.things import PROUD_M, Planes, block, place, slab


def door(rng: np.random.Generator, m: Materials) -> Planes:
    """A leaf of 0.9 × 2.03 m in its frame, with a handle 1.05 m high. For a wall at z = 0."""
    plain, leaf = m.look("plain"), rng.uniform(0.3, 0.9)
    planes = [panel((0, -1.05, -PROUD_M), (1.02, 2.1), gain=0.8, **plain)]
    planes.append(panel((0, -1.015, -2 * PROUD_M), (0.9, 2.03), gain=leaf, **m.look("soft")))
    for height in (0.55, 1.5):
        planes.append(panel((0, -height, -3 * PROUD_M), (0.6, 0.7), gain=leaf * 0.8, **plain))
    return planes + block(0.37, -0.06, (0.12, 0.025, 0.03), 1.05, 0.5, plain, True)


def window(rng: np.random.Generator, m: Materials) -> Planes:
    """Two bright panes, 1.2 × 1.3 m in all, 0.9 m above the floor, a radiator below. For a wall at z = 0."""
    planes = [panel((0, -1.55, -PROUD_M), (1.3, 1.4), gain=0.75, **m.look("plain"))]
    for x in (-0.31, 0.31):
        planes.append(panel((x, -1.55, -2 * PROUD_M), (0.55, 1.2), gain=rng.uniform(1.0, 2.0), **m.look("soft")))
    planes += block(0, -0.08, (1.0, 0.6, 0.1), 0.12, 0.8, m.look("plain"), True)
    for x in np.arange(-0.45, 0.5, 0.1):
        planes.append(panel((x, -0.42, -0.13 - PROUD_M), (0.03, 0.55), gain=0.45, **m.look("plain")))
    return planes


def picture(rng: np.random.Generator, m: Materials) -> Planes:
    """A framed picture of 50 × 70 cm, a switch of 8 cm and sheets of A4. For a wall at z = 0."""
    planes = [panel((0, -1.55, -PROUD_M), (0.54, 0.74), gain=0.15, **m.look("plain"))]
    planes.append(panel((0, -1.55, -2 * PROUD_M), (0.48, 0.68), gain=rng.uniform(0.4, 0.8), **m.look("rough")))
    planes.append(panel((0.6, -1.05, -PROUD_M), (0.08, 0.08), gain=0.95, **m.look("plain")))
    for k in range(int(rng.integers(0, 4))):
        sheet = (-0.6 - 0.25 * k, -rng.uniform(1.2, 1.8), -PROUD_M)
        planes.append(panel(sheet, (0.21, 0.297), gain=0.95, **m.look("soft")))
    return planes


def table(rng: np.random.Generator, m: Materials) -> Planes:
    """1.2 to 1.6 m long, 0.8 m deep, 74 cm high; on it a screen of 55 × 33 cm, paper, a mug."""
    length, wood = rng.uniform(1.2, 1.6), m.look(str(rng.choice(["planks", "soft", "plain"])))
    gain = rng.uniform(0.25, 0.85)
    planes = block(0, 0, (length, 0.03, 0.8), 0.71, gain, wood, True)
    for x in (-1, 1):
        for z in (-0.35, 0.35):
            planes += block(x * (length / 2 - 0.06), z, (0.05, 0.71, 0.05), 0.0, gain * 0.6, m.look("plain"))[:5]
    if rng.random() < 0.7:
        x = rng.uniform(-0.3, 0.3)
        planes += block(x, 0.2, (0.55, 0.33, 0.03), 0.86, 0.08, m.look("plain"), True)
        planes.append(panel((x, -1.025, 0.185 - PROUD_M), (0.51, 0.29), gain=rng.uniform(0.3, 1.2), **m.look("rough")))
        planes += block(x, 0.22, (0.06, 0.12, 0.04), 0.74, 0.1, m.look("plain"))
        planes += block(x, -0.12, (0.44, 0.02, 0.13), 0.74, 0.12, m.look("plain"))
    for _ in range(int(rng.integers(1, 4))):
        x, z = rng.uniform(-0.5, 0.5) * length * 0.8, rng.uniform(-0.3, 0.0)
        planes += place([slab(0, 0, (0.21, 0.297), 0.746, 0.95, m.look("soft"))], x, z, rng.uniform(-3, 3))
    mug = (rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3))
    return planes + block(*mug, (0.08, 0.095, 0.08), 0.74, rng.uniform(0.2, 0.9), m.look("plain"))


def chair(rng: np.random.Generator, m: Materials) -> Planes:
    """The seat 45 cm high and wide, the back 90 cm high."""
    gain, look = rng.uniform(0.1, 0.7), m.any()
    planes = block(0, 0, (0.44, 0.04, 0.44), 0.43, gain, look, True)
    planes += block(0, 0.2, (0.44, 0.35, 0.03), 0.55, gain, look, True)
    for x in (-0.2, 0.2):
        planes += block(x, 0.2, (0.035, 0.9, 0.035), 0.0, 0.2, m.look("plain"))
        planes += block(x, -0.2, (0.035, 0.43, 0.035), 0.0, 0.2, m.look("plain"))
    return planes


def shelf(rng: np.random.Generator, m: Materials) -> Planes:
    """80 cm wide, 1.9 m high, 30 cm deep, five boards with books."""
    gain, wood = rng.uniform(0.3, 0.9), m.look(str(rng.choice(["planks", "plain", "soft"])))
    planes = block(0, 0.14, (0.8, 1.9, 0.02), 0.0, gain * 0.7, wood)
    for x in (-0.39, 0.39):
        planes += block(x, 0, (0.02, 1.9, 0.3), 0.0, gain, wood)
    for height in (0.06, 0.43, 0.8, 1.17, 1.54, 1.88):
        planes += block(0, 0, (0.76, 0.02, 0.3), height, gain, wood, True)
        if height < 1.8 and rng.random() < 0.85:
            tall, wide = rng.uniform(0.2, 0.3), rng.uniform(0.35, 0.74)
            books = block(0, 0.03, (wide, tall, 0.2), height + 0.02, rng.uniform(0.3, 0.7), m.look("books"))
            planes += place(books, rng.uniform(-1, 1) * (0.74 - wide) / 2, 0)
    return planes


def cupboard(rng: np.random.Generator, m: Materials) -> Planes:
    """1 m wide, 1.2 or 2 m high, 50 cm deep, two doors with handles."""
    tall, gain = float(rng.choice([1.2, 2.0])), rng.uniform(0.25, 0.9)
    look = m.look(str(rng.choice(["planks", "soft", "plain"])))
    planes = block(0, 0, (1.0, tall, 0.5), 0.0, gain, look)
    for x in (-0.25, 0.25):
        planes.append(panel((x, -tall / 2, -0.25 - PROUD_M), (0.47, tall - 0.06), gain=gain * 0.85, **look))
        handle = (0.18 * np.sign(-x) + x, -min(1.0, tall - 0.2), -0.25 - 2 * PROUD_M)
        planes.append(panel(handle, (0.02, 0.15), gain=0.15, **m.look("plain")))
    return planes


def sofa(rng: np.random.Generator, m: Materials) -> Planes:
    """1.9 m wide, the seat 43 cm high, the back 85 cm, two cushions of 45 cm."""
    gain, look = rng.uniform(0.1, 0.7), m.any()
    planes = block(0, -0.1, (1.9, 0.43, 0.65), 0.0, gain, look) + block(0, 0.32, (1.9, 0.85, 0.2), 0.0, gain, look)
    for x in (-0.85, 0.85):
        planes += block(x, -0.05, (0.2, 0.62, 0.8), 0.0, gain * 0.9, look)
    for x in (-0.45, 0.4):
        planes += block(x, 0.12, (0.45, 0.4, 0.12), 0.44, rng.uniform(0.2, 0.9), m.look("rough"))
    return planes


def bed(rng: np.random.Generator, m: Materials) -> Planes:
    """1.4 × 2 m, 50 cm high, pillows of 40 × 80 cm."""
    planes = block(0, 0, (1.4, 0.5, 2.0), 0.0, rng.uniform(0.3, 0.9), m.any())
    planes += block(0, 1.02, (1.4, 0.95, 0.05), 0.0, 0.3, m.look("planks"))
    return planes + block(-0.3, 0.7, (0.7, 0.12, 0.4), 0.5, 0.9, m.look("soft"))


def clutter(rng: np.random.Generator, m: Materials) -> Planes:
    """A removal box of 60 × 33 × 35 cm, a ball of paper's size beside it, or a pot with a plant of about 1.2 m."""
    if rng.random() < 0.6:
        planes = block(0, 0, (0.6, 0.33, 0.35), 0.0, 0.4, m.look("soft"))
        planes.append(panel((0, -0.2, -0.175 - PROUD_M), (0.3, 0.12), gain=rng.uniform(0.1, 0.9), **m.look("books")))
        if rng.random() < 0.4:
            planes += place(block(0, 0, (0.6, 0.33, 0.35), 0.33, 0.45, m.look("soft")), 0.03, 0.01, 0.2)
        return planes
    planes = block(0, 0, (0.3, 0.3, 0.3), 0.0, 0.35, m.look("brick"))
    for k in range(2):
        planes += place(block(0, 0, (0.45, 0.5, 0.45), 0.3 + 0.35 * k, 0.3, m.look("leaves"), True), 0, 0, 0.7 * k)
    return planes


def ceiling_lamp(rng: np.random.Generator, m: Materials) -> Planes:
    """A luminaire of 1.2 × 0.3 m that shines down. For a ceiling at y = 0."""
    plain = m.look("plain")
    return [slab(0, 0, (1.24, 0.34), -PROUD_M, 0.3, plain), slab(0, 0, (1.2, 0.3), -2 * PROUD_M, 2.5, plain)]
