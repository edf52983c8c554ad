"""What a node has and uses, with GPUs that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.resources import Resources
from node_engine.telemetry import Gpus, Telemetry
from node_engine.telemetry.telemetry import architecture
from tests.unit.node_engine.fake_nvml import GIB, Device, FakeNvml


def two_gpus() -> FakeNvml:
    return FakeNvml(Device("GPU-a", free=4 * GIB, load=50, temperature=60), Device("GPU-b", free=12 * GIB, load=10))


def telemetry(folder: Path, nvml: FakeNvml | None = None) -> Telemetry:
    return Telemetry(folder, gpus=Gpus(nvml or FakeNvml()))


def test_usage_of_the_machine(tmp_path: Path) -> None:
    usage = telemetry(tmp_path).usage()

    assert 0 <= usage.cpu <= 100
    assert 0 < usage.memory < psutil.virtual_memory().total
    assert 0 < usage.memory_percent < 100
    assert usage.disk > 0
    assert usage.load >= 0
    assert usage.measured == pytest.approx(SystemClock().wall(), abs=60)


def test_cpu_is_of_the_time_since_the_last_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = psutil.cpu_times()._replace(guest=0.0, guest_nice=0.0)
    readings = [
        times,
        times._replace(user=times.user + 1, idle=times.idle + 3),
        times._replace(user=times.user + 1, idle=times.idle + 13),
        times._replace(user=times.user + 1, idle=times.idle + 13),
    ]
    monkeypatch.setattr(psutil, "cpu_times", lambda: readings.pop(0))
    measured = telemetry(tmp_path)

    assert measured.usage().cpu == 25.0
    assert measured.usage().cpu == 0.0
    assert measured.usage().cpu == 0.0, "no time has passed"


def test_capacity_of_the_machine(tmp_path: Path) -> None:
    capacity = telemetry(tmp_path).capacity()

    assert capacity.allocatable.cpu == 1000 * (os.cpu_count() or 0)
    assert capacity.allocatable.memory == psutil.virtual_memory().total // 1024**2
    assert capacity.allocatable.disk % 256 == 0
    assert capacity.allocatable.gpus == 0
    assert capacity.architectures == (architecture(),)
    assert capacity.operating_systems == ("linux",)
    assert capacity.gpu_drivers == ()


@pytest.mark.parametrize(
    ("machine", "narrow", "word"),
    [
        ("x86_64", False, "amd64"),
        ("x86_64", True, "386"),
        ("aarch64", False, "arm64"),
        ("aarch64", True, "arm"),
        ("armv7l", True, "arm"),
        ("riscv64", False, "riscv64"),
    ],
)
def test_architecture_in_dockers_words(machine: str, narrow: bool, word: str) -> None:
    assert architecture(machine, narrow=narrow) == word


def test_gpus_count_and_are_measured(tmp_path: Path) -> None:
    measured = telemetry(tmp_path, two_gpus())
    capacity, usage = measured.capacity(), measured.usage()

    assert (capacity.allocatable.gpus, capacity.allocatable.vram) == (2, 32 * 1024)
    assert capacity.gpu_drivers == ("NVIDIA T4 535.129.03",) * 2
    assert (usage.gpu, usage.vram, usage.gpu_temperature) == (30.0, 16 * GIB, 60.0)


def test_gpus_with_most_free_memory_are_picked(tmp_path: Path) -> None:
    nvml = two_gpus()
    nvml.devices.append(Device("GPU-c", free=2 * GIB, total=2 * GIB))
    measured = telemetry(tmp_path, nvml)

    assert measured.pick_gpus(Resources(gpus=1)) == ("GPU-b",)
    assert measured.pick_gpus(Resources(gpus=2)) == ("GPU-b", "GPU-a")
    assert measured.pick_gpus(Resources(gpus=2), {"GPU-b"}) == ("GPU-a", "GPU-c")
    assert measured.pick_gpus(Resources(gpus=4)) == ("GPU-b", "GPU-a", "GPU-c"), "fewer when there are not so many"
    assert measured.pick_gpus(Resources()) == ()


def test_picked_gpus_have_their_share_of_the_memory_asked_for(tmp_path: Path) -> None:
    nvml = FakeNvml(Device("GPU-small", free=8 * GIB, total=8 * GIB), Device("GPU-large", free=GIB))

    assert telemetry(tmp_path, nvml).pick_gpus(Resources(gpus=1, vram=10 * 1024)) == ("GPU-large",)
    assert telemetry(tmp_path, nvml).pick_gpus(Resources(gpus=2, vram=16 * 1024)) == ("GPU-small", "GPU-large")


@pytest.mark.parametrize(
    "function", [name for name in dir(FakeNvml) if name.startswith("nvml")], ids=lambda name: name.removeprefix("nvml")
)
def test_what_nvml_cannot_say_is_left_out_and_asked_again(tmp_path: Path, function: str) -> None:
    nvml = two_gpus()
    measured = telemetry(tmp_path, nvml)
    whole_usage, whole_capacity = measured.usage(), measured.capacity()

    nvml.broken = {function}
    measured.usage()
    measured.capacity()
    measured.pick_gpus(Resources(gpus=2))

    nvml.broken = set()
    usage = measured.usage()
    assert (usage.gpu, usage.vram, usage.gpu_temperature) == (
        whole_usage.gpu,
        whole_usage.vram,
        whole_usage.gpu_temperature,
    )
    assert measured.capacity().gpu_drivers == whole_capacity.gpu_drivers


def test_one_figure_that_fails_leaves_the_others(tmp_path: Path) -> None:
    nvml = two_gpus()
    nvml.broken = {"nvmlDeviceGetTemperature"}
    usage = telemetry(tmp_path, nvml).usage()

    assert (usage.gpu, usage.vram, usage.gpu_temperature) == (30.0, 16 * GIB, 0.0)


def test_a_device_that_fell_off_the_bus_is_not_there(tmp_path: Path) -> None:
    nvml = two_gpus()
    nvml.lost = {0}
    measured = telemetry(tmp_path, nvml)

    assert measured.capacity().allocatable.gpus == 1
    assert measured.pick_gpus(Resources(gpus=2)) == ("GPU-b",)
    assert measured.usage().gpu == 10.0


def test_a_driver_that_was_exchanged_is_begun_with_anew(tmp_path: Path) -> None:
    nvml = two_gpus()
    measured = telemetry(tmp_path, nvml)
    measured.usage()
    nvml.broken = {"nvmlDeviceGetCount"}
    assert measured.capacity().allocatable.gpus == 0
    nvml.broken = set()

    assert measured.capacity().allocatable.gpus == 2
    assert nvml.starts == 2


def test_a_driver_that_does_not_start_is_no_error(tmp_path: Path) -> None:
    nvml = two_gpus()
    nvml.broken = {"nvmlInit"}

    assert telemetry(tmp_path, nvml).capacity().allocatable.gpus == 0


def test_nvml_is_not_loaded_without_a_driver(tmp_path: Path) -> None:
    if any(map(os.path.exists, ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"))):
        pytest.skip("this machine has an NVIDIA driver")
    program = (
        "import sys; from pathlib import Path; from node_engine.telemetry import Telemetry;"
        f"telemetry = Telemetry(Path({str(tmp_path)!r})); telemetry.usage(); telemetry.capacity();"
        "print('pynvml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "False"
