"""tuner: autotuning for GPU and CPU kernels written as templates with knobs.

Importing this package loads neither torch nor optuna; `tuner.kernels` loads
torch only when a kernel is first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_FROM_PYTHON = ("Kernel", "kernel", "tune", "verify")


def __getattr__(name: str) -> Any:
    if name not in _FROM_PYTHON:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(importlib.import_module("tuner.api"), name)
