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
