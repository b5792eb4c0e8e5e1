"""Scene files and sets of them, read back."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import cv2
import h5py
import hdf5plugin  # noqa: F401  (registers the compression)
import numpy as np
import pytest

from eventspd_ros.cli import main
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.simulation import dataset_writer, scene_file
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
from eventspd_ros.simulation.event_sensor import PRESETS
from eventspd_ros.simulation.odometry import OdometryConfig
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scene_file import FAR_M, NEAR_M, decode_depth, encode_depth, write_scene
from eventspd_ros.simulation.stream import World, concatenate, simulate_stream
from eventspd_ros.simulation.variety import Variety

CAMERA = PinholeCamera(64, 48, 50.0, 51.0, 31.0, 24.0, (-0.2, 0.03, 0.001, 0.0))
SMALL = SetConfig(scenes=1, duration_s=0.1, camera=CAMERA)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "deep" / "small"
    done = []
    return simulate_set(out, SMALL, workers=1, progress=done.append), done


def test_depth_codes_err_by_less_than_a_thousandth_and_zero_is_invalid():
    depth = np.geomspace(NEAR_M, FAR_M, 100_000)
    assert abs(decode_depth(encode_depth(depth)) / depth - 1).max() < 0.0005
    codes = encode_depth(np.array([np.nan, np.inf, 0.0, -1.0, 0.05, 300.0]))
    assert codes.dtype == np.uint16
    assert codes.tolist() == [0] * 6
    assert np.isnan(decode_depth(codes)).all()


def test_a_scene_file_holds_the_layout_of_the_documentation(small_set):
    paths, done = small_set
    assert [path.name for path in paths] == ["drive_000000.h5", "indoor_000000.h5", "fly_000000.h5"]
    assert sum(done) == 3
    for path, domain in zip(paths, ("drive", "indoor", "fly"), strict=True):
        config = SMALL.scene(domain, 0)
        world = World.of(config)
        events = concatenate([chunk.events for chunk in simulate_stream(config, world)])
        renderer = Renderer(world.scene, CAMERA)
        with h5py.File(path) as file:
            described = dict(file.attrs)
            assert json.loads(described.pop("sensor")) == asdict(PRESETS["normal"])
            assert json.loads(described.pop("variety")) == asdict(Variety().draw(domain, 0))
            assert described == {
                "format": "eventspd-simulated", "format_version": 1, "domain": domain, "preset": "normal",
                "seed": 0, "duration_us": 100_000, "label_period_us": 8333, "scale": 1.0,
            }  # fmt: skip
            for name, dtype in (("x", "u2"), ("y", "u2"), ("p", "u1")):
                assert file["events"][name].dtype == dtype
                np.testing.assert_array_equal(file["events"][name][:], getattr(events, name))
            assert file["events/t"].dtype == "u4"
            np.testing.assert_array_equal(file["events/t"][:], events.t_ns // 1000)
            t, index = file["events/t"][:].astype(np.int64), file["ms_to_idx"][:]
            assert (index.dtype, len(index), file["t_offset"][()]) == ("u8", 101, 0)
            for ms, i in enumerate(index.astype(int)):
                assert i == len(t) or t[i] >= 1000 * ms
                assert i == 0 or t[i - 1] < 1000 * ms
            np.testing.assert_array_equal(file["depth/t"][:], 8333 * np.arange(1, 13))
            assert file["depth/code"].chunks == file["depth/moving"].chunks == (1, 48, 64)
            assert (file["depth/moving"].dtype, file["depth/moving"].shape) == (np.uint8, (12, 48, 64))
            for k in (0, 11):
                t_ns = 8_333_000 * (k + 1)
                exact = renderer.depth_m(world.pose(t_ns), t_ns / 1e9)
                np.testing.assert_allclose(decode_depth(file["depth/code"][k]), exact, rtol=1e-3)
                matrix = file["pose/T_WC"][k]
                np.testing.assert_allclose(matrix[:3, 3], world.pose(t_ns).position_W)
                np.testing.assert_allclose(matrix[:3, :3], world.pose(t_ns).rotation_WC)
            assert file["calib/resolution"][:].tolist() == [64, 48]
            assert file["calib/intrinsics"][:].tolist() == [50, 51, 31, 24]
            assert file["calib/distortion_coeffs"][:].tolist() == [-0.2, 0.03, 0.001, 0.0]


def test_images_are_what_the_camera_sees_at_every_depth_map(tmp_path, small_set):
    config = replace(SMALL, domains=("drive",), images=True)
    (path,) = simulate_set(tmp_path / "set", config, workers=1)
    scene = SMALL.scene("drive", 0)
    world = World.of(scene)
    renderer = Renderer(world.scene, CAMERA)
    with h5py.File(path) as file, h5py.File(small_set[0][0]) as without:
        assert "image" not in without
        assert (file["image/grey"].dtype, file["image/grey"].shape) == (np.uint8, (12, 48, 64))
        for k, t_us in enumerate(file["depth/t"][:].tolist()):
            brightness = np.exp(renderer.render(world.pose(t_us * 1000), t_us / 1e6).log_intensity)
            expected = 255 * np.clip(brightness, 0, 1) ** 0.45
            assert np.abs(file["image/grey"][k] - expected).max() <= 1
            assert np.ptp(file["image/grey"][k]) > 100
        for name in ("events/x", "events/t", "depth/code"):
            np.testing.assert_array_equal(file[name][:], without[name][:])


def test_a_set_from_before_there_were_images_goes_on_without(tmp_path):
    config = replace(SMALL, domains=("indoor",), duration_s=0.02)
    simulate_set(tmp_path, config, workers=1)
    described = json.loads((tmp_path / "set.json").read_text())
    assert described.pop("images") is False
    (tmp_path / "set.json").write_text(json.dumps(described))
    simulate_set(tmp_path, config, workers=1)
    with pytest.raises(ValueError, match=r"the set there has images False, not True"):
        simulate_set(tmp_path, replace(config, images=True), workers=1)


def test_bags_of_another_odometry_are_another_set(tmp_path):
    config = replace(SMALL, format="rosbag2", domains=("indoor",), duration_s=0.02)
    simulate_set(tmp_path, config, workers=1)
    with pytest.raises(ValueError, match=r"the set there has odometry \{'rate_hz': 200.0"):
        simulate_set(tmp_path, replace(config, odometry=OdometryConfig(delay_ms=5)), workers=1)
    described = json.loads((tmp_path / "set.json").read_text())
    described.pop("odometry")  # a set from before there was any, with /pose
    (tmp_path / "set.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"the set there has odometry None"):
        simulate_set(tmp_path, config, workers=1)


def test_a_set_goes_on_where_it_stopped_and_workers_change_nothing(tmp_path, small_set):
    first = simulate_set(tmp_path / "set", SMALL, workers=1)
    kept = first[0].stat().st_mtime_ns
    first[1].unlink()
    done = []
    again = simulate_set(tmp_path / "set", replace(SMALL, scenes=2), workers=2, progress=done.append)
    assert done[0] == 2
    assert sum(done) == len(again) == 6
    assert first[0].stat().st_mtime_ns == kept
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == sorted(["set.json", *(p.name for p in again)])
    with h5py.File(small_set[0][1]) as one, h5py.File(first[1]) as two:
        for name in ("events/x", "events/y", "events/t", "events/p", "depth/code"):
            np.testing.assert_array_equal(one[name][:], two[name][:])


def test_another_configuration_in_the_same_folder_is_refused(tmp_path):
    simulate_set(tmp_path, replace(SMALL, domains=("indoor",), duration_s=0.02), workers=1)
    with pytest.raises(ValueError, match=r"set.json: the set there has preset normal, not night"):
        simulate_set(tmp_path, replace(SMALL, domains=("indoor",), duration_s=0.02, preset="night"))
    (tmp_path / "set.json").write_text("{")
    with pytest.raises(ValueError, match=r"set.json: not the JSON of a set"):
        simulate_set(tmp_path, SMALL)


def test_an_interrupted_scene_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        assert len(list(tmp_path.iterdir())) == 1, "it writes beside the place where the file will be"
        raise KeyboardInterrupt

    monkeypatch.setattr(scene_file, "_write_events", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scene(tmp_path / "drive_000000.h5", SMALL.scene("drive", 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_process_at_once_and_leaves_whole_scenes_only(tmp_path, signal_number):
    command = [sys.executable, "-m", "eventspd_ros.cli", "simulate", "--out", str(tmp_path), "--workers", "2"]
    hearing = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 a shell's & makes what it starts deaf
    process = subprocess.Popen(
        [*command, "--scenes", "9", "--duration", "20"], stderr=subprocess.DEVNULL, preexec_fn=hearing
    )
    for _ in range(600):  # until both workers write
        if len(list(tmp_path.glob(".*.h5"))) == 2:
            break
        time.sleep(0.1)
    process.send_signal(signal_number)
    assert process.wait(20) == 128 + signal_number
    assert [path.name for path in tmp_path.iterdir()] == ["set.json"]


def test_a_worker_s_error_reaches_the_caller(tmp_path):
    out = tmp_path / "set"
    simulate_set(out, replace(SMALL, domains=("indoor",), duration_s=0.02), workers=1)
    (out / "indoor_000001.h5").symlink_to(tmp_path / "nowhere" / "nothing.h5")  # neither there nor writable
    with pytest.raises((ValueError, OSError)):
        simulate_set(out / "indoor_000000.h5", replace(SMALL, scenes=2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domains": ("swim",)}, "domain 'swim'"),
        ({"domains": ()}, "0 domains"),
        ({"preset": "dusk"}, "preset 'dusk': must be one of clean, normal, night"),
        ({"format": "zip"}, "format 'zip'"),
        ({"format": "rosbag2", "images": True}, "format 'rosbag2': images are written into hdf5 only"),
        ({"odometry": OdometryConfig(delay_ms=1)}, "format 'hdf5': odometry is written into rosbag2 only"),
        ({"scenes": 0}, "scenes 0"),
        ({"seed": -1}, "seed -1"),
        ({"label_period_us": 0}, "label_period_us 0"),
        ({"duration_s": 0.0}, "duration_s 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **change)


def test_the_command_writes_a_set_of_bags_and_a_picture(tmp_path, capsys):
    arguments = ["--size", "64x48", "--duration", "0.1", "--scenes", "1", "--domains", "drive", "indoor"]
    arguments += ["--distortion", "-0.1", "0", "0", "0", "--preset", "clean"]
    arguments += ["--odometry", "rate_hz=50", "delay_ms=4"]
    out, picture = tmp_path / "bags", tmp_path / "new" / "strip.png"
    assert main(["simulate", "--out", str(out), "--format", "rosbag2", "--preview", str(picture), *arguments]) == 0
    said = capsys.readouterr()
    assert str(picture) in said.out
    assert "2 scenes" in said.out
    assert "scene" in said.err
    assert cv2.imread(str(picture)).shape == (2 * (3 * 48 + 4), 4 * 68, 3)
    with open_bag(out / "drive_000000") as bag:
        info = next(message for _, _, message in bag.read("/event_camera/camera_info"))
        np.testing.assert_array_equal(info.d, [-0.1, 0, 0, 0, 0])
        poses = [message for _, _, message in bag.read("/odometry")]
    assert len(poses) == 5
    described = json.loads((out / "set.json").read_text())
    assert described["preset"] == "clean"
    assert (described["odometry"]["rate_hz"], described["odometry"]["delay_ms"]) == (50, 4)
    assert dataset_writer.SET_FILE == "set.json"


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    for arguments, said in (
        ([], "nothing to write"),
        (["--out", str(tmp_path), "--size", "big"], "size 'big'"),
        (["--out", str(tmp_path), "--domains", "swim"], "domain 'swim'"),
        (["--out", str(tmp_path), "--odometry", "delay=4"], "odometry 'delay=4': must be KEY=NUMBER"),
        (["--preview", str(tmp_path / "x.nothing"), "--duration", "0.02", "--size", "32x24"], "x.nothing"),
    ):
        assert main(["simulate", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
