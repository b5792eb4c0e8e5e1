"""The jumble: nothing is in the way, all follows one length that nothing tells, and one seed decides all."""

from functools import cache

import numpy as np
import pytest
from reference.slow_simulation import assert_cast_alike

from eventspd_ros.simulation import jumble
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stage import extent
from eventspd_ros.simulation.worlds import make_world

CAMERA, SEEDS = PinholeCamera.centred(86, 65), range(16)


@cache
def world(seed, duration_s=0.5):
    return make_world("jumble", seed, duration_s)


def test_one_seed_decides_everything():
    (scene, path), (again, path_again) = make_world("jumble", 5, 0.5), make_world("jumble", 5, 0.5)
    np.testing.assert_array_equal(path.knots, path_again.knots)
    assert len(scene.planes) == len(again.planes) != len(world(6)[0].planes)
    for one, two in zip(scene.planes, again.planes, strict=True):
        np.testing.assert_array_equal(one.centre_W, two.centre_W)
        assert (one.gain, one.tile, one.shift, one.tile_m) == (two.gain, two.tile, two.shift, two.tile_m)


def test_nothing_is_in_the_way_and_scenes_are_small_and_large():
    medians = []
    for seed in SEEDS:
        scene, path = world(seed)
        renderer = Renderer(scene, CAMERA)
        depth = np.stack([renderer.depth_m(path.pose(t_s), t_s) for t_s in (0.0, 0.5)])
        if np.isfinite(depth).mean() < 0.02:  # it looks up, at nothing
            continue
        assert np.nanmin(depth) > 0.02 and np.nanmax(depth) < 3 * jumble.REACH_M[1]
        medians.append(np.nanmedian(depth))
        things = [plane for plane in scene.planes if plane.body == 0 and max(plane.half_size_m) < 0.4]
        for plane in things:
            low, high = extent([plane])
            assert not ((path.positions > low - 0.04) & (path.positions < high + 0.04)).all(1).any()
    assert len(medians) > 12
    assert max(medians) > 10 * min(medians)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_scene_twice_as_long_is_the_same_one_twice_as_large(seed, monkeypatch):
    found = []
    for times in (1.0, 2.0):
        monkeypatch.setattr(jumble, "REACH_M", (4.0 * times, 4.0 * times))
        monkeypatch.setattr(jumble, "SPEED_M_S", (0.5 * times, 0.5 * times))
        scene, path = make_world("jumble", seed, 0.2)
        lengths = [np.median([f(p) for p in scene.planes if np.isfinite(p.tile_m)]) for f in (_period, _size, _away)]
        found.append([*lengths, -path.state(0.0)[1]])
    np.testing.assert_allclose(found[1], 2 * np.array(found[0]), rtol=0.05)


def _period(plane):
    return plane.tile_m


def _size(plane):
    return max(plane.half_size_m)


def _away(plane):
    return np.linalg.norm(plane.centre_W)


def test_scenes_match_the_slow_caster():
    scene, path = world(3)
    assert_cast_alike(scene, CAMERA, path.pose(0.2), 0.98)
