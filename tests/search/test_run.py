"""A whole search of a tiny CPU template: searched, cached, resumed, interrupted, and with contestants that fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import injected
from helpers.project import CONFIG, Project
from helpers.tiny import TINY

from tuner import store
from tuner.records import Record, Status
from tuner.search import final
from tuner.search.progress import Progress
from tuner.search.tune import Outcome, tune
from tuner.settings import load

pytestmark = [pytest.mark.usefixtures("needs_compiler"), pytest.mark.slow]

Searched = tuple[Project, tuple[int, str, str]]  # a project after one search, and what that said


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    project = Project(tmp_path_factory.mktemp("searched"))
    return project, project.run("search", "tiny.yaml", "--json")


def test_a_search_ends_in_the_cache(searched: Searched) -> None:
    project, (code, out, err) = searched
    assert code == 0, err
    (result,) = json.loads(out)
    assert (result["stopped"], result["trials"], result["stored"]) == ("trials", 6, True)
    record = project.entry().record
    assert record.model_dump(mode="json") == result["record"]
    correctness = record.evaluation.correctness
    assert correctness is not None and all(case.ok for case in correctness.cases)
    assert [c.name for c in record.baselines] == ["eager"]
    assert record.conditions["load average before the search"]
    assert "searching" in err and "Traceback" not in err


def test_a_second_search_resumes(searched: Searched) -> None:
    project, _ = searched
    before = project.trials()
    code, out, err = project.run("search", "tiny.yaml", "--trials", "8")
    assert code == 0, err
    after = project.trials()
    assert after[: len(before)] == before and len(after) == 8
    assert len({trial.point for trial in after}) == 8
    assert "took over 6 trials of other runs" in out and "2 trials measured" in out
    project.entry()


def test_a_fresh_search_forgets(searched: Searched) -> None:
    project, _ = searched
    code, out, _ = project.run("search", "tiny.yaml", "--fresh", "--trials", "3")
    assert code == 0 and len(project.trials()) == 3 and "took over" not in out


def test_an_export_of_what_was_found(searched: Searched) -> None:
    project, _ = searched
    code, out, err = project.run("export", "tiny.yaml", "-o", "submission.py", "--force")
    assert code == 0, err
    code, out, err = project.run("verify", "submission.py", "--problem", "templates/tiny/problem.py")
    assert code == 0, out + err


class Quiet:
    """An observer that does nothing but what a test adds."""

    def __init__(self, **hooks: Callable[..., None]) -> None:
        self.hooks = hooks

    def __getattr__(self, name: str) -> Callable[..., None]:
        return self.hooks.get(name, lambda *arguments: None)


def found(outcome: Outcome) -> Record:
    assert outcome.record is not None
    return outcome.record


def tuned(project: Project, **hooks: Callable[..., None]) -> Outcome:
    with injected.inside(project.root):
        (outcome,) = tune(load(project.config), project.cache, Quiet(**hooks))
    return outcome


def test_ctrl_c_keeps_the_best(tmp_path: Path) -> None:
    project = Project(tmp_path)

    def stop(progress: Progress) -> None:
        if len(progress.trials) == 3:
            raise KeyboardInterrupt

    outcome = tuned(project, progress=stop)
    assert outcome.progress.stopped == "interrupted" and outcome.stored
    best = min(project.trials(), key=lambda t: t.evaluation.latency_ms)
    record = project.entry().record
    assert record.point == best.point and not record.confirmed
    assert len(project.trials()) == 3


def test_what_a_template_leaves_to_pytorch_is_in_the_record(tmp_path: Path) -> None:
    project = Project(tmp_path, CONFIG.replace("trials: 6", "trials: 2"), host="return x * model.weight")
    path = project.template / "template.py"
    path.write_text(path.read_text().replace('doc="one loop",', 'leaves=("mul",),'))
    record = tuned(project).record
    assert record is not None and record.confirmed and record.leaves == ("mul",)
    assert record.evaluation.correctness is not None
    assert "leaves mul to PyTorch" in [case.detail for case in record.evaluation.correctness.cases]


def test_a_kernel_for_another_dtype_is_searched_on_the_problem_s_own(tmp_path: Path) -> None:
    def doubled(name: str, old: str, new: str) -> str:
        assert old in TINY[name]
        return TINY[name].replace(old, new)

    project = Project(
        tmp_path,
        CONFIG.replace("trials: 6", "trials: 2"),
        problem_py=doubled("problem.py", "size + 1", "size + 1, dtype=torch.float64").replace("8)]", "8).double()]"),
        **{"model_new.py": doubled("model_new.py", "size + 1", "size + 1, dtype=torch.float64")},
        plain_cpp=doubled("plain.cpp", "float*", "double*"),
        common_hpp=doubled("common.hpp", "float", "double"),
        template_py=doubled("template.py", 'doc="one loop",', 'dtypes=("float64",),'),
    )
    record = found(tuned(project))
    assert record.confirmed and record.workload.dtypes == ("float64",)
    assert project.entry().folder.name.startswith("4x8-float64-")


def test_faulty_points_cost_their_trials_and_nothing_else(tmp_path: Path) -> None:
    """Every point with unroll=8 crashes and with unroll=4 is wrong: all others come out as without them."""
    config = CONFIG.replace("trials: 6", "trials: 100\nsampler: exhaustive\nknobs: {order: [rows], fast: [false]}")
    crash = "if (UNROLL == 8) abort();\n  if (UNROLL == 4) return 0;"
    faulty = tuned(Project(tmp_path / "faulty", config, kernel=crash))
    clean = tuned(Project(tmp_path / "clean", config.replace("fast:", "unroll: [1, 2], fast:")))
    assert dict(faulty.progress.failures) == {"crash": 2, "verify": 2}

    def right(outcome: Outcome) -> set[str]:
        return {str(t.point) for t in outcome.progress.trials if t.evaluation.status is Status.OK}

    assert right(faulty) == right(clean) and len(right(clean)) == 4
    assert str(found(faulty).point) in right(clean)
    assert found(faulty).trials == {"ok": 4, "crash": 2, "verify": 2}


def test_a_finalist_that_dies_in_the_final_is_left_out(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    dies = f"os.path.exists({str(flag)!r}) and threads == 2 and os.kill(os.getpid(), 9)"
    project = Project(tmp_path / "project", host=dies)

    def stage(text: str) -> None:
        if text == "final: sampling":
            flag.touch()

    outcome = tuned(project, stage=stage)
    assert {t.point.knobs["threads"] for t in outcome.progress.trials} == {1, 2}
    assert found(outcome).point.knobs["threads"] == 1
    assert any("left out of the final" in note and "SIGKILL" in note for note in outcome.notes)
    project.entry()


def test_a_finalist_that_raises_in_the_final_is_left_out(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = Project(
        tmp_path / "project", host=f"assert threads == 1 or not os.path.exists({str(flag)!r}), 'too late'"
    )
    outcome = tuned(project, stage=lambda text: flag.touch() if text.startswith("final: 6") else None)
    assert found(outcome).point.knobs["threads"] == 1
    assert any("left out" in note and "too late" in note for note in outcome.notes)


def test_nothing_right_is_no_error_and_no_entry(tmp_path: Path) -> None:
    project = Project(tmp_path, CONFIG.replace("trials: 6", "trials: 2"), kernel="return 0;")
    code, out, _ = project.run("search", "tiny.yaml")
    assert code == 1
    assert "no right kernel was found" in out and "failed: verify 2" in out
    assert store.entries(project.cache) == []


def test_when_no_finalist_holds_the_best_of_another_kind_is_decided_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"
    rows_fail = f"assert not os.path.exists({str(flag)!r}), 'rows do not hold'"
    config = CONFIG.replace("trials: 6", "trials: 9\nknobs: {unroll: [2], fast: [false], threads: [1]}")
    project = Project(
        tmp_path / "project",
        config,
        host=f"if kernel.knobs['order'] == 'rows':\n        {rows_fail}\n    else:\n        time.sleep(0.002)",
        top="import time",
    )
    monkeypatch.setattr(final, "FINALISTS", 1)
    outcome = tuned(project, stage=lambda text: flag.touch() if "fresh process" in text else None)
    assert found(outcome).point.knobs["order"] == "columns"
    assert any("no finalist holds" in note and "rows do not hold" in note for note in outcome.notes)
