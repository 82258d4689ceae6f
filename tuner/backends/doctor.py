"""What works on this machine, for `tuner doctor`."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

from tuner.backends import cpu, nvml, toolchain
from tuner.backends.cuda import gpu_count, torch_cuda
from tuner.errors import DeviceError

_ROOT = '#include <cmath>\nextern "C" double root(double x) { return std::sqrt(x); }\n'


@dataclass(frozen=True)
class Check:
    """One line of `tuner doctor`."""

    name: str
    ok: bool
    detail: str
    needed_for: str


def checks() -> list[Check]:
    """What works on this machine. Builds and calls one tiny kernel, and imports torch in a process of its own."""
    spec = importlib.util.find_spec("torch")
    torch_version = importlib.metadata.version("torch") if spec else ""
    built_with, toolkit, driver = torch_cuda(), toolchain.nvcc_version(), nvml.driver_version()
    same_major = built_with is not None and built_with.split(".")[0] == toolkit.split(".")[0]
    sanitizer = shutil.which("compute-sanitizer", path=toolchain.environment()["PATH"])
    gpus, command, ninja = gpu_count(), toolchain.compiler(), toolchain.ninja()
    compiler = f"{shlex.join(command) or 'not found'} ({toolchain.compiler_version()})"
    nvcc = f"{toolchain.nvcc() or 'not found; set CUDA_HOME'} ({toolkit})"
    return [
        Check("PyTorch", spec is not None, torch_version or "not installed", "everything"),
        Check("C++ compiler", bool(command), compiler, "the CPU"),
        _imports(),
        Check("ninja", ninja is not None, ninja or "not found; `pip install ninja`", "everything"),
        compiles(),
        Check("CPU", True, f"{cpu.model_name()}, {len(cpu.allowed())} cores", "the CPU"),
        Check("GPU", gpus > 0, f"{gpus} visible" if gpus else "none visible to the CUDA driver", "CUDA"),
        Check("NVIDIA driver", driver is not None, driver or "not found", "CUDA"),
        Check("nvcc", toolkit != toolchain.NONE, nvcc, "CUDA"),
        Check("PyTorch's CUDA", same_major, f"PyTorch {built_with or 'has none'}, nvcc {toolkit}", "CUDA"),
        Check("compute-sanitizer", sanitizer is not None, sanitizer or "not found", "the thorough check on CUDA"),
    ]


def compiles() -> Check:
    """Whether the C++ compiler builds a kernel that can be loaded and called."""
    name, needed_for = "a C++ kernel compiles", "the CPU"
    began = time.perf_counter()
    try:
        root = toolchain.build(_ROOT).root
    except DeviceError as error:
        return Check(name, False, str(error), needed_for)
    root.restype, root.argtypes = ctypes.c_double, [ctypes.c_double]
    seconds = time.perf_counter() - began
    if root(9.0) != 3.0:
        return Check(name, False, f"it gives {root(9.0)} for the square root of 9", needed_for)
    return Check(name, True, f"in {seconds:.2f} s", needed_for)


def _imports() -> Check:
    """PyTorch's part that compiles; before 2.3 or so it wants pkg_resources, which setuptools 82 no longer has."""
    command = [sys.executable, "-c", "import torch.utils.cpp_extension"]
    name, needed_for = "torch.utils.cpp_extension", "everything"
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, False, str(error), needed_for)
    if done.returncode == 0:
        return Check(name, True, "imports", needed_for)
    last = (done.stderr.strip().splitlines() or ["failed"])[-1]
    return Check(name, False, last + ("; pip install 'setuptools<82'" if "pkg_resources" in last else ""), needed_for)
