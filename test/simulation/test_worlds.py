"""The three domains: sizes, speeds, depths, and that one seed decides everything."""

from functools import cache

import numpy as np
import pytest

from eventspd_ros.simulation import furniture, things
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.materials import KINDS, TEXELS, Materials
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stage import extent
from eventspd_ros.simulation.worlds import COMMON_DOMAINS, make_world

CAMERA, SEEDS = PinholeCamera.centred(86, 65), range(12)


@cache
def world(domain, seed, duration_s=1.0):
    return make_world(domain, seed, duration_s)


def states(path, duration_s=1.0):
    return np.array([path.state(t) for t in np.arange(0, duration_s, 0.01)])


def all_states(domain, count=60):
    from eventspd_ros.simulation import paths

    rng = np.random.default_rng(0)
    make = {
        "drive": lambda: paths.drive_path(rng, 3.0),
        "indoor": lambda: paths.walk_path(rng, 3.0, np.array([3.0, 4.0]), 2.6),
        "fly": lambda: paths.flight_path(rng, 3.0),
    }[domain]
    return [states(make(), 3.0) for _ in range(count)]


@pytest.mark.parametrize("domain", COMMON_DOMAINS)
def test_one_seed_decides_everything(domain):
    (scene, path), (again, path_again) = make_world(domain, 5, 0.5), make_world(domain, 5, 0.5)
    np.testing.assert_array_equal(path.knots, path_again.knots)
    np.testing.assert_array_equal(scene.ripmaps, again.ripmaps)
    assert len(scene.planes) == len(again.planes)
    for one, two in zip(scene.planes, again.planes, strict=True):
        np.testing.assert_array_equal(one.centre_W, two.centre_W)
        assert (one.gain, one.tile, one.shift, one.body) == (two.gain, two.tile, two.shift, two.body)
    other, _ = make_world(domain, 6, 0.5)
    assert len(other.planes) != len(scene.planes) or (other.ripmaps != scene.ripmaps).any()


@pytest.mark.parametrize("domain", COMMON_DOMAINS)
def test_depths_lie_between_half_a_metre_and_the_skyline_and_nothing_is_in_the_way(domain):
    all_depths = []
    for seed in SEEDS:
        scene, path = world(domain, seed)
        renderer = Renderer(scene, CAMERA)
        for t_s in (0.0, 0.5, 1.0):
            all_depths.append(renderer.depth_m(path.pose(t_s), t_s).ravel())
    depth = np.concatenate(all_depths)
    near, far = np.nanmin(depth), np.nanmax(depth)
    assert near > 0.45
    assert far < {"drive": 100, "indoor": 12, "fly": 110}[domain]
    assert np.nanpercentile(depth, 98) < 81
    assert near < {"drive": 4, "indoor": 1.2, "fly": 3}[domain]
    assert np.isnan(depth).mean() < {"drive": 0.45, "indoor": 1e-3, "fly": 0.5}[domain]


def test_the_driving_camera_is_165_cm_high_and_looks_along_the_road():
    for seed in SEEDS:
        scene, path = world("drive", seed)
        state = states(path)
        assert (abs(-state[:, 1] / 1.65 - 1) <= 0.05).all()
        assert abs(state[:, 4:]).max() < np.radians(4)
        road = Renderer(scene, PinholeCamera(3, 3, 100.0, 100.0, 1.0, -99.0)).depth_m(path.pose(0), 0)[1, 1]
        expected = (
            -state[0, 1] / (np.cos(state[0, 4]) - np.sin(state[0, 4])) if road < 3 else road
        )  # else a car is in view
        assert road == pytest.approx(expected, rel=0.03)


def test_speeds_are_realistic_and_there_are_stops_and_pure_rotations():
    limits = {"drive": (20.1, 60), "indoor": (2.2, 110), "fly": (9.5, 150)}
    for domain, (most_m_s, most_deg_s) in limits.items():
        stops = turns = 0
        fastest, top = 0.0, 0.0
        for state in all_states(domain):
            rate = np.diff(state, axis=0) / 0.01
            speed, turn = np.linalg.norm(rate[:, :3], axis=1), np.degrees(np.linalg.norm(rate[:, 3:], axis=1))
            fastest, top = max(fastest, speed.max()), max(top, turn.max())
            assert abs(np.diff(rate, axis=0)).max() / 0.01 < 60, "no jerks"
            stops += (speed < 0.15).mean() > 0.1
            turns += ((speed < 0.15) & (turn > 15)).mean() > 0.05
        assert most_m_s / 3 < fastest < most_m_s, domain
        assert top < most_deg_s, domain
        assert stops > 2
        assert turns > 2 or domain == "drive"


def test_things_move_on_their_own_in_some_scenes_and_keep_away_from_the_camera():
    for domain in COMMON_DOMAINS:
        counts = []
        for seed in SEEDS:
            scene, path = world(domain, seed)
            counts.append(len(scene.motions))
            for body, motion in enumerate(scene.motions, 1):
                low, high = extent([p for p in scene.planes if p.body == body])
                for t_s in (0.0, 0.5, 1.0):
                    camera_B = motion.pose(t_s).to_camera(path.pose(t_s).position_W)
                    assert not ((camera_B > low - 0.3) & (camera_B < high + 0.3)).all()
        assert 0 in counts
        assert max(counts) >= 1


SIZES = {  # width, height, depth in m: from … to
    things.car: ((1.8, 1.9), (1.4, 1.5), (4.2, 4.8)),
    things.truck: ((2.4, 2.6), (3.5, 3.7), (7.8, 8.4)),
    things.person: ((0.3, 0.8), (1.5, 2.0), (0.1, 0.5)),
    things.container: ((2.44, 2.44), (2.59, 2.59), (6.06, 6.06)),
    things.bin_: ((0.62, 0.62), (1.07, 1.07), (0.77, 0.77)),
    things.lamp: ((1.5, 1.7), (6, 8), (0.1, 0.2)),
    things.sign: ((0.6, 0.75), (2.5, 2.7), (0, 0.2)),
    furniture.table: ((1.2, 1.7), (0.7, 1.3), (0.8, 0.95)),
    furniture.chair: ((0.4, 0.5), (0.9, 0.9), (0.4, 0.5)),
    furniture.shelf: ((0.8, 0.8), (1.9, 1.9), (0.3, 0.3)),
    furniture.door: ((1.02, 1.02), (2.1, 2.1), (0, 0.1)),
}


@pytest.mark.parametrize("thing", SIZES, ids=lambda thing: thing.__name__)
def test_things_have_familiar_sizes_and_stand_on_the_ground(thing):
    rng = np.random.default_rng(0)
    materials = Materials(rng)
    for _ in range(4):
        low, high = extent(thing(rng, materials))
        for size, (least, most) in zip(high - low, SIZES[thing], strict=True):
            assert least - 1e-6 <= size <= most + 1e-6
        assert abs(high[1]) < 0.03


def test_textures_have_mean_one_varied_contrast_and_plain_ones_are_plain():
    materials = Materials(np.random.default_rng(1))
    contrast = {}
    for name, ripmap in zip(KINDS, materials.ripmaps, strict=True):
        tile = ripmap[:TEXELS, :TEXELS]
        assert tile.mean() == pytest.approx(1, abs=1e-4)
        assert tile.min() > 0
        contrast[name] = np.log(tile).std()
    assert contrast["plain"] == 0
    assert 0.08 < contrast["soft"] < 0.2 < contrast["noise"] < 0.5 < contrast["rough"]
    materials = Materials(np.random.default_rng(1))
    assert materials.look("plain")["tile_m"] == np.inf


def test_an_unknown_domain_is_named():
    with pytest.raises(ValueError, match="domain 'swim': must be one of drive, indoor, fly"):
        make_world("swim", 0, 1.0)
