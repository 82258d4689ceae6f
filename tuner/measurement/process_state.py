"""What a candidate may have changed in the process that measures it.

The functions that measuring and judging rest on are recorded when this module is
imported, before any candidate is loaded.
"""

from __future__ import annotations

import sys
import time
import types
from typing import Any

import torch

from tuner.measurement.statistics import Untrusted

_NAMES = (
    "time.perf_counter", "torch.cuda.Event", "torch.cuda.Event.record", "torch.cuda.Event.synchronize",
    "torch.cuda.Event.elapsed_time", "torch.cuda.synchronize", "torch.cuda._sleep", "torch.cuda.current_stream",
    "torch.equal", "torch.allclose", "torch.full", "torch.mul", "torch.where",
    *(f"torch.Tensor.{name}" for name in
      ("abs", "all", "any", "clone", "copy_", "double", "fill_", "isfinite", "isinf", "isnan", "item", "max", "view",
       "zero_", "__eq__", "__getitem__", "__sub__")),
)  # fmt: skip


_METHODS = (types.FunctionType, classmethod, staticmethod, property)


def _find(name: str) -> Any:
    found: Any = {"time": time, "torch": torch}
    for part in name.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found


_ORIGINAL = {name: _find(name) for name in _NAMES}
_STANDARD = {
    "builtins", "ctypes", "hashlib", "io", "json", "json.encoder", "math", "os", "pathlib", "pickle", "random",
    "statistics", "struct", "sys", "tempfile", "time",
}  # fmt: skip
_sealed: dict[str, tuple[Any, Any]] = {}


def seal() -> None:
    """Record the functions of this package's modules, and of those of the standard library that they call."""
    _sealed.update(_functions())


def tampered() -> str | None:
    """The name of the first function that measuring rests on and that was replaced, or None."""
    replaced = next((name for name, original in _ORIGINAL.items() if _find(name) != original), None)
    if replaced is not None or not _sealed:
        return replaced
    now = _functions()
    return next((name for name, was in _sealed.items() if now.get(name) != was), None)


def _functions() -> dict[str, tuple[Any, Any]]:
    """Every function and class of the modules, and their classes' methods: the object and its code."""
    found = {}
    modules = [(n, m) for n, m in list(sys.modules.items()) if n in _STANDARD or n.partition(".")[0] == "tuner"]
    for module_name, module in modules:
        for name, value in list(vars(module).items()):
            if not callable(value):
                continue
            found[f"{module_name}.{name}"] = value, getattr(value, "__code__", None)
            if isinstance(value, type) and value.__module__ == module_name and module_name not in _STANDARD:
                for attribute, method in list(vars(value).items()):
                    if isinstance(method, _METHODS):
                        inner = getattr(method, "__func__", getattr(method, "fget", method))
                        found[f"{module_name}.{name}.{attribute}"] = method, getattr(inner, "__code__", None)
    return found


def check_untampered() -> None:
    """Raise Untrusted when a function that measuring rests on was replaced."""
    name = tampered()
    if name is not None:
        raise Untrusted(f"the candidate replaced {name}")


def switches() -> dict[str, Any]:
    """PyTorch's settings of the whole process that change what a later call computes, or how fast, by name."""
    tf32 = {}
    for name, owner in (("cuda.matmul", torch.backends.cuda.matmul), ("cudnn", torch.backends.cudnn)):
        try:
            tf32[f"torch.backends.{name}.allow_tf32"] = owner.allow_tf32
        except RuntimeError:  # PyTorch 2.9 and later: set by the newer `fp32_precision`
            tf32[f"torch.backends.{name}.allow_tf32"] = None
    return {
        **tf32,
        "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
        "torch.backends.cudnn.deterministic": torch.backends.cudnn.deterministic,
        "torch.use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch.set_num_threads": torch.get_num_threads(),
        "torch.set_default_dtype": torch.get_default_dtype(),
        "torch.set_grad_enabled": torch.is_grad_enabled(),
        "torch.set_flush_denormal": (torch.full((1,), 1e-40) * 1).item(),
    }


def switched(before: dict[str, Any]) -> str | None:
    """The name of the first setting that is not as `before`, or None."""
    return next((name for name, value in switches().items() if before[name] != value), None)
