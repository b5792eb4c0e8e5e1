"""Every dataset by its name: what a training or evaluation configuration asks for."""

from __future__ import annotations

from pathlib import Path

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


def open_dataset(name: str, folder: Path | str, windowing: Windowing | None = None) -> list[Sequence]:
    """All sequences of a dataset at or below a folder, in the order of their names.

    Pseudo-labels are read where they lie beside: PATH of the sequence without its ending, then _pseudo.h5.
    ValueError: an unknown name, a folder without sequences, or a damaged file.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    kind, find = DATASETS[name]
    paths = find(Path(folder)) if Path(folder).is_dir() else []
    if not paths:
        raise ValueError(f"{folder}: no sequence of {name} found; docs/datasets.md has the layout")
    return [kind(path, windowing, _pseudo_labels(path)) for path in paths]


def _pseudo_labels(path: Path) -> Path | None:
    beside = path.with_name((path.name if path.is_dir() else path.stem) + PSEUDO_ENDING)
    return beside if beside.exists() else None
