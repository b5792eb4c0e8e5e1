"""The rooms of the house: imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "eventspd_ros"

ROOMLESS = {"resources", "rotations", "cores", "readable", "whole"}
# room → rooms of this package it may import, besides the roomless ones, which know no room.
ALLOWED = {
    "__init__": set(),
    **{name: set() for name in ROOMLESS},
    "events": set(),
    "model": {"events"},
    "motion": {"events"},
    "predictor": {"events", "model", "motion"},
    "inputs": {"events", "model", "motion", "predictor"},
    "simulation": {"events"},
    "datasets": {"events", "model", "motion", "predictor", "simulation"},
    "training": {"events", "model", "motion", "predictor", "datasets", "evaluation"},
    "evaluation": {"events", "model", "motion", "predictor", "inputs", "datasets", "simulation"},
    "benchmark": {"events", "model", "motion", "predictor", "datasets", "training", "evaluation", "simulation"},
    "ros": {"events", "model", "motion", "predictor", "inputs", "simulation", "evaluation", "benchmark", "msg"},
    "cli": {"events", "model", "predictor", "simulation", "datasets", "training", "evaluation", "benchmark", "ros"},
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = room_of(path)
    outside = imported_rooms(ast.parse(path.read_text())) - ALLOWED[room] - {room} - ROOMLESS
    assert not outside, f"{path.name} in room {room} imports {sorted(outside)}"


def test_the_command_line_imports_rooms_lazily():
    files = list((PACKAGE / "cli").glob("*.py"))
    for tree in (ast.parse(path.read_text()) for path in files):
        at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        assert imported_rooms(at_import) <= {"cli", "resources", "whole"}
    assert files


def test_no_source_folder_shadows_the_generated_messages():
    assert not (PACKAGE / "msg").exists()


def test_importing_the_package_touches_no_gpu_and_no_ros():
    code = (
        "import sys, eventspd_ros, eventspd_ros.predictor, eventspd_ros.cli, torch;"
        "assert not torch.cuda.is_initialized(); assert 'rclpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
