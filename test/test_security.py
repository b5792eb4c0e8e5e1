"""Checkpoints, bags and messages are data: nothing in the package runs what it reads."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "eventspd_ros"
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
}


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression, "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def misdeeds(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if name in FORBIDDEN_CALLS or keywords.get("shell") or keywords.get("allow_pickle"):
                found.append(name)
            if name == "torch.load" and keywords.get("weights_only") is not True:
                found.append(name)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(path):
    assert misdeeds(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "torch.load(p)", "yaml.load(t)", "np.load(p, allow_pickle=True)"]
    + ["subprocess.run(c, shell=True)", "eval(t)"],
)
def test_the_test_sees_what_it_looks_for(code):
    assert misdeeds(ast.parse(code))
