"""Bad input: one clear line on stderr, exit code 2, nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.project import CONFIG, Project
from helpers.tiny import HERE, TINY

from tuner import store
from tuner.backends.cuda import gpu_count
from tuner.settings import resolve

GN_MEAN = "template: gn_mean\ndevice: cpu\n"
PROBLEM = TINY["problem.py"]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def tree(root: Path) -> set[str]:
    """Every file but locks and what Python caches."""
    return {
        str(path.relative_to(root)) for path in root.rglob("*")
        if path.is_file() and path.name != ".lock" and "__pycache__" not in path.parts
    }  # fmt: skip


def refused(project: Project, *arguments: str) -> str:
    """The line that a command is refused with."""
    before = tree(project.root)
    code, out, err = project.run(*arguments)
    assert code == 2, (out, err)
    assert err.startswith("tuner: ") and err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert tree(project.root) == before
    return err


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
        ("template: gn_mean\ndevice: tpu\n", "device: should be auto, cuda, cuda:N or cpu, not 'tpu'"),
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
def test_a_config_that_is_wrong(project, text, says):
    project.config.write_text(text)
    command = "validate" if "no_such'" in says else "search"
    assert says in refused(project, command, "tiny.yaml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "no_such.yaml"], "cannot be read: No such file"),
        (["search", "."], "is not a file"),
        (["search", "tiny.yaml/x"], "cannot be read: Not a directory"),
        (["search", "a" * 5000], "cannot be read: File name too long"),
        (["search"], "Missing argument"),
        (["search", "tiny.yaml", "--no-such"], "No such option"),
        (["search", "tiny.yaml", "--trials", "x"], "--trials: should be a valid integer"),
        (["search", "tiny.yaml", "--device", "cuda:999"], "device"),
        (["no-such-command"], "No such command"),
        (["verify", "no_such.py", "--problem", "templates/tiny/problem.py"], "no such file"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--shape", "4xx"], "--shape"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--init", "{"], "--init"),
        (["cache", "rm", "no_such"], "names no entry"),
        (["templates", "no_such"], "is not one of"),
        (["templates", "../.."], "no template.py"),
    ],
)
def test_a_command_that_is_wrong(project, arguments, says):
    assert says in refused(project, *arguments)


def test_a_knob_that_is_not_there_or_has_no_such_value(project):
    for text, says in (
        ("knobs: {no_such: [1]}", "knobs: 'no_such' is not a knob of tiny"),
        ("knobs: {unroll: [3]}", "knobs.unroll: 3 is not one of"),
    ):
        project.config.write_text(CONFIG + text)
        assert says in refused(project, "validate", "tiny.yaml")


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU here")
def test_cuda_without_a_gpu(project):
    line = refused(project, "search", "tiny.yaml", "--device", "cuda")
    assert "cuda was asked for but no GPU is visible" in line


@pytest.mark.parametrize(("variable", "says"), [("PATH", "no C++ compiler was found"), ("CXX", "which is not there")])
def test_no_compiler(project, tmp_path, monkeypatch, variable, says):
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    if variable == "PATH":
        monkeypatch.delenv("CXX", raising=False)
    assert says in refused(project, "search", "tiny.yaml")


# ---- what only a worker finds out --------------------------------------------------------------------


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
def test_a_problem_that_is_wrong(project, problem, says):
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
def test_a_workload_or_a_space_that_cannot_be(project, config, says):
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
def test_a_template_that_is_wrong(project, old, new, says):
    path = project.template / "template.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert says in refused(project, "search", "tiny.yaml")
    assert says in refused(project, "validate", "tiny.yaml")


# ---- the cache ---------------------------------------------------------------------------------------


@pytest.fixture
def kept(project, put):
    """A project with two winners of another template in its cache, without a search; their folders."""
    put(project.cache)
    put(project.cache, shape=(5, 8), confirmed=False)
    return store.folders(project.cache)


@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["verify"], ["rm", "tiny"]])
@pytest.mark.parametrize("folder", ["nowhere", "tiny.yaml"])
def test_a_cache_that_is_not_there(project, command, folder):
    assert refused(project, "cache", *command, "--cache", folder) == f"tuner: no such cache: {folder}\n"


def test_cache_ls_marks_what_a_final_has_not_confirmed(project, kept):
    code, out, err = project.run("cache", "ls")
    assert (code, err) == (0, "")
    confirmed, unconfirmed = out.splitlines()[1:]
    assert "2.00x" in confirmed and "unconfirmed" not in confirmed
    assert "unconfirmed" in unconfirmed and "2.00x" not in unconfirmed


def test_cache_verify_says_each_entry_once_and_quarantines(project, kept, tiny_folder):
    (kept[0] / "model_new.py").write_text("import os\n")
    code, out, err = project.run("cache", "verify", "--template", f"{tiny_folder}/", "--json")
    assert (code, err) == (1, "")
    bad, good = json.loads(out)
    assert (bad["folder"], bad["ok"]) == (str(kept[0]), False)
    assert bad["said"].startswith("model_new.py: is not the text") and "was moved to" in bad["said"]
    assert good == {"folder": str(kept[1]), "ok": True, "said": "ok"}
    assert not kept[0].exists()
    assert project.run("cache", "verify", "--template", f"{tiny_folder}/") == (0, f"{kept[1]}: ok\n", "")
    code, out, _ = project.run("cache", "verify")
    assert code == 0 and f"{kept[1]}: not checked: its template tiny" in out


def test_cache_rm_takes_damaged_entries_by_their_folder(project, kept):
    (kept[0] / "record.json").unlink()
    (kept[0] / "record.json").mkdir()
    assert project.run("cache", "rm", kept[0].name) == (0, f"removed {kept[0]}\n", "")
    code, out, _ = project.run("cache", "rm", "tiny", kept[1].name, "--json")
    assert (code, json.loads(out)) == (0, [str(kept[1])])
    assert store.folders(project.cache) == []


def test_cache_rm_removes_nothing_when_a_name_is_wrong(project, kept):
    assert "'no_such' names no entry" in refused(project, "cache", "rm", "tiny", "no_such")


def test_cache_why_shows_damaged_entries(project, kept, monkeypatch):
    monkeypatch.setattr(resolve, "here", lambda *arguments: HERE)
    project.config.write_text(CONFIG + "init: [8]\nshapes: [[4, 8]]\n")
    (kept[0] / "model_new.py").write_text("import os\n")
    code, out, _ = project.run("cache", "why", "tiny.yaml")
    assert code == 1 and out.startswith("tiny 4x8-") and out.splitlines()[0].endswith(": miss")
    assert f"  {kept[0]}: model_new.py: is not the text" in out
    code, out, _ = project.run("cache", "why", "tiny.yaml", "--json")
    (row,) = json.loads(out)
    assert (code, row["hit"], row["entries"][0]["folder"]) == (1, False, str(kept[0]))
    assert project.run("cache", "rm", "tiny")[0] == 0
    assert project.run("cache", "why", "tiny.yaml")[1].splitlines()[1:] == ["  nothing is cached"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("cli"), CONFIG.replace("trials: 6", "trials: 1"))
    code, _, err = made.run("search", "tiny.yaml")
    assert code == 0, err
    return made


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_an_altered_entry_is_quarantined_and_never_executed(searched, tmp_path):
    entry = searched.entry()
    mark = tmp_path / "executed"
    (entry.folder / "model_new.py").write_text(f"open({str(mark)!r}, 'w')\n{entry.text}")
    code, _, err = searched.run("export", "tiny.yaml", "-o", "out.py", "--force")
    assert code == 2 and err.count("\n") == 1 and "was moved to" in err
    assert not mark.exists() and not (searched.root / "out.py").exists()
    assert list((searched.cache / ".quarantine").iterdir())
    code, _, err = searched.run("export", "tiny.yaml", "-o", "out.py", "--force")
    assert code == 2 and "run `tuner search` first" in err
    assert searched.run("search", "tiny.yaml")[0] == 0  # the control: it is found anew
    searched.entry()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_search_goes_on_over_a_damaged_entry_and_says_so(searched):
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
def mounted(folder: Path, size: str):
    """A small tmpfs, where this process may mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("may not mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_cache_that_cannot_be_written(project, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert "the cache cannot be written (Not a directory)" in refused(project, "search", "tiny.yaml")


def test_a_read_only_cache(project, monkeypatch, tmp_path):
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
def test_a_full_disk(project, monkeypatch, tmp_path, what, size):
    """The disk of the cache or of the builds: a line, no entry, and with room again the same command succeeds."""
    full = tmp_path / "full"
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


def test_a_refused_shape_is_said_before_the_first_search(project):
    config = CONFIG + "init: [8]\nshapes: [[4, 8], [4, 9]]\n"
    project.config.write_text(config)
    code, out, err = project.run("search", "tiny.yaml", "--json")
    assert (code, json.loads(out)) == (2, [])
    assert "tiny.yaml: shapes: " in err and "searching" not in err


@pytest.mark.slow
def test_what_was_found_before_a_fault_is_said_all_the_same(project):
    (project.root / "other.yaml").write_text(CONFIG + "shapes: [[4, 8, 8]]\n")
    code, out, err = project.run("search", "tiny.yaml", "other.yaml", "--json")
    assert code == 2 and "other.yaml: shapes: " in err
    (result,) = json.loads(out)
    assert result["stored"]


@pytest.mark.slow
def test_files_of_the_working_folder_shadow_no_module(project):
    for name in ("queue", "torch", "tuner"):
        (project.root / f"{name}.py").write_text("raise RuntimeError('mine')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuner", "search", "tiny.yaml", "--trials", "1"],
        cwd=project.root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_problem_that_ends_its_process_is_one_line(project):
    dies = PROBLEM.replace("def forward(self, x):", "def forward(self, x):\n        import os; os._exit(3)")
    assert dies != PROBLEM
    (project.root / "dies.py").write_text(dies)
    project.config.write_text(CONFIG + "problem: dies.py\ninit: [8]\nshapes: [[4, 8]]\n")
    code, _, err = project.run("search", "tiny.yaml")
    assert code == 2 and "tiny.yaml: shapes: the worker exited with code 3" in err and "Traceback" not in err
