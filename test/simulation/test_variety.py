"""Scenes other than their domain's own: what is asked for changes and nothing else does, and a scale cannot be seen."""

import json
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from eventspd_ros.cli import main
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
from eventspd_ros.simulation.event_sensor import PRESETS
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.stream import SimulationConfig, World, simulate_stream
from eventspd_ros.simulation.variety import Variety, random_sensor
from eventspd_ros.simulation.worlds import DOMAINS, make_world

CAMERA = PinholeCamera.centred(64, 48)
EVERYTHING = Variety(
    focal=(0.5, 1.6),
    pace=(0.1, 1.0),
    pitch_deg=(-20, 20),
    roll_deg=(-15, 15),
    height_m=(0.5, 2.2),
    scale=(0.15, 1.3),
    path="any",
    textures="any",
)


def states(path, duration_s=1.0):
    return np.array([path.state(t) for t in np.arange(0, duration_s, 0.01)])


def world(domain, seed=3, duration_s=1.0, **variety):
    return make_world(domain, seed, duration_s, Variety(**variety).draw(domain, seed))


@pytest.mark.parametrize("domain", DOMAINS)
def test_without_variety_scenes_are_as_they_were(domain):
    (scene, path), (again, path_again) = make_world(domain, 5, 0.5), world(domain, 5, 0.5)
    np.testing.assert_array_equal(path.knots, path_again.knots)
    np.testing.assert_array_equal(scene.ripmaps, again.ripmaps)
    assert len(scene.planes) == len(again.planes) and scene.planes[-1].tile_m == again.planes[-1].tile_m


def test_a_scene_draws_from_the_ranges_by_its_domain_and_seed_alone():
    drawn = [EVERYTHING.draw("drive", seed) for seed in range(400)]
    assert drawn[7] == EVERYTHING.draw("drive", 7)
    assert drawn[7].pace != EVERYTHING.draw("fly", 7).pace
    for name in ("focal", "pace", "pitch_deg", "roll_deg", "height_m", "scale"):
        low, high = getattr(EVERYTHING, name)
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min() < low + 0.1 * (high - low) and high - 0.1 * (high - low) < values.max() <= high
    paces = np.array([one.pace for one in drawn])
    assert np.median(paces) == pytest.approx(np.sqrt(0.1), rel=0.15), "evenly in the logarithm"
    assert {one.path for one in drawn} == {"own", "slider", "hover", "turn"}
    # One range more changes that one thing.
    fewer = [replace(EVERYTHING, pace=None).draw("drive", seed) for seed in range(20)]
    assert [replace(one, pace=None) for one in drawn[:20]] == fewer


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("path", ["slider", "hover", "turn"])
def test_other_paths_are_what_they_are_called(domain, path):
    for seed in range(6):
        state = states(world(domain, seed, path=path)[1])
        moved, turned = np.ptp(state[:, :3], axis=0), np.degrees(np.ptp(state[:, 3:], axis=0))
        speed = np.linalg.norm(np.diff(state[:, :3], axis=0), axis=1) / 0.01
        if path == "slider":
            assert turned.max() < 1e-6 and 0.02 < speed.max() < (6 if domain in ("drive", "fly") else 1.1)
            way = np.diff(state[:, :3], axis=0)
            way = way[np.linalg.norm(way, axis=1) > 1e-5]
            directions = way / np.linalg.norm(way, axis=1)[:, None]
            assert (np.abs(directions @ directions[0]) > 0.999).all(), "straight"
        elif path == "hover":
            assert moved.max() < 0.13 and turned.max() < 6 and speed.max() < 0.6
        else:
            assert moved.max() < 1e-6 and 1 < np.linalg.norm(turned) < 80


def test_a_slower_pace_is_the_same_way_more_slowly():
    _, full = world("fly", 4, 1.0)
    _, slow = world("fly", 4, 1.0, pace=(0.25, 0.25))
    for t_s in (0.2, 0.5, 0.9):
        np.testing.assert_allclose(slow.state(t_s), full.state(t_s / 4), atol=0.02)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_camera_that_is_faster_does_not_come_to_the_end_of_its_way(domain):
    _, path = world(domain, 4, 0.5, pace=(5.0, 5.0), path="slider")
    at = np.array([path.state(t_s)[:3] for t_s in np.arange(0, 0.5, 0.01)])
    assert (np.linalg.norm(np.diff(at[-20:], axis=0), axis=1) > 0).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_height_and_attitude_are_those_asked_for(domain):
    _, own = world(domain, 2)
    _, other = world(domain, 2, height_m=(1.3, 1.3), pitch_deg=(-12, -12), roll_deg=(5, 5))
    before, after = own.state(0.0), other.state(0.0)
    assert after[1] == pytest.approx(-1.3, abs=1e-6)
    np.testing.assert_allclose(np.degrees(after[4:] - before[4:]), [-12, 5], atol=1e-6)
    np.testing.assert_allclose(after[[0, 2, 3]], before[[0, 2, 3]])


def test_no_camera_goes_through_the_ceiling():
    for seed in range(8):
        scene, path = world("indoor", seed, height_m=(6.0, 6.0))
        ceiling_m = -min(p.centre_W[1] for p in scene.planes)
        assert (-path.positions[:, 1]).max() < ceiling_m - 0.15


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_scale_cannot_be_seen_but_depth_has_it(domain):
    """The same events to the bit would need the same rounding: the same picture."""
    (scene, path), (small, small_path) = world(domain), world(domain, scale=(0.25, 0.25))
    for t_s in (0.0, 0.7):
        one = Renderer(scene, CAMERA).render(path.pose(t_s), t_s)
        other = Renderer(small, CAMERA).render(small_path.pose(t_s), t_s)
        # Where rays graze a rim rounding decides.
        same = np.isclose(one.depth_m * 0.25, other.depth_m, rtol=1e-5) | np.isnan(one.depth_m)
        assert same.mean() > 0.99
        assert np.median(np.abs(one.log_intensity - other.log_intensity)) < 1e-4


def test_any_textures_are_of_other_materials_and_things_stay_where_they_are():
    (own, _), (other, _) = world("indoor", 1), world("indoor", 1, textures="any")
    assert len({p.tile for p in other.planes}) > 6
    assert {p.tile for p in other.planes if np.isinf(p.tile_m)} == {p.tile for p in own.planes if np.isinf(p.tile_m)}


def test_random_sensors_cover_their_ranges_and_work():
    sensors = [random_sensor("fly", seed) for seed in range(300)]
    assert sensors[5] == random_sensor("fly", 5)
    for name, low, high in (
        ("threshold", 0.15, 0.8), ("off_over_on", 0.5, 2.0), ("refractory_ns", 0.3e6, 15e6), ("shot_hz", 0.01, 5.0),
        ("bandwidth_hz", 30, 1000), ("leak_hz", 0.01, 0.3), ("hot_pixel_share", 1e-6, 3e-4),
    ):  # fmt: skip
        values = np.array([getattr(sensor, name) for sensor in sensors])
        assert low <= values.min() < low * 1.2 and high / 1.2 < values.max() <= high
    spread = np.array([sensor.threshold_spread / sensor.threshold for sensor in sensors])
    assert 0.05 <= spread.min() and spread.max() <= 0.25


@pytest.mark.parametrize("off_over_on", [0.5, 1.0, 2.0])
def test_a_darker_event_needs_its_own_contrast(off_over_on):
    sensor = replace(PRESETS["clean"], off_over_on=off_over_on)
    config = SimulationConfig(CAMERA, 0.3, 1, sensor, domain="indoor", threads=1)
    events = [chunk.events for chunk in simulate_stream(config)]
    on, count = sum(int(e.p.sum()) for e in events), sum(map(len, events))
    # Each pixel's log intensity goes up and down about as far: events of a kind are as many as its contrast is small.
    assert on / (count - on) == pytest.approx(off_over_on, rel=0.35)


def test_a_set_of_everything_says_what_each_scene_is(tmp_path):
    config = SetConfig(scenes=2, seed=11, duration_s=0.05, preset="random", camera=CAMERA, variety=EVERYTHING)
    for path in simulate_set(tmp_path / "set", config, workers=1):
        domain, seed = path.stem.rsplit("_", 1)
        drawn = EVERYTHING.draw(domain, int(seed))
        with h5py.File(path) as file:
            assert json.loads(file.attrs["variety"]) == {f.name: getattr(drawn, f.name) for f in fields(drawn)}
            assert file.attrs["scale"] == drawn.scale and file.attrs["preset"] == "random"
            assert json.loads(file.attrs["sensor"])["threshold"] == random_sensor(domain, int(seed)).threshold
            fx, fy, cx, _ = file["calib/intrinsics"][:]
            assert fx == pytest.approx(drawn.focal * 64) and fy == fx and cx == CAMERA.cx
    simulate_set(tmp_path / "set", config, workers=1)  # it goes on
    with pytest.raises(ValueError, match="variety"):
        simulate_set(tmp_path / "set", replace(config, variety=replace(EVERYTHING, path="own")))


def test_a_set_from_before_there_was_variety_goes_on(tmp_path):
    config = SetConfig(("drive",), 1, duration_s=0.02, camera=CAMERA)
    simulate_set(tmp_path, config, workers=1)
    described = json.loads((tmp_path / "set.json").read_text())
    described.pop("variety")
    (tmp_path / "set.json").write_text(json.dumps(described))
    assert len(simulate_set(tmp_path, replace(config, scenes=2), workers=1)) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "fall"}, "path 'fall': must be one of own, slider, hover, turn, any"),
        ({"textures": "some"}, "textures 'some'"),
        ({"pace": (1.0, 0.5)}, "pace (1.0, 0.5): must be one number, or the least and the greatest"),
        ({"scale": (0.0, 1.0)}, "scale (0.0, 1.0): must be positive"),
        ({"pitch_deg": (np.nan, 1.0)}, "pitch_deg"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, said):
    with pytest.raises(ValueError) as error:
        Variety(**changes)
    assert said in str(error.value)


def test_the_command_takes_one_number_or_two(tmp_path, capsys):
    arguments = ["--size", "32x24", "--duration", "0.02", "--scenes", "1", "--domains", "drive", "--preset", "random"]
    arguments += ["--focal", "0.9", "--pace", "0.2", "0.5", "--pitch", "-5", "--path", "slider", "--textures", "any"]
    assert main(["simulate", "--out", str(tmp_path / "set"), *arguments]) == 0
    described = json.loads((tmp_path / "set" / "set.json").read_text())["variety"]
    assert described["focal"] == [0.9, 0.9] and described["pace"] == [0.2, 0.5] and described["pitch_deg"] == [-5, -5]
    assert described["path"] == "slider" and described["scale"] is None
    assert main(["simulate", "--out", str(tmp_path / "other"), *arguments, "--height", "1", "2", "3"]) == 2
    assert "--height [1.0, 2.0, 3.0]: give one number, or the least and the greatest" in capsys.readouterr().err
    assert World.of(SimulationConfig(CAMERA, 0.1)).scene is not None
