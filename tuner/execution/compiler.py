"""Compiling a candidate: what runs in the processes of the compile pool.

The candidate builds itself, by its own `preload`, so what is compiled for a
trial is compiled exactly as it will be for a user. The library it leaves in
TORCH_EXTENSIONS_DIR is found again by content hash when the measuring worker
loads the same file.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tuner import backends
from tuner.errors import words_of
from tuner.problem import execute
from tuner.records import Resources
from tuner.workers.protocol import Opening, Report, Request

_PTXAS_USED = re.compile(r"Used (\d+) registers")
_PTXAS_SMEM = re.compile(r"(\d+) bytes smem")
# g++: `file:1:2: error: ...`; nvcc: `file(1): error: ...`, also with a number; ptxas: `ptxas error : ...`; the linker.
_COMPILER_SAYS = re.compile(
    r"^\S.*?[:)]\s+(?:fatal |catastrophic )?error\b[^:]*: |^ptxas (?:fatal|error)\s*:|: undefined reference to "
)
_PTXAS_SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


def resources(log: str) -> Resources | None:
    """Registers, static shared memory and spills from `ptxas -v`, the largest over the kernels."""
    registers = [int(m) for m in _PTXAS_USED.findall(log)]
    if not registers:
        return None
    return Resources(
        registers=max(registers),
        shared_memory_bytes=max((int(m) for m in _PTXAS_SMEM.findall(log)), default=0),
        spill_bytes=max((int(a) + int(b) for a, b in _PTXAS_SPILL.findall(log)), default=0),
    )


def first_error(log: str) -> str:
    """The first line of a compiler's or linker's output that says what is wrong, for a detail of one line.

    Compilers begin theirs with file and line, and the name of a file is one of the template's own (`#line`).
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next(filter(_COMPILER_SAYS.search, lines), None)
    return (said or next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no output"))[
        :500
    ]


@dataclass(frozen=True)
class Built:
    """What became of a build; `fault` is what was raised, "" when nothing was."""

    compile_s: float
    fault: str


class Compiler:
    """A service: `compile` builds one candidate file, on the cores that go with `device`."""

    def __init__(self, device: str) -> None:
        os.environ.setdefault("MAX_JOBS", "2")  # a candidate has two sources; the pool is what is parallel
        backends.of(device).keep_to_cores()
        skip_implicit_headers(Path(tempfile.gettempdir()) / "no-headers")

    def compile(self, path: Path, extensions: Path, capability: tuple[int, int] | None) -> Built:
        """Build the candidate at `path` into `extensions`, for this compute capability: seconds, and what was raised.

        The compiler's output goes to the log.
        """
        os.environ["TORCH_EXTENSIONS_DIR"] = str(extensions)
        started = time.perf_counter()
        fault = ""
        try:
            execute(path, "tuner_candidate").preload(capability, True)
        except BaseException as error:  # whatever the candidate's own code raises is this trial's outcome
            fault = f"{type(error).__name__}: {words_of(error)}"
        sys.stdout.flush()
        return Built(time.perf_counter() - started, fault)


@dataclass(frozen=True)
class OpenCompiler(Opening[Compiler]):
    device: str

    def open(self, report: Report) -> Compiler:
        return Compiler(self.device)


@dataclass(frozen=True)
class Compile(Request[Compiler, Built]):
    path: Path
    extensions: Path
    capability: tuple[int, int] | None

    def run(self, service: Compiler) -> Built:
        return service.compile(self.path, self.extensions, self.capability)


def skip_implicit_headers(folder: Path) -> None:
    """Before PyTorch 2.8 `load_inline` includes PyTorch's headers in every source: 14 seconds a compile.

    Sources of candidates use nothing of them; empty ones of these names are found first.
    """
    from torch.utils import cpp_extension

    if "no_implicit_headers" in inspect.signature(cpp_extension.load_inline).parameters:
        return
    (folder / "torch").mkdir(parents=True, exist_ok=True)
    for name in ("extension.h", "types.h"):
        (folder / "torch" / name).touch()
    os.environ["CPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("CPATH"))))
