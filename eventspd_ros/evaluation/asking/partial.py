"""Work that was finished before it was stopped: arrays in a folder beside the result, for the same command to go on."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from eventspd_ros.whole import whole_file, write_whole

CONFIGURATION = "configuration.json"


class Partial:
    """A folder of npz files, each written whole or not at all; as a context, gone once the work is done."""

    def __init__(self, folder: Path | str, configuration: dict):
        """ValueError, one line: the folder holds work of another configuration."""
        self.folder = Path(folder)
        self._text = json.dumps(configuration, indent=1, sort_keys=True)
        known = self.folder / CONFIGURATION
        if known.exists() and (before := known.read_text()) != self._text:
            raise ValueError(
                f"{self.folder}: unfinished work with another {_difference(before, self._text)}; "
                "give the same command to go on, another --out, or remove the folder"
            )

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif not issubclass(kind, Exception) and self.folder.exists():  # Ctrl-C, or asked to end
            print(f"stopped; the same command goes on from {self.folder}", file=sys.stderr)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """What was saved under that name; None: nothing yet."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Replaces what was saved under that name."""
        known = self.folder / CONFIGURATION
        if not known.exists():
            write_whole(known, self._text)
        with whole_file(self.folder / f"{name}.npz") as unfinished:
            np.savez(unfinished, **arrays)


def _difference(before: str, now: str) -> str:
    """Names of what differs at the top of two configurations."""
    try:
        old, new = json.loads(before), json.loads(now)
        return ", ".join(sorted(key for key in {*old, *new} if old.get(key) != new.get(key)))
    except (ValueError, AttributeError):
        return "configuration"


def fingerprint(path: Path | str) -> str:
    """SHA-256 of a file. OSError: not there."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
