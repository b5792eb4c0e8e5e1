"""Procedural textures and their ripmaps."""

from itertools import pairwise

import numpy as np
import pytest
from numba import njit

from eventspd_ros.simulation.textures import octave_noise, reflectance_tile, ripmap, sample_ripmap, value_noise

RNG = np.random.default_rng(0)
TILE = RNG.uniform(0.1, 1, (16, 16)).astype(np.float32)
ATLAS = ripmap(TILE)[None]


@njit
def sample(ripmaps, s, t, footprint_s, footprint_t):
    f32 = np.float32
    return sample_ripmap(ripmaps, 0, f32(s), f32(t), f32(footprint_s), f32(footprint_t))


def test_every_level_holds_the_means_of_its_blocks():
    for i in range(5):
        for j in range(5):
            blocks = TILE.reshape(16 >> j, 1 << j, 16 >> i, 1 << i).mean((1, 3))
            row, column = 32 - (32 >> j), 32 - (32 >> i)
            np.testing.assert_allclose(ATLAS[0, row : row + (16 >> j), column : column + (16 >> i)], blocks, rtol=1e-6)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 0), (0, 2), (2, 1), (3, 3)])
def test_a_footprint_of_one_block_at_its_centre_gives_its_mean(i, j):
    blocks = TILE.reshape(16 >> j, 1 << j, 16 >> i, 1 << i).mean((1, 3))
    for row, column in ((0, 0), (blocks.shape[0] - 1, 0), (1, blocks.shape[1] - 1)):
        s, t = (column + 0.5) / blocks.shape[1], (row + 0.5) / blocks.shape[0]
        assert sample(ATLAS, s, t, 2**i / 16, 2**j / 16) == pytest.approx(blocks[row, column], rel=1e-5)


def test_between_texels_and_between_levels_it_interpolates():
    assert sample(ATLAS, 1 / 16, 0.5 / 16, 1 / 16, 1 / 16) == pytest.approx(TILE[0, :2].mean(), rel=1e-5)
    fine, coarse = sample(ATLAS, 0.3, 0.4, 2 / 16, 1 / 16), sample(ATLAS, 0.3, 0.4, 4 / 16, 1 / 16)
    assert sample(ATLAS, 0.3, 0.4, 3 / 16, 1 / 16) == pytest.approx((fine + coarse) / 2, rel=1e-5)


def test_it_repeats_and_a_huge_footprint_sees_the_mean():
    assert sample(ATLAS, 0.3 - 2, 0.4 + 5, 0.1, 0.1) == pytest.approx(sample(ATLAS, 0.3, 0.4, 0.1, 0.1), rel=1e-3)
    assert sample(ATLAS, 0.3, 0.4, 50.0, 50.0) == pytest.approx(TILE.mean(), rel=1e-4)


def test_noise_is_periodic_bounded_and_has_energy_in_every_octave():
    octave = value_noise(np.random.default_rng(0), 8, 64)
    assert abs(octave).max() <= 1
    inner = abs(np.diff(octave, axis=0)).max()
    assert abs(octave[0] - octave[-1]).max() <= inner + 1e-12
    noise = octave_noise(np.random.default_rng(0), 4, 6, 0.75)
    # Half the wavelength, a similar share of the variance: what a blur to the next octave takes away.
    variances = [noise.reshape(512 // n, n, 512 // n, n).mean((1, 3)).var() for n in (1, 8, 16, 32, 64)]
    assert all(fine > 1.02 * coarse for fine, coarse in pairwise(variances))


def test_a_reflectance_has_mean_one_the_contrast_asked_for_and_depends_on_the_seed_alone():
    tile = reflectance_tile(np.random.default_rng(4), 0.5)
    assert tile.mean() == pytest.approx(1, abs=1e-5)
    assert tile.min() > 0
    assert np.log(tile).std() == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_array_equal(tile, reflectance_tile(np.random.default_rng(4), 0.5))


def test_textures_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(12, 12\)"):
        ripmap(np.ones((12, 12), np.float32))
