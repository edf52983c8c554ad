"""NVML in memory: the part of pynvml's functions that we use, with faults on demand."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

GIB = 1024**3


class NVMLError(Exception):
    """As pynvml's."""


@dataclass
class Device:
    """A GPU. free, total: bytes."""

    uuid: str
    free: int
    total: int = 16 * GIB
    load: int = 0
    temperature: int = 40
    name: str = "NVIDIA T4"


class FakeNvml:
    """Stands for the module. broken: names of functions that fail; lost: handles that fail at everything."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *devices: Device) -> None:
        self.devices = list(devices)
        self.broken: set[str] = set()
        self.lost: set[int] = set()
        self.starts = 0

    def nvmlInit(self) -> None:
        self._check("nvmlInit")
        self.starts += 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._check("nvmlSystemGetDriverVersion")
        return "535.129.03"

    def nvmlDeviceGetCount(self) -> int:
        self._check("nvmlDeviceGetCount")
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self._check("nvmlDeviceGetHandleByIndex", index)
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return self._device("nvmlDeviceGetUUID", handle).uuid

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return self._device("nvmlDeviceGetName", handle).name.encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        device = self._device("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(total=device.total, free=device.free, used=device.total - device.free)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._device("nvmlDeviceGetUtilizationRates", handle).load, memory=0)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return self._device("nvmlDeviceGetTemperature", handle).temperature

    def _device(self, function: str, handle: int) -> Device:
        self._check(function, handle)
        return self.devices[handle]

    def _check(self, function: str, handle: int = -1) -> None:
        if function in self.broken or handle in self.lost:
            raise NVMLError(f"{function} failed")
