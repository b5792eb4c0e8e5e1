"""`pip install .` for people who train without ROS; robots build the package with colcon (CMakeLists.txt)."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "eventspd_ros/__init__.py").read_text().split('__version__ = "')[1].split('"')[0]


def shared_files() -> list[tuple[str, list[str]]]:
    """Weights, parameters and message texts, where eventspd_ros.resources looks for them."""
    folders: dict[str, list[str]] = {}
    for top in ("config", "launch", "msg", "resource"):
        for path in sorted((HERE / top).rglob("*")):
            if path.is_file():
                relative = path.relative_to(HERE)
                folders.setdefault(f"share/eventspd_ros/{relative.parent}", []).append(str(relative))
    return [*folders.items(), ("share/eventspd_ros", ["package.xml"])]


setup(
    name="eventspd_ros",
    version=VERSION,
    description="Metric depth with uncertainty at sparse keypoints from an event camera.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["eventspd_ros", "eventspd_ros.*"]),
    data_files=shared_files(),
    install_requires=[
        line for line in (HERE / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")
    ],
    extras_require={"teacher": ["transformers>=4.45"], "recordings": ["faery>=0.7.1"]},
    entry_points={"console_scripts": ["eventspd = eventspd_ros.cli:main"]},
)
