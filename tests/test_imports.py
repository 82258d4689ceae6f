"""The house's order: imports go only downward, and what must be light stays light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import tuner

PACKAGE = Path(tuner.__file__).parent
# From the ground up. A module may import from its own floor and from those below.
FLOORS = (
    {"__init__", "errors", "space", "records", "candidate_runtime"},
    {"template", "problem", "settings", "device", "comparison", "ledger", "conditions"},
    {"render", "store", "build", "worker"},
    {"verify", "thorough", "wrong", "benchmark", "evaluate"},
    {"pipeline"},
    {"search", "export", "report", "kernels"},
    {"final"},
    {"tune"},
    {"check", "screen"},
    {"cli"},
    {"__main__"},
)
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
# Loaded by every command before it does anything: torch takes seconds to import.
LIGHT = ("errors", "space", "records", "template", "problem", "settings", "device", "render", "store", "kernels")


def floor(module: str) -> int:
    return next(number for number, modules in enumerate(FLOORS, 1) if module in modules)


def imported(module: str) -> set[str]:
    """Modules of the package that `module` imports, inside functions too, at type-checking time not."""
    found = set()
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "tuner":
                first = rest.split(".")[0]
                found.add(first if first in MODULES else "__init__")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_floor(module):
    assert any(module in modules for modules in FLOORS), f"give {module} a floor in FLOORS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_only_downward(module):
    upward = [other for other in imported(module) if floor(other) > floor(module)]
    assert not upward, f"{module} (floor {floor(module)}) imports upward: {upward}"


def test_imports_have_no_cycle():
    graphlib.TopologicalSorter({module: imported(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_only_search_imports_optuna(module):
    names = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert "optuna" not in names or module == "search"


@pytest.mark.parametrize("statement", ["import tuner", *(f"import tuner.{name}" for name in LIGHT), "import tuner.cli"])
def test_import_loads_neither_torch_nor_optuna(statement):
    check = f"{statement}; import sys; sys.exit(bool({{'torch', 'optuna'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
