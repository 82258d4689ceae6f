"""NVIDIA GPUs as a device: tables and names anywhere, the rest where there is one."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tuner import backends
from tuner.backends import nvml
from tuner.backends.base import Reading
from tuner.backends.cuda import Cuda, gpu_count, torch_cuda
from tuner.records import Record

GPU = backends.of("cuda:0")
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(gpu_count() == 0, reason="no GPU")]


@pytest.mark.parametrize(
    ("capability", "size"), [((9, 0), 232448), ((8, 0), 166912), ((8, 9), 101376), ((99, 0), 101376)]
)
def test_shared_memory_of_a_block(make_record: Callable[..., Record], capability: tuple[int, int], size: int) -> None:
    record = make_record(device_kind="cuda", capability=capability)
    assert GPU.limits(record.environment)["shared_memory_per_block"] == size
    assert GPU.target(record.environment) == capability


def test_the_installed_pytorch_s_cuda_is_read_without_importing_it() -> None:
    assert torch_cuda() == torch.version.cuda


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU here")
def test_without_a_driver_it_goes_by_its_name_for_torch() -> None:
    assert backends.of("cuda:1").physical_id() == "cuda:1"


def test_what_the_driver_tells_is_asked_by_the_physical_device(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Reading(sm_mhz=1.0, memory_mhz=2.0, power_w=3.0, temperature_c=4.0, throttling=())
    monkeypatch.setattr(Cuda, "physical_id", lambda backend: "0000:0e:00.0")
    monkeypatch.setattr(nvml, "utilisation", {"0000:0e:00.0": 0.5}.get)
    monkeypatch.setattr(nvml, "reading", {"0000:0e:00.0": told}.get)
    assert backends.of("cuda:3").busy() == 0.5
    assert backends.of("cuda:3").reading() is told


def test_what_no_driver_tells_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "utilisation", lambda device: None)
    assert math.isnan(GPU.busy())


COPY = """
import sys
from tuner import backends
print(backends.of("cuda:0").copy_of_shared(sys.argv[1], int(sys.argv[2])).cpu().tolist())
"""


def copied_elsewhere(shared: str, size: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", COPY, shared, str(size)], capture_output=True, text=True)


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="no GPU")
def test_another_process_copies_what_lies_in_the_middle_of_an_allocation() -> None:
    x = torch.arange(64, dtype=torch.uint8, device="cuda:0")[16:48]
    torch.cuda.synchronize()
    assert copied_elsewhere(GPU.share_memory(x), 32).stdout.strip() == str(list(range(16, 48)))


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="no GPU")
def test_shared_memory_is_not_read_beyond_its_end() -> None:
    x = torch.zeros(8, dtype=torch.uint8, device="cuda:0")
    assert "ends before" in copied_elsewhere(GPU.share_memory(x), 1 << 40).stderr


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="no GPU")
def test_what_is_lent_lies_alone_in_its_allocation_and_is_freed() -> None:
    before = torch.cuda.mem_get_info()[0]
    memory = GPU.lendable(2**28)
    assert memory is not None
    memory.fill_(7)
    torch.cuda.synchronize()
    shared = GPU.share_memory(memory)
    assert shared.startswith("0:")
    assert copied_elsewhere(shared, 3).stdout.strip() == str([7, 7, 7])
    assert "ends before" in copied_elsewhere(shared, memory.nbytes + 1).stderr
    del memory
    torch.cuda.empty_cache()
    assert before - torch.cuda.mem_get_info()[0] < 2**27


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="no GPU")
@pytest.mark.parametrize("shared", ["0:" + "00" * 64, "0:00", "-1:" + "00" * 64, "x", ""])
def test_what_is_no_handle_is_refused(shared: str) -> None:
    with pytest.raises(RuntimeError):
        GPU.copy_of_shared(shared, 8)


@pytest.mark.parametrize(("cpus", "processes"), [(None, 1), (1, 1), (2, 1), (8, 7), (64, 16)])
def test_compiling_leaves_a_core_to_the_search(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None, processes: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cpus)
    assert GPU.compile_processes() == processes


class TestOnAGpu:
    pytestmark = on_gpu

    def test_ceilings_restore_the_flags(self) -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        found = GPU.ceilings()
        assert torch.backends.cuda.matmul.allow_tf32 is before
        assert set(found) == {"read_gbps", "copy_gbps", "fp32_tflops", "tf32_tflops", "bf16_tflops"}
        assert found["tf32_tflops"] > found["fp32_tflops"]

    def test_limits_are_the_driver_s(self) -> None:
        properties: Any = torch.cuda.get_device_properties(0)
        found = GPU.limits(GPU.environment())
        assert found["shared_memory_per_block"] == properties.shared_memory_per_block_optin

    def test_the_driver_tells_clocks_and_power(self) -> None:
        found = GPU.reading()
        assert found is not None
        assert found.sm_mhz > 0 and found.power_w > 0 and 0 <= GPU.busy() <= 1
