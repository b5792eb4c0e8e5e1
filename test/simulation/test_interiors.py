"""Desks and halls: sizes, depths, speeds, that nothing is in the way, and that one seed decides everything."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from reference.slow_simulation import assert_cast_alike

from eventspd_ros.simulation import small_things
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.interiors import desk, hall
from eventspd_ros.simulation.materials import TEXELS, Materials
from eventspd_ros.simulation.paths import SplinePath
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.small_things import PRINTS, Prints
from eventspd_ros.simulation.stage import extent
from eventspd_ros.simulation.stream import SimulationConfig, World, simulate_stream

CAMERA, SEEDS, MAKERS = PinholeCamera.centred(86, 65), range(12), {"desk": desk, "hall": hall}
LENS = PinholeCamera(120, 90, 90.0, 92.0, 58.0, 46.0, (-0.25, 0.05, 0.002, -0.001))


@cache
def world(domain, seed, duration_s=1.0):
    return MAKERS[domain](np.random.default_rng(seed), duration_s)


@cache
def depths(domain, seed):
    """At 0, 0.5 and 1 s, (3, H, W) m."""
    scene, path = world(domain, seed)
    renderer = Renderer(scene, CAMERA)
    return np.stack([renderer.depth_m(path.pose(t_s), t_s) for t_s in (0.0, 0.5, 1.0)])


@pytest.mark.parametrize("domain", MAKERS)
def test_one_seed_decides_everything(domain):
    (scene, path), (again, path_again) = (MAKERS[domain](np.random.default_rng(5), 0.5) for _ in range(2))
    np.testing.assert_array_equal(path.knots, path_again.knots)
    np.testing.assert_array_equal(scene.ripmaps, again.ripmaps)
    assert len(scene.planes) == len(again.planes)
    for one, two in zip(scene.planes, again.planes, strict=True):
        np.testing.assert_array_equal(one.centre_W, two.centre_W)
        assert (one.gain, one.tile, one.shift, one.body) == (two.gain, two.tile, two.shift, two.body)
    other, _ = MAKERS[domain](np.random.default_rng(6), 0.5)
    assert len(other.planes) != len(scene.planes)
    assert (other.ripmaps != scene.ripmaps).any((1, 2)).sum() == len(scene.ripmaps) - 1  # all but the plain one


def test_a_desk_is_near_and_nothing_is_in_the_way():
    medians = []
    for seed in SEEDS:
        depth = depths("desk", seed)
        assert np.isnan(depth).mean() < 1e-3
        assert np.nanmin(depth) > 0.18, seed
        assert np.nanpercentile(depth, 98) < 3.5
        medians.append(np.nanmedian(depth))
    assert min(medians) > 0.3
    assert max(medians) < 1.6
    assert max(medians) > 1.7 * min(medians), "scenes are near and less near"
    assert min(np.nanmin(depths("desk", seed)) for seed in SEEDS) < 0.4


def test_a_hall_is_as_wide_as_a_room_or_a_gym_and_nothing_is_in_the_way():
    medians = []
    for seed in SEEDS:
        depth = depths("hall", seed)
        assert np.isnan(depth).mean() < 1e-3
        assert np.nanmin(depth) > 0.3, seed
        assert np.nanmax(depth) < 22
        medians.append(np.nanmedian(depth))
    assert min(medians) < 3
    assert max(medians) > 4.5


def test_a_desk_has_things_at_several_depths_and_edges_that_make_events():
    events = []
    for seed in SEEDS:
        scene, path = world("desk", seed)
        assert len(scene.planes) < 400
        depth = depths("desk", seed)[0]
        assert np.nanpercentile(depth, 95) > 1.15 * np.nanpercentile(depth, 5)
        config = SimulationConfig(CAMERA, 0.1, seed, threads=1)
        events.append(sum(len(chunk.events) for chunk in simulate_stream(config, World(scene, path))))
    assert np.median(events) > 0.05 * 5 * CAMERA.width * CAMERA.height  # 0.05 a pixel in 20 ms


@pytest.mark.parametrize("domain", MAKERS)
@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_scenes_match_the_slow_caster(domain, camera):
    for seed in (3, 4, 5):
        scene, path = world(domain, seed)
        assert_cast_alike(scene, camera, path.pose(0.4), 0.99)


def test_speeds_are_those_of_a_hand_and_of_walking_and_turning():
    for domain, (most_m_s, most_deg_s) in {"desk": (0.65, 65), "hall": (2.2, 110)}.items():
        fastest, top = [], []
        for seed in range(20):
            _, path = MAKERS[domain](np.random.default_rng(seed), 1.0)
            rate = np.diff([path.state(t) for t in np.arange(0, 1.0, 0.01)], axis=0) / 0.01
            fastest.append(np.linalg.norm(rate[:, :3], axis=1).max())
            top.append(np.degrees(np.linalg.norm(rate[:, 3:], axis=1).max()))
            assert abs(np.diff(rate, axis=0)).max() / 0.01 < 60, "no jerks"
        assert most_m_s / 3 < max(fastest) < most_m_s, domain
        assert most_deg_s / 3 < max(top) < most_deg_s, domain
        assert min(top) < 1 or domain == "hall", "a slider does not turn"


def test_the_desks_camera_looks_at_the_things_and_the_halls_is_as_high_as_a_robot_or_a_head():
    for seed in SEEDS:
        state = np.array([world("desk", seed)[1].state(t) for t in np.arange(0, 1, 0.05)])
        assert abs(np.degrees(state[:, 3])).max() < 22
        assert -42 < np.degrees(state[:, 4]).min()
        assert np.degrees(state[:, 4]).max() < 13
        height = -np.array([world("hall", seed)[1].state(t)[1] for t in np.arange(0, 1, 0.05)])
        assert 0.19 < height.min()
        assert height.max() < 2.05


def far_lower_and_tilted(path):
    knots = path.knots.copy()
    knots[:, 1] += -0.35 - knots[:, 1].mean()  # 0.35 m above the floor
    knots[:, 4] += 0.3
    knots[:, 0] += 3.0 * np.sin(np.linspace(0, 1, len(knots)))
    return SplinePath(knots)


def high(path):
    return SplinePath(path.knots - (0, 2.5 + path.knots[:, 1].mean(), 0, 0, 0, 0))


@pytest.mark.parametrize("domain", MAKERS)
@pytest.mark.parametrize("adjust", [far_lower_and_tilted, high])
def test_the_room_is_built_around_the_path_that_adjust_gives(domain, adjust):
    for seed in range(8):
        scene, path = MAKERS[domain](
            np.random.default_rng(seed), 1.0, SimpleNamespace(adjust=adjust, materials=Materials)
        )
        expected = adjust(MAKERS[domain](np.random.default_rng(seed), 1.0)[1])
        np.testing.assert_array_equal(path.knots, expected.knots)
        renderer = Renderer(scene, CAMERA)
        depth = np.stack([renderer.depth_m(path.pose(t_s)) for t_s in (0.0, 0.5, 1.0)])
        assert np.isnan(depth).mean() < 1e-3
        assert np.nanmin(depth) > 0.18


def test_surfaces_are_of_the_materials_that_are_given():
    class Grey(Materials):
        def look(self, name, shift=None):
            return super().look("plain", shift)

    for make in MAKERS.values():
        scene, _ = make(np.random.default_rng(0), 0.1, SimpleNamespace(adjust=lambda path: path, materials=Grey))
        printed = len(scene.ripmaps) - len(PRINTS)
        assert all(plane.tile == 0 and plane.tile_m == np.inf for plane in scene.planes if plane.tile < printed)


SIZES = {  # width, height, depth in m: from … to
    small_things.mug: ((0.11, 0.13), (0.09, 0.105), (0.08, 0.1)),
    small_things.book: ((0.015, 0.05), (0.18, 0.30), (0.12, 0.21)),
    small_things.pile: ((0.15, 0.36), (0.015, 0.21), (0.21, 0.37)),
    small_things.keyboard: ((0.44, 0.44), (0.02, 0.022), (0.13, 0.13)),
    small_things.screen: ((0.49, 0.60), (0.37, 0.50), (0.18, 0.18)),
    small_things.lamp: ((0.3, 0.41), (0.35, 0.50), (0.15, 0.2)),
    small_things.carton: ((0.12, 0.35), (0.08, 0.30), (0.10, 0.252)),
    small_things.poster: ((0.21, 0.841), (0.21, 0.841), (0.0, 0.01)),
    small_things.pillar: ((0.29, 0.7), (3.0, 3.0), (0.3, 0.7)),
    small_things.odds: ((0.009, 0.6), (0.0, 0.02), (0.009, 0.6)),
}


@pytest.mark.parametrize("thing", SIZES, ids=lambda thing: thing.__name__)
def test_things_have_familiar_sizes_and_stand_on_the_ground(thing):
    rng = np.random.default_rng(0)
    materials = Prints(rng, Materials(rng))
    for _ in range(12):
        low, high = extent(thing(rng, materials))
        for size, (least, most) in zip(high - low, SIZES[thing], strict=True):
            assert least - 1e-6 <= size <= most + 1e-6
        assert abs(high[1]) < 0.03


def test_prints_have_mean_one_and_high_contrast_and_may_be_scaled():
    rng = np.random.default_rng(1)
    prints = Prints(rng, Materials(rng))
    for ripmap in prints.ripmaps[-len(PRINTS) :]:
        tile = ripmap[:TEXELS, :TEXELS]
        assert tile.mean() == pytest.approx(1, abs=1e-4)
        assert np.log(tile).std() > 0.5
    assert prints.look("text")["tile_m"] == 0.2
    assert prints.look("text", None, 0.4)["tile_m"] == 0.4
    assert prints.look("brick", None, 0.4)["tile_m"] == 0.4
    assert prints.look("plain", None, 0.4)["tile_m"] == np.inf
    assert {prints.look(name)["tile"] for name in PRINTS} == {len(prints.ripmaps) - 2, len(prints.ripmaps) - 1}
