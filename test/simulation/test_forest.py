"""The wood: depths, widths, speeds, that nothing is in the way and little upright, and that one seed decides all."""

from functools import cache

import numpy as np
import pytest
from reference.slow_simulation import assert_cast_alike

from eventspd_ros.simulation import forest
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.materials import TEXELS, Materials
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.small_things import Prints
from eventspd_ros.simulation.stage import extent
from eventspd_ros.simulation.variety import Variety
from eventspd_ros.simulation.worlds import HELD_OUT_DOMAINS, make_world

CAMERA, SEEDS = PinholeCamera.centred(86, 65), range(8)
LENS = PinholeCamera(120, 90, 90.0, 92.0, 58.0, 46.0, (-0.25, 0.05, 0.002, -0.001))


@cache
def world(seed, duration_s=1.0, **variety):
    return make_world("forest", seed, duration_s, Variety(**variety).draw("forest", seed))


def materials(seed=0):
    rng = np.random.default_rng(seed)
    return rng, Prints(rng, Materials(rng), forest.WILD)


def test_one_seed_decides_everything():
    (scene, path), (again, path_again) = make_world("forest", 5, 0.5), make_world("forest", 5, 0.5)
    np.testing.assert_array_equal(path.knots, path_again.knots)
    np.testing.assert_array_equal(scene.ripmaps, again.ripmaps)
    assert len(scene.planes) == len(again.planes)
    for one, two in zip(scene.planes, again.planes, strict=True):
        np.testing.assert_array_equal(one.centre_W, two.centre_W)
        assert (one.gain, one.tile, one.shift, one.tile_m) == (two.gain, two.tile, two.shift, two.tile_m)
    assert len(make_world("forest", 6, 0.5)[0].planes) != len(scene.planes)
    assert HELD_OUT_DOMAINS == ("forest",)


def test_depths_lie_between_the_clearance_and_the_edge_of_the_wood_and_nothing_is_in_the_way():
    nearest, medians = [], []
    for seed in SEEDS:
        scene, path = world(seed)
        renderer = Renderer(scene, CAMERA)
        depth = np.stack([renderer.depth_m(path.pose(t_s), t_s) for t_s in (0.0, 0.5, 1.0)])
        assert np.isnan(depth).mean() < 0.2, "sky, between the crowns"
        assert np.nanmin(depth) > 0.25 and np.nanmax(depth) < 80
        assert np.nanpercentile(depth, 90) > 2 * np.nanpercentile(depth, 10), "near and far"
        nearest.append(np.nanmin(depth))
        medians.append(np.nanmedian(depth))
        for plane in scene.planes[1:]:  # all but the ground
            low, high = extent([plane])
            assert not ((path.positions > low - 0.39) & (path.positions < high + 0.39)).all(1).any()
    assert min(nearest) < 1.2
    assert max(medians) > 1.7 * min(medians)


def test_low_and_high_cameras_have_their_own_clearance():
    for seed in range(4):
        for height_m in (0.3, 2.5):
            scene, path = world(seed, height_m=(height_m, height_m))
            assert -path.state(0.0)[1] == pytest.approx(height_m)
            assert np.nanmin(Renderer(scene, CAMERA).depth_m(path.pose(0.5))) > 0.2


def test_trunks_have_all_widths_lean_and_stand_in_the_ground():
    rng, m = materials()
    widths, leans = [], []
    for k in range(60):
        stem, crown = forest._tree(rng, m, near=k % 2 == 0)
        low, high = extent(stem)
        assert 0.0 <= high[1] < 0.2 and 2 < -low[1] < 30
        widths.append(2 * stem[0].half_size_m[0] / np.tan(np.pi / (6 if k % 2 == 0 else 4)))
        leans.append(np.degrees(np.arccos(abs(stem[0].axis_t[1]))))
        for bough in crown:
            assert extent(bough)[0][1] > -32
    assert 0.06 <= min(widths) < 0.09 and 0.7 < max(widths) <= 0.9
    assert np.median(leans) > 2 and max(leans) < 20


def test_no_size_is_known_and_little_is_upright_or_level():
    periods = np.array([p.tile_m for seed in SEEDS for p in world(seed)[0].planes])
    assert np.isfinite(periods).all(), "nothing is plain"
    shares = np.unique(np.round(periods, 6), return_counts=True)[1] / len(periods)
    assert shares.max() < 0.15, "no pattern has a size of its own"
    for seed in SEEDS:
        scene, _ = world(seed)
        straight = [max(abs(p.axis_t[1]), abs(np.cross(p.axis_s, p.axis_t)[1])) > 0.9999 for p in scene.planes]
        assert np.mean(straight) < 0.05, "the edge of the wood and the ground"


@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_scenes_match_the_slow_caster(camera):
    scene, path = world(3)
    assert_cast_alike(scene, camera, path.pose(0.4), 0.98)


def test_speeds_are_those_of_walking_wheels_and_a_drone():
    fastest, top, heights = [], [], []
    for seed in range(60):
        path = forest._path(np.random.default_rng(seed), 1.0)
        state = np.array([path.state(t) for t in np.arange(0, 1.0, 0.01)])
        rate = np.diff(state, axis=0) / 0.01
        fastest.append(np.linalg.norm(rate[:, :3], axis=1).max())
        top.append(np.degrees(np.linalg.norm(rate[:, 3:], axis=1).max()))
        heights.append(-state[:, 1].mean())
        assert abs(np.diff(rate, axis=0)).max() / 0.01 < 60, "no jerks"
        assert -state[:, 1].max() > 0.25
    assert 2.5 < max(fastest) < 5
    assert 40 < max(top) < 130
    assert min(heights) < 0.6 and max(heights) > 3


def test_wild_textures_have_mean_one_and_contrast():
    _, m = materials(1)
    for ripmap in m.ripmaps[-len(forest.WILD) :]:
        tile = ripmap[:TEXELS, :TEXELS]
        assert tile.mean() == pytest.approx(1, abs=1e-4)
        assert 0.15 < np.log(tile).std() < 0.6
    assert m.look("bark", None, 0.5)["tile_m"] == 0.5
    furrows = np.log(m.ripmaps[-2][:TEXELS, :TEXELS])
    assert np.diff(furrows, axis=1).std() > 2 * np.diff(furrows, axis=0).std(), "along the trunk"
