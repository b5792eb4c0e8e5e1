"""Procedural textures: periodic value noise in several octaves, and the ripmaps that keep it free of aliasing.

A ripmap is a mip map reduced separately along both axes, so a floor seen at a grazing angle is blurred only in the
direction in which it is foreshortened. Level (i, j), reduced 2^i times along s and 2^j times along t, of an n×n tile
lies at column 2n − (2n >> i) and row 2n − (2n >> j) of one 2n×2n array.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TILE_TEXELS = 512


def value_noise(rng: np.random.Generator, cells: int, texels: int = TILE_TEXELS) -> np.ndarray:
    """One octave: random values on a periodic cells×cells lattice, smoothstep between them; (texels, texels) in ±1."""
    lattice = rng.uniform(-1, 1, (cells, cells))
    position = (np.arange(texels) + 0.5) * cells / texels
    low = position.astype(int) % cells
    weight = position % 1.0
    weight = weight * weight * (3 - 2 * weight)
    rows = lattice[low] * (1 - weight)[:, None] + lattice[(low + 1) % cells] * weight[:, None]
    return rows[:, low] * (1 - weight) + rows[:, (low + 1) % cells] * weight


def octave_noise(
    rng: np.random.Generator, first_cells: int, octaves: int, persistence: float, texels: int = TILE_TEXELS
) -> np.ndarray:
    """Octaves from first_cells upwards, each finer by two and weaker by persistence; unit standard deviation."""
    total = sum(persistence**k * value_noise(rng, first_cells << k, texels) for k in range(octaves))
    return total / total.std()


def reflectance_tile(rng: np.random.Generator, contrast: float) -> np.ndarray:
    """A texture of mean 1, (TILE_TEXELS, TILE_TEXELS) float32: smooth noise in all octaves and patches with sharp rims.

    contrast: standard deviation of the log reflectance. The patches give corners, which smooth noise lacks.
    """
    fine = octave_noise(rng, 4, 7, 0.75)
    patches = np.tanh(6.0 * octave_noise(rng, 8, 4, 0.5))
    log_reflectance = 0.55 * fine + 0.85 * patches
    tile = np.exp(contrast * log_reflectance / log_reflectance.std())
    return (tile / tile.mean()).astype(np.float32)


def ripmap(tile: np.ndarray) -> np.ndarray:
    """All reductions of an n×n tile in one (2n, 2n) float32 array, laid out as the head of this file says."""
    n = len(tile)
    if n < 2 or n & (n - 1) or tile.shape != (n, n):
        raise ValueError(f"texture of shape {tile.shape}: it must be square, its side a power of two from 2")
    atlas = np.zeros((2 * n, 2 * n), np.float32)
    for j in range(n.bit_length()):
        across = tile
        for i in range(n.bit_length()):
            row, column = 2 * n - (2 * n >> j), 2 * n - (2 * n >> i)
            atlas[row : row + (n >> j), column : column + (n >> i)] = across
            across = 0.5 * (across[:, ::2] + across[:, 1::2]) if i < n.bit_length() - 1 else across
        tile = 0.5 * (tile[::2] + tile[1::2]) if j < n.bit_length() - 1 else tile
    return atlas


@njit(inline="always")
def _taps(n, s, footprint):
    """Texels and weights along one axis: two neighbours in each of the two levels nearest to the footprint.

    s: periods of the tile; footprint: texels of the full tile. Between powers of two the weight is linear, and so are
    the bits of a float: exponent and mantissa are the level and the weight of the next one.
    """
    bits = np.float32(min(max(footprint, np.float32(1.0)), np.float32(n) * np.float32(0.999999))).view(np.int32)
    level = (bits >> 23) - 127
    coarse = np.float32(bits & 0x7FFFFF) * np.float32(2.0**-23)
    size0, size1 = np.int32(n >> level), np.int32(n >> (level + 1))
    start0, start1 = np.int32(2 * n) - 2 * size0, np.int32(2 * n) - 2 * size1
    position0, position1 = s * np.float32(size0) - np.float32(0.5), s * np.float32(size1) - np.float32(0.5)
    whole0, whole1 = np.int32(math.floor(position0)), np.int32(math.floor(position1))
    right0, right1 = position0 - np.float32(whole0), position1 - np.float32(whole1)
    fine = np.float32(1.0) - coarse
    return (
        np.uint32(start0 + (whole0 & (size0 - 1))),
        np.uint32(start0 + ((whole0 + 1) & (size0 - 1))),
        np.uint32(start1 + (whole1 & (size1 - 1))),
        np.uint32(start1 + ((whole1 + 1) & (size1 - 1))),
        fine * (np.float32(1.0) - right0),
        fine * right0,
        coarse * (np.float32(1.0) - right1),
        coarse * right1,
    )


@njit(inline="always")
def _row(ripmaps, tile, t, taps):
    left = taps[4] * ripmaps[tile, t, taps[0]] + taps[5] * ripmaps[tile, t, taps[1]]
    return left + taps[6] * ripmaps[tile, t, taps[2]] + taps[7] * ripmaps[tile, t, taps[3]]


@njit(inline="always")
def _magnified(ripmaps, tile, n, s, t):
    across, down = s * np.float32(n) - np.float32(0.5), t * np.float32(n) - np.float32(0.5)
    column, row = np.int32(math.floor(across)), np.int32(math.floor(down))
    right, below = across - np.float32(column), down - np.float32(row)
    c0, c1 = np.uint32(column & (n - 1)), np.uint32((column + 1) & (n - 1))
    r0, r1 = np.uint32(row & (n - 1)), np.uint32((row + 1) & (n - 1))
    upper = ripmaps[tile, r0, c0] + right * (ripmaps[tile, r0, c1] - ripmaps[tile, r0, c0])
    lower = ripmaps[tile, r1, c0] + right * (ripmaps[tile, r1, c1] - ripmaps[tile, r1, c0])
    return upper + below * (lower - upper)


@njit(inline="always")
def sample_ripmap(ripmaps, tile, s, t, footprint_s, footprint_t):
    """One texture averaged over a footprint. s, t: its centre; footprint_*: its extent; all in periods of the tile."""
    n = ripmaps.shape[1] // 2
    if max(footprint_s, footprint_t) * np.float32(n) <= np.float32(1.0):  # seen close by: the finest level alone
        return _magnified(ripmaps, tile, n, s, t)
    columns = _taps(n, s, footprint_s * np.float32(n))
    rows = _taps(n, t, footprint_t * np.float32(n))
    fine = rows[4] * _row(ripmaps, tile, rows[0], columns) + rows[5] * _row(ripmaps, tile, rows[1], columns)
    coarse = rows[6] * _row(ripmaps, tile, rows[2], columns) + rows[7] * _row(ripmaps, tile, rows[3], columns)
    return fine + coarse
