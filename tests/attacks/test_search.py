"""Whole searches of a template whose points attack: the search goes on, and what wins is sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.project import CONFIG, Project

from tuner.records import Status

pytestmark = [pytest.mark.usefixtures("needs_compiler"), pytest.mark.slow]

# What the points with two threads do when they are called; `attack` is defined when they are loaded.
ATTACKS = {
    "raises what cannot be printed": "class E(BaseException):\n    def __str__(self):\n        raise SystemExit(3)\n\n"
    "def attack():\n    raise E()",
    "takes all file descriptors": "import os\n\n\ndef attack(kept=[]):\n    try:\n        while True:\n"
    "            kept.append(os.open('/dev/null', 0))\n    except OSError:\n        pass",
    "lets no file grow": "import resource, signal\n\ndef attack():\n    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))",
    "makes meta the default device": "def attack():\n    torch.set_default_device('meta')",
    "hooks every module": "import time\n\n\ndef attack():\n    torch.nn.modules.module.register_module_forward_hook(\n"
    "        lambda *a: time.sleep(0.02))",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_search_goes_on(tmp_path: Path, name: str) -> None:
    project = Project(tmp_path / "project", CONFIG, top=ATTACKS[name], host="threads == 2 and attack()")
    code, out, err = project.run("search", "tiny.yaml")
    assert (code, "Traceback" in out + err) == (0, False), (out, err)
    trials = project.trials()
    assert len(trials) == 6
    honest = [t for t in trials if dict(t.point.knobs)["threads"] == 1]
    assert not [(t.evaluation.status, t.evaluation.detail) for t in honest if t.evaluation.status is not Status.OK]
    assert dict(project.entry().record.point.knobs)["threads"] == 1


def test_a_template_that_skips_work_when_it_is_timed_wins_nothing(tmp_path: Path) -> None:
    top = "CALLS = [0]\n\n\ndef skips():\n    CALLS[0] += 1\n    return CALLS[0] > 20"
    host = "if skips(): return torch.empty_like(x)"
    project = Project(tmp_path / "project", CONFIG, top=top, host=host)
    code, out, err = project.run("search", "tiny.yaml")
    # 1: every trial was found out when it was timed; 2: one came into the final, where it does not hold
    assert code in (1, 2) and "Traceback" not in out + err, (out, err)
    assert not list(project.cache.glob("**/record.json"))
