"""What a compile process reads from ptxas, and how it spares older PyTorch its implicit headers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils import cpp_extension

from tuner.execution import compiler

Headers = Callable[..., tuple[Path, str | None]]  # the fixture `headers`

PTXAS = """\
[1/2] /usr/local/cuda/bin/nvcc -O3 -Xptxas=-v -c cuda.cu -o cuda.cuda.o
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4foldPKfPfi' for 'sm_90'
ptxas info    : Function properties for _Z4foldPKfPfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_Z3sumPKfPfi' for 'sm_90'
ptxas info    : Function properties for _Z3sumPKfPfi
    16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 4096 bytes smem, 400 bytes cmem[0]
"""


def test_resources_are_the_largest_over_the_kernels() -> None:
    found = compiler.resources(PTXAS)
    assert found is not None
    assert (found.registers, found.shared_memory_bytes, found.spill_bytes) == (64, 4096, 32)


def test_a_kernel_without_shared_memory_or_spills_has_none() -> None:
    found = compiler.resources("ptxas info    : Used 18 registers, 400 bytes cmem[0]\n")
    assert found is not None
    assert (found.registers, found.shared_memory_bytes, found.spill_bytes) == (18, 0, 0)


@pytest.mark.parametrize("log", ["", "[1/2] c++ -O3 -c main.cpp\n", "ptxas info    : 0 bytes gmem\n"])
def test_a_log_without_kernels_has_no_resources(log: str) -> None:
    assert compiler.resources(log) is None


@pytest.mark.parametrize(
    "line",
    [
        "tiny/plain.cpp:12:5: error: 'n' was not declared in this scope",
        'kernel_templates/include/core/launch.cuh(17): error: identifier "oops" is undefined',
        "include/a.cuh(3): error #20: identifier is undefined",
        "tiny/plain.cpp:1:10: fatal error: nothing.hpp: No such file or directory",
        "cc1plus: fatal error: it broke",
        "ptxas error   : Entry function 'k' uses too much shared data",
        "/usr/bin/ld: main.o: in function `run': undefined reference to `missing'",
        "c++: error: unrecognized command-line option '-fx'",
    ],
)
def test_the_first_error_is_what_the_compiler_says(line: str) -> None:
    log = f"""\
[1/2] c++ -MMD -MF main.o.d -Werror=all -c error/main.cpp
FAILED: main.o
tiny/plain.cpp: In function 'int tuner_error(int)':
tiny/plain.cpp:3:1: warning: unused label
{line}
later.cpp:1:1: error: another
ninja: build stopped: subcommand failed.
RuntimeError: Error building extension 'plain'"""
    assert compiler.first_error(log) == line


@pytest.mark.parametrize(("log", "says"), [("", "no output"), ("a\nError: b\nc", "Error: b"), ("a\n b \n", "b")])
def test_without_a_compiler_s_error_any_is_taken(log: str, says: str) -> None:
    assert compiler.first_error(log) == says


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Headers:
    """Has the headers skipped for a `load_inline`, with a CPATH before; returns the folder and CPATH after."""

    def headers(load_inline: Callable[..., None], before: str = "") -> tuple[Path, str | None]:
        monkeypatch.setattr(cpp_extension, "load_inline", load_inline)
        monkeypatch.setenv("CPATH", before)
        if not before:
            monkeypatch.delenv("CPATH")
        compiler.skip_implicit_headers(tmp_path / "headers")
        return tmp_path / "headers", os.environ.get("CPATH")

    return headers


def test_where_headers_are_implicit_empty_ones_are_found_first(headers: Headers) -> None:
    folder, path = headers(lambda name, cpp_sources: None)
    made = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.h")}
    assert made == {"torch/extension.h": "", "torch/types.h": ""}
    assert path == str(folder)


def test_what_a_user_includes_stays_behind_the_empty_headers(headers: Headers) -> None:
    folder, path = headers(lambda name, cpp_sources: None, "/opt/include")
    assert path == f"{folder}{os.pathsep}/opt/include"


@pytest.mark.parametrize("before", [None, "/opt/include"])
def test_where_headers_can_be_left_out_nothing_is_done(headers: Headers, before: str | None) -> None:
    folder, path = headers(lambda name, cpp_sources, no_implicit_headers=False: None, before or "")
    assert not folder.exists() and path == before
