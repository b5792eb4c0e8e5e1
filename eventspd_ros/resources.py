"""Where the package's own files (weights, parameters, message texts) are, however it was installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# What the node and the demo use unless told otherwise.
DEFAULT_WEIGHTS = "eventspd_lite"


def share_folders() -> list[Path]:
    """Folders that may hold the package's files: every ament prefix's share, the interpreter's, the checkout."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    prefixes.append(Path(sys.prefix))
    return [p / "share" / "eventspd_ros" for p in prefixes] + [Path(__file__).resolve().parents[1]]


def cache_folder() -> Path:
    """Where what takes long to make is kept for this user; it may be removed at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventspd_ros"


def find_resource(relative: str) -> Path:
    """The first existing file or folder of that name, e.g. "config/eventspd.yaml"; ValueError where there is none."""
    for folder in share_folders():
        if (folder / relative).exists():
            return folder / relative
    looked = ", ".join(str(f) for f in share_folders())
    raise ValueError(f"no {relative!r} in {looked}: install the package again, or run from its checkout")


def find_weights(name: str) -> Path:
    """A checkpoint: a bare name is one that comes with the package, anything else a path. ValueError: not installed."""
    if Path(name).name != name or Path(name).suffix:
        return Path(name)
    try:
        return find_resource(f"resource/weights/{name}.safetensors")
    except ValueError:
        files = (file for folder in share_folders() for file in (folder / "resource/weights").glob("*.safetensors"))
        known = ", ".join(sorted({file.stem for file in files})) or "none: install the package again"
        raise ValueError(
            f"weights {name!r} do not come with this package (those that do: {known}); "
            "name one of these, or the path of a checkpoint"
        ) from None
