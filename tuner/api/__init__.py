"""Kernels from Python: `tuner.kernel(...)` and `tuner.tune(...)`, by the same search, suite and cache."""

from tuner.api.kernel import Kernel, kernel
from tuner.api.result import Result, tune

__all__ = ["Kernel", "Result", "kernel", "tune"]
