"""Where the project and its cache are."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.configs import CONFIGS

from tuner import settings
from tuner.errors import ConfigError
from tuner.settings import project


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git", "kernel_templates"])
def test_the_project_is_the_nearest_folder_with_a_mark(tmp_path: Path, mark: str) -> None:
    inner = tmp_path / "project" / "configs"
    inner.mkdir(parents=True)
    (tmp_path / "project" / mark).mkdir()
    assert settings.project_root(inner / "a.yaml") == tmp_path / "project"
    assert settings.cache_root(inner / "a.yaml") == tmp_path / "project" / "cache"


def test_the_variable_overrides_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "mine"))
    assert settings.cache_root(CONFIGS) == tmp_path / "mine"


def test_what_an_installed_wheel_carries_is_no_project() -> None:
    assert settings.project_root(Path(settings.__file__).parents[1] / "shipped" / "configs") is None


@pytest.mark.parametrize(
    ("xdg", "expected"),
    [("/xdg", "/xdg/tuner/cache"), ("relative", "/home/me/.cache/tuner/cache"), ("", "/home/me/.cache/tuner/cache")],
)
def test_outside_any_project_the_user_s_cache_is_used(monkeypatch: pytest.MonkeyPatch, xdg: str, expected: str) -> None:
    monkeypatch.setattr(project, "project_root", lambda start: None)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert settings.cache_root(Path("/somewhere")) == Path(expected)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Outside any project, with the user's cache in the folder that is returned."""
    monkeypatch.setattr(project, "project_root", lambda start: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "tuner"


def test_outside_any_project_templates_of_one_name_do_not_share_a_cache(nobody: Path, tmp_path: Path) -> None:
    one, other = (settings.cache_root(tmp_path, str(tmp_path / where / "mine")) for where in ("a", "b"))
    assert one != other
    assert {one.parent, other.parent} == {nobody / "cache-of-templates"}
    assert one.name.startswith("mine-")
    assert settings.cache_root(Path("/elsewhere"), str(tmp_path / "a" / "mine")) == one, "from wherever it is asked"
    assert settings.cache_root(tmp_path, "gn_mean") == nobody / "cache"


def test_every_cache_of_the_user_is_looked_after(nobody: Path, tmp_path: Path) -> None:
    assert settings.cache_roots(tmp_path) == [nobody / "cache"]
    own = settings.cache_root(tmp_path, str(tmp_path / "mine"))
    own.mkdir(parents=True)
    assert settings.cache_roots(tmp_path) == [nobody / "cache", own]


def test_a_project_has_one_cache_whatever_the_template(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert settings.cache_root(tmp_path, str(tmp_path / "mine")) == tmp_path / "cache"
    assert settings.cache_roots(tmp_path) == [tmp_path / "cache"]


def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r"^the working folder is not there any more"):
        settings.cache_root(Path("here"))
    assert settings.cache_root(CONFIGS) == CONFIGS.parent / "cache", "an absolute path needs none"
    monkeypatch.chdir(tmp_path)  # what undoes the first would go back there


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(project, "project_root", lambda start: None)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match=r"^no home folder is known for this user: set HOME, or TUNER_CACHE_DIR$"):
        settings.cache_root(Path("/somewhere"))


# ---- the project's own templates --------------------------------------------------------------------


def template(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "template.py").touch()
    return folder


def test_templates_of_the_project_are_known_by_name(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    mine, other = template(tmp_path / "kernels" / "mine"), template(tmp_path / "kernel_templates" / "other")
    template(tmp_path / "elsewhere" / "hidden")
    known = settings.template_folders(tmp_path / "configs")
    assert (known["mine"], known["other"]) == (mine, other)
    assert "gn_mean" in known and "hidden" not in known
    assert settings.folder_of("mine", tmp_path) == mine


def test_pyproject_names_the_folders(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.tuner]\ntemplates = ["elsewhere"]\n')
    found, hidden = template(tmp_path / "elsewhere" / "mine"), template(tmp_path / "kernels" / "hidden")
    assert settings.template_folders(tmp_path)["mine"] == found
    assert hidden.name not in settings.template_folders(tmp_path)


def test_one_of_the_name_of_a_shipped_one_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert settings.folder_of("gn_mean", template(tmp_path / "kernels" / "gn_mean")) == tmp_path / "kernels/gn_mean"


@pytest.mark.parametrize("text", ["[tool.tuner", "[tool]\ntuner = 3", "[tool.tuner]\ntemplates = 'kernels'"])
def test_a_pyproject_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pyproject\.toml: "):
        settings.template_folders(tmp_path)


def test_an_unknown_name_lists_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    template(tmp_path / "kernels" / "mine")
    with pytest.raises(ConfigError, match=r"'nope' is not one of .*gn_mean.*mine"):
        settings.folder_of("nope", tmp_path)


def test_outside_any_project_templates_beside_one_are_known(nobody: Path, tmp_path: Path) -> None:
    (tmp_path / "kernels" / "mine").mkdir(parents=True)
    (tmp_path / "kernels" / "mine" / "template.py").touch()
    assert settings.project_root(tmp_path) is None
    assert settings.template_folders(tmp_path)["mine"] == tmp_path / "kernels" / "mine"
