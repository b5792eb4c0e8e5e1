"""Damaged bags of every form: what becomes of them is a one-line error, and none loses messages without a word."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from reference.written_bags import leave_log, write_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from eventspd_ros.events.files import open_events

SQLITE3, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
FORMS = {
    "mcap": (MCAP, None),
    "sqlite3": (SQLITE3, None),
    "sqlite3_log": (SQLITE3, None),
    "mcap_chunks": (MCAP, CompressionMode.STORAGE),
    "mcap_messages": (MCAP, CompressionMode.MESSAGE),
    "sqlite3_messages": (SQLITE3, CompressionMode.MESSAGE),
    "mcap_file": (MCAP, CompressionMode.FILE),
    "sqlite3_file": (SQLITE3, CompressionMode.FILE),
}
PACKETS = 12
PAGE_BYTES = 4096
LONGEST_S = 60  # of a busy machine


def bag_of(form: str, folder: Path) -> dict[str, bytes]:
    """The files of a small bag."""
    plugin, mode = FORMS[form]
    write_bag(folder / "whole", packets=PACKETS, plugin=plugin, mode=mode)
    bag = folder / "whole"
    if form == "sqlite3_log":
        bag = leave_log(bag, folder / "killed", kept=5, each=2).parent
    return {path.name: path.read_bytes() for path in bag.iterdir()}


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Cut, a bit flipped, bytes overwritten, or a page zeroed; often where a format keeps what it needs to find its
    way: at the beginning of a page of sqlite, at the end of an mcap file."""
    anywhere = rng.integers(1, len(whole))
    page_start = anywhere // PAGE_BYTES * PAGE_BYTES + rng.integers(0, 40)
    place = min(int(rng.choice([anywhere, page_start, len(whole) - rng.integers(1, 1200)])), len(whole) - 1)
    place, kind = max(place, 1), rng.integers(0, 5)
    if kind == 0:
        return whole[:place]
    data = np.frombuffer(whole, np.uint8).copy()
    if kind == 1:
        first = place // PAGE_BYTES * PAGE_BYTES
        data[first : first + PAGE_BYTES] = 0
    elif kind == 2:
        data[place : place + int(rng.integers(1, 9))] = rng.integers(0, 256)
    else:
        data[place] ^= 1 << rng.integers(0, 8)
    return data.tobytes()


def read(path: Path) -> tuple[int, str | None]:
    """How many packets could be read, and the line that says what is wrong."""
    count = 0
    try:
        for events in open_events(path).chunks():
            count += 1
            assert not len(events) or (events.x.max() < events.width and events.y.max() < events.height)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
        return count, str(error)
    return count, None


def fuzz(form: str, count: int, seed: int, folder: Path) -> None:
    """Damage one file of a bag at a time, and read the bag as the package does: its folder, or that file alone."""
    files, rng, bag = bag_of(form, folder), np.random.default_rng(seed), folder / "bag"
    bag.mkdir()
    for k in range(count):
        for name, content in files.items():
            (bag / name).write_bytes(content)
        name = sorted(files)[rng.integers(0, len(files))] if k % 4 == 0 else max(files, key=lambda n: len(files[n]))
        broken = damaged(files[name], rng)
        (bag / name).write_bytes(broken)
        alone = k % 2 and not name.endswith(("yaml", "-wal"))
        start_s = time.monotonic()
        read_count, line = read(bag / name if alone else bag)
        assert time.monotonic() - start_s < LONGEST_S
        if line is None and read_count < PACKETS:
            shutil.copytree(bag, folder / "lost", dirs_exist_ok=True)
            pytest.fail(f"{form} seed {seed} try {k}: {read_count} of {PACKETS} packets of {name}, and not a word")


@pytest.mark.parametrize("form", FORMS)
def test_no_damage_crashes_a_reader_or_loses_messages_silently(tmp_path, form):
    fuzz(form, 12, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_ten_thousand_damages_neither_crash_a_reader_nor_lose_messages_silently(tmp_path, form):
    fuzz(form, 10_000, 1, tmp_path)
