"""The rooms of the house: imports point one way."""

import ast
import subprocess
import sys
from collections.abc import Set
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "eventspd_ros"

ROOMLESS = {"resources", "rotations", "cores", "drawing", "lens", "nanoseconds", "readable", "text", "whole"}
# room → rooms of this package that it imports, besides the roomless ones, which know no room. Exactly these: an arrow
# that nobody needs any more goes, a new one is thought about.
ARROWS = {
    "__init__": set(),
    **{name: set() for name in ROOMLESS},
    "events": set(),
    "model": {"events"},
    "motion": set(),
    "predictor": {"events", "model", "motion"},
    "inputs": {"events", "motion", "predictor"},
    "simulation": {"events"},
    "datasets": {"events", "model", "simulation"},
    "training": {"events", "model", "datasets", "evaluation"},
    "evaluation": {"events", "model", "motion", "predictor", "inputs", "datasets", "simulation"},
    "benchmark": {"events", "model", "motion", "predictor", "datasets", "training", "evaluation", "simulation"},
    "ros": {"events", "model", "motion", "predictor", "inputs", "simulation", "evaluation", "benchmark", "msg"},
    "cli": {"events", "model", "simulation", "datasets", "training", "evaluation", "benchmark", "ros"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> set[str]:
    """Rooms of eventspd_ros that a module names in any import, also one inside a function."""
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("eventspd_ros.")}
    return rooms - {"__version__"}


def imported_modules(tree: ast.AST, modules: Set[str]) -> set[str]:
    """Those of the modules that one imports when it runs, also inside a function: not what it names for type checkers
    alone."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= full & modules or {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            names |= imported_modules(node, modules)
    return names & modules


FILES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_a_room_imports_exactly_the_rooms_that_its_arrows_say(room):
    found = {path: imported_rooms(tree) - {room} - ROOMLESS for path, tree in FILES.items() if room_of(path) == room}
    outside = {str(path.relative_to(PACKAGE)): rooms - ARROWS[room] for path, rooms in found.items()}
    assert not any(outside.values()), {path: rooms for path, rooms in outside.items() if rooms}
    assert set().union(*found.values()) == ARROWS[room], "an arrow that no file needs"


def test_no_rooms_and_no_modules_import_one_another_in_a_circle():
    assert {room_of(path) for path in FILES} == ARROWS.keys()
    list(TopologicalSorter(ARROWS).static_order())  # CycleError names the circle
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): tree
        for path, tree in FILES.items()
    }
    graph = {name: imported_modules(tree, modules.keys()) - {name} for name, tree in modules.items()}
    list(TopologicalSorter(graph).static_order())
    assert "eventspd_ros.predictor" in graph["eventspd_ros.ros.stream"]


def test_the_command_line_imports_rooms_lazily():
    files = [tree for path, tree in FILES.items() if room_of(path) == "cli"]
    for tree in files:
        at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        assert imported_rooms(at_import) <= {"cli", "nanoseconds", "resources", "whole"}
    assert files


def test_no_source_folder_shadows_the_generated_messages():
    assert not (PACKAGE / "msg").exists()


def test_importing_the_package_touches_no_gpu_and_no_ros():
    code = (
        "import sys, eventspd_ros, eventspd_ros.predictor, eventspd_ros.cli, torch;"
        "assert not torch.cuda.is_initialized(); assert 'rclpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# evaluation/room → rooms of evaluation/ that it imports, besides results, which names the types of all. What lies in no
# room (evaluate, sweeps, …) tells how they work together.
ROOMS_OF_EVALUATION = {
    "asking": set(),
    "scoring": {"asking"},
    "showing": {"asking", "scoring", "evaluate"},
    "replay": {"asking", "scoring", "showing"},
}


@pytest.mark.parametrize("room", ROOMS_OF_EVALUATION)
def test_a_room_of_the_evaluation_imports_exactly_what_its_arrows_say(room):
    names = set()
    for path, tree in FILES.items():
        if path.is_relative_to(PACKAGE / "evaluation" / room):
            imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            modules = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
            names |= {name.split(".")[2] for name in modules if name.startswith("eventspd_ros.evaluation.")}
    assert names - {room, "results"} == ROOMS_OF_EVALUATION[room]


def test_no_two_public_classes_have_one_name():
    names = [n.name for tree in FILES.values() for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    assert sorted(names) == sorted(set(names))
