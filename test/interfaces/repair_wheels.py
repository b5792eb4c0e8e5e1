"""Point the CMake exports of the ROS 2 wheels at this interpreter.

The wheels' share/*/cmake files name the Python and NumPy include folders of the machine that built them.
Run with the interpreter of the virtual environment to repair: python repair_wheels.py
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

PYTHON_INCLUDE = re.compile(r"/opt/python/cp[^/;\"]+/include/python[0-9.]+")
NUMPY_INCLUDE = re.compile(r"/opt/python/cp[^/;\"]+/lib/python[0-9.]+/site-packages/numpy/_?core/include")


def repair(prefix: Path) -> int:
    """Rewrite every export below prefix/share; returns how many files changed."""
    changed = 0
    for path in sorted(prefix.glob("share/*/cmake/*.cmake")):
        before = path.read_text()
        after = NUMPY_INCLUDE.sub(numpy.get_include(), before)
        after = PYTHON_INCLUDE.sub(sysconfig.get_paths()["include"], after)
        if after != before:
            path.write_text(after)
            changed += 1
    return changed


if __name__ == "__main__":
    print(f"repaired {repair(Path(sys.prefix))} CMake exports")
