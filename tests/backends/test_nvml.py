"""What the NVIDIA driver tells, from one that is simulated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tuner.backends import nvml


class Driver:
    """A driver of one GPU, with its functions by NVML's names; what is set to None is not supported."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, reasons: int = 0, power_mw: int | None = 512_300) -> None:
        self.reasons, self.power_mw = reasons, power_mw
        self.asked: list[str | int] = []

    def nvmlInit(self) -> None:
        pass

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> object:
        self.asked.append(bus_id)
        return object()

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:
        self.asked.append(index)
        return object()

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Any:
        return SimpleNamespace(gpu=60, memory=5)

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int:
        return {1: 1980, 2: 3201}[kind]

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        if self.power_mw is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.power_mw

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        return 55

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:
        return self.reasons


class NoDriver(Driver):
    def nvmlInit(self) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """The driver is looked for once a process; here it changes."""
    nvml.is_there.cache_clear()
    nvml.handle_of.cache_clear()
    yield
    nvml.is_there.cache_clear()
    nvml.handle_of.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    monkeypatch.setattr(nvml, "pynvml", driver)
    return driver


def test_a_reading_has_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Driver())
    found = nvml.reading("0000:0e:00.0")
    assert found is not None
    assert (found.sm_mhz, found.memory_mhz, found.power_w, found.temperature_c) == (1980, 3201, 512.3, 55)
    assert found.throttling == ()


@pytest.mark.parametrize(
    ("reasons", "names"),
    [
        (0x1, ()),  # idle
        (0x4, ("power cap",)),
        (0xE8, ("hardware slowdown", "heat", "heat (hardware)", "power brake")),
    ],
)
def test_throttling_is_named(monkeypatch: pytest.MonkeyPatch, reasons: int, names: tuple[str, ...]) -> None:
    use(monkeypatch, Driver(reasons=reasons))
    found = nvml.reading("0000:0e:00.0")
    assert found is not None and found.throttling == names


def test_what_the_gpu_does_not_tell_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Driver(power_mw=None))
    found = nvml.reading("0000:0e:00.0")
    assert found is not None and math.isnan(found.power_w)


def test_utilisation_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Driver())
    assert nvml.utilisation("0000:0e:00.0") == 0.6


def test_the_gpu_is_found_by_its_bus_id_or_else_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = use(monkeypatch, Driver())
    nvml.reading("0000:0e:00.0")
    nvml.reading("cuda:1")
    assert driver.asked == ["0000:0e:00.0", 1]


def test_the_driver_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Driver())
    assert nvml.driver_version() == "580.65.06"


def test_without_nvml_the_kernel_module_tells_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, NoDriver())
    (tmp_path / "version").write_text("580.65.06\n")
    monkeypatch.setattr(nvml, "KERNEL_MODULE", tmp_path / "version")
    assert nvml.driver_version() == "580.65.06"


def test_a_machine_without_a_driver_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, NoDriver())
    monkeypatch.setattr(nvml, "KERNEL_MODULE", tmp_path / "version")
    assert nvml.driver_version() is None
    assert nvml.utilisation("cuda:0") is None
    assert nvml.reading("cuda:0") is None
