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
import time
from pathlib import Path
from typing import Any

from tuner.problem import execute
from tuner.records import Resources

_PTXAS_USED = re.compile(r"Used (\d+) registers")
_PTXAS_SMEM = re.compile(r"(\d+) bytes smem")
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


class Compiler:
    """Worker target: `compile` builds one candidate file."""

    def __init__(self, extensions_dir: str, capability: list[int] | None) -> None:
        os.environ["TORCH_EXTENSIONS_DIR"] = extensions_dir
        os.environ.setdefault("MAX_JOBS", "2")  # a candidate has two sources; the pool is what is parallel
        self.capability = tuple(capability) if capability else None
        _skip_implicit_headers(Path(extensions_dir, ".headers"))

    def compile(self, path: str) -> dict[str, Any]:
        """Build the candidate at `path`: seconds, and what was raised. The compiler's output goes to the log."""
        started = time.perf_counter()
        fault = ""
        try:
            execute(Path(path), "tuner_candidate").preload(self.capability, True)
        except BaseException as error:  # whatever the candidate's own code raises is this trial's outcome
            fault = f"{type(error).__name__}: {error}"
        sys.stdout.flush()
        return {"compile_s": time.perf_counter() - started, "fault": fault}


def _skip_implicit_headers(folder: Path) -> None:
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
