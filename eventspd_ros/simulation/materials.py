"""What surfaces are made of: small periodic textures whose patterns have the sizes they have in the world.

A brick is 25 cm long, a storey 3 m high, a floor tile 30 cm wide: from these, among other things, a scene's scale can
be read. Rough and soft noise in many octaves has no size of its own, and plain surfaces show nothing at all.
"""

from __future__ import annotations

import math

import numpy as np

from eventspd_ros.simulation.textures import octave_noise, ripmap

TEXELS = 256


def _noise(rng: np.random.Generator, contrast: float, patches: float = 0.6) -> np.ndarray:
    """Log reflectance: octaves, and patches with sharp rims."""
    fine = octave_noise(rng, 4, 6, 0.75, TEXELS)
    rims = np.tanh(6.0 * octave_noise(rng, 8, 4, 0.5, TEXELS))
    mixed = (1 - patches) * fine + patches * rims
    return contrast * mixed / mixed.std()


def _cells(rng: np.random.Generator, rows: int, columns: int, spread: float) -> tuple[np.ndarray, ...]:
    """A grid of cells: a log shade for each, and the place of every texel inside its cell, 0 … 1 along t and s."""
    at = (np.arange(TEXELS) + 0.5) / TEXELS
    row, column = at * rows, at * columns
    shade = rng.normal(0, spread, (rows, columns))[row.astype(int)][:, column.astype(int)]
    return shade, np.broadcast_to((row % 1)[:, None], shade.shape), np.broadcast_to(column % 1, shade.shape)


def _brick(rng: np.random.Generator) -> np.ndarray:
    shade, t, s = _cells(rng, 13, 4, 0.18)
    every_other = (np.arange(TEXELS) * 13 // TEXELS) % 2 == 1
    shade[every_other] = np.roll(shade[every_other], TEXELS // 8, 1)
    s = np.where(every_other[:, None], np.roll(s, TEXELS // 8, 1), s)
    return np.where((t < 0.14) | (s < 0.045), 0.55, shade) + _noise(rng, 0.08)


def _floor_tiles(rng: np.random.Generator) -> np.ndarray:
    shade, t, s = _cells(rng, 4, 4, 0.12)
    return np.where((t < 0.03) | (s < 0.03), -0.8, shade) + _noise(rng, 0.06)


def _planks(rng: np.random.Generator) -> np.ndarray:
    shade, _, s = _cells(rng, 2, 8, 0.2)
    grain = octave_noise(rng, 32, 3, 0.7, TEXELS)
    grain = np.repeat(grain[:: TEXELS // 16], TEXELS // 16, 0)  # drawn out along the plank
    return np.where(s < 0.03, -0.9, shade + 0.12 * grain)


def _facade(rng: np.random.Generator) -> np.ndarray:
    """Four storeys of four windows, 1.2 m wide and 1.5 m high, every 3 m."""
    _, t, s = _cells(rng, 4, 4, 0.0)
    glass, _, _ = _cells(rng, 4, 4, 0.35)
    frame = (abs(s - 0.5) < 0.24) & (abs(t - 0.42) < 0.29)
    window = (abs(s - 0.5) < 0.2) & (abs(t - 0.42) < 0.25) & (abs(s - 0.5) > 0.012)
    return np.where(window, glass - 1.1, np.where(frame, 0.25, _noise(rng, 0.1)))


def _books(rng: np.random.Generator) -> np.ndarray:
    edges = np.cumsum(rng.integers(4, 14, TEXELS // 4))
    spine = np.searchsorted(edges[edges < TEXELS], np.arange(TEXELS))
    shade = rng.normal(0, 0.55, spine.max() + 1)[spine]
    label = rng.random(spine.max() + 1)[spine] < 0.4
    band = (np.arange(TEXELS) % 64 > 12) & (np.arange(TEXELS) % 64 < 28)
    return shade + 0.5 * (label & band[:, None])


# name → (log reflectance, length of one period in m)
KINDS = {
    "plain": (lambda rng: np.zeros((TEXELS, TEXELS)), 1.0),
    "soft": (lambda rng: _noise(rng, 0.12), 2.0),
    "noise": (lambda rng: _noise(rng, 0.35), 1.5),
    "rough": (lambda rng: _noise(rng, 0.65), 1.5),
    "asphalt": (lambda rng: _noise(rng, 0.2, 0.3), 2.0),
    "grass": (lambda rng: _noise(rng, 0.4, 0.3), 2.5),
    "leaves": (lambda rng: _noise(rng, 0.7, 0.8), 1.2),
    "brick": (_brick, 1.0),
    "tiles": (_floor_tiles, 1.2),
    "planks": (_planks, 1.2),
    "facade": (_facade, 12.0),
    "books": (_books, 1.0),
}
SIZELESS = ("soft", "noise", "rough")
EXCHANGED = [name for name in KINDS if name not in ("plain", "facade")]  # no table is 12 m long


class Materials:
    """The textures of one scene. look(name) gives a plane's tile, tile_m and shift. exchanged: of any material but
    "plain" it gives another by chance, at that one's own size."""

    def __init__(self, rng: np.random.Generator, exchanged: bool = False) -> None:
        self._rng, self._exchanged = rng, exchanged
        self._names = list(KINDS)
        tiles = []
        for name in self._names:
            reflectance = np.exp(KINDS[name][0](rng))
            tiles.append(ripmap((reflectance / reflectance.mean()).astype(np.float32)))
        self.ripmaps = np.stack(tiles)

    def look(self, name: str, shift: tuple[float, float] | None = None) -> dict:
        """tile, tile_m and shift of a material; the shift is random if not given."""
        if self._exchanged and name != "plain":
            name = str(self._rng.choice(EXCHANGED))
        period_m = KINDS[name][1] * (self._rng.uniform(0.6, 1.6) if name in SIZELESS else 1.0)
        shift = shift or tuple(self._rng.uniform(0, 1, 2))
        period_m = math.inf if name == "plain" else period_m  # which the renderer need not look up
        return {"tile": self._names.index(name), "tile_m": period_m, "shift": shift}

    def any(self) -> dict:
        """A plain, soft, noisy or rough surface, by chance."""
        return self.look(str(self._rng.choice(["plain", *SIZELESS], p=[0.25, 0.35, 0.25, 0.15])))
