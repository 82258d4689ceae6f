"""Tuned kernels by name: the right winners, lazily built, or a clear miss."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.cache import edit, only, without_case
from helpers.tiny import HERE, Put, changed, text_of

from tuner import kernels, settings, store
from tuner.backends import toolchain
from tuner.backends.cpu import Cpu
from tuner.errors import CacheError, ConfigError
from tuner.settings import project
from tuner.store.seal import sealed
from tuner.template import Template, Variant, render


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project cache, no shipped winners, and a device that never changes."""
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "shipped_cache", lambda: tmp_path / "shipped" / "cache")
    monkeypatch.setattr(Cpu, "environment", lambda backend: HERE)
    return tmp_path / "cache"


def load(folder: Path, **options: Any) -> Any:
    return kernels.load(str(folder), device="cpu", **options)


def module_of(model: Any) -> ModuleType:
    return sys.modules[model.__module__]


def test_the_winner_is_the_class_of_the_cached_bytes(root: Path, put: Put, tiny: Template, tiny_folder: Path) -> None:
    record = put(root)
    model = load(tiny_folder)
    assert model.__name__ == "ModelNew"
    assert [(k.knobs, k.shapes) for k in module_of(model).KERNELS] == [(record.point.knobs, ((4, 8),))]
    assert text_of(tiny, record).sha256[:16] in model.__module__


def test_nothing_is_compiled_until_the_first_use(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    assert [k.loaded for k in module_of(load(tiny_folder)).KERNELS] == [None]


def test_the_same_winners_are_loaded_once(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    assert load(tiny_folder) is load(tiny_folder)


def test_all_winners_of_the_device_go_into_one_class(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    put(root, shape=(16, 8))
    put(root, shape=(32, 8), device_name="Another CPU")
    put(root, shape=(64, 8), precision="ieee")
    assert {k.shapes for k in module_of(load(tiny_folder)).KERNELS} == {((4, 8),), ((16, 8),)}


def test_a_precision_is_chosen(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    put(root, precision="ieee", knobs={"unroll": 8})
    (kernel,) = module_of(load(tiny_folder, precision="ieee")).KERNELS
    assert kernel.knobs["unroll"] == 8


def test_constructor_arguments_are_chosen(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    put(root, shape=(4, 16))
    (kernel,) = module_of(load(tiny_folder, init=(16,))).KERNELS
    assert kernel.shapes == ((4, 16),)


def test_the_project_goes_before_what_was_shipped(root: Path, put: Put, tiny_folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "shipped" / "cache", knobs={"unroll": 1})
    assert module_of(load(tiny_folder)).KERNELS[0].knobs["unroll"] == 1
    put(root, knobs={"unroll": 8})
    assert [k.knobs["unroll"] for k in module_of(load(tiny_folder)).KERNELS] == [8]


def test_outside_a_project_what_was_searched_by_its_path_is_found_by_name(
    root: Path, put: Put, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "project_root", lambda start: None)
    monkeypatch.delenv("TUNER_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    mine = shutil.copytree(tiny_folder, tmp_path / "kernels" / "tiny")
    monkeypatch.chdir(tmp_path)
    put(settings.cache_root(mine, str(mine)))
    assert kernels.load("tiny", device="cpu").__name__ == "ModelNew"


def miss(folder: Path, **options: Any) -> str:
    with pytest.raises(CacheError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_miss_on_an_empty_cache_says_how_to_tune(root: Path, tiny_folder: Path) -> None:
    said = miss(tiny_folder)
    assert "no kernel tuned for Test CPU (cpu, precision match): nothing is cached for tiny" in said
    assert f"`tuner search {tiny_folder}`" in said


def test_a_miss_names_the_config_that_there_is(root: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_folder.parent.parent / "configs" / "tiny.yaml"
    config.parent.mkdir()
    config.touch()
    monkeypatch.chdir(tiny_folder.parent.parent)
    assert miss(tiny_folder).endswith("tune one with `tuner search configs/tiny.yaml`")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"driver": "580.1"}, "driver: cached 580.1, here none"),
        ({"toolkit": "gcc 13.1.0"}, "toolkit: cached gcc 13.1.0, here gcc 12.2.0"),
        ({"torch": "2.10.0"}, "torch: cached 2.10.0, here 2.9.1"),
        ({"device_name": "Another CPU"}, "device_name: cached Another CPU, here Test CPU"),
        ({"precision": "ieee"}, "precision: cached ieee, here match"),
        ({"confirmed": False}, "confirmed: cached no, for its search was interrupted"),
    ],
)
def test_a_miss_names_what_is_cached_and_the_field_that_differs(
    root: Path, put: Put, tiny_folder: Path, changed: dict[str, Any], said: str
) -> None:
    record = put(root, **changed)
    assert f"{record.workload.slug}: {said}" in miss(tiny_folder)


def test_a_winner_without_the_judge_s_evidence_is_a_miss(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    edit(only(root), without_case("own work"))
    assert "confirmed: cached yes, without the judge's evidence: no own work" in miss(tiny_folder)


def test_a_changed_template_is_a_miss(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root)
    with (tiny_folder / "plain.cpp").open("a") as file:
        file.write("// newer\n")
    assert "template_digest: cached" in miss(tiny_folder)
    assert len(store.entries(root)) == 1


@pytest.mark.parametrize("field", store.SOFTWARE)
def test_same_device_waives_driver_toolkit_and_pytorch(
    root: Path, put: Put, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    put(root, **{field: "1.2.3"})
    assert load(tiny_folder, accept="same_device")
    monkeypatch.setenv("TUNER_ACCEPT", "same_device")
    assert load(tiny_folder)


def test_same_device_waives_neither_the_device_nor_the_template(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root, device_name="Another CPU")
    miss(tiny_folder, accept="same_device")


def test_an_unknown_acceptance_is_refused(root: Path, tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="'all' is not exact or same_device"):
        load(tiny_folder, accept="all")


def test_an_unknown_precision_is_refused(root: Path, tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^precision: 'fast' is not one of match, ieee, tf32$"):
        load(tiny_folder, precision="fast")


def test_one_lookup_renders_each_digest_once(
    root: Path, put: Put, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shape in ((4, 8), (5, 8), (6, 8)):
        put(root, shape=shape)
    digest, asked = render.digest, []

    def counted(template: Template, variant: Variant, dtypes: tuple[str, ...]) -> str:
        asked.append(variant.name)
        return digest(template, variant, dtypes)

    monkeypatch.setattr(render, "digest", counted)
    load(tiny_folder)
    assert asked == ["plain"]


def test_an_altered_entry_is_never_executed(root: Path, put: Put, tiny_folder: Path) -> None:
    record = put(root)
    path = store.entries(root)[0].folder / "model_new.py"
    path.write_text(path.read_text() + "\nraise SystemExit('executed')\n")
    assert "quarantine" in miss(tiny_folder)
    assert "nothing is cached" in miss(tiny_folder)
    assert store.get(root, HERE.slug, "tiny", record.workload.slug) is None


def test_an_altered_pair_is_never_executed(root: Path, put: Put, tiny_folder: Path) -> None:
    record = put(root)
    folder = store.entries(root)[0].folder
    evil = (folder / "model_new.py").read_text() + "\nraise SystemExit('executed')\n"
    (folder / "model_new.py").write_text(evil)
    altered = changed(record, candidate_sha256=render.Candidate(evil).sha256)
    (folder / "record.json").write_bytes(sealed(altered))
    assert "is not what the template renders" in miss(tiny_folder)


def test_a_name_that_is_no_template_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"has no kernel 'nope'; there are .*gn_mean"):
        kernels.nope  # noqa: B018
    with pytest.raises(ImportError, match=r'no kernel .nope.; there are .*gn_mean.*; load\("./path/to/nope"\) takes'):
        from tuner.kernels import nope  # noqa: F401


def test_a_project_s_template_is_imported_by_name(
    root: Path, put: Put, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(tiny_folder, project / "kernels" / "tiny")
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(project)
    put(root)
    assert "tiny" in dir(kernels)
    from tuner.kernels import tiny

    assert tiny is load(tiny_folder)


def test_a_cached_model_is_unpickled_in_a_fresh_process(
    root: Path, put: Put, tiny_folder: Path, tmp_path: Path
) -> None:
    import torch

    put(root)
    model = load(tiny_folder)(8)
    model.weight.data.fill_(3.0)
    torch.save(model, tmp_path / "model.pt")
    code = (
        "import sys, torch\n"
        "model = torch.load(sys.argv[1], weights_only=False)\n"
        "print(model.__class__.__module__, float(model.weight.detach().sum()), model.name_in_graphs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.pt"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [model.__class__.__module__, "24.0", "0"]


def test_the_names_of_the_templates_are_listed() -> None:
    assert "gn_mean" in dir(kernels)


def test_a_shipped_template_is_imported_by_name(root: Path) -> None:
    with pytest.raises(CacheError, match="gn_mean: no kernel tuned for Test CPU"):
        from tuner.kernels import gn_mean  # noqa: F401


@pytest.mark.slow
def test_a_loaded_kernel_computes_and_takes_the_reference_s_parameters(
    root: Path, put: Put, tiny_folder: Path, needs_compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if toolchain.ninja() is None:
        pytest.skip("no ninja")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("PATH", toolchain.environment()["PATH"])
    put(root)
    put(root, shape=(16, 8))
    model_class = kernels.preload(str(tiny_folder), device="cpu")
    assert all(k.loaded for k in module_of(model_class).KERNELS)
    assert len(list((tmp_path / "extensions").glob("*/*.so"))) == 1, "one source, one binary"
    reference: dict[str, Any] = {}
    exec((tiny_folder / "problem.py").read_text(), reference)
    model, truth = model_class(8), reference["Model"](8)
    truth.weight.data.normal_()
    model.load_state_dict(truth.state_dict())
    for batch in (4, 16, 5):
        x = torch.rand(batch, 8)
        with torch.no_grad():
            assert torch.equal(model(x), truth(x))


def test_ninja_beside_this_python_is_made_findable(
    root: Path, put: Put, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when a script is run by the path of an environment's Python without activating it."""
    ninja = tmp_path / "venv" / "bin" / "ninja"
    ninja.parent.mkdir(parents=True)
    ninja.write_text("#!/bin/sh\n")
    ninja.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(ninja.parent / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    put(root)
    load(tiny_folder)
    assert shutil.which("ninja") == str(ninja)
