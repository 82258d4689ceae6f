"""Which device a config means, and the backend that stands for it; simulated where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuner import backends
from tuner.backends import cuda, toolchain
from tuner.errors import DeviceError

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend that this machine has some GPUs, an nvcc, a PyTorch with CUDA."""

    def pretend(gpus: int = 0, nvcc: str | None = None, torch_cuda: str | None = None) -> None:
        monkeypatch.setattr(cuda, "gpu_count", lambda: gpus)
        monkeypatch.setattr(toolchain, "nvcc", lambda: nvcc)
        monkeypatch.setattr(cuda, "torch_cuda", lambda: torch_cuda)

    return pretend


def test_auto_is_the_gpu_where_all_is_there(machine: Machine) -> None:
    machine(gpus=1, nvcc="/x/nvcc", torch_cuda="13.0")
    assert backends.resolve("auto") == backends.resolve("cuda") == "cuda:0"


@pytest.mark.parametrize(
    ("gpus", "nvcc", "missing"),
    [
        (0, None, "no GPU is visible"),
        (1, None, "nvcc was not found"),
        (1, "/x/nvcc", "a build without CUDA"),
    ],
)
def test_auto_is_the_cpu_where_something_is_missing_and_cuda_says_what(
    machine: Machine, gpus: int, nvcc: str | None, missing: str
) -> None:
    machine(gpus=gpus, nvcc=nvcc)
    assert backends.resolve("auto") == "cpu"
    with pytest.raises(DeviceError, match=missing):
        backends.resolve("cuda")


def test_cuda_with_a_number_must_exist(machine: Machine) -> None:
    machine(gpus=2, nvcc="/x/nvcc", torch_cuda="13.0")
    assert backends.resolve("cuda:1") == "cuda:1"
    with pytest.raises(DeviceError, match="there is no cuda:2; this machine has 2"):
        backends.resolve("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "tpu:0", "cpu:0", "cuda:1000"])
def test_an_unknown_device_is_refused(machine: Machine, wanted: str) -> None:
    machine(gpus=1, nvcc="/x/nvcc", torch_cuda="13.0")
    with pytest.raises(DeviceError, match="is not auto, cuda, cuda:N, cpu or cpu:A-B"):
        backends.resolve(wanted)


def test_the_cpu_is_always_there(machine: Machine) -> None:
    machine()
    assert backends.resolve("cpu") == "cpu"


def test_a_device_of_each_kind_is_available_where_all_is_there(machine: Machine) -> None:
    machine(gpus=2, nvcc="/x/nvcc", torch_cuda="13.0")
    assert backends.available() == ["cuda:0", "cpu"]
    machine(gpus=2)
    assert backends.available() == ["cpu"]


@pytest.mark.parametrize(("torch_device", "kind"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda")])
def test_a_device_has_the_backend_of_its_kind(torch_device: str, kind: str) -> None:
    backend = backends.of(torch_device)
    assert (backend.kind, backend.torch_device) == (kind, torch_device)


def test_a_kind_without_a_backend_is_refused() -> None:
    with pytest.raises(DeviceError, match="'tpu:0' is none of cuda, cpu"):
        backends.of("tpu:0")
