"""`tuner search`: what is wrong is said in one line, before anything is measured where it can be."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.project import CONFIG, ONE_TRIAL, Project, refused
from helpers.tiny import TINY, MakeRecord

from tuner.backends.cuda import gpu_count
from tuner.search.progress import Budget, Progress
from tuner.search.tune import Asked, Outcome

GN_MEAN = "template: gn_mean\ndevice: cpu\n"


PROBLEM = TINY["problem.py"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("[", "line 1"),
        ("template: [tiny", "line 1"),
        ("\t", "line 1"),
        ("just words", "wants a mapping"),
        ("template: gn_mean\ntemplate: gn_mean\n", "twice"),
        ("trials: 3\n", "template: is missing"),
        (GN_MEAN + "trails: 3\n", "did you mean 'trials'"),
        (GN_MEAN + "trials: many\n", "trials: should be a valid integer"),
        (GN_MEAN + "trials: 0\n", "trials"),
        (GN_MEAN + "time_budget_s: .nan\n", "time_budget_s"),
        ("template: gn_mean\ndevice: tpu\n", "device: should be auto, cuda, cuda:N, cpu or cpu:A-B, not 'tpu'"),
        ("template: no_such\n", "template: 'no_such' is not one of"),
        ("template: ../gn_mean\n", "no template.py in"),
        ("template: a/../../../etc\n", "no template.py in"),
        ("template: /etc/passwd\n", "no template.py in"),
        ("template: ..\n", "no template.py in"),
        ("template: 'a b'\n", "is neither a name"),
        ("template: \"a\\0/b\"\n", "NUL"),
        (GN_MEAN + "problem: no_such.py\n", "no such file"),
        (GN_MEAN + "shapes: [[4, -8]]\n", "shapes"),
        (GN_MEAN + "knobs: {threads: []}\n", "knobs"),
        (GN_MEAN + "variants: [no_such]\n", "'no_such' is not one of"),
        ("!!python/object/apply:os.system [ls]", "tags are not taken"),
        ("template: &a gn_mean\nproblem: *a\n", "line 2: aliases are not taken here"),
    ],
)  # fmt: skip
def test_a_config_that_is_wrong(project: Project, text: str, says: str) -> None:
    project.config.write_text(text)
    command = "validate" if "no_such'" in says else "search"
    assert says in refused(project, command, "tiny.yaml")


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU here")
def test_cuda_without_a_gpu(project: Project) -> None:
    line = refused(project, "search", "tiny.yaml", "--device", "cuda")
    assert "cuda was asked for but no GPU is visible" in line


@pytest.mark.parametrize(("variable", "says"), [("PATH", "no C++ compiler was found"), ("CXX", "which is not there")])
def test_no_compiler(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, says: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    if variable == "PATH":
        monkeypatch.delenv("CXX", raising=False)
    assert says in refused(project, "search", "tiny.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (PROBLEM.replace("class Model", "class Other"), "defines no Model"),
        (PROBLEM.replace("get_inputs", "inputs"), "defines no get_inputs"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("def", "SyntaxError"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (PROBLEM.replace("[torch.rand(4, 8)]", "1 / 0"), "ZeroDivisionError"),
        (PROBLEM.replace("[torch.rand(4, 8)]", "[]"), "returns no tensor"),
        (PROBLEM.replace("return [8]", "return [torch.ones(2)]"), "plain values"),
        (PROBLEM.replace("import torch\n", "import torch, os\nos.kill(os.getpid(), 9)\n", 1), "SIGKILL"),
    ],
)  # fmt: skip
def test_a_problem_that_is_wrong(project: Project, problem: str, says: str) -> None:
    (project.template / "problem.py").write_text(problem)
    assert says in refused(project, "search", "tiny.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("shapes: [[4, 8, 2]]", "Model refuses inputs of shapes"),
        ("shapes: [[4, 9]]", "Model refuses inputs of shapes"),
        ("init: [1, 2, 3]", "Model refuses init [1, 2, 3]"),
        ("init: [-1]", "Model refuses init [-1]"),
        ("init: [2]\nshapes: [[4, 2]]\nknobs: {unroll: [4, 8]}", "no point is left"),
        ("variants: [gpu]", "has no variant for this cpu device"),
    ],
)
def test_a_workload_or_a_space_that_cannot_be(project: Project, config: str, says: str) -> None:
    project.config.write_text(CONFIG + config + "\n")
    assert says in refused(project, "search", "tiny.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('Knob("unroll", (1, 2, 4, 8), 2)', 'Knob("unroll", (1, 2, 4, 8), 3)', "default 3 is not among"),
        ('Knob("unroll", (1, 2, 4, 8), 2)', 'Knob("un roll", (1, 2), 2)', "lower-case identifier"),
        ('("rows", "columns"), "rows"', '("rows", "a b"), "rows"', "letters, digits and _"),
        ('name="plain"', 'name="../plain"', "lower-case identifier"),
        ('source="plain.cpp"', 'source="../plain.cpp"', "source is the name of a file"),
        ('device="cpu"', 'device="tpu"', "device is 'cuda' or 'cpu'"),
        ("VARIANTS = (", "VARIANTS = 1 / 0, (", "ZeroDivisionError"),
        ("def axes", "def no_axes", "wants a function axes"),
        ("def axes", "import sys; sys.exit(1)\ndef axes", "SystemExit"),
        ("VARIANTS = (", "VARIANTS = [", "SyntaxError"),
    ],
)
def test_a_template_that_is_wrong(project: Project, old: Any, new: Any, says: str) -> None:
    path = project.template / "template.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert says in refused(project, "search", "tiny.yaml")
    assert says in refused(project, "validate", "tiny.yaml")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_search_goes_on_over_a_damaged_entry_and_says_so(searched: Project) -> None:
    folder = searched.entry().folder
    (folder / "record.json").unlink()
    (folder / "record.json").mkdir()
    code, out, err = searched.run("search", "tiny.yaml")
    assert code == 0, err
    assert f"note: {folder}: record.json: cannot be read: Is a directory; it is not used, and was moved to" in out
    searched.entry()
    code, out, _ = searched.run("cache", "why", "tiny.yaml")
    assert code == 0 and out.endswith(": hit\n")
    assert searched.run("cache", "verify", "--template", "templates/tiny/") == (0, f"{folder}: ok\n", "")


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small tmpfs, where this process may mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("may not mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_cache_that_cannot_be_written(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert "the cache cannot be written (Not a directory)" in refused(project, "search", "tiny.yaml")


def test_a_read_only_cache(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TUNER_CACHE_DIR", str(cache))
    if os.geteuid() != 0:
        cache.mkdir(mode=0o555)
        assert "the cache cannot be written (Permission denied)" in refused(project, "search", "tiny.yaml")
        return
    with mounted(cache, "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        assert "the cache cannot be written (Read-only file system)" in refused(project, "search", "tiny.yaml")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize(("what", "size"), [("cache", "64k"), ("cache", "4k"), ("tmp", "128k")])
def test_a_full_disk(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, size: str) -> None:
    """The disk of the cache or of the builds: a line, no entry, and with room again the same command succeeds."""
    full = tmp_path / "full"
    project.config.write_text(ONE_TRIAL)
    with mounted(full, size):
        if what == "cache":
            monkeypatch.setenv("TUNER_CACHE_DIR", str(full))
        else:
            monkeypatch.setattr("tempfile.tempdir", str(full))
            monkeypatch.setenv("TMPDIR", str(full))
        code, out, err = project.run("search", "tiny.yaml")
        assert code == 2, (out, err)
        assert err.startswith("tuner: ") and err.count("\n") == 1, err
        assert not list(full.rglob("record.json")) and not list(project.root.rglob("record.json"))
        if what == "cache":
            (full / "filling").unlink(missing_ok=True)
            subprocess.run(["mount", "-o", "remount,size=20m", str(full)], check=True)
            code, _, err = project.run("search", "tiny.yaml")
            assert code == 0, err
            assert list(full.rglob("record.json"))
        monkeypatch.undo()


def test_a_refused_shape_is_said_before_the_first_search(project: Project) -> None:
    config = CONFIG + "init: [8]\nshapes: [[4, 8], [4, 9]]\n"
    project.config.write_text(config)
    code, out, err = project.run("search", "tiny.yaml", "--json")
    assert (code, json.loads(out)) == (2, [])
    assert "tiny.yaml: shapes: " in err and "searching" not in err


def test_what_was_found_before_a_fault_is_said_all_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    def found(asked: Asked, *rest: object) -> Outcome:
        progress = Progress(Budget(trials=1), stopped="trials")
        return Outcome(asked.workload, progress, make_record(), True, None, [], project.cache / "ledger.jsonl")

    monkeypatch.setattr("tuner.search.tune.tune_one", found)
    (project.root / "other.yaml").write_text(CONFIG + "shapes: [[4, 8, 8]]\n")
    code, out, err = project.run("search", "tiny.yaml", "other.yaml", "--json")
    assert code == 2 and "other.yaml: shapes: " in err
    (result,) = json.loads(out)
    assert result["stored"]


@pytest.mark.slow
def test_files_of_the_working_folder_shadow_no_module(project: Project) -> None:
    project.config.write_text(ONE_TRIAL)
    for name in ("queue", "torch", "tuner"):
        (project.root / f"{name}.py").write_text("raise RuntimeError('mine')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuner", "search", "tiny.yaml"],
        cwd=project.root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_problem_that_ends_its_process_is_one_line(project: Project) -> None:
    dies = PROBLEM.replace("def forward(self, x):", "def forward(self, x):\n        import os; os._exit(3)")
    assert dies != PROBLEM
    (project.root / "dies.py").write_text(dies)
    project.config.write_text(CONFIG + "problem: dies.py\ninit: [8]\nshapes: [[4, 8]]\n")
    code, _, err = project.run("search", "tiny.yaml")
    assert code == 2 and "Traceback" not in err
    assert f"tiny.yaml: shapes: {project.root / 'dies.py'}: the worker exited with code 3" in err


def test_inputs_of_a_dtype_that_the_kernel_does_not_take_are_refused_before_the_search(project: Project) -> None:
    path = project.template / "problem.py"
    path.write_text(path.read_text().replace("torch.rand(4, 8)", "torch.rand(4, 8).half()"))
    said = (
        "template tiny: no variant takes inputs of float16: plain takes float32, all floating-point inputs of one dtype"
    )
    code, _, err = project.run("search", "tiny.yaml")
    assert code == 2 and err.count("\n") == 1 and said in err, err
    assert project.trials() == []


@pytest.mark.slow
@pytest.mark.parametrize("forward", ["0 * x", "0 * x + 0.75"])
def test_a_problem_that_cannot_be_judged_is_exit_code_3(project: Project, forward: str) -> None:
    path = project.template / "problem.py"
    path.write_text(path.read_text().replace("return x", f"return {forward}"))
    code, _, err = project.run("search", "tiny.yaml")
    assert (code, err.count("\n")) == (3, 1) and err.startswith("tuner: cannot be judged: ") and str(path) in err
    assert project.trials() == []


def test_a_problem_file_s_name_ends_in_py(project: Project) -> None:
    (project.root / "mine.txt").write_text((project.template / "problem.py").read_text())
    line = refused(project, "search", "mine.txt")
    assert line == "tuner: mine.txt: is a problem file, whose name has to end in .py; a config is YAML\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", [("search", "mine.py"), ("new", "draft", "--problem", "mine.py")])
def test_a_fault_of_drafting_names_the_file_as_it_was_given(project: Project, command: tuple[str, ...]) -> None:
    text = (project.template / "problem.py").read_text()
    (project.root / "mine.py").write_text(text.replace("return x", "return torch.rand_like(x)"))
    code, _, err = project.run(*command)
    assert code == 3 and err.splitlines()[-1].startswith("tuner: cannot be judged: mine.py:13: rand_like is random")


@pytest.mark.slow
def test_it_is_so_on_several_devices_too(project: Project) -> None:
    path = project.template / "problem.py"
    path.write_text(path.read_text().replace("return x", "return 0 * x"))
    code, _, err = project.run("search", "tiny.yaml", "--devices", "cpu:0-0")
    assert code == 3 and err.splitlines()[-1].startswith("tuner: cannot be judged: ")
