"""Every dataset by its name: what a training or evaluation configuration asks for."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

from eventspd_ros.cores import cores
from eventspd_ros.datasets import dsec, m3ed, mvsec, simulated, tartanair
from eventspd_ros.datasets.sample import Windowing
from eventspd_ros.datasets.sequence import Sequence

DATASETS = {
    "dsec": (dsec.DsecSequence, dsec.find_sequences),
    "m3ed": (m3ed.M3edSequence, m3ed.find_sequences),
    "mvsec": (mvsec.MvsecSequence, mvsec.find_sequences),
    "simulated": (simulated.SimulatedSequence, simulated.find_sequences),
    "tartanair": (tartanair.TartanAirSequence, tartanair.find_sequences),
}
PSEUDO_ENDING = "_pseudo.h5"
MANY = 256  # sequences; to open one takes 2 to 3 ms, of thousands all cores do it


def open_dataset(
    name: str, folder: Path | str, windowing: Windowing | None = None, images: bool = False
) -> list[Sequence]:
    """All sequences of a dataset at or below a folder, in the order of their names.

    Pseudo-labels are read where they lie beside (pseudo_path). images: samples bring their image where the layout has
    one that is aligned with the event pixels (mvsec, tartanair, simulated; None elsewhere).
    ValueError: an unknown name, a folder without sequences, or a damaged file.
    """
    kind, paths = find_dataset(name, folder)
    opened = partial(_open, kind, windowing, images)
    if len(paths) < MANY or cores() == 1:
        return [opened(path) for path in paths]
    # Forked, as a DataLoader's workers are: to start afresh takes longer than this saves. They read files, no more.
    with multiprocessing.get_context("fork").Pool(cores()) as pool:
        return pool.map(opened, paths)


def _open(kind: Callable[..., Sequence], windowing: Windowing | None, images: bool, path: Path) -> Sequence:
    beside = pseudo_path(path)
    sequence = kind(path, windowing, beside if beside.exists() else None)
    return sequence.open_images() if images else sequence


def find_dataset(name: str, folder: Path | str) -> tuple[Callable[..., Sequence], list[Path]]:
    """The reader of a dataset, and the paths at or below a folder that it opens. ValueError as open_dataset()."""
    if name not in DATASETS:
        raise ValueError(f"dataset {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    kind, find = DATASETS[name]
    if not Path(folder).is_dir():
        found = "is a file" if Path(folder).exists() else "no such folder"
        raise ValueError(f"{folder}: {found}; name the folder that the sequences of {name} lie in")
    paths = find(Path(folder))
    if not paths:
        raise ValueError(f"{folder}: no sequence of {name} found in this folder; docs/datasets.md has the layout")
    return kind, paths


def pseudo_path(path: Path) -> Path:
    """Where the pseudo-labels of a sequence lie: its path without the ending, then _pseudo.h5."""
    return path.with_name((path.name if path.is_dir() else path.stem) + PSEUDO_ENDING)
