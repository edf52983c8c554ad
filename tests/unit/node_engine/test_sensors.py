"""Temperatures, battery and GPUs in rows: what is read, what is left out, and what is worth telling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cluster_orchestrator.summary import node_view, total_usage
from mangrove.base.clock import VirtualClock
from mangrove.model.attempt import Battery, GpuUsage, Usage
from mangrove.model.child import Capacity
from mangrove.model.documents import Child
from mangrove.placement.fleet import Fleet
from node_engine.telemetry import Gpus, Telemetry
from node_engine.telemetry.dead_band import DeadBand
from node_engine.telemetry.sensors import Sensors
from tests.unit.node_engine.fake_nvml import GIB, Device, FakeNvml


def chip(*degrees: float | None) -> list[Any]:
    """As psutil tells of the sensors of a chip."""
    return [SimpleNamespace(label="", current=each, high=None, critical=None) for each in degrees]


def sensors(temperatures: Any = None, battery: Any = None) -> Sensors:
    """They read what is given; an exception is raised."""

    def reading(value: Any) -> Callable[[], Any]:
        def read() -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        return read

    return Sensors(VirtualClock(), reading(temperatures if temperatures is not None else {}), reading(battery))


def test_each_chip_has_the_temperature_of_its_warmest_sensor() -> None:
    found, battery = sensors({"coretemp": chip(51, 63.24, 48), "nvme": chip(40.85), "empty": []}).read()
    assert found == {"coretemp": 63.2, "nvme": 40.9 if found["nvme"] > 40.85 else 40.8}
    assert battery is None


@pytest.mark.parametrize("nonsense", [-273.2, 65261.85, None, 0.0])
def test_what_a_broken_sensor_says_is_left_out(nonsense: float | None) -> None:
    assert sensors({"acpitz": chip(nonsense), "cpu": chip(nonsense, 30)}).read()[0] == {"cpu": 30.0}


def test_a_machine_with_very_many_chips_tells_of_the_warmest() -> None:
    found, _ = sensors({f"disk{number}": chip(20 + number) for number in range(50)}).read()
    assert len(found) == 16
    assert min(found.values()) == 54


@pytest.mark.parametrize("error", [OSError("busy"), ValueError("no number"), AttributeError("not here")])
def test_a_driver_that_fails_is_no_error(error: Exception) -> None:
    assert sensors(error, error).read() == ({}, None)


@pytest.mark.parametrize(("percent", "plugged", "said"), [(80, True, Battery(80, True)), (255, None, None)])
def test_the_battery(percent: float, plugged: bool | None, said: Battery | None) -> None:
    assert sensors({}, SimpleNamespace(percent=percent, power_plugged=plugged)).read()[1] == said


def test_sensors_are_not_asked_again_at_once() -> None:
    asked: list[int] = []
    clock = VirtualClock()
    watched = Sensors(clock, lambda: asked.append(1) or {}, lambda: None)  # type: ignore[func-returns-value]
    for _ in range(3):
        watched.read()
    assert len(asked) == 1
    clock.advance_to(11)
    watched.read()
    assert len(asked) == 2


def test_the_usage_of_a_node_has_its_sensors_and_a_row_for_each_gpu(tmp_path: Path) -> None:
    nvml = FakeNvml(
        Device("GPU-a", free=4 * GIB, load=20, temperature=50), Device("GPU-b", free=16 * GIB, load=40, temperature=60)
    )
    nvml.broken.add("nvmlDeviceGetTemperature")
    read = sensors({"cpu": chip(55)}, SimpleNamespace(percent=50, power_plugged=False))
    usage = Telemetry(tmp_path, gpus=Gpus(nvml), sensors=read).usage()
    assert (usage.temperatures, usage.battery) == ({"cpu": 55.0}, Battery(50, False))
    assert usage.gpus == (
        GpuUsage("GPU-a", "NVIDIA T4", 20.0, 16 * GIB, 12 * GIB, None),
        GpuUsage("GPU-b", "NVIDIA T4", 40.0, 16 * GIB, 0, None),
    )


STEADY = Usage(
    cpu=10,
    temperatures={"cpu": 50.0},
    battery=Battery(80, True),
    gpus=(GpuUsage("GPU-a", "T4", 10.0, 16 * GIB, GIB, 50.0),),
    measured=1.0,
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, False),
        ({"temperatures": {"cpu": 52.5}}, False),
        ({"temperatures": {"cpu": 53.0}}, True),
        ({"temperatures": {"cpu": 50.0, "nvme": 40.0}}, True),
        ({"battery": Battery(79.5, True)}, False),
        ({"battery": Battery(79, True)}, True),
        ({"battery": Battery(80, False)}, True),
        ({"battery": None}, True),
        ({"gpus": ()}, True),
        ({"gpus": (GpuUsage("GPU-a", "T4", 10.5, 16 * GIB, GIB, 51.0),)}, False),
        ({"gpus": (GpuUsage("GPU-a", "T4", 11.0, 16 * GIB, GIB, 50.0),)}, True),
        ({"gpus": (GpuUsage("GPU-a", "T4", 10.0, 16 * GIB, 2 * GIB, 50.0),)}, True),
        ({"gpus": (GpuUsage("GPU-a", "T4", 10.0, 16 * GIB, GIB, 53.0),)}, True),
        ({"gpus": (GpuUsage("GPU-b", "T4", 10.0, 16 * GIB, GIB, 50.0),)}, True),
    ],
)
def test_what_moved_beyond_the_dead_band_is_told(change: dict[str, Any], told: bool) -> None:
    band = DeadBand()
    assert band.worth_telling({"": STEADY})
    now = msgspec.structs.replace(STEADY, measured=6.0, **change)
    assert bool(band.worth_telling({"": now})) is told


def test_a_cluster_passes_them_on_rounded_so_that_noise_is_no_news() -> None:
    row = Fleet("node").add("n", "n1")
    child = Child("n", "n1", "live", Capacity())
    first, second = (
        node_view(row, child, msgspec.structs.replace(STEADY, temperatures={"cpu": degrees}, cpu=cpu)).usage
        for degrees, cpu in ((48.9, 10.2), (47.1, 9.9))
    )
    assert first == second
    assert (first.temperatures, first.battery, first.gpus[0].load) == ({"cpu": 48}, Battery(80, True), 10)


def test_a_cluster_is_as_busy_on_gpus_as_these_are_and_nodes_without_do_not_count() -> None:
    busy = (GpuUsage("GPU-a", load=90.0), GpuUsage("GPU-b", load=30.0), GpuUsage("GPU-c"))
    assert total_usage([Usage(gpu=60, gpus=busy), Usage(), Usage()], 1000).gpu == 60
    assert total_usage([Usage(), Usage()], 1000).gpu == 0
