"""A scene under construction, where nothing stands in the camera's way or inside another thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventspd_ros.simulation.materials import Materials
from eventspd_ros.simulation.paths import SplinePath
from eventspd_ros.simulation.scenes import Scene
from eventspd_ros.simulation.things import Planes


class SceneBuilder:
    """What stands where. put() and put_moving() say whether there was room."""

    def __init__(self, camera: SplinePath, materials: Materials, clearance_m: float) -> None:
        self.planes: Planes = []
        self.motions: list[SplinePath] = []
        self._camera, self._materials, self._clearance_m = camera, materials, clearance_m
        self._taken: list[tuple[np.ndarray, np.ndarray]] = []

    def put(self, planes: Planes, apart: bool = True) -> bool:
        """Adds a thing unless the camera comes too near, or (where apart) another thing is there already."""
        low, high = extent(planes)
        path = self._camera.positions
        near = ((path > low - self._clearance_m) & (path < high + self._clearance_m)).all(1).any()
        if near or (apart and any((low < b).all() and (high > a).all() for a, b in self._taken)):
            return False
        if apart:
            self._taken.append((low, high))
        self.planes += planes
        return True

    def put_moving(self, planes: Planes, path: SplinePath) -> bool:
        """Adds a thing that goes along a path of its own, unless it and the camera or a standing thing would meet."""
        low, high = extent(planes)
        radius = float(np.hypot(*np.maximum(abs(low), abs(high))[[0, 2]]))
        places = path.positions
        away = self._camera.positions - places
        beside = np.hypot(away[:, 0], away[:, 2]) > radius + self._clearance_m
        if not (beside | (away[:, 1] < low[1] - self._clearance_m)).all():
            return False
        low, high = places.min(0) - (radius, 2, radius), places.max(0) + (radius, 0, radius)
        if any((low < b).all() and (high > a).all() for a, b in self._taken):
            return False
        self._taken.append((low, high))
        self.motions.append(path)
        self.planes += [replace(plane, body=len(self.motions)) for plane in planes]
        return True

    def scene(self, sky: float) -> Scene:
        return Scene(tuple(self.planes), self._materials.ripmaps, sky, tuple(self.motions))


def extent(planes: Planes) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest x, y, z of all corners, (3,) each, m."""
    centre = np.stack([p.centre_W for p in planes])
    reach = np.stack([p.half_size_m[0] * abs(p.axis_s) + p.half_size_m[1] * abs(p.axis_t) for p in planes])
    return (centre - reach).min(0), (centre + reach).max(0)
