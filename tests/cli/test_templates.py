"""`tuner templates` and `tuner validate`."""

from __future__ import annotations

import json

from helpers.project import CONFIG, Project, refused


def test_a_knob_that_is_not_there_or_has_no_such_value(project: Project) -> None:
    for text, says in (
        ("knobs: {no_such: [1]}", "knobs: 'no_such' is not a knob of tiny"),
        ("knobs: {unroll: [3]}", "knobs.unroll: 3 is not one of"),
    ):
        project.config.write_text(CONFIG + text)
        assert says in refused(project, "validate", "tiny.yaml")


def test_validate_tells_the_faults_of_all_files(project: Project) -> None:
    (project.root / "bad.yaml").write_text("template: [")
    (project.root / "worse.yaml").write_text("template: no_such\n")
    code, out, err = project.run("validate", "bad.yaml", "tiny.yaml", "worse.yaml")
    assert (code, out) == (2, "tiny.yaml: ok (tiny)\n")
    first, second = err.splitlines()
    assert first.startswith("tuner: bad.yaml: line 1: ")
    assert second.startswith("tuner: worse.yaml: template: 'no_such' is not one of ")
    code, out, _ = project.run("validate", "bad.yaml", "tiny.yaml", "--json")
    assert (code, [one["config"] for one in json.loads(out)]) == (2, ["tiny.yaml"])


def test_search_tells_the_faults_of_all_files_before_it_begins(project: Project) -> None:
    (project.root / "bad.yaml").write_text("template: [")
    code, out, err = project.run("search", "bad.yaml", "tiny.yaml", "no_such.yaml")
    assert (code, out) == (2, "")
    assert [line.split(": ")[1] for line in err.splitlines()] == ["bad.yaml", "no_such.yaml"]


def test_templates_lists_variants_knobs_and_constraints(project: Project) -> None:
    code, out, _ = project.run("templates", "templates/tiny/")
    assert code == 0
    assert "tiny plain (cpu): one loop\n  32 points before constraints\n" in out
    assert "1 [2] 4 8" in out and "[0] 1" in out and "constraints: unroll<=C" in out
    assert "leaves to PyTorch" not in out
    code, out, _ = project.run("templates", "templates/tiny/", "--json")
    plain, gpu = json.loads(out)
    assert (code, plain["points"], gpu["device"]) == (0, 32, "cuda")
    assert plain["knobs"]["fast"] == {"choices": [False, True], "default": False, "doc": ""}


def test_validate_takes_a_folder_and_tells_all_its_faults(project: Project) -> None:
    code, out, _ = project.run("validate", "templates/tiny")
    assert (code, out) == (0, "templates/tiny: ok (tiny)\n")
    for name in ("problem.py", "model_new.py"):
        (project.template / name).write_text("x = (")
    code, out, err = project.run("validate", "templates/tiny", "tiny.yaml")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 4
    assert all(f"tiny/{name}:1: SyntaxError" in err for name in ("problem.py", "model_new.py"))


def test_templates_of_the_project_are_listed_and_known_by_name(project: Project) -> None:
    (project.root / "kernels").symlink_to("templates")
    code, out, _ = project.run("templates")
    assert code == 0 and "tiny plain (cpu): one loop" in out and "gn_mean fused_cpu" in out
    project.config.write_text(CONFIG.replace("templates/tiny/", "tiny"))
    assert project.run("validate", "tiny.yaml")[:2] == (0, "tiny.yaml: ok (tiny)\n")


def test_templates_names_what_a_variant_leaves_to_pytorch(project: Project) -> None:
    path = project.template / "template.py"
    path.write_text(path.read_text().replace('doc="one loop",', 'doc="one loop",\n        leaves=("gelu", "sum"),'))
    assert "  leaves to PyTorch: gelu, sum\n" in project.run("templates", "templates/tiny/")[1]
    plain, gpu = json.loads(project.run("templates", "templates/tiny/", "--json")[1])
    assert (plain["leaves"], gpu["leaves"]) == (["gelu", "sum"], [])


def test_a_variant_that_leaves_what_pytorch_does_not_have_is_refused(project: Project) -> None:
    path = project.template / "template.py"
    path.write_text(path.read_text().replace('doc="one loop",', 'leaves=("gelo",),'))
    assert "variant plain: leaves: PyTorch" in refused(project, "templates", "templates/tiny/")


def test_new_makes_a_folder_that_is_sound(project: Project) -> None:
    code, out, _ = project.run("new", "kernels/mine")
    assert code == 0 and "kernels/mine/template.py\n" in out
    assert out.endswith("next: tuner validate kernels/mine, then tuner search kernels/mine\n")
    assert project.run("validate", "kernels/mine")[:2] == (0, "kernels/mine: ok (mine)\n")
    assert "is there already" in refused(project, "new", "kernels/mine")
