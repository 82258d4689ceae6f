"""Compilers and what they build, real where they are there and simulated where not."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.backends import toolchain
from tuner.errors import DeviceError

Tool = Callable[..., Path]
ANSWER = 'extern "C" int answer() { return 42; }\n'


def test_nvcc_of_cuda_home_goes_before_the_one_on_path(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = tool("nvcc", folder="cuda/bin"), tool("nvcc", folder="bin")
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.setenv("CUDA_HOME", str(home.parent.parent))
    assert toolchain.nvcc() == str(home)
    monkeypatch.delenv("CUDA_HOME")
    assert toolchain.nvcc() == str(path)


def test_nvcc_s_version_is_read(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tool("nvcc", "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0")
    monkeypatch.setattr(toolchain, "nvcc", lambda: str(path))
    assert toolchain.nvcc_version() == "13.0.88"


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright", "gcc 12.2.0"),
        ("g++ (GCC) 13.2.1 20231011 (Red Hat 13.2.1-4)", "gcc 13.2.1"),
        ("Ubuntu clang version 15.0.7\nTarget: x86_64", "clang 15.0.7"),
        ("Apple clang version 15.0.0 (clang-1500.3.9.4)", "clang 15.0.0"),
    ],
)
def test_the_compiler_s_version_is_read(tool: Tool, monkeypatch: pytest.MonkeyPatch, banner: str, version: str) -> None:
    monkeypatch.setenv("CXX", str(tool("c++", banner)))
    assert toolchain.compiler_version() == version


def test_all_words_of_cxx_are_the_command(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tool("my c++")
    monkeypatch.setenv("CXX", f"'{path}' -m64")
    assert toolchain.compiler() == [str(path), "-m64"]


def test_a_launcher_passes_on_the_compiler_s_version(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ccache does, which has a version of its own."""
    compiler = tool("g++", "g++ (GCC) 13.2.1 20231011")
    launcher = tool("ccache", script='[ "$1" = --version ] && echo "ccache version 4.9.1" || exec "$@"')
    monkeypatch.setenv("CXX", f"{launcher} {compiler}")
    assert toolchain.compiler_version() == "gcc 13.2.1"


@pytest.mark.parametrize("cxx", ["no-such-compiler -O3", "'c++"])
def test_a_cxx_that_is_no_program_is_said(monkeypatch: pytest.MonkeyPatch, cxx: str) -> None:
    monkeypatch.setenv("CXX", cxx)
    assert toolchain.compiler() == []
    with pytest.raises(DeviceError, match=r"CXX names .* which is not there"):
        toolchain.need_toolchain()


def test_no_compiler_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert toolchain.compiler() == []
    assert toolchain.compiler_version() == toolchain.NONE
    with pytest.raises(DeviceError, match=r"no C\+\+ compiler was found; install g\+\+ or set CXX"):
        toolchain.build(ANSWER)


def test_ninja_is_found_beside_this_python(tool: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ninja = tool("ninja", folder="venv/bin")
    monkeypatch.setattr(sys, "executable", str(ninja.parent / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.environment()["PATH"].split(os.pathsep)[0] == str(ninja.parent)
    assert toolchain.ninja() == str(ninja)
    assert os.environ["PATH"] == str(tmp_path), "the variables of this process stay as they are"


def test_cuda_home_is_set_only_to_a_real_toolkit(tool: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrapper = tool("nvcc", folder="local/bin")
    monkeypatch.setattr(toolchain, "nvcc", lambda: str(wrapper))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert "CUDA_HOME" not in toolchain.environment()
    header = tmp_path / "local" / "include" / "cuda_runtime.h"
    header.parent.mkdir()
    header.touch()
    assert toolchain.environment()["CUDA_HOME"] == str(tmp_path / "local")


def test_what_is_built_is_loaded(needs_compiler: None) -> None:
    assert toolchain.build(ANSWER).answer() == 42


def test_a_launcher_builds(needs_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"env {shutil.which('c++') or 'g++'}")
    assert toolchain.build(ANSWER).answer() == 42


def test_a_command_of_several_words_is_one_program_for_pytorch(
    needs_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CXX", f"env {shutil.which('c++') or 'g++'}")
    program = toolchain.environment()["CXX"]
    assert toolchain.environment()["CXX"] == program
    version = toolchain.compiler_version()
    toolchain.compiler_version.cache_clear()
    monkeypatch.setenv("CXX", program)
    assert toolchain.compiler() == [program]
    assert toolchain.compiler_version() == version
    assert toolchain.build(ANSWER).answer() == 42


def test_a_program_of_another_user_s_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"tuner-compilers-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CXX", "env c++")
    with pytest.raises(DeviceError, match="is not this user's own folder"):
        toolchain.environment()


def test_this_process_itself_is_made_to_find_ninja(tool: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ninja = tool("ninja", folder="venv/bin")
    monkeypatch.setattr(sys, "executable", str(ninja.parent / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    toolchain.use_here()
    assert shutil.which("ninja") == str(ninja)


def test_this_process_itself_is_made_to_find_the_compiler(
    needs_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CXX", f"env {shutil.which('c++') or 'g++'}")
    toolchain.use_here()
    assert toolchain.compiler() == [os.environ["CXX"]]
    assert toolchain.build(ANSWER).answer() == 42


def test_this_process_stays_as_it_is_where_the_tools_are_found(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tool("ninja").parent)
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("CXX", "c++")
    toolchain.use_here()
    assert (os.environ["PATH"], os.environ["CXX"]) == (path, "c++")


def test_a_cxx_of_one_word_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++")
    assert toolchain.environment()["CXX"] == "c++"


def test_a_compiler_that_fails_is_quoted(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tool("c++", script="echo 'cannot do' >&2; exit 1")))
    with pytest.raises(DeviceError, match=r"the C\+\+ compiler .*c\+\+ failed: cannot do; `tuner doctor` shows"):
        toolchain.build(ANSWER)


def test_a_compiler_that_builds_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", shutil.which("true") or "")
    with pytest.raises(DeviceError, match="true ended without an error, and without a library"):
        toolchain.need_toolchain()


def test_a_library_that_cannot_be_loaded_is_said(
    needs_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As one in a folder that is mounted noexec."""

    def refuse(path: str) -> None:
        raise OSError(f"{path}: failed to map segment from shared object: Operation not permitted")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(
        DeviceError, match=r"cannot be loaded .*Operation not permitted.* set TMPDIR .* noexec"
    ) as fault:
        toolchain.build(ANSWER)
    assert "\n" not in str(fault.value)
