"""What the package imports is declared: in requirements.txt, package.xml, or as an extra of setup.py."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "compression": "backports.zstd",  # which Python 3.14 has itself
    "cv2": "opencv-python-headless",
    "lightning_fabric": "lightning-fabric",
    "yaml": "pyyaml",
}
# CONTRIBUTING.md calls them optional.
OPTIONAL = {"faery", "transformers", "triton"}
ROS_PACKAGES = {"tf2_ros": "tf2_ros_py"}
# What package.xml takes from the system, if it is new enough there.
ROSDEP_KEYS = {"opencv-python-headless": "python3-opencv", "pyyaml": "python3-yaml"}


def imported(folder: str) -> set[str]:
    """Top-level modules outside the standard library and this repository."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
    return names - sys.stdlib_module_names - {"eventspd_ros"}


def required(file: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return {re.match(r"[\w.-]+", line).group() for line in lines if line}


def is_of_ros(module: str) -> bool:
    others = ("rclpy", "tf2_ros", "cv_bridge", "sensor_msgs_py")
    return module.endswith(("_msgs", "_srvs", "_interfaces")) or module in others


def test_every_distribution_that_is_imported_is_required_and_no_other():
    of_pypi = {DISTRIBUTIONS.get(name, name) for name in imported("eventspd_ros") if not is_of_ros(name)}
    assert of_pypi - OPTIONAL == required("requirements.txt")
    assert OPTIONAL <= of_pypi


def test_every_ros_package_that_is_imported_is_in_package_xml():
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {entry.text for kind in ("depend", "exec_depend") for entry in root.iter(kind)}
    of_ros = {ROS_PACKAGES.get(name, name) for name in imported("eventspd_ros") | imported("launch") if is_of_ros(name)}
    assert of_ros | {"launch", "launch_ros"} <= declared
    keys = {ROSDEP_KEYS.get(name, f"python3-{name}") for name in required("requirements.txt")}
    assert {key for key in declared if key.startswith("python3-")} <= keys


@pytest.mark.parametrize("name", sorted(required("requirements.txt") | OPTIONAL))
def test_contributing_says_what_it_is_for(name):
    assert re.search(rf"^\|[^|]*\b{re.escape(name)} ≥", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
