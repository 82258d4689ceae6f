"""What must be light stays light; the order of the layers is held by the contracts in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tuner

PACKAGE = Path(tuner.__file__).parent
# Loaded by every command before it does anything: torch takes seconds to import.
LIGHT = (
    "errors",
    "space",
    "records",
    "template",
    "problem",
    "settings",
    "backends",
    "template.render",
    "store",
    "kernels",
    "cli.main",
)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_who_imports_optuna_and_dask(path: Path) -> None:
    names = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    room = path.relative_to(PACKAGE).parts[0]
    assert "optuna" not in names or room in ("search", "report")
    assert not {"dask", "distributed"} & names or room == "cluster"


@pytest.mark.parametrize("statement", ["import tuner", *(f"import tuner.{name}" for name in LIGHT)])
def test_import_loads_neither_torch_nor_optuna_nor_dask(statement: str) -> None:
    check = f"{statement}; import sys; sys.exit(bool({{'torch', 'optuna', 'distributed'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
