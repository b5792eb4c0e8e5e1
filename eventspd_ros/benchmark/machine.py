"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from types import ModuleType

from eventspd_ros import __version__


def cpu_name() -> str:
    """The processor's model name, or the architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def conditions(*libraries: ModuleType) -> dict:
    """machine, load_average (of the last minute) and versions: what every report ends with. libraries: those whose
    version decides how fast it is."""
    return {
        "machine": cpu_name(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {
            "eventspd_ros": __version__,
            "python": platform.python_version(),
            **{library.__name__: library.__version__ for library in libraries},
        },
    }
