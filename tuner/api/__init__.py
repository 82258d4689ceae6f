"""Kernels from Python, `tuner.kernel`, `tuner.tune` and `tuner.verify`: by the same search, suite and cache."""

from tuner.api.kernel import Kernel, kernel
from tuner.api.result import Result, tune
from tuner.api.verify import Verdict, verify

__all__ = ["Kernel", "Result", "Verdict", "kernel", "tune", "verify"]
