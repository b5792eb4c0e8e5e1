"""Every command on what is missing, empty, foreign, unreadable, or a folder in place of a file: one line, status 2."""

import os

import pytest
from test_cli import commands

from eventspd_ros.cli import main

RECORDINGS = (".raw", ".h5", ".mcap", ".db3")
BAGS, WEIGHTS, YAML, FOLDER = (".mcap", ".db3"), (".safetensors",), (".yaml", ".toml"), ("",)
# Of each command, its arguments with IN for what is read, and the endings that IN may have; "": a folder.
READS = [
    ("demo --bag IN --out out/demo", (*BAGS, *FOLDER)),
    ("decode IN --out out/x.npz", RECORDINGS),
    ("info-events IN", (*RECORDINGS, *FOLDER)),
    ("replay IN", (*BAGS, *FOLDER)),
    ("replay BAG --weights IN --out out/x.json", WEIGHTS),
    ("replay BAG --extrinsics IN", (".yaml", ".json")),
    ("convert-f3 IN --encoder hd_small --out out/x.safetensors", (".pth",)),
    ("export --weights IN --sensor 64x48 --out out/package", WEIGHTS),
    ("pretrain IN --out out/run", YAML),
    ("train IN --out out/run", YAML),
    ("ablate IN --out out/run", YAML),
    ("judge IN --out out/judged", YAML),
    ("recipe IN --out out/card", YAML),
    ("pseudo-label simulated SET --teacher IN", FOLDER),
    ("evaluate IN --out out/x.json", FOLDER),
    ("evaluate IN --dataset m3ed --motion", FOLDER),
    ("calibrate IN --weights eventspd_lite --out out/x.safetensors", FOLDER),
    ("bench decode IN", RECORDINGS),
    ("bench windows IN", RECORDINGS),
    ("bench data IN", FOLDER),
    ("bench motion --against IN", (".json",)),
]
READS_NOTHING = {"info", "simulate", "bench model", "bench train", "bench gpu", "bench node", "bench stream"}
KINDS = ("missing", "empty", "foreign", "unreadable", "other", "forbidden")


def test_every_command_is_here():
    read = {next(c for c in commands() if arguments.startswith(f"{c} ")) for arguments, _ in READS}
    assert read | READS_NOTHING == set(commands()) and not read & READS_NOTHING


def make(kind, path):
    """A file of that kind, or a folder where the path has no ending. A link to a process's own memory is there, and the
    first byte of it cannot be read, as on a disk that fails."""
    if kind == "missing":
        return
    if not path.suffix:
        if kind == "other":
            path.write_text("a file")
            return
        path.mkdir()
        if kind == "foreign":
            (path / "drive_0.h5").write_bytes(b"no scene")
            (path / "a.mcap").write_bytes(b"no bag")
        elif kind == "unreadable":
            for name in ("drive_0.h5", "a.mcap", "spot_data.h5"):
                (path / name).symlink_to("/proc/self/mem")
    elif kind == "unreadable":
        path.symlink_to("/proc/self/mem")
    elif kind == "other":
        path.mkdir()
    else:
        path.write_bytes(b"" if kind == "empty" else bytes(range(256)) * 20)
    if kind == "forbidden":
        path.chmod(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("arguments", "endings"), READS, ids=[arguments for arguments, _ in READS])
def test_what_cannot_be_read_is_one_line(arguments, endings, kind, tmp_path, monkeypatch, capsys):
    if arguments.startswith("demo"):
        pytest.importorskip("rclpy", reason="rclpy is not installed")
    monkeypatch.chdir(tmp_path)
    for number, ending in enumerate(endings):
        name = f"{kind}{number}{ending}"
        make(kind, tmp_path / name)
        if kind == "forbidden" and os.access(tmp_path / name, os.R_OK):
            pytest.skip("nothing is forbidden to root")
        before = sorted(tmp_path.rglob("*"))
        assert main([name if word == "IN" else word for word in arguments.split()]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"eventspd {arguments.split()[0]}: ") and error.count("\n") == 1 and "\r" not in error
        assert name in error and "Errno" not in error and len(error) < 400
        assert sorted(tmp_path.rglob("*")) == before, "something was written"


@pytest.mark.parametrize("arguments", [a for a, _ in READS if "out/" in a] + ["simulate --out out/set"])
def test_where_nothing_can_be_written_is_said_before_any_work(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").write_text("a file")
    if arguments.startswith("demo"):
        pytest.importorskip("rclpy", reason="rclpy is not installed")
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert "out is no folder; name another place to write" in error and error.count("\n") == 1


def test_a_folder_in_place_of_a_result_is_said_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").mkdir()
    for arguments in ("replay BAG --out x.json", "evaluate SET --out x.json"):
        assert main(arguments.split()) == 2
        assert "x.json: is a folder; name a file" in capsys.readouterr().err
