"""What the pages for contributors name in the tree is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "benchmarks/README.md")
FOLDERS = ("tuner", "tests", "benchmarks", "kernel_templates", "configs", "cache", ".ci", "docs")


def named(page: str) -> list[str]:
    """The paths in code spans that begin in a folder of the project, and the targets of relative links."""
    text = (ROOT / page).read_text()
    spans = re.findall(rf"`((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)`", text)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]
    relative = [str((ROOT / page).parent / link) for link in links if link]
    return sorted({*spans, *relative})


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_that_it_names_are_there(page: str) -> None:
    assert named(page)
    assert [path for path in named(page) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "tuner").glob("*/__init__.py")))
def test_the_architecture_has_every_package(package: str) -> None:
    assert f"`tuner/{package}/`" in (ROOT / "docs/architecture.md").read_text()
