"""C sources of tests, built and called by the candidates' own runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tuner.template import render
from tuner.template.shared import inline_includes

C_TYPES = {torch.float32: "float", torch.float16: "half", torch.bfloat16: "bfloat16", torch.float64: "double"}
Launch = Callable[..., None]


def launcher(source: Path, dtype: torch.dtype = torch.float32) -> Launch:
    """`launch(symbol, *arguments)` of a source whose elements are of `dtype`; it is built at the first call."""
    names: dict[str, Any] = {}
    runtime = Path(render.__file__).with_name("candidate_runtime.py").read_text()
    exec("import ctypes, hashlib, inspect, math, os, tempfile\nimport torch\n" + runtime, names)
    kind = "cuda" if source.suffix == ".cu" else "cpu"
    text = f"#define TUNER_DTYPE {C_TYPES[dtype]}\n" + inline_includes(source)
    kernel = names["Kernel"](f"{source.stem}_{C_TYPES[dtype]}", None, kind, "", (), dtype, {}, text)
    launch: Launch = kernel.launch
    return launch
