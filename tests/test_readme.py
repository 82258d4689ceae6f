"""What the README says can be done: the commands, options and files that it names are there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import click
import pytest

from tuner import settings
from tuner.cli.main import cli
from tuner.settings import static

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def section(heading: str) -> str:
    match = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match, f"README.md has no section {heading}"
    return match[1]


def shell_commands(text: str) -> list[str]:
    """The lines of fenced shell blocks, comments and blank lines left out."""
    blocks = re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def commands(group: click.Group, names: tuple[str, ...] = ()) -> dict[str, click.Command]:
    """Every command of the command line by its words."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[" ".join([*names, name])] = command
        if isinstance(command, click.Group):
            found |= commands(command, (*names, name))
    return found


def test_the_quick_start_is_two_commands() -> None:
    first, second = shell_commands(section("Quick start"))
    assert "tuner search configs/gn_mean.yaml" in first
    assert "pytest" in second


def test_ci_runs_the_second_one_word_for_word() -> None:
    assert shell_commands(section("Quick start"))[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def spoken() -> list[str]:
    """What the README calls as `tuner ...`, in code spans and blocks: the words after `tuner`."""
    code = re.findall(r"`([^`\n]+)`", README) + re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    calls = [re.findall(r"(?:^|(?<=[\s/&]))tuner[ ]+([a-z][^\n&|;]*)", span) for span in code]
    return sorted({call.strip() for found in calls for call in found})


@pytest.mark.parametrize("call", spoken())
def test_every_command_that_it_names_is_there(call: str) -> None:
    known, words = commands(cli), call.split()
    assert words[0] in known, f"tuner {call}"
    command = known[words[0]]
    if isinstance(command, click.Group) and len(words) > 1:
        assert " ".join(words[:2]) in known, f"tuner {call}"
        command = known[" ".join(words[:2])]
    options = {option for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", call))
    assert named <= options, f"tuner {call}: no option {', '.join(sorted(named - options))}"


def test_every_option_that_it_names_is_there() -> None:
    known = {option for command in commands(cli).values() for p in command.params for option in p.opts}
    assert set(re.findall(r"`(--[a-z][a-z0-9-]*)", README)) <= known


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", README))))
def test_every_relative_link_leads_somewhere(link: str) -> None:
    if re.match(r"[a-z]+:", link):
        pytest.skip("not relative")
    path, _, anchor = link.partition("#")
    target = ROOT / path if path else ROOT / "README.md"
    assert target.exists(), link
    if anchor:
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, link


def test_its_kernel_from_python_is_a_sound_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```python\n(import torch.*?)^```", section("Add a kernel"), re.MULTILINE | re.DOTALL)
    script = tmp_path / "script.py"  # what is not run is the search
    script.write_text(block.partition("result =")[0])
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "cache"))
    made = runpy.run_path(str(script))["softmax"]
    assert static.faults(settings.load(made.folder)) == []
