"""Tools that are simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuner.backends import toolchain

Tool = Callable[..., Path]


@pytest.fixture(autouse=True)
def _forget_versions() -> Iterator[None]:
    """Versions are looked up once a process; here the tools change."""
    toolchain.nvcc_version.cache_clear()
    toolchain.compiler_version.cache_clear()
    yield
    toolchain.nvcc_version.cache_clear()
    toolchain.compiler_version.cache_clear()


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """An executable of that name in a folder: a shell script of these lines, or one that prints what it is told."""

    def make(name: str, says: str = "", folder: str = "bin", script: str = "") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n" if script else f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        path.chmod(0o755)
        return path

    return make
