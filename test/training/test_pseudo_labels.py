"""Pseudo-labels written ahead: what the reader gets back, going on after a stop, and what is refused."""

import fcntl

import h5py
import numpy as np
import pytest
import torch
from reference import dataset_layouts as layouts

from eventspd_ros.cli import main
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.events.files import h5_file
from eventspd_ros.training import pseudo_labels
from eventspd_ros.training.pseudo_labels import label_jobs
from eventspd_ros.training.teacher import load_teacher

pytest.importorskip("transformers", reason="transformers is not installed; it is the teacher's library")
from reference.teachers import write_teacher


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def teacher(teacher_folder):
    return load_teacher(teacher_folder, "cpu")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(pseudo_labels, "BATCH", 2)


def label_dataset(name, folder, teacher, progress=lambda done: None):
    """All jobs, one after the other; returns their files."""
    jobs = label_jobs(name, folder, teacher)
    for job in jobs:
        job.run(progress)
    return [job.out for job in jobs]


def assert_label(label, answer):
    """float16 of the teacher's answer, NaN where that is 0; batches of other sizes round otherwise."""
    np.testing.assert_allclose(np.nan_to_num(label, nan=0.0), answer, rtol=2e-3, atol=1e-4)
    assert (answer > 0).all() or np.isnan(label[answer == 0]).mean() > 0.99


def test_the_reader_gets_the_teacher_s_answer_at_every_image(tmp_path, teacher):
    truth = layouts.write_mvsec(tmp_path)
    seen = []
    (path,) = label_dataset("mvsec", tmp_path, teacher, seen.append)
    assert path.name == "outdoor_tiny_data_pseudo.h5" and sorted(p.suffix for p in tmp_path.glob(".*")) == []
    assert seen == [*[2] * 8, 1]
    expected = teacher.inverse_depth(torch.from_numpy(truth.images)).numpy()
    (sequence,) = open_dataset("mvsec", tmp_path)
    np.testing.assert_array_equal(sequence.pseudo.times_ns, truth.image_ns)
    assert 0.01 < (expected == 0).mean() < 0.5 and expected.std() > 0.3, "a lively teacher, with a sky"
    by_time = {sample.t_ns: sample for sample in sequence}
    for number, t_ns in enumerate(truth.image_ns):
        label = sequence.pseudo.read(number)
        assert_label(label, expected[number])
        if int(t_ns) in by_time:
            np.testing.assert_array_equal(by_time[int(t_ns)].pseudo_inverse_depth, label)
    both = [sample for sample in sequence if sample.valid.any() and sample.pseudo_inverse_depth is not None]
    assert [sample.t_ns - truth.t_ns[0] for sample in both] == [300_000_000], "where label and image coincide"
    assert len(sequence) == 5 + 17 - 1 - 1, "and the image at 0 has no window before it"


def test_what_is_no_finite_label_is_masked(tmp_path, teacher_folder):
    layouts.write_simulated(tmp_path)
    teacher = load_teacher(teacher_folder, "cpu")
    for parameter in teacher.model.head.conv3.parameters():
        parameter *= 65000  # beyond what float16 holds, in parts
    (path,) = label_dataset("simulated", tmp_path, teacher)
    label = open_dataset("simulated", tmp_path)[0].pseudo.read(0)
    with h5py.File(path) as file:
        stored, mask = file["predictions"][0, ..., 0], file["mask"][0]
    assert np.isinf(stored).any() and (stored == 0).any() and (np.isfinite(stored) & (stored > 0)).any()
    np.testing.assert_array_equal(mask, ~np.isfinite(label))
    np.testing.assert_array_equal(mask, np.isinf(stored) | (stored == 0))


@pytest.mark.parametrize("name", ["tartanair", "simulated"])
def test_every_dataset_with_images_is_labelled_at_its_depth_labels(name, tmp_path, teacher):
    truth = getattr(layouts, f"write_{name}")(tmp_path)
    (path,) = label_dataset(name, tmp_path, teacher)
    (sequence,) = open_dataset(name, tmp_path, images=True)
    expected = teacher.inverse_depth(torch.from_numpy(truth.images)).numpy()
    for sample in sequence:
        assert sample.valid.any()
        assert_label(sample.pseudo_inverse_depth, expected[sample.index])
    with h5py.File(path) as file:
        assert file["predictions"].dtype == np.float16 and file.attrs["teacher"] == teacher.fingerprint


def stopped_after(images: int):
    """A progress that interrupts, as Ctrl-C would."""
    so_far = 0

    def progress(done: int) -> None:
        nonlocal so_far
        so_far += done
        if so_far >= images:
            raise KeyboardInterrupt

    return progress


def test_it_goes_on_where_it_stopped(tmp_path, teacher):
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
        for seed in range(2):
            layouts.write_simulated(tmp_path / folder, seed=seed)
    whole = label_dataset("simulated", tmp_path / "whole", teacher)
    with pytest.raises(KeyboardInterrupt):
        label_dataset("simulated", tmp_path / "stopped", teacher, stopped_after(9))
    assert sorted(path.name for path in (tmp_path / "stopped").glob("*_pseudo.h5")) == ["drive_000000_pseudo.h5"]
    (begun,) = (tmp_path / "stopped").glob(".*.part")
    with open(begun, "ab") as file:
        file.write(b"\1" * 100)  # killed in the middle of a label
    first_written = (tmp_path / "stopped/drive_000000_pseudo.h5").stat().st_mtime_ns
    assert [job.done for job in label_jobs("simulated", tmp_path / "stopped", teacher)] == [5, 4]
    done = []
    again = label_dataset("simulated", tmp_path / "stopped", teacher, done.append)
    assert done == [1], "five of the first and four of the second were there"
    assert (tmp_path / "stopped/drive_000000_pseudo.h5").stat().st_mtime_ns == first_written
    assert list((tmp_path / "stopped").glob(".*")) == []
    for one, other in zip(whole, again, strict=True):
        with h5py.File(one) as a, h5py.File(other) as b:
            for key in ("predictions", "mask", "ts"):
                np.testing.assert_array_equal(a[key][:], b[key][:])


def test_labels_of_another_teacher_are_neither_mixed_nor_lost(tmp_path, teacher):
    layouts.write_simulated(tmp_path)
    other = load_teacher(write_teacher(tmp_path / "other", seed=1), "cpu")
    with pytest.raises(KeyboardInterrupt):
        label_dataset("simulated", tmp_path, other, stopped_after(2))
    (path,) = label_dataset("simulated", tmp_path, teacher)
    labels = open_dataset("simulated", tmp_path)[0].pseudo.read(0)
    expected = teacher.inverse_depth(
        torch.from_numpy(open_dataset("simulated", tmp_path, images=True)[0][0].image[None])
    )
    assert_label(labels, expected[0].numpy())
    with pytest.raises(ValueError, match=f"{path}: is of another teacher or of other images; remove it"):
        label_dataset("simulated", tmp_path, other)


def test_labels_from_elsewhere_are_kept(tmp_path, teacher):
    layouts.write_simulated(tmp_path)
    layouts.write_pseudo(tmp_path / "drive_000000_pseudo.h5", [100_000])
    before = (tmp_path / "drive_000000_pseudo.h5").read_bytes()
    label_dataset("simulated", tmp_path, teacher)
    assert (tmp_path / "drive_000000_pseudo.h5").read_bytes() == before
    (tmp_path / "drive_000000_pseudo.h5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"drive_000000_pseudo\.h5: not a readable HDF5 file; remove it"):
        label_dataset("simulated", tmp_path, teacher)


def test_two_at_a_time_and_what_cannot_be_written_are_named(tmp_path, teacher):
    layouts.write_simulated(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        label_dataset("simulated", tmp_path, teacher, stopped_after(2))
    (begun,) = tmp_path.glob(".*.part")
    with open(begun, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is writing it"):
            label_dataset("simulated", tmp_path, teacher)
    begun.unlink()
    begun.mkdir()
    with pytest.raises(ValueError, match=r"drive_000000_pseudo\.h5: cannot be written \(.*Is a directory"):
        label_dataset("simulated", tmp_path, teacher)


def test_the_command(tmp_path, teacher_folder, capsys):
    layouts.write_simulated(tmp_path)
    arguments = ["pseudo-label", "simulated", str(tmp_path), "--teacher", str(teacher_folder), "--device", "cpu"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "pseudo-labels of 1 sequences" in said.out and "5/5" in said.err
    assert open_dataset("simulated", tmp_path)[0][0].pseudo_inverse_depth is not None
    h5_file.close_files()
    layouts.write_m3ed(tmp_path)
    for changed, message in (
        ({1: "m3ed"}, "m3ed/car_tiny has no images aligned with the event pixels"),
        ({1: "kitti"}, "dataset 'kitti' is unknown"),
        ({4: str(tmp_path / "nowhere")}, "nowhere/config.json: no such file"),
    ):
        assert main([changed.get(place, argument) for place, argument in enumerate(arguments)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("eventspd pseudo-label: ") and error.count("\n") == 1
