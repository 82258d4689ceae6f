"""NVIDIA GPUs: CUDA kernels, events on the stream."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.backends import nvml, toolchain
from tuner.backends.base import Backend, Clock, Reading, common_environment, plain
from tuner.records import Environment

if TYPE_CHECKING:
    import torch

DELAY_CYCLES = 1_000_000
MOST_COMPILERS = 16


class Cuda(Backend):
    kind = "cuda"
    name = "GPU"
    numbered = True
    part = re.compile("[0-9]{1,3}")
    cores_name = "SMs"
    toolkit_name = "CUDA toolkit"
    has_driver = True
    compiles_beside_measuring = True
    one_search = True
    fresh_benches = False
    small_cases = False
    proof_share = 1.0
    steady_ceilings = True
    cache_bytes = 0  # the clock flushes them
    sanitizers = ("memcheck", "racecheck")

    @property
    def index(self) -> int:
        return int(self.torch_device.partition(":")[2] or 0)

    def missing(self) -> str | None:
        if gpu_count() == 0:
            return "no GPU is visible to the CUDA driver"
        if toolchain.nvcc() is None:
            return "nvcc was not found (set CUDA_HOME)"
        if torch_cuda() is None:
            return "the installed PyTorch is a build without CUDA"
        return None

    def count(self) -> int:
        return gpu_count()

    def absent(self) -> str:
        return "" if self.index < self.count() else f"{self.count()} GPU(s), counted from 0"

    def physical_id(self) -> str:
        """The PCI bus id; the name for torch where no driver tells."""
        if gpu_count() > 0:
            driver, device, name = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0), ctypes.create_string_buffer(32)
            found = driver.cuDeviceGet(ctypes.byref(device), self.index) == 0
            if found and driver.cuDeviceGetPCIBusId(name, 32, device) == 0:
                return name.value.decode()
        return self.torch_device

    def environment(self) -> Environment:
        import torch

        properties = torch.cuda.get_device_properties(torch.device(self.torch_device))
        return Environment(
            device_kind="cuda",
            device_name=plain(properties.name),
            capability=(properties.major, properties.minor),
            cores=properties.multi_processor_count,
            memory_bytes=properties.total_memory,
            driver=nvml.driver_version() or toolchain.NONE,
            toolkit=toolchain.nvcc_version(),
            **common_environment(),
        )

    def limits(self, environment: Environment) -> dict[str, Any]:
        return {
            "device": "cuda",
            "cores": environment.cores,
            "capability": environment.capability,
            "shared_memory_per_block": shared_memory_per_block(environment.capability),
        }

    def target(self, environment: Environment) -> tuple[int, int]:
        return environment.capability

    def memory_bytes(self) -> int:
        import torch

        return int(torch.cuda.get_device_properties(torch.device(self.torch_device)).total_memory)

    def free_bytes(self) -> int:
        import torch

        return int(torch.cuda.mem_get_info(torch.device(self.torch_device))[0])

    def compile_processes(self) -> int:
        return max(1, min(MOST_COMPILERS, (os.cpu_count() or 2) - 1))

    def busy(self) -> float:
        utilisation = nvml.utilisation(self.physical_id())
        return math.nan if utilisation is None else utilisation

    def reading(self) -> Reading | None:
        return nvml.reading(self.physical_id())

    def load(self) -> dict[str, str]:
        return {}

    def ceilings(self) -> dict[str, float]:
        from tuner.backends import ceilings_cuda

        return ceilings_cuda.measure(self.torch_device)

    def select(self) -> None:
        import torch

        torch.cuda.set_device(torch.device(self.torch_device))

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def delay(self) -> None:
        import torch

        torch.cuda._sleep(DELAY_CYCLES)

    def release_memory(self) -> None:
        import torch

        torch.cuda.empty_cache()

    def is_healthy(self) -> bool:
        import torch

        try:
            torch.cuda.synchronize()
            return bool((torch.ones(8, device=self.torch_device) == 1).all())
        except RuntimeError:
            return False

    def share_memory(self, x: torch.Tensor) -> str:
        from tuner.backends import cuda_ipc

        try:
            memory = cuda_ipc.share(x)
        except cuda_ipc.IpcError:
            return ""
        return f"{memory.offset}:{memory.handle.hex()}"

    def lendable(self, size: int) -> torch.Tensor | None:
        from tuner.backends import cuda_ipc

        try:
            return cuda_ipc.allocated(size, self.torch_device)
        except cuda_ipc.IpcError:
            return None

    def copy_of_shared(self, shared: str, size: int) -> torch.Tensor:
        from tuner.backends import cuda_ipc

        offset, _, handle = shared.partition(":")
        try:
            memory = cuda_ipc.SharedMemory(bytes.fromhex(handle), int(offset))
        except ValueError:
            raise RuntimeError("no handle of shared memory") from None
        return cuda_ipc.copy_of(memory, size, self.torch_device)

    def clock(self) -> Clock:
        from tuner.backends.cuda_clock import EventClock

        return EventClock(self.torch_device)


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


def torch_cuda() -> str | None:
    """CUDA version that the installed PyTorch was built with, read without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version = Path(spec.origin).with_name("version.py")
    match = re.search(r"^cuda\b[^=]*=\s*['\"]([^'\"]+)", version.read_text(), re.MULTILINE)
    return match[1] if match else None


def shared_memory_per_block(capability: tuple[int, int]) -> int:
    """Bytes of shared memory that one block may opt in to.

    A table (CUDA C++ Programming Guide, technical specifications per compute capability), so
    that the limits follow from an environment read back from a record. A capability that it
    does not know gets 99 KiB, the least of all since 8.0.
    """
    kib = {(7, 0): 96, (7, 2): 96, (7, 5): 64, (8, 0): 163, (8, 7): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227}
    return kib.get(capability, 99) * 1024
