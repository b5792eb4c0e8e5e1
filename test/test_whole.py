"""What is written is there whole or not at all, and what was there stays until then."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from eventspd_ros.cli import main
from eventspd_ros.events.files.hdf5 import write_events_h5
from eventspd_ros.events.types import EventArray
from eventspd_ros.whole import whole_file, whole_folder, write_whole

PACKAGE = Path(__file__).parents[1] / "eventspd_ros"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_file_appears_when_it_is_whole_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "a.json"
    with whole_file(path) as unfinished:
        unfinished.write_text("one")
        assert not path.exists() and unfinished.parent == path.parent and unfinished.suffix == ".json"
    with whole_file(path) as unfinished:
        unfinished.write_text("two")
        assert path.read_text() == "one"
    assert contents(path.parent) == {"a.json": b"two"}


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_what_was_there_and_nothing_else(error, tmp_path):
    write_whole(tmp_path / "a.txt", "good")
    with pytest.raises(error), whole_file(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("half")
        raise error
    with pytest.raises(error), whole_folder(tmp_path / "bag") as unfinished:
        unfinished.mkdir()
        (unfinished / "a").write_text("half")
        raise error
    assert contents(tmp_path) == {"a.txt": b"good"} and len(list(tmp_path.iterdir())) == 1


def test_a_link_is_written_through_and_stays_a_link(tmp_path):
    write_whole(tmp_path / "a.txt", "old")
    (tmp_path / "newest.txt").symlink_to(tmp_path / "a.txt")
    write_whole(tmp_path / "newest.txt", "new")
    assert (tmp_path / "newest.txt").is_symlink() and (tmp_path / "a.txt").read_text() == "new"


def test_a_device_is_no_file_to_replace():
    write_whole(os.devnull, "gone")
    assert not Path(os.devnull).is_file()


def test_a_folder_that_is_there_is_kept(tmp_path):
    with pytest.raises(ValueError, match="exists already"), whole_folder(tmp_path):
        pytest.fail("entered")
    with pytest.raises(ValueError, match="is a folder; name a file"), whole_file(tmp_path):
        pytest.fail("entered")


def recording(path: Path, count: int = 200_000, chunks: int = 1) -> Path:
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 64, count).astype(np.uint16), rng.integers(0, 48, count).astype(np.uint16)
    parts = (
        EventArray(*columns, np.ones(count, np.uint8), np.arange(n * count, (n + 1) * count), 64, 48)
        for n in range(chunks)
    )
    write_events_h5(path, parts)
    return path


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_no_command_writes_over_what_it_reads(how, tmp_path, capsys):
    path = recording(tmp_path / "a.h5")
    out = tmp_path / "out.h5"
    if how == "itself":
        out = path
    elif how == "link":
        out.symlink_to(path)
    else:
        os.link(path, out)
    before = path.read_bytes()
    assert main(["decode", str(path), "--out", str(out)]) == 2
    said = f"eventspd decode: {out}: is what is read; name another file to write"
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert path.read_bytes() == before


def test_weights_are_not_calibrated_onto_themselves(tmp_path, capsys):
    from eventspd_ros.model.checkpoints import save_checkpoint, scale_temperature
    from eventspd_ros.model.presets import build_model

    save_checkpoint(build_model("minimal"), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="is what is read"):
        scale_temperature(tmp_path / "a.safetensors", 2.0, tmp_path / "a.safetensors")
    save_checkpoint(build_model("minimal"), tmp_path / "a.safetensors")


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_an_interrupt_ends_with_130_and_leaves_nothing(suffix, tmp_path):
    """At any moment: the writer is stopped where it happens to be."""
    path = recording(tmp_path / "a.h5", chunks=40)
    out = tmp_path / "out" / f"b.{suffix}"
    out.parent.mkdir()
    out.write_bytes(b"an earlier one")
    # A shell's & makes what it starts deaf to SIGINT.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += f"from eventspd_ros.cli import main; sys.exit(main(['decode', {str(path)!r}, '--out', {str(out)!r}]))"
    for wait_s in (0.0, 0.1, 0.3):
        running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        while not any(each.name.startswith(".b.") for each in out.parent.iterdir()):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.002)
        time.sleep(wait_s)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        if out.read_bytes() != b"an earlier one":  # it had been faster, and Python was about to end
            assert running.returncode in (0, 130, -signal.SIGINT)
            out.write_bytes(b"an earlier one")
        else:
            assert running.returncode == 130 and "Traceback" not in said, said
        assert contents(out.parent) == {out.name: b"an earlier one"}


def test_an_exported_file_is_whole(tmp_path):
    path = recording(tmp_path / "a.h5")
    assert main(["decode", str(path), "--out", str(tmp_path / "there" / "b.h5")]) == 0
    with h5py.File(tmp_path / "there" / "b.h5") as file:
        assert len(file["events/t_ns"]) == 200_000
    assert [each.name for each in (tmp_path / "there").iterdir()] == ["b.h5"]


def test_writers_of_the_package_go_through_here():
    """No file is opened for writing, and no text, picture or array stored, but under a name of whole_file()."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in ("write_text", "write_bytes", "savefig", "savez", "imwrite") and node.args:
                    names = {
                        each.id
                        for argument in (node.func.value, *node.args)
                        for each in ast.walk(argument)
                        if isinstance(each, ast.Name)
                    }
                    if not names & {"unfinished", "buffer"}:
                        found.append(f"{path.name}:{node.lineno}")
    assert found == []
