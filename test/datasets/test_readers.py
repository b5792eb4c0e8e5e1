"""Every dataset's layout, written tiny and read back; what is broken is one line with its path and key."""

import pickle
import shutil

import cv2
import h5py
import numpy as np
import pytest
from reference import dataset_layouts as layouts
from torch.utils.data import DataLoader

from eventspd_ros.datasets import catalogue
from eventspd_ros.datasets.catalogue import DATASETS, open_dataset
from eventspd_ros.datasets.dsec import DsecSequence, read_disparity
from eventspd_ros.datasets.m3ed import M3edSequence
from eventspd_ros.datasets.mvsec import MvsecSequence
from eventspd_ros.datasets.sample import Intrinsics, Windowing
from eventspd_ros.datasets.simulated import SimulatedSequence
from eventspd_ros.datasets.tartanair import TartanAirSequence
from eventspd_ros.events.files import h5_file
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scene_file import write_scene
from eventspd_ros.simulation.stream import World

KINDS = {
    "m3ed": (M3edSequence, layouts.write_m3ed),
    "dsec": (DsecSequence, layouts.write_dsec),
    "mvsec": (MvsecSequence, layouts.write_mvsec),
    "tartanair": (TartanAirSequence, layouts.write_tartanair),
    "simulated": (SimulatedSequence, layouts.write_simulated),
}
FOUR = Windowing(4)


@pytest.fixture
def recording(request, tmp_path):
    """(sequence, truth) of the dataset named by the parameter."""
    kind, write = KINDS[request.param]
    truth = write(tmp_path)
    return kind(truth.path, FOUR), truth


@pytest.mark.parametrize("recording", KINDS, indirect=True)
def test_every_sample_is_what_was_written(recording):
    sequence, truth = recording
    covered = truth.label_ns - truth.t_ns[0] >= FOUR.window_ms * 1e6 + 3 * FOUR.stride_ms * 1e6
    assert len(sequence) == covered.sum() > 0
    for number, label in enumerate(np.flatnonzero(covered)):
        sample = sequence[number]
        assert sample.t_ns == truth.label_ns[label] and sample.index == label
        assert sample.name == f"{sequence.dataset}/{sequence.name}/{label:06d}"
        for step, window in enumerate(sample.windows):
            end_ns = sample.t_ns - round((3 - step) * FOUR.stride_ms * 1e6)
            assert (window.start_ns, window.end_ns) == (end_ns - 20_000_000, end_ns)
            inside = (truth.t_ns >= window.start_ns) & (truth.t_ns < window.end_ns)
            assert inside.sum() > 100
            for name in ("x", "y", "p", "t_ns"):
                np.testing.assert_array_equal(getattr(window, name), getattr(truth, name)[inside], name)
            assert [window.x.dtype, window.p.dtype, window.t_ns.dtype] == [np.uint16, np.uint8, np.int64]
        assert sample.events.t_ns.max() < sample.t_ns, "an event of the future"
        if sequence.dataset != "dsec":  # whose geometry has its own test
            np.testing.assert_allclose(sample.depth_m, truth.depth_m[label], rtol=1e-6)
        np.testing.assert_array_equal(sample.valid, np.isfinite(sample.depth_m))
        last, expected = sample.windows[-1], np.zeros(sample.depth_m.shape, int)
        np.add.at(expected, (last.y, last.x), 1)
        np.testing.assert_array_equal(sample.event_counts, expected)
        np.testing.assert_array_equal(sample.event_mask, expected > 0)


def test_intrinsics_are_those_of_the_file(tmp_path):
    size = (layouts.WIDTH, layouts.HEIGHT)
    for name, model in (("m3ed", "radtan"), ("dsec", "radtan"), ("mvsec", "equidistant")):
        (tmp_path / name).mkdir()
        kind, write = KINDS[name]
        expected = Intrinsics(*size, *layouts.FOCAL[name], tuple(layouts.DISTORTION), model)
        assert kind(write(tmp_path / name).path).intrinsics == expected
    simulated = SimulatedSequence(layouts.write_simulated(tmp_path).path)
    assert simulated.intrinsics == Intrinsics(*size, 24.0, 24.0, 15.5, 11.5, tuple(layouts.DISTORTION), "radtan")
    assert simulated.domain == "drive"
    assert simulated.intrinsics.metric_per_canonical == 24 / layouts.WIDTH


def test_dsec_depth_of_a_plane_is_exact_in_the_raw_frame(tmp_path):
    """Closed form: a skew plane, seen through distortion and a rectifying rotation."""
    truth = layouts.write_dsec(tmp_path)
    sample = DsecSequence(truth.path)[0]
    np.testing.assert_array_equal(sample.valid, np.isfinite(truth.depth_m[0]))
    assert 0.6 < sample.valid.mean() < 1
    # What is left is the disparity's rounding (1/512 px) and the half pixel to the nearest rectified pixel.
    error = np.abs(sample.depth_m / truth.depth_m[0] - 1)[sample.valid]
    assert error.max() < 0.02 and np.median(error) < 0.006
    # Seen head on, disparity is constant and nothing but its rounding is left: the rotation alone must come out right.
    shutil.rmtree(truth.path)
    normal = -layouts.rectified_rotation()[2]  # of a plane across the rectified camera's axis, in the raw frame
    truth = layouts.write_dsec(tmp_path, normal)
    sample = DsecSequence(truth.path)[0]
    np.testing.assert_allclose(sample.depth_m[sample.valid], truth.depth_m[0][sample.valid], rtol=2e-4)
    assert np.ptp(sample.depth_m[sample.valid]) > 0.2, "the rotation shows"


def test_dsec_depth_goes_back_to_the_disparity_it_came_from(tmp_path):
    sequence = DsecSequence(layouts.write_dsec(tmp_path).path)
    depth_m, disparity = sequence.read_depth(0), read_disparity(sequence.disparity_paths[0], sequence.shape)
    with h5py.File(sequence.map_path) as file:
        nearest = np.rint(file["rectify_map"][:]).astype(int)
    v, u = np.nonzero(np.isfinite(depth_m))
    x, y = nearest[v, u].T
    np.testing.assert_allclose(sequence.disparity_px(np.stack((u, v), 1), depth_m[v, u]), disparity[y, x], rtol=1e-9)
    # Twice as far is half the disparity.
    np.testing.assert_allclose(sequence.disparity_px(np.stack((u, v), 1), 2 * depth_m[v, u]), disparity[y, x] / 2)


def test_pseudo_labels_join_the_depth_of_their_moment(tmp_path):
    truth = layouts.write_m3ed(tmp_path)
    # One half a millisecond off a depth label, one alone between labels, one before the windows are covered.
    times_us = [10_000, 200_500, 250_000]
    relative = layouts.write_pseudo(tmp_path / "car_tiny_data_pseudo.h5", times_us)
    (sequence,) = open_dataset("m3ed", tmp_path, FOUR)
    samples = {sample.t_ns // 1000: sample for sample in sequence}
    assert sorted(samples) == [100_000, 200_000, 250_000, 300_000, 400_000, 500_000]
    np.testing.assert_array_equal(samples[200_000].pseudo_inverse_depth, relative[1])
    np.testing.assert_array_equal(samples[200_000].depth_m, truth.depth_m[1])
    np.testing.assert_array_equal(samples[250_000].pseudo_inverse_depth, relative[2])
    assert not samples[250_000].valid.any()
    assert samples[300_000].pseudo_inverse_depth is None


@pytest.mark.parametrize("name", KINDS)
def test_samples_bring_the_image_of_their_moment_when_asked(name, tmp_path):
    truth = KINDS[name][1](tmp_path)
    assert all(sample.image is None for sample in open_dataset(name, tmp_path)[0])
    (sequence,) = open_dataset(name, tmp_path, FOUR, images=True)
    if truth.images is None:
        assert name in ("m3ed", "dsec") and all(sample.image is None for sample in sequence)
        return
    np.testing.assert_array_equal(sequence.image_times_ns, truth.image_ns)
    far = 0
    for sample in sequence:
        apart_ns = np.abs(truth.image_ns - sample.t_ns)
        if apart_ns.min() > 10_000_000:
            far += sample.image is None
            continue
        assert sample.image.dtype == np.uint8
        np.testing.assert_array_equal(sample.image, truth.images[apart_ns.argmin()])
    assert far == (name == "mvsec"), "its last label is 20 ms from an image"


def test_missing_images_are_named_when_asked_for(tmp_path):
    path = layouts.write_simulated(tmp_path).path
    change(path, "image/grey", None)
    with pytest.raises(ValueError, match=f"{path}: image/grey: missing"):
        open_dataset("simulated", tmp_path, images=True)
    h5_file.close_files()
    with h5py.File(path, "r+") as file:
        del file["image"]
    with pytest.raises(ValueError, match=f"{path}: image: missing; make the set with eventspd simulate --images"):
        open_dataset("simulated", tmp_path, images=True)
    path = layouts.write_tartanair(tmp_path).path
    (path / "image_lcam_front/000003_lcam_front.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"000003_lcam_front\.png: not a readable PNG"):
        list(TartanAirSequence(path).open_images())
    shutil.rmtree(path / "image_lcam_front")
    with pytest.raises(ValueError, match="image_lcam_front: no images"):
        open_dataset("tartanair", tmp_path, images=True)
    assert len(list(open_dataset("tartanair", tmp_path)[0])) > 0, "only where asked for"


@pytest.mark.parametrize("name", KINDS)
def test_datasets_are_found_by_name(name, tmp_path):
    kind, write = KINDS[name]
    write(tmp_path)
    (tmp_path / ".drive_000007.h5.part").write_bytes(b"unfinished")
    (sequence,) = open_dataset(name, tmp_path)
    assert isinstance(sequence, kind) and len(sequence) > 0
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty: no sequence of .* found"):
        open_dataset(name, empty)


def test_every_dataset_is_in_the_catalogue_and_unknown_ones_are_named():
    assert set(DATASETS) == set(KINDS)
    with pytest.raises(ValueError, match=r"dataset 'kitti' is unknown; choose one of dsec, m3ed"):
        open_dataset("kitti", ".")


@pytest.mark.parametrize(
    ("recording", "start"),
    [("m3ed", "fork"), ("mvsec", "fork"), ("simulated", "fork"), ("m3ed", "spawn")],
    indirect=["recording"],
)
def test_worker_processes_read_the_same(recording, start):
    """With handles open in the parent: a forked worker must not read through them."""
    sequence, _ = recording
    here = [sequence[number] for number in range(len(sequence))]
    assert len(h5_file._files) > 0
    loader = DataLoader(
        sequence, batch_size=1, num_workers=2, collate_fn=list, multiprocessing_context=start, shuffle=False
    )
    there = [sample for batch in loader for sample in batch]
    assert [sample.name for sample in there] == [sample.name for sample in here]
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
        for name in ("x", "y", "p", "t_ns"):
            np.testing.assert_array_equal(getattr(one.events, name), getattr(other.events, name))
    assert [sample.name for sample in sequence] == [sample.name for sample in here], "the parent reads on"


def owner_of_handles(path):
    h5_file.open_file(path)
    return h5_file._owner_pid, len(h5_file._files)


def test_a_fork_opens_files_of_its_own(tmp_path):
    import multiprocessing

    path = layouts.write_m3ed(tmp_path).path
    sequence = M3edSequence(path)
    assert owner_of_handles(path)[1] >= 2
    with multiprocessing.get_context("fork").Pool(1) as pool:
        owner, handles = pool.apply(owner_of_handles, (path,))
    assert owner not in (0, h5_file._owner_pid) and handles == 1
    sequence[0]


def test_sequences_hold_no_handles_and_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(h5_file, "MAX_OPEN_FILES", 3)
    sequences = [SimulatedSequence(layouts.write_simulated(tmp_path, seed=seed).path) for seed in range(5)]
    for sequence in [*sequences, *sequences]:
        copy = pickle.loads(pickle.dumps(sequence))
        np.testing.assert_array_equal(copy[0].depth_m, sequence[0].depth_m)
        assert len(h5_file._files) <= 3


def change(path, key, how):
    """Damage one key of a written file: how(values) -> values, or None to remove it."""
    h5_file.close_files()
    with h5py.File(path, "r+") as file:
        values = file[key][()] if key in file else None
        if key in file:
            del file[key]
        if how is not None:
            file[key] = how(values)


@pytest.mark.parametrize(
    ("file", "key", "how", "said"),
    [
        ("car_tiny_data.h5", "prophesee/left/x", None, "missing"),
        ("car_tiny_data.h5", "prophesee/left/calib/intrinsics", None, "missing"),
        ("car_tiny_data.h5", "prophesee/left/calib/intrinsics", lambda v: v[:3], r"expected \(4\)"),
        ("car_tiny_data.h5", "prophesee/left/calib/distortion_model", lambda v: "fov", "distortion model 'fov'"),
        ("car_tiny_data.h5", "prophesee/left/t", lambda v: v[:-1], "unequal length"),
        ("car_tiny_data.h5", "prophesee/left/x", lambda v: np.where(v == 7, 60000, v), "values 0 to 60000"),
        ("car_tiny_data.h5", "prophesee/left/p", lambda v: v * 7, "values 0 to 7"),
        ("car_tiny_data.h5", "prophesee/left/t", lambda v: v[::-1].copy(), "before its first event"),
        ("car_tiny_data.h5", "prophesee/left/t", lambda v: np.roll(v, 9001), "before its first event"),
        ("car_tiny_data.h5", "prophesee/left/ms_map_idx", lambda v: v // 2, "not the index of prophesee/left/t"),
        ("car_tiny_data.h5", "prophesee/left/ms_map_idx", lambda v: v * 3, "not the index of prophesee/left/t"),
        ("car_tiny_data.h5", "prophesee/left/ms_map_idx", lambda v: np.minimum(v + 500, v.max()), "not the index of"),
        ("car_tiny_data.h5", "prophesee/left/ms_map_idx", lambda v: np.maximum(v, 500) - 500, "not the index of"),
        ("car_tiny_depth_gt.h5", "depth/prophesee/left", None, "missing"),
        ("car_tiny_depth_gt.h5", "depth/prophesee/left", lambda v: v[:, :-1], "expected"),
        ("car_tiny_depth_gt.h5", "depth/prophesee/left", lambda v: v[:-1], "expected"),
        ("car_tiny_depth_gt.h5", "depth/prophesee/left", lambda v: np.isfinite(v).astype("u1"), "uint8"),
        ("car_tiny_depth_gt.h5", "ts", lambda v: v[::-1].copy(), "not later"),
        ("car_tiny_depth_gt.h5", "ts_map_prophesee_left", lambda v: v + 10**6, "different recordings"),
    ],
)
def test_what_is_wrong_is_one_line_with_path_and_key(tmp_path, file, key, how, said):
    truth = layouts.write_m3ed(tmp_path)
    change(tmp_path / file, key, how)
    with pytest.raises(ValueError, match=said) as error:
        for _ in M3edSequence(truth.path, FOUR):
            pass
    message = str(error.value)
    assert str(tmp_path / file) in message and "\n" not in message
    assert key.rsplit("/", 1)[0] in message


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("file", ["car_tiny_data.h5", "car_tiny_depth_gt.h5"])
def test_a_file_cut_off_anywhere_is_named(tmp_path, file, share):
    truth = layouts.write_m3ed(tmp_path)
    h5_file.close_files()
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=file) as error:
        M3edSequence(truth.path)
    assert "\n" not in str(error.value)


def test_damaged_bytes_inside_a_compressed_block_are_named(tmp_path):
    truth = layouts.write_simulated(tmp_path)
    h5_file.close_files()
    with h5py.File(truth.path) as file:
        places = [(key, file[key].id.get_chunk_info(0)) for key in ("events/x", "depth/code")]
    for key, info in places:
        whole = truth.path.read_bytes()
        broken = bytearray(whole)
        broken[info.byte_offset : info.byte_offset + info.size] = b"\xff" * info.size
        truth.path.write_bytes(broken)
        with pytest.raises(ValueError, match=f"{truth.path}: {key}: cannot be read"):
            for _ in SimulatedSequence(truth.path):
                pass
        h5_file.close_files()
        truth.path.write_bytes(whole)


def test_only_simulated_recordings_have_poses(tmp_path):
    for name, (kind, write) in KINDS.items():
        (tmp_path / name).mkdir()
        found = kind(write(tmp_path / name).path).poses()
        assert (found is None) == (name != "simulated")
    times_ns, T_WC = found
    assert (times_ns.dtype, T_WC.dtype, T_WC.shape) == (np.int64, np.float64, (len(times_ns), 4, 4))


def test_files_from_before_moving_bodies_were_kept_are_read_without(tmp_path):
    truth = layouts.write_simulated(tmp_path)
    assert SimulatedSequence(truth.path).read_moving(0) is None
    h5_file.close_files()
    with h5py.File(truth.path, "a") as file:
        file["depth/moving"] = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(ValueError, match=f"{truth.path}: depth/moving: uint8 of shape"):
        SimulatedSequence(truth.path).read_moving(0)


def test_simulated_files_of_another_format_are_refused(tmp_path):
    truth = layouts.write_simulated(tmp_path)
    for name, value in (("format", "DSEC"), ("format_version", 2)):
        with h5py.File(truth.path, "r+") as file:
            before = file.attrs[name]
            file.attrs[name] = value
        with pytest.raises(ValueError, match=f"{truth.path}: format .*expected 'eventspd-simulated' version 1"):
            SimulatedSequence(truth.path)
        h5_file.close_files()
        with h5py.File(truth.path, "r+") as file:
            file.attrs[name] = before
    with h5py.File(truth.path, "r+") as file:
        del file["depth"].attrs["near_m"]
    with pytest.raises(ValueError, match=r"attribute depth.near_m: missing"):
        SimulatedSequence(truth.path)
    h5_file.close_files()


def test_a_scene_at_rest_at_its_ends_keeps_its_labels(tmp_path):
    truth = layouts.write_simulated(tmp_path)
    h5_file.close_files()
    keep = (truth.t_ns > 150_000_000) & (truth.t_ns < 350_000_000)
    with h5py.File(truth.path, "r+") as file:
        for name in "xytp":
            values = file[f"events/{name}"][()][keep]
            del file[f"events/{name}"]
            file[f"events/{name}"] = values
        times = file["events/t"][()]
        file["ms_to_idx"][:] = np.searchsorted(times, np.arange(layouts.DURATION_MS + 1) * 1000)
    sequence = SimulatedSequence(truth.path, FOUR)
    assert [len(sample.events) > 0 for sample in sequence] == [False, True, True, False, False]
    assert [len(sample.windows) for sample in sequence] == [4] * 5


def test_dsec_files_that_do_not_fit_are_named(tmp_path):
    path = layouts.write_dsec(tmp_path).path
    times, image = path / "disparity/timestamps.txt", path / "disparity/event/000004.png"
    calibration = path / "calibration/cam_to_cam.yaml"

    def said(file, content, message, read=False):
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            sequence = DsecSequence(path)
            [sequence[number] for number in range(len(sequence))]
        assert str(file) in str(error.value) and "\n" not in str(error.value)
        file.write_bytes(whole)

    said(times, b"1\n2\n", "2 times for 5 images")
    said(times, b"a\n", "one time in µs a line")
    said(times, "\n".join(times.read_text().split()[::-1]).encode(), "not later")
    said(image, image.read_bytes()[:40], "not a readable PNG")
    said(
        image, cv2.imencode(".png", np.zeros((layouts.HEIGHT, layouts.WIDTH), np.uint8))[1].tobytes(), "expected uint16"
    )
    said(calibration, b"intrinsics: [", "not readable YAML")
    said(calibration, b"- 1\n", "expected a YAML mapping")
    said(calibration, calibration.read_bytes().replace(b"cams_03", b"cams_12"), "disparity_to_depth/cams_03: missing")
    said(calibration, calibration.read_bytes().replace(b"radtan", b"fisheye624"), "distortion model 'fisheye624'")
    calibration.unlink()
    with pytest.raises(ValueError, match=r"cam_to_cam\.yaml: no such file"):
        DsecSequence(path)


def test_mvsec_without_its_calibration_says_so(tmp_path):
    path = layouts.write_mvsec(tmp_path).path
    moved = tmp_path / "elsewhere.yaml"
    (tmp_path / "camchain-imucam-tiny.yaml").rename(moved)
    with pytest.raises(ValueError, match=r"expected one camchain-imucam-\*.yaml, found none"):
        MvsecSequence(path)
    assert len(MvsecSequence(path, calibration=moved)) == 5


def test_tartanair_files_that_do_not_fit_are_named(tmp_path):
    path = layouts.write_tartanair(tmp_path).path
    image = path / "depth_lcam_front/000002_lcam_front_depth.png"
    image.write_bytes(image.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{image.name}: not a readable PNG"):
        list(TartanAirSequence(path))
    image.write_bytes(cv2.imencode(".png", np.zeros((640, 640), np.uint16))[1].tobytes())
    with pytest.raises(ValueError, match="expected uint8"):
        list(TartanAirSequence(path))
    (path / "events/more.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected one HDF5 file of events .* events.h5, more.h5"):
        TartanAirSequence(path)


def test_what_the_simulator_writes_is_read(tmp_path):
    """The layout of this test's own files and that of the simulator are one."""
    camera = PinholeCamera(64, 48, 50.0, 51.0, 30.0, 22.0, (-0.2, 0.05, 0.001, -0.002))
    config = SetConfig(scenes=1, duration_s=0.1, camera=camera)
    scene = config.scene("drive", 7)  # with a car in view
    path, world = write_scene(tmp_path / "drive_000007.h5", scene, "normal"), World.of(scene)
    (sequence,) = open_dataset("simulated", tmp_path, Windowing(2))
    assert sequence.domain == "drive"
    assert sequence.intrinsics == Intrinsics(64, 48, 50.0, 51.0, 30.0, 22.0, (-0.2, 0.05, 0.001, -0.002), "radtan")
    with h5py.File(path) as file:
        t_ns, labels_ns = file["events/t"][()].astype(np.int64) * 1000, file["depth/t"][()] * 1000
        codes = file["depth/code"][()]
    assert [sample.t_ns for sample in sequence] == [t for t in labels_ns.tolist() if t >= 28_333_000]
    for sample in sequence:
        inside = (t_ns >= sample.t_ns - 28_333_000) & (t_ns < sample.t_ns)
        np.testing.assert_array_equal(sample.events.t_ns, t_ns[inside])
        known = np.where(codes[sample.index] > 0, 0.1 * np.exp((codes[sample.index] - 1.0) / 1024), np.nan)
        np.testing.assert_allclose(sample.depth_m, known, rtol=1e-5)
        assert sample.valid.mean() > 0.3
    times_ns, T_WC = sequence.poses()
    np.testing.assert_array_equal(times_ns, labels_ns)
    for label, (t_ns, pose) in enumerate(zip(times_ns.tolist(), T_WC, strict=True)):
        np.testing.assert_array_equal(pose, world.pose(t_ns).matrix)
        exact = Renderer(world.scene, camera).depth_and_moving(world.pose(t_ns), t_ns / 1e9)[1]
        moving = sequence.read_moving(label)
        assert moving.dtype == bool
        np.testing.assert_array_equal(moving, exact)
    assert moving.any()


def test_sequences_that_all_cores_open_are_those_that_one_opens(tmp_path, monkeypatch):
    layouts.write_simulated(tmp_path)
    for number in range(1, 6):
        shutil.copy(tmp_path / "drive_000000.h5", tmp_path / f"drive_{number:06d}.h5")
    with h5py.File(tmp_path / "drive_000003.h5", "r+") as file:  # one that differs
        file["depth/code"][:] = 2049
    one_by_one = open_dataset("simulated", tmp_path, Windowing(2))
    monkeypatch.setattr(catalogue, "MANY", 4)
    monkeypatch.setattr(catalogue, "cores", lambda: 3)
    together = open_dataset("simulated", tmp_path, Windowing(2))
    assert [sequence.path for sequence in together] == [sequence.path for sequence in one_by_one]
    for own, other in zip(together, one_by_one, strict=True):
        assert len(own) == len(other) > 0
        assert np.array_equal(own[0].depth_m, other[0].depth_m, equal_nan=True)
        assert own[0].events.t_ns.tolist() == other[0].events.t_ns.tolist()
    (tmp_path / "drive_000002.h5").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"drive_000002\.h5: not a readable HDF5 file"):
        open_dataset("simulated", tmp_path)
