"""The device and the toolchain: what is there, its fingerprint, its measured ceilings.

torch is imported only by `environment` and `measure_ceilings`, which the worker calls.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import __version__
from tuner.errors import DeviceError
from tuner.records import Environment

NONE = "none"
CEILING_S = 0.3
NO_SPACE_BYTES = 2**20


# ---- what is there ----


def resolve(wanted: str) -> str:
    """The device to use for `auto`, `cuda`, `cuda:N` or `cpu`: "cpu" or "cuda:N".

    `auto` is the GPU where one can be compiled for, else the CPU. Raises DeviceError
    when what was asked for is not there.
    """
    if wanted == "cpu":
        return wanted
    missing = cuda_missing()
    if wanted == "auto":
        return "cpu" if missing else "cuda:0"
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", wanted)
    if match is None:
        raise DeviceError(f"device: {wanted!r} is not auto, cuda, cuda:N or cpu")
    if missing:
        raise DeviceError(f"device: {wanted} was asked for but {missing}; `tuner doctor` shows what works here")
    index = int(match[1] or 0)
    if index >= gpu_count():
        raise DeviceError(f"device: there is no {wanted}; this machine has {gpu_count()} GPU(s), counted from 0")
    return f"cuda:{index}"


def cuda_missing() -> str | None:
    """What keeps kernels from being built and run on a GPU, or None."""
    if gpu_count() == 0:
        return "no GPU is visible to the CUDA driver"
    if nvcc() is None:
        return "nvcc was not found (set CUDA_HOME)"
    if torch_cuda() is None:
        return "the installed PyTorch is a build without CUDA"
    return None


@functools.cache
def gpu_count() -> int:
    """GPUs that the CUDA driver shows to this process (CUDA_VISIBLE_DEVICES is honoured)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def bus_id(torch_device: str) -> str:
    """Which physical GPU a "cuda:N" of this process is: its PCI bus id; the name itself where no driver tells."""
    if gpu_count() > 0 and torch_device.startswith("cuda"):
        driver, device, name = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0), ctypes.create_string_buffer(32)
        index = int(torch_device.partition(":")[2] or 0)
        if driver.cuDeviceGet(ctypes.byref(device), index) == 0 and driver.cuDeviceGetPCIBusId(name, 32, device) == 0:
            return name.value.decode()
    return torch_device


def torch_cuda() -> str | None:
    """CUDA version that the installed PyTorch was built with, read without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version = Path(spec.origin).with_name("version.py")
    match = re.search(r"^cuda\b[^=]*=\s*['\"]([^'\"]+)", version.read_text(), re.MULTILINE)
    return match[1] if match else None


def nvcc() -> str | None:
    """Path of nvcc: in $CUDA_HOME, on PATH, or where NVIDIA's installer puts it."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found = (shutil.which("nvcc", path=os.path.join(home, "bin")) for home in homes)
    return next(filter(None, found), None) or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def compiler() -> str | None:
    """Path of the C++ compiler that PyTorch will call: $CXX, else c++."""
    # $CXX may carry arguments or a launcher ("ccache g++"); the first word must exist.
    return shutil.which((os.environ.get("CXX", "").split() or ["c++"])[0])


def need_toolchain() -> None:
    """Raise DeviceError unless kernels can be compiled here; nvcc, too, calls the C++ compiler."""
    if compiler() is None:
        named = os.environ.get("CXX")
        what = f"CXX names {named!r}, which is not there" if named else "no C++ compiler was found"
        raise DeviceError(f"{what}; install g++ or set CXX (`tuner doctor` shows what works here)")
    if ninja() is None:
        raise DeviceError("ninja was not found; `pip install ninja`")


def no_space(folder: Path) -> bool:
    """Whether so little is left there that this is what a failed write or build means."""
    return shutil.disk_usage(folder).free < NO_SPACE_BYTES


def ninja() -> str | None:
    """Path of ninja: beside this Python (where pip puts it) or on PATH."""
    return shutil.which("ninja", path=toolchain_environment()["PATH"])


def toolchain_environment() -> dict[str, str]:
    """Environment variables for processes that compile.

    torch calls `ninja` from PATH, where it is not when Python was started by its path
    without activating its virtual environment.
    """
    ahead = [os.path.dirname(sys.executable)]
    variables = dict(os.environ)
    found = nvcc()
    if found is not None:
        ahead.append(os.path.dirname(found))
        home = os.path.dirname(os.path.dirname(os.path.realpath(found)))
        if os.path.isfile(os.path.join(home, "include", "cuda_runtime.h")):  # nvcc may be a wrapper elsewhere
            variables.setdefault("CUDA_HOME", home)
    variables["PATH"] = os.pathsep.join([*ahead, variables.get("PATH", os.defpath)])
    return variables


# ---- fingerprint ----


def environment(device: str) -> Environment:
    """Where a measurement on `device` ("cuda", "cuda:N" or "cpu") is made. Imports torch."""
    import torch

    common: dict[str, Any] = {
        "torch": torch.__version__,
        "cudnn": str(torch.backends.cudnn.version() or NONE),
        "python": platform.python_version(),
        "tuner": __version__,
    }
    if device == "cpu":
        return Environment(
            device_kind="cpu",
            device_name=_plain(cpu_name()),
            capability=(0, 0),
            cores=cpu_cores(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            driver=NONE,
            toolkit=compiler_version(),
            **common,
        )
    properties = torch.cuda.get_device_properties(torch.device(device))
    return Environment(
        device_kind="cuda",
        device_name=_plain(properties.name),
        capability=(properties.major, properties.minor),
        cores=properties.multi_processor_count,
        memory_bytes=properties.total_memory,
        driver=driver_version(),
        toolkit=nvcc_version(),
        **common,
    )


def limits(environment: Environment) -> dict[str, Any]:
    """The device's part of `space.Facts`."""
    return {
        "device": environment.device_kind,
        "cores": environment.cores,
        "capability": environment.capability,
        "shared_memory_per_block": _shared_memory(environment.capability) if environment.device_kind == "cuda" else 0,
    }


def _shared_memory(capability: tuple[int, int]) -> int:
    """Bytes of shared memory that one block may opt in to.

    A table (CUDA C++ Programming Guide, technical specifications per compute capability), so
    that the limits follow from an environment read back from a record. A capability that it
    does not know gets 99 KiB, the least of all since 8.0.
    """
    kib = {(7, 0): 96, (7, 2): 96, (7, 5): 64, (8, 0): 163, (8, 7): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227}
    return kib.get(capability, 99) * 1024


def _plain(name: str) -> str:
    """A device's name with nothing in it that could mean something in a path or in Python text."""
    return " ".join(re.sub(r"[^A-Za-z0-9 ()@.,:+_-]", " ", name).split()) or "unknown"


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


def cpu_cores() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def nvcc_version() -> str:
    found = nvcc()
    match = re.search(r"\bV(\d+\.\d+\.\d+)", _output([found, "--version"])) if found else None
    return match[1] if match else NONE


@functools.cache
def compiler_version() -> str:
    """Family and version of the C++ compiler, e.g. "gcc 12.2.0"."""
    found = compiler()
    if found is None:
        return NONE
    banner = _output([found, "--version"])
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)", re.sub(r"\([^)]*\)", "", banner))
    return f"{'clang' if 'clang' in banner else 'gcc'} {match[1] if match else 'unknown'}"


def driver_version() -> str:
    """Version of the NVIDIA driver; from the kernel module's file where it shows, as nvidia-smi is slow."""
    for path, pattern in (
        ("/sys/module/nvidia/version", r"([\d.]+)"),
        ("/proc/driver/nvidia/version", r"Kernel Module.*?\s(\d+\.[\d.]+)"),
    ):
        if os.path.exists(path):
            match = re.search(pattern, Path(path).read_text())
            if match:
                return match[1]
    smi = shutil.which("nvidia-smi")
    lines = _output([smi, "--query-gpu=driver_version", "--format=csv,noheader"]).split() if smi else []
    return lines[0] if lines else NONE


def _output(command: list[str]) -> str:
    """What a tool prints, "" when it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


# ---- doctor ----


@dataclass(frozen=True)
class Check:
    """One line of `tuner doctor`."""

    name: str
    ok: bool
    detail: str
    needed_for: str


def doctor() -> list[Check]:
    """What works on this machine. Compiles one tiny file for real, and imports torch in a process of its own."""
    spec = importlib.util.find_spec("torch")
    torch_version = importlib.metadata.version("torch") if spec else ""
    built_with, toolkit = torch_cuda(), nvcc_version()
    same_major = built_with is not None and built_with.split(".")[0] == toolkit.split(".")[0]
    sanitizer = shutil.which("compute-sanitizer", path=toolchain_environment()["PATH"])
    gpus = gpu_count()
    return [
        Check("PyTorch", spec is not None, torch_version or "not installed", "everything"),
        Check("C++ compiler", compiler() is not None, f"{compiler() or 'not found'} ({compiler_version()})", "the CPU"),
        _try_importing(),
        Check("ninja", ninja() is not None, ninja() or "not found; `pip install ninja`", "everything"),
        _try_compiling(),
        Check("CPU", True, f"{cpu_name()}, {cpu_cores()} cores", "the CPU"),
        Check("GPU", gpus > 0, f"{gpus} visible" if gpus else "none visible to the CUDA driver", "CUDA"),
        Check("NVIDIA driver", driver_version() != NONE, driver_version(), "CUDA"),
        Check("nvcc", toolkit != NONE, f"{nvcc() or 'not found; set CUDA_HOME'} ({toolkit})", "CUDA"),
        Check("PyTorch's CUDA", same_major, f"PyTorch {built_with or 'has none'}, nvcc {toolkit}", "CUDA"),
        Check("compute-sanitizer", sanitizer is not None, sanitizer or "not found", "the thorough check on CUDA"),
    ]


def _try_importing() -> Check:
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


def _try_compiling() -> Check:
    name, needed_for = "a C++ kernel compiles", "the CPU"
    found = compiler()
    if found is None:
        return Check(name, False, "no compiler", needed_for)
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "tiny.cpp"), Path(folder, "tiny.so")
        source.write_text('#include <cmath>\nextern "C" double root(double x) { return std::sqrt(x); }\n')
        began = time.perf_counter()
        command = [found, "-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check(name, False, str(error), needed_for)
        if done.returncode != 0:
            return Check(name, False, (done.stderr.strip().splitlines() or ["failed"])[0], needed_for)
        return Check(name, True, f"in {time.perf_counter() - began:.2f} s", needed_for)


# ---- ceilings ----


def measure_ceilings(device: str) -> dict[str, float]:
    """What the device can do, measured now in about two seconds: the base of a record's floor.

    Units are in the names; a copy's bandwidth counts what is read and what is written.
    """
    return _cuda_ceilings(device) if device.startswith("cuda") else _cpu_ceilings()


def _cuda_ceilings(device: str) -> dict[str, float]:
    import torch

    with torch.no_grad(), torch.cuda.device(device):
        return {**_cuda_bandwidths(), **_cuda_rates()}


def _cuda_bandwidths() -> dict[str, float]:
    import torch

    x = torch.ones(2**28, device="cuda")  # 1 GiB, far beyond any L2
    y = torch.empty_like(x)
    gigabytes = x.numel() * 4 / 1e9
    return {
        "read_gbps": gigabytes / _best_ms(lambda: x.sum()) * 1e3,
        "copy_gbps": 2 * gigabytes / _best_ms(lambda: y.copy_(x)) * 1e3,
    }


def _cuda_rates() -> dict[str, float]:
    import torch

    n, rates = 8192, {}
    a = torch.randn(n, n, device="cuda")
    allowed = torch.backends.cuda.matmul.allow_tf32
    for name, tf32, dtype in (
        ("fp32_tflops", False, torch.float32),
        ("tf32_tflops", True, torch.float32),
        ("bf16_tflops", False, torch.bfloat16),
    ):
        b = a.to(dtype)
        out = torch.empty_like(b)
        product = functools.partial(torch.mm, b, b, out=out)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            rates[name] = 2 * n**3 / _best_ms(product) / 1e9
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed
    return rates


def _best_ms(call: Callable[[], object]) -> float:
    """Best time of `call` on the current CUDA device within CEILING_S, in which an idle device reaches its clocks."""
    import torch

    best, until = math.inf, time.monotonic() + CEILING_S
    while time.monotonic() < until or best == math.inf:
        start: Any = torch.cuda.Event(enable_timing=True)
        end: Any = torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end))
    return best


# Twelve independent multiply-adds hide the latency of two units; a vector is as wide as a register.
_FMA_SOURCE = """
#ifdef __AVX512F__
typedef float Vector __attribute__((vector_size(64)));
#else
typedef float Vector __attribute__((vector_size(32)));
#endif
extern "C" long long multiply_add(long long rounds, float* out) {
  Vector sums[12], factor = {}, term = {};
  factor += out[0], term += out[1];
  for (auto& sum : sums) sum = term;
  for (long long i = 0; i < rounds; i++) {
    for (auto& sum : sums) sum = sum * factor + term;
  }
  Vector total = {};
  for (auto& sum : sums) total += sum;
  out[0] = total[0];
  return rounds * 12 * 2 * (long long)(sizeof(Vector) / sizeof(float));  // operations
}
"""


def _cpu_ceilings() -> dict[str, float]:
    import torch

    def best_s(call: Callable[[], object]) -> float:
        """The best of many short runs: it fell between what other processes do."""
        call()
        times = []
        for _ in range(30):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return min(times)

    with torch.no_grad():
        x = torch.ones(2**25)  # 128 MiB
        y = torch.empty_like(x)
        gigabytes = x.numel() * 4 / 1e9
        read = gigabytes / best_s(lambda: x.sum())
        copy = 2 * gigabytes / best_s(lambda: y.copy_(x))
    return {"read_gbps": read, "copy_gbps": copy, "fp32_tflops": _fma_tflops(best_s)}


def _fma_tflops(best_s: Callable[[Callable[[], object]], float]) -> float:
    """Rate of a loop of nothing but vector multiply-adds on all cores; libraries' products may stay far below it."""
    rounds, threads = 300_000, cpu_cores()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        source, library = Path(folder, "fma.cpp"), Path(folder, "fma.so")
        source.write_text(_FMA_SOURCE)
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-funroll-loops", "-shared", "-fPIC"]
        command = [compiler() or "c++", *flags, "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
            raise DeviceError(f"the C++ compiler {command[0]} failed: {said}; `tuner doctor` shows what works here")
        call = ctypes.CDLL(str(library)).multiply_add
        call.restype, call.argtypes = ctypes.c_longlong, [ctypes.c_longlong, ctypes.c_void_p]

        def on_all_cores() -> int:
            def one(_: int) -> int:
                out = (ctypes.c_float * 2)(0.5, 0.5)
                operations: int = call(rounds, ctypes.addressof(out))
                return operations

            return sum(pool.map(one, range(threads)))

        operations = on_all_cores()
        return operations / best_s(on_all_cores) / 1e12
