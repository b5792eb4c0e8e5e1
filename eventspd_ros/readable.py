"""Whether a file can be read at all, said before a library says it in words of its own; for every reader."""

from __future__ import annotations

import os
from pathlib import Path


def check_readable(path: Path | str) -> None:
    """ValueError, one line: no such file, a folder or pipe in its place, no permission, a disk that fails."""
    try:
        if os.path.isdir(path):
            raise ValueError(f"{path}: is a folder; name a file")
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"{path}: is a pipe or a device; name a file")  # to open a pipe may take for ever
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise unreadable(path, error) from None


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in order. ValueError, one line: it cannot be looked into."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from None


def unreadable(path: Path | str, error: OSError) -> ValueError:
    """What the system says of a file, in one line that names it."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{path}: no such file; look at the name")
    if isinstance(error, PermissionError):
        return ValueError(f"{path}: no permission to read it; change its permissions, or ask who owns it")
    return ValueError(f"{path}: cannot be read ({error.strerror or error}); look at its disk, or copy it again")
