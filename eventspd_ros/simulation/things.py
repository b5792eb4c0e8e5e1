"""Things of familiar sizes, each a list of planes that stands on y = 0 about the origin and faces −z.

Lengths are metres; y points down, so what is high has a negative y.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventspd_ros.simulation.camera import Pose, rotation_from_vector
from eventspd_ros.simulation.materials import KINDS, Materials
from eventspd_ros.simulation.scenes import TexturedPlane, X, Z, box, panel

Planes = list[TexturedPlane]
PROUD_M = 0.012  # how far a plate stands out of the surface it is fixed to


def place(planes: Planes, x: float, z: float, yaw_rad: float = 0.0, y: float = 0.0) -> Planes:
    """A thing carried to (x, y, z) and turned about the vertical."""
    return carried(planes, Pose(rotation_from_vector(np.array([0.0, yaw_rad, 0.0])), np.array([x, y, z])))


def carried(planes: Planes, pose: Pose) -> Planes:
    """A thing turned and moved: pose is thing → world."""
    turn = pose.rotation_WC
    return [
        replace(p, centre_W=pose.to_world(p.centre_W), axis_s=turn @ p.axis_s, axis_t=turn @ p.axis_t) for p in planes
    ]


def block(x: float, z: float, size: tuple, base_m: float, gain: float, look: dict, bottom: bool = False) -> Planes:
    """A box (width, height, depth) whose underside is base_m above the ground; without its underside by default."""
    faces = box((x, -base_m - size[1] / 2, z), size, 0.0, gain, **look)
    return faces if bottom else faces[:3] + faces[4:]


def slab(x: float, z: float, size: tuple[float, float], height_m: float, gain: float, look: dict) -> TexturedPlane:
    """A level rectangle (width, depth)."""
    return TexturedPlane(np.array([x, -height_m, z]), X, Z, (size[0] / 2, size[1] / 2), gain, **look)


def car(rng: np.random.Generator, m: Materials) -> Planes:
    """4.2 to 4.7 m long, 1.8 m wide, 1.45 m high; its wheels are 62 cm high."""
    length, paint = rng.uniform(4.2, 4.7), rng.choice([0.08, 0.2, 0.5, 0.85])
    plain = m.look("plain")
    planes = block(0, 0, (1.8, 0.62, length), 0.25, paint, plain)
    planes += block(0, 0.25, (1.55, 0.56, 2.4), 0.87, 0.12, plain)
    planes.append(slab(0, 0.25, (1.56, 1.9), 1.445, paint * 1.2, plain))
    for side in (-1, 1):
        for z in (-1.35, 1.35):
            wheel = panel((side * (0.9 + PROUD_M), -0.31, z), (0.62, 0.62), np.pi / 2, gain=0.04, **plain)
            hub = panel((side * (0.9 + 2 * PROUD_M), -0.31, z), (0.3, 0.3), np.pi / 2, gain=0.5, **plain)
            planes += [wheel, hub]
        for end, gain in ((-1, 0.95), (1, 0.25)):
            z = end * (length / 2 + PROUD_M)
            planes.append(panel((side * 0.68, -0.68, z), (0.32, 0.16), gain=gain, **plain))
    planes += [panel((0, -0.5, end * (length / 2 + PROUD_M)), (0.52, 0.11), gain=0.9, **plain) for end in (-1, 1)]
    return planes


def truck(rng: np.random.Generator, m: Materials) -> Planes:
    """A lorry: 2.5 m wide, 3.6 m high, 8 m long."""
    look = m.any()
    planes = block(0, 0.8, (2.5, 2.6, 6.0), 1.0, rng.uniform(0.3, 0.9), look)
    planes += block(0, -3.2, (2.4, 2.4, 1.8), 0.5, rng.uniform(0.1, 0.8), m.look("plain"))
    planes.append(panel((0, -2.2, -4.1 - PROUD_M), (2.1, 0.9), gain=0.1, **m.look("plain")))
    for side in (-1.26, 1.26):
        for z in (-3.0, 2.2, 3.2):
            planes.append(panel((side, -0.5, z), (1.0, 1.0), np.pi / 2, gain=0.05, **m.look("plain")))
    return planes


def person(rng: np.random.Generator, m: Materials) -> Planes:
    """1.55 to 1.9 m tall."""
    tall = rng.uniform(1.55, 1.9)
    legs, chest = 0.47 * tall, 0.38 * tall
    planes = []
    for side in (-0.1, 0.1):
        planes += block(side, 0.05 * np.sign(side), (0.15, legs, 0.17), 0.0, rng.uniform(0.08, 0.4), m.look("soft"))
        planes += block(2.75 * side, 0, (0.1, chest, 0.12), legs - 0.05, rng.uniform(0.2, 0.6), m.look("soft"), True)
    planes += block(0, 0, (0.42, chest, 0.24), legs, rng.uniform(0.15, 0.9), m.any(), True)
    return planes + block(0, 0, (0.16, 0.13 * tall, 0.2), legs + chest + 0.02, 0.6, m.look("soft"), True)


def tree(rng: np.random.Generator, m: Materials) -> Planes:
    """A trunk 25 to 40 cm thick and a crown of 2 to 4 m, 5 to 9 m high in all."""
    trunk, tall = rng.uniform(0.25, 0.4), rng.uniform(5.0, 9.0)
    planes = block(0, 0, (trunk, tall * 0.5, trunk), 0.0, 0.2, m.look("rough"))
    for k in range(3):
        size = (rng.uniform(2.0, 4.0), rng.uniform(0.35, 0.5) * tall, rng.uniform(2.0, 4.0))
        x, z = rng.uniform(-0.6, 0.6, 2)
        crown = block(x, z, size, tall * (0.3 + 0.13 * k), rng.uniform(0.15, 0.4), m.look("leaves"), True)
        planes += place(crown, 0, 0, 0.6 * k)
    return planes


def lamp(rng: np.random.Generator, m: Materials) -> Planes:
    """A street lamp: a pole 14 cm thick and 6 to 8 m high, with an arm of 1.5 m."""
    tall, look = rng.uniform(6.0, 8.0), m.look("plain")
    arm = block(-0.75, 0, (1.5, 0.1, 0.1), tall - 0.1, 0.3, look, True)
    return block(0, 0, (0.14, tall, 0.14), 0.0, rng.uniform(0.1, 0.6), look) + arm


def sign(rng: np.random.Generator, m: Materials) -> Planes:
    """A traffic sign of 60 to 75 cm with its centre 2.2 m high, on a pole of 6 cm."""
    size, look = rng.uniform(0.6, 0.75), m.look("plain")
    planes = block(0, 0, (0.06, 2.6, 0.06), 0.0, 0.4, look)
    for k, (share, gain) in enumerate(((1.0, 0.15), (0.84, 0.95), (0.35, 0.08))):
        z = -0.03 - PROUD_M * (k + 1)
        planes.append(panel((0, -2.2, z), (size * share, size * share * (1 if k < 2 else 0.4)), gain=gain, **look))
    return planes


def house(rng: np.random.Generator, m: Materials) -> Planes:
    """One to five storeys of 3 m, with a door of 1 × 2.05 m; windows or bricks."""
    storeys = int(rng.integers(1, 6))
    size, tall = (rng.uniform(7, 14), 3.0 * storeys, rng.uniform(7, 12)), 3.0 * storeys
    kind = str(rng.choice(["facade", "facade", "brick", "soft", "plain"]))
    # The texture starts at the ground, so that a storey is a storey.
    look = m.look(kind, (float(rng.uniform()), float(-tall / 2 / KINDS[kind][1] % 1.0)))
    planes = block(0, 0, size, 0.0, rng.uniform(0.3, 0.8), look)
    front = -size[2] / 2 - PROUD_M
    for x in np.arange(-size[0] / 2 + 1.5, size[0] / 2 - 1, 5.0):
        planes.append(panel((x, -1.025, front), (1.0, 2.05), gain=rng.uniform(0.1, 0.3), **m.look("plain")))
        planes.append(panel((x + 0.4, -1.0, front - PROUD_M), (0.06, 0.14), gain=0.8, **m.look("plain")))
    return planes


def fence(rng: np.random.Generator, m: Materials) -> Planes:
    """6 m of planks, 1.2 m high, or of bricks, 1 m high."""
    if rng.random() < 0.5:
        return block(0, 0, (6.0, 1.0, 0.25), 0.0, rng.uniform(0.3, 0.6), m.look("brick"))
    return block(0, 0, (6.0, 1.2, 0.05), 0.0, rng.uniform(0.3, 0.6), m.look("planks"))


def container(rng: np.random.Generator, m: Materials) -> Planes:
    """A freight container of 20 feet: 2.44 × 2.59 × 6.06 m."""
    return block(0, 0, (2.44, 2.59, 6.06), 0.0, rng.uniform(0.15, 0.7), m.look(str(rng.choice(["planks", "soft"]))))


def bin_(rng: np.random.Generator, m: Materials) -> Planes:
    """A rubbish bin, 58 × 107 × 73 cm."""
    planes = block(0, 0, (0.58, 1.0, 0.73), 0.0, rng.uniform(0.1, 0.5), m.look("plain"))
    return planes + block(0, 0, (0.62, 0.07, 0.77), 1.0, rng.uniform(0.1, 0.6), m.look("plain"))
