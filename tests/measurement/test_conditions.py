"""A busy or throttled device is noticed, and said."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

from tuner.backends import Reading
from tuner.backends.cpu import Cpu
from tuner.measurement.conditions import Watch

WORKING = Reading(sm_mhz=1980, memory_mhz=3201, power_w=512.3, temperature_c=55, throttling=())
CAPPED = replace(WORKING, sm_mhz=1500, power_w=699.9, temperature_c=71, throttling=("power cap",))


class Device(Cpu):
    """One that is so busy, and tells these readings and then no more."""

    def __init__(self, *readings: Reading, busy: float = math.nan, load: dict[str, str] | None = None) -> None:
        super().__init__("cuda:0")
        self.left, self.share, self.told = list(readings), busy, load or {}
        self.read = threading.Event()

    def busy(self) -> float:
        return self.share

    def load(self) -> dict[str, str]:
        return self.told

    def reading(self) -> Reading | None:
        if self.left:
            return self.left.pop(0)
        self.read.set()
        return None


def watched(device: Device) -> Watch:
    """A watch that was entered until the device had told everything."""
    watch = Watch(device, every_s=0.0)
    with watch:
        assert device.read.wait(60)
    return watch


def test_a_quiet_device_has_no_notes() -> None:
    watch = watched(Device(WORKING, WORKING, busy=0.0))
    assert watch.notes() == []
    assert watch.conditions() == {
        "busy before the search": "0%", "sm": "1980 MHz", "memory": "3201 MHz", "power": "512.3 W",
        "temperature": "55 C", "throttling": "none",
    }  # fmt: skip


def test_a_busy_device_is_said() -> None:
    (note,) = watched(Device(WORKING, busy=0.6)).notes()
    assert note == "cuda:0 was 60% busy with something else before the search; times may suffer"


def test_a_throttled_device_is_said() -> None:
    watch = watched(Device(WORKING, CAPPED, CAPPED, WORKING))
    assert watch.notes() == ["cuda:0 was throttled in 50% of the final: power cap"]
    assert watch.conditions()["throttling"] == "power cap 50%"


def test_what_the_driver_does_not_tell_is_left_out() -> None:
    watch = watched(Device(replace(WORKING, power_w=math.nan)))
    assert "power" not in watch.conditions() and "sm" in watch.conditions()


def test_a_device_that_tells_nothing_has_no_conditions() -> None:
    watch = watched(Device())
    assert watch.conditions() == {} and watch.notes() == []


def test_the_load_is_that_of_before_the_search() -> None:
    assert watched(Device(load={"load average": "1.00"})).conditions() == {"load average before the search": "1.00"}


def test_a_device_is_read_until_the_watch_is_left() -> None:
    """It would tell for ever; leaving the watch ends that at once."""
    device = Device(*[WORKING] * 3)
    watch = Watch(device, every_s=3600.0)
    with watch:
        pass
    assert len(watch.readings) == 1
    assert len(device.left) == 2


def test_a_cpu_s_load_is_told() -> None:
    assert "load average before the search" in Watch(Cpu("cpu")).conditions()
