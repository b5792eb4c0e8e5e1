"""What README.md, CONTRIBUTING.md and docs/ promise is there: rooms, links, and the Python that a newcomer copies."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from eventspd_ros.events.files.hdf5 import write_events_h5
from eventspd_ros.events.types import EventArray
from eventspd_ros.predictor import Status

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_room_is_shown():
    rooms = {path.name for path in (ROOT / "eventspd_ros").iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__.py", "__pycache__", "msg", "resources.py"}
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## The house")[1]
    shown = re.findall(r"^\| `([\w.]+)/?` \| ", text, re.MULTILINE)
    assert set(shown) == rooms


def test_the_functions_of_the_journeys_are_where_the_page_says():
    text = (ROOT / "docs/architecture.md").read_text().split("## Three journeys")[1]
    rows = re.findall(r"^\| (`.*`) \| ([\w/., ]+\.py) \|", text, re.MULTILINE)
    assert len(rows) > 25
    for names, files in rows:
        there = set().union(*(functions_of(ROOT / "eventspd_ros" / file) for file in files.split(", ")))
        assert set(re.findall(r"`([^`]+)`", names)) <= there, (names, files)


def functions_of(path: Path) -> set[str]:
    """Functions of a module and methods of its classes, also fields that are called."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            fields = [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]
            methods = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
            names |= {f"{node.name}.{name}" for name in fields + methods}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_modules_it_names_are_there(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    modules = {path.name for folder in ("eventspd_ros", "test", "launch") for path in (ROOT / folder).rglob("*.py")}
    named = {name.split("/")[-1] for name in re.findall(r"`([\w./]+\.py)`", page.read_text())}
    assert dead == [] and named - modules - {"setup.py"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_headings_it_links_to_are_there(page):
    links = re.findall(r"\]\(([^)#\s:]*\.md|)#([^)\s]+)\)", page.read_text())
    dead = [link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)]
    assert dead == []


def anchors(page: Path) -> set[str]:
    """What links can name of a page: its headings as GitHub spells them there."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_python_of_the_readme_answers(tmp_path):
    rng = np.random.default_rng(0)
    count, size = 20_000, (320, 240)
    t_ns = np.sort(rng.integers(0, 50_000_000, count))
    x, y = (rng.integers(0, extent, count) for extent in size)
    events = EventArray(x.astype(np.uint16), y.astype(np.uint16), (x % 2).astype(np.uint8), t_ns, *size)
    write_events_h5(tmp_path / "recording.h5", [events])
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(code.replace("recording.raw", str(tmp_path / "recording.h5")).replace("320.0, 240.0", "160.0, 120.0"), names)
    answer = names["answer"]
    assert answer.status.tolist() == [Status.OK] and 0.1 < answer.depth_m[0] < 200 and answer.depth_stddev_m[0] > 0
