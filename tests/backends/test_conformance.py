"""What holds for every backend: one class of tests, inherited by one class for each.

A new backend is tried by one more class with its device's name.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

import pytest
import torch

from tuner import backends
from tuner.backends import Backend
from tuner.backends.cuda import gpu_count
from tuner.records import Environment


class BackendConformance:
    torch_device: ClassVar[str]

    @pytest.fixture
    def backend(self) -> Backend:
        return backends.of(self.torch_device)

    def test_a_config_finds_it_by_its_name(self, backend: Backend) -> None:
        assert backend.missing() is None
        assert backends.resolve(self.torch_device) == backends.resolve(backend.kind) == self.torch_device
        assert self.torch_device in backends.available()

    def test_what_differs_is_stated_once_for_all(self, backend: Backend) -> None:
        assert backend.name and backend.cores_name and backend.toolkit_name
        assert 0 < backend.proof_share <= 1 and backend.cache_bytes >= 0
        assert backend.compile_processes() >= 1
        assert backend.compiles_beside_measuring or backend.compile_processes() == 1

    def test_some_of_its_memory_is_free(self, backend: Backend) -> None:
        assert 0 < backend.free_bytes() <= backend.memory_bytes() == backend.environment().memory_bytes

    def test_the_same_device_always_has_the_same_identity(self, backend: Backend) -> None:
        assert backend.physical_id() == backends.of(self.torch_device).physical_id()
        assert re.fullmatch(r"[\w:.-]+", backend.physical_id()), "it becomes part of a file's name"

    def test_its_environment_survives_a_record(self, backend: Backend) -> None:
        found = backend.environment()
        assert found.device_kind == backend.kind
        assert Environment.model_validate_json(found.model_dump_json()) == found == backend.environment()

    def test_its_limits_follow_from_an_environment(self, backend: Backend) -> None:
        environment = backend.environment()
        limits = backend.limits(environment)
        assert set(limits) == {"device", "cores", "capability", "shared_memory_per_block"}
        assert (limits["device"], limits["cores"]) == (backend.kind, environment.cores)
        assert backend.target(environment) in (None, environment.capability)

    def test_conditions_may_be_asked_for_at_any_time(self, backend: Backend) -> None:
        busy = backend.busy()
        assert math.isnan(busy) or 0 <= busy <= 1
        assert all(name and value for name, value in backend.load().items())
        reading = backend.reading()
        assert reading is None or all(isinstance(reason, str) for reason in reading.throttling)

    def test_a_worker_takes_it_and_it_works(self, backend: Backend) -> None:
        backend.select()
        x = torch.ones(8, device=self.torch_device)
        backend.delay()
        y = x + 1
        backend.synchronize()
        assert y.sum().item() == 16
        backend.release_memory()
        assert backend.is_healthy()

    def test_the_clock_runs_a_call_once(self, backend: Backend) -> None:
        x = torch.ones(64, 64, device=self.torch_device)
        calls: list[None] = []

        def call() -> torch.Tensor:
            calls.append(None)
            return x.mm(x)

        timing = backend.clock().time(call)
        assert len(calls) == 1
        assert 0 < timing.elapsed_ms < 10_000 and 0 <= timing.late_ms < 10_000
        assert timing.result[0, 0].item() == 64

    @pytest.mark.slow
    def test_its_ceilings_make_a_floor(self, backend: Backend) -> None:
        ceilings = backend.ceilings()
        assert all(0.001 < value < 1e5 for value in ceilings.values())
        assert {"read_gbps", "copy_gbps"} < set(ceilings)
        assert all(name.endswith(("_gbps", "_tflops")) for name in ceilings)
        assert any(name.endswith("_tflops") for name in ceilings)


class TestCpu(BackendConformance):
    torch_device = "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="no GPU")
class TestCuda(BackendConformance):
    torch_device = "cuda:0"
