"""The device and the toolchain, real where they are there and simulated where not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tuner.backends import device
from tuner.errors import DeviceError


@pytest.fixture(autouse=True)
def _forget_versions():
    """Versions are looked up once a process; here the tools change."""
    device.nvcc_version.cache_clear()
    device.compiler_version.cache_clear()
    yield
    device.nvcc_version.cache_clear()
    device.compiler_version.cache_clear()


@pytest.fixture
def machine(monkeypatch):
    """Pretend that this machine has some GPUs, an nvcc, a PyTorch with CUDA."""

    def pretend(gpus=0, nvcc=None, torch_cuda=None):
        monkeypatch.setattr(device, "gpu_count", lambda: gpus)
        monkeypatch.setattr(device, "nvcc", lambda: nvcc)
        monkeypatch.setattr(device, "torch_cuda", lambda: torch_cuda)

    return pretend


@pytest.fixture
def tool(tmp_path):
    """A folder with an executable of that name, which prints what it is told."""

    def make(name: str, says: str = "", folder: str = "bin") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        path.chmod(0o755)
        return path

    return make


def test_auto_is_the_gpu_where_all_is_there(machine):
    machine(gpus=1, nvcc="/x/nvcc", torch_cuda="13.0")
    assert device.resolve("auto") == device.resolve("cuda") == "cuda:0"


@pytest.mark.parametrize(
    ("has", "missing"),
    [
        ({}, "no GPU is visible"),
        ({"gpus": 1}, "nvcc was not found"),
        ({"gpus": 1, "nvcc": "/x/nvcc"}, "a build without CUDA"),
    ],
)
def test_auto_is_the_cpu_where_something_is_missing_and_cuda_says_what(machine, has, missing):
    machine(**has)
    assert device.resolve("auto") == "cpu"
    with pytest.raises(DeviceError, match=missing):
        device.resolve("cuda")


def test_cuda_with_a_number_must_exist(machine):
    machine(gpus=2, nvcc="/x/nvcc", torch_cuda="13.0")
    assert device.resolve("cuda:1") == "cuda:1"
    with pytest.raises(DeviceError, match="there is no cuda:2; this machine has 2"):
        device.resolve("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "tpu:0"])
def test_an_unknown_device_is_refused(machine, wanted):
    machine(gpus=1, nvcc="/x/nvcc", torch_cuda="13.0")
    with pytest.raises(DeviceError, match="is not auto, cuda, cuda:N or cpu"):
        device.resolve(wanted)


def test_the_cpu_is_always_there(machine):
    machine()
    assert device.resolve("cpu") == "cpu"


def test_nvcc_of_cuda_home_goes_before_the_one_on_path(tool, monkeypatch):
    home, path = tool("nvcc", folder="cuda/bin"), tool("nvcc", folder="bin")
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.setenv("CUDA_HOME", str(home.parent.parent))
    assert device.nvcc() == str(home)
    monkeypatch.delenv("CUDA_HOME")
    assert device.nvcc() == str(path)


def test_nvcc_s_version_is_read(tool, monkeypatch):
    path = tool("nvcc", "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0")
    monkeypatch.setattr(device, "nvcc", lambda: str(path))
    assert device.nvcc_version() == "13.0.88"


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright", "gcc 12.2.0"),
        ("g++ (GCC) 13.2.1 20231011 (Red Hat 13.2.1-4)", "gcc 13.2.1"),
        ("Ubuntu clang version 15.0.7\nTarget: x86_64", "clang 15.0.7"),
        ("Apple clang version 15.0.0 (clang-1500.3.9.4)", "clang 15.0.0"),
    ],
)
def test_the_compiler_s_version_is_read(tool, monkeypatch, banner, version):
    monkeypatch.setenv("CXX", str(tool("c++", banner)))
    assert device.compiler_version() == version


def test_cxx_may_carry_arguments(tool, monkeypatch):
    path = tool("my-c++")
    monkeypatch.setenv("CXX", f"{path} -m64")
    assert device.compiler() == str(path)


def test_no_compiler_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert device.compiler() is None


def test_the_toolchain_finds_ninja_beside_this_python(tool, monkeypatch, tmp_path):
    ninja = tool("ninja", folder="venv/bin")
    monkeypatch.setattr(sys, "executable", str(ninja.parent / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device.toolchain_environment()["PATH"].split(os.pathsep)[0] == str(ninja.parent)
    assert device.ninja() == str(ninja)
    assert os.environ["PATH"] == str(tmp_path), "the variables of this process stay as they are"


def test_cuda_home_is_set_only_to_a_real_toolkit(tool, monkeypatch, tmp_path):
    wrapper = tool("nvcc", folder="local/bin")
    monkeypatch.setattr(device, "nvcc", lambda: str(wrapper))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert "CUDA_HOME" not in device.toolchain_environment()
    header = tmp_path / "local" / "include" / "cuda_runtime.h"
    header.parent.mkdir()
    header.touch()
    assert device.toolchain_environment()["CUDA_HOME"] == str(tmp_path / "local")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("NVIDIA H200", "NVIDIA H200"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
        ('a"""\n../b\\', "a .. b"),
        ("\n", "unknown"),
    ],
)
def test_a_device_name_is_made_plain(name, plain):
    assert device._plain(name) == plain


def test_the_cpu_s_environment():
    found = device.environment("cpu")
    assert (found.device_kind, found.capability, found.driver) == ("cpu", (0, 0), "none")
    assert found.cores == device.cpu_cores() >= 1
    assert found.memory_bytes > 2**28
    assert found == device.environment("cpu")


def test_limits_of_a_cpu(make_record):
    expected = {"device": "cpu", "cores": 2, "capability": (0, 0), "shared_memory_per_block": 0}
    assert device.limits(make_record().environment) == expected


@pytest.mark.parametrize(
    ("capability", "size"), [((9, 0), 232448), ((8, 0), 166912), ((8, 9), 101376), ((99, 0), 101376)]
)
def test_shared_memory_of_a_block(make_record, capability, size):
    gpu = make_record(device_kind="cuda", capability=capability).environment
    assert device.limits(gpu)["shared_memory_per_block"] == size


def test_the_installed_pytorch_s_cuda_is_read_without_importing_it():
    import torch

    assert device.torch_cuda() == torch.version.cuda


def test_the_doctor_tries_a_real_compilation(needs_compiler):
    checks = {check.name: check for check in device.doctor()}
    assert checks["a C++ kernel compiles"].ok, checks["a C++ kernel compiles"].detail
    assert checks["PyTorch"].ok
    assert all(check.detail for check in checks.values())


def test_the_doctor_says_what_is_missing(monkeypatch, tmp_path, machine):
    machine()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    checks = {check.name: check for check in device.doctor()}
    assert not checks["a C++ kernel compiles"].ok
    assert not checks["GPU"].ok
    assert not checks["nvcc"].ok


def test_a_compiler_that_fails_is_a_failed_check(tool, monkeypatch):
    path = tool("c++")
    path.write_text("#!/bin/sh\necho 'cannot do' >&2; exit 1\n")
    monkeypatch.setenv("CXX", str(path))
    assert (device._try_compiling().ok, device._try_compiling().detail) == (False, "cannot do")


@pytest.mark.slow
def test_ceilings_of_the_cpu_are_plausible():
    found = device.measure_ceilings("cpu")
    assert set(found) == {"read_gbps", "copy_gbps", "fp32_tflops"}
    assert all(0.001 < value < 1e5 for value in found.values())


@pytest.mark.gpu
def test_ceilings_of_the_gpu_restore_the_flags():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    before = torch.backends.cuda.matmul.allow_tf32
    found = device.measure_ceilings("cuda")
    assert torch.backends.cuda.matmul.allow_tf32 is before
    assert set(found) == {"read_gbps", "copy_gbps", "fp32_tflops", "tf32_tflops", "bf16_tflops"}
    assert found["tf32_tflops"] > found["fp32_tflops"]
    properties = torch.cuda.get_device_properties(0)
    here = device.environment("cuda")
    assert device.limits(here)["shared_memory_per_block"] == properties.shared_memory_per_block_optin
