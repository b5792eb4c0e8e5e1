"""How scenes vary beyond what their domain has: sensor, lens, pace, attitude and height of the camera, its path, what
surfaces are made of, and how large the world is. One seed draws all of it for a scene.

A network that is to survive other robots must have seen them; and it learns that scale can be unknown only from scenes
whose scale cannot be read.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace

import numpy as np

from eventspd_ros.simulation.event_sensor import EventSensorConfig
from eventspd_ros.simulation.materials import Materials
from eventspd_ros.simulation.paths import SplinePath, follow, knot_times, smoothed, sway
from eventspd_ros.simulation.scenes import Scene

Range = tuple[float, float]
PATHS = ("own", "slider", "hover", "turn", "any")
TEXTURES = ("own", "any")
SENSOR_SEED, VARIETY_SEED, PATH_SEED = 20, 21, 22  # parts of seeds: what a scene itself draws does not change
# A slider's greatest speed in m/s: over a desk, in a room or a wood, in the open; and its reach to each side in m.
SLIDER_M_S = {"desk": (0.05, 0.6), "drive": (0.3, 5.0), "fly": (0.3, 5.0)}
SLIDER_M_S |= dict.fromkeys(("indoor", "hall", "forest", "jumble"), (0.05, 1.0))
SLIDER_M = {"desk": 0.25, "indoor": 0.4, "hall": 0.6, "forest": 0.6, "jumble": 0.4, "drive": 2.0, "fly": 2.0}
LOGARITHMIC = ("focal", "pace", "height_m", "scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """Ranges (least, most) that every scene draws from evenly, those of focal, pace, height_m and scale in the
    logarithm; None: as the domain has it.

    focal: fx over the image's width. pace: times the camera's speed. pitch_deg (up), roll_deg: added to the camera's.
    height_m: of the camera above the ground, at the start. scale: times every length of the scene and the path; what is
    seen then does not tell how far it is, but for the sizes of things. path: "own" of the domain, "slider" (straight to
    and fro, no rotation), "hover" (a drone that holds its place), "turn" (rotation alone), or "any" of these. textures:
    "any": every surface of any material, as brick on a table.
    """

    focal: Range | None = None
    pace: Range | None = None
    pitch_deg: Range | None = None
    roll_deg: Range | None = None
    height_m: Range | None = None
    scale: Range | None = None
    path: str = "own"
    textures: str = "own"

    def __post_init__(self) -> None:
        for name, known in (("path", PATHS), ("textures", TEXTURES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: must be one of {', '.join(known)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or isinstance(value, str):
                continue
            if len(value) != 2 or not np.isfinite(value).all() or value[0] > value[1]:
                raise ValueError(f"{field.name} {value}: must be one number, or the least and the greatest")
            if field.name in LOGARITHMIC and value[0] <= 0:
                raise ValueError(f"{field.name} {value}: must be positive")

    def draw(self, domain: str, seed: int) -> Drawn:
        """What one scene gets."""
        rng = _random(domain, seed, VARIETY_SEED)
        values = {}
        for field in fields(self):
            value, share = getattr(self, field.name), rng.random()  # drawn always, so that one range changes one thing
            if field.name == "path" and value == "any":
                value = PATHS[int(share * (len(PATHS) - 1))]
            elif value is not None and not isinstance(value, str):
                low, high = np.log(value) if field.name in LOGARITHMIC else value
                value = low + share * (high - low)
                value = float(np.exp(value) if field.name in LOGARITHMIC else value)
            values[field.name] = value
        return Drawn(domain, seed, **values)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One scene's share of a Variety; numbers as there, None: the domain's own."""

    domain: str
    seed: int
    focal: float | None = None
    pace: float | None = None
    pitch_deg: float | None = None
    roll_deg: float | None = None
    height_m: float | None = None
    scale: float | None = None
    path: str = "own"
    textures: str = "own"

    def materials(self, rng: np.random.Generator) -> Materials:
        return Materials(rng, exchanged=self.textures == "any")

    def adjust(self, path: SplinePath, ceiling_m: float = np.inf) -> SplinePath:
        """The camera's path in place of the domain's own, at full scale. ceiling_m: it stays 20 cm below that."""
        knots = path.knots.copy()
        times_s = (np.arange(len(knots)) - 1) * (knot_times(0)[1] - knot_times(0)[0])
        if self.path != "own":
            knots = self._other_path(path.state(0.0), times_s)
        if self.pace is not None:
            paced = SplinePath(knots)
            knots = np.stack([paced.state(self.pace * t_s) for t_s in times_s])
        for column, angle_deg in ((4, self.pitch_deg), (5, self.roll_deg)):
            knots[:, column] += np.radians(angle_deg or 0.0)
        if self.height_m is not None:
            knots[:, 1] += -self.height_m - SplinePath(knots).state(0.0)[1]
        knots[:, 1] = np.maximum(knots[:, 1], 0.2 - ceiling_m)
        return SplinePath(knots)

    def _other_path(self, start: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        rng = _random(self.domain, self.seed, PATH_SEED)
        knots = np.tile(start, (len(times_s), 1))
        if self.path == "hover":
            return knots + sway(rng, times_s, np.array([0.06, 0.05, 0.06, 0.04, 0.03, 0.03]), (0.2, 1.2))
        if self.path == "turn":
            rates = np.zeros((len(times_s), 6))
            rates[:, 3:] = rng.uniform(-1, 1, 3) * np.radians([70, 20, 20])
            knots[:, 3:] = follow(smoothed(rates), start[3])[:, 3:] + (0, *start[4:])
            return knots
        reach_m = SLIDER_M[self.domain] * rng.uniform(0.3, 1.0)
        speed_m_s = np.exp(rng.uniform(*np.log(SLIDER_M_S[self.domain])))
        along = reach_m * np.sin(speed_m_s / reach_m * times_s + rng.uniform(0, 2 * np.pi))
        way, yaw = rng.normal(0, [1.0, 0.3, 0.3]), start[3]  # mostly sideways
        way /= np.linalg.norm(way)
        turned = (way[0] * np.cos(yaw) + way[2] * np.sin(yaw), way[1], way[2] * np.cos(yaw) - way[0] * np.sin(yaw))
        knots[:, :3] += (along - along[1])[:, None] * turned
        return knots

    def scaled(self, scene: Scene, path: SplinePath) -> tuple[Scene, SplinePath]:
        """Both, every length times the scale."""
        if self.scale is None:
            return scene, path
        s = self.scale
        planes = tuple(
            replace(p, centre_W=p.centre_W * s, half_size_m=tuple(h * s for h in p.half_size_m), tile_m=p.tile_m * s)
            for p in scene.planes
        )
        motions = tuple(_lengths_times(motion, s) for motion in scene.motions)
        return replace(scene, planes=planes, motions=motions), _lengths_times(path, s)


def _lengths_times(path: SplinePath, scale: float) -> SplinePath:
    return SplinePath(path.knots * np.repeat([scale, 1.0], 3))


def _random(domain: str, seed: int, what: int) -> np.random.Generator:
    """Another one for each domain: scenes of one seed have nothing in common."""
    return np.random.default_rng([seed, what, zlib.crc32(domain.encode())])


AS_IT_IS = Drawn("drive", 0)


def random_sensor(domain: str, seed: int) -> EventSensorConfig:
    """A sensor as some robot may have it, evenly in the logarithm of each figure (docs/simulation.md)."""
    rng = _random(domain, seed, SENSOR_SEED)

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    threshold = between(0.15, 0.8)
    return EventSensorConfig(
        threshold=threshold,
        threshold_spread=threshold * between(0.05, 0.25),
        off_over_on=between(0.5, 2.0),
        refractory_ns=round(between(0.3e6, 15e6)),
        bandwidth_hz=between(30.0, 1000.0),
        leak_hz=between(0.01, 0.3),
        shot_hz=between(0.01, 5.0),
        hot_pixel_share=between(1e-6, 3e-4),
    )
