"""What `tuner doctor` finds out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.backends import doctor, toolchain

Tool = Callable[..., Path]


def test_a_real_kernel_is_built_and_called(needs_compiler: None) -> None:
    checks = {check.name: check for check in doctor.checks()}
    assert checks["a C++ kernel compiles"].ok, checks["a C++ kernel compiles"].detail
    assert checks["PyTorch"].ok
    assert all(check.detail for check in checks.values())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "gpu_count", lambda: 0)
    monkeypatch.setattr(toolchain, "nvcc", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    checks = {check.name: check for check in doctor.checks()}
    assert not checks["a C++ kernel compiles"].ok
    assert not checks["GPU"].ok
    assert not checks["nvcc"].ok


def test_a_compiler_that_fails_is_a_failed_check(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tool("c++", script="echo 'cannot do' >&2; exit 1")))
    found = doctor.compiles()
    assert not found.ok and "cannot do" in found.detail


def test_a_compiler_that_builds_nothing_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", shutil.which("true") or "")
    found = doctor.compiles()
    assert not found.ok and "without a library" in found.detail


def test_a_compiler_whose_kernel_is_wrong_is_a_failed_check(
    needs_compiler: None, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("c++") or "g++"
    wrong = tool("c++", script=f'for last; do :; done\nsed -i "s/std::sqrt(x)/x/" "$last"\nexec {real} "$@"')
    monkeypatch.setenv("CXX", str(wrong))
    found = doctor.compiles()
    assert not found.ok and "9.0 for the square root of 9" in found.detail
