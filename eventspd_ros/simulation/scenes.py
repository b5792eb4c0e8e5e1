"""What the camera looks at: textured rectangles at known places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventspd_ros.simulation.camera import Path, rotation_from_vector
from eventspd_ros.simulation.textures import reflectance_tile, ripmap


@dataclass(frozen=True, slots=True)
class TexturedPlane:
    """A rectangle, seen from both sides.

    centre_W: (3,) m; axis_s, axis_t: (3,) orthonormal, in the world; half_size_m: its extent along them from the
    centre. gain: mean reflectance, times the light it receives. tile: which texture; tile_m: the length one period of
    it covers; shift: (2,) start inside the tile, in periods. body: 0 stands still; b > 0 is carried along by the
    scene's motions[b - 1], and centre and axes are given in that body's frame.
    """

    centre_W: np.ndarray
    axis_s: np.ndarray
    axis_t: np.ndarray
    half_size_m: tuple[float, float]
    gain: float = 0.5
    tile: int = 0
    tile_m: float = 4.0
    shift: tuple[float, float] = (0.0, 0.0)
    body: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """planes: what there is; ripmaps: (T, 2n, 2n) float32 textures of mean 1; sky: brightness beyond all planes.

    motions: where the bodies that move on their own are; motions[b - 1].pose(t_s) is body → world for body b.
    """

    planes: tuple[TexturedPlane, ...]
    ripmaps: np.ndarray
    sky: float = 0.8
    motions: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.planes:
            raise ValueError("a scene needs at least one plane; it has 0")
        worst = max(plane.tile for plane in self.planes)
        if worst >= len(self.ripmaps):
            raise ValueError(f"a plane uses texture {worst}, the scene has {len(self.ripmaps)}")
        worst = max(plane.body for plane in self.planes)
        if worst > len(self.motions):
            raise ValueError(f"a plane belongs to body {worst}, the scene has {len(self.motions)} motions")


X, Y, Z = np.eye(3)
PLAIN = np.ones((1, 4, 4), np.float32)  # the ripmaps of a scene without texture


def panel(centre_W, size_m: tuple[float, float], yaw_rad: float = 0.0, **look) -> TexturedPlane:
    """An upright rectangle (width, height) that faces the camera at yaw 0 and turns about the vertical."""
    turn = rotation_from_vector(np.array([0.0, yaw_rad, 0.0]))
    return TexturedPlane(np.asarray(centre_W, np.float64), turn @ X, Y, (size_m[0] / 2, size_m[1] / 2), **look)


def box(centre_W, size_m: tuple[float, float, float], yaw_rad: float, gain: float, **look) -> list[TexturedPlane]:
    """The six faces of a box (width, height, depth); the top is brightest, the sides differ, as under a lamp."""
    turn = rotation_from_vector(np.array([0.0, yaw_rad, 0.0]))
    axes, half = turn.T, np.asarray(size_m) / 2  # rows: the box's x, y, z in the world
    faces = []
    for normal, (s, t), light in ((0, (2, 1), (0.7, 0.85)), (1, (0, 2), (1.2, 0.4)), (2, (0, 1), (1.0, 0.9))):
        for sign, brightness in zip((-1, 1), light, strict=True):
            centre = np.asarray(centre_W) + sign * half[normal] * axes[normal]
            faces.append(TexturedPlane(centre, axes[s], axes[t], (half[s], half[t]), gain * brightness, **look))
    return faces


def hall(rng: np.random.Generator, objects: int = 11) -> Scene:
    """A hall 12 m wide, 4 m high and 20 m deep around a camera at the origin, with boards and boxes from 1.2 to 15 m.

    Every object has a direction and a distance of its own, so that all depths are seen at once. No object comes
    nearer to the origin than 1 m.
    """
    tiles = [reflectance_tile(rng, contrast) for contrast in (0.35, 0.5, 0.5, 0.65)]

    def look(tile_m: float) -> dict:
        shift = tuple(rng.uniform(0, 1, 2))
        return {"tile": int(rng.integers(len(tiles))), "tile_m": tile_m * rng.uniform(0.8, 1.25), "shift": shift}

    floor_y, ceiling_y, side_x, back_z = 1.3, -2.7, 6.0, 20.0
    middle_y, middle_z = (floor_y + ceiling_y) / 2, 9.0
    planes = [
        TexturedPlane(np.array([0, floor_y, middle_z]), X, Z, (side_x, 11.5), 0.35, **look(3.0)),
        TexturedPlane(np.array([0, ceiling_y, middle_z]), X, Z, (side_x, 11.5), 0.75, **look(4.0)),
        TexturedPlane(np.array([-side_x, middle_y, middle_z]), Z, Y, (11.5, 2.0), 0.5, **look(4.0)),
        TexturedPlane(np.array([side_x, middle_y, middle_z]), Z, Y, (11.5, 2.0), 0.6, **look(4.0)),
        panel((0, middle_y, back_z), (2 * side_x, 4.0), gain=0.55, **look(4.0)),
    ]
    directions = rng.permutation(np.linspace(-0.58, 0.58, objects)) + rng.uniform(-0.03, 0.03, objects)
    distances = np.geomspace(1.5, 15.0, objects)
    for index, (direction, z) in enumerate(zip(directions, distances, strict=True)):
        x, yaw, gain = direction * z, rng.uniform(-0.6, 0.6), rng.uniform(0.2, 0.9)
        width = z * rng.uniform(0.1, 0.2)
        if index % 2:
            top_y = np.clip(z * rng.uniform(-0.2, 0.25), ceiling_y, floor_y - 0.3)
            height = floor_y - top_y
            planes += box((x, floor_y - height / 2, z), (width, height, width), yaw, gain, **look(1.2))
        else:
            height = z * rng.uniform(0.12, 0.3)
            y = np.clip(z * rng.uniform(-0.3, 0.2), ceiling_y + height / 2, floor_y - height / 2)
            planes.append(panel((x, y, z), (1.3 * width, height), yaw, gain=gain, **look(1.2)))
    return Scene(tuple(planes), np.stack([ripmap(tile) for tile in tiles]))
