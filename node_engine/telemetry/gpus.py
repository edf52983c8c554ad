"""NVIDIA GPUs, through NVML: how many, how busy, how warm.

NVML is loaded only where the driver is, and nothing that it fails at is an error of ours: a figure that cannot be read
is left out, and read again next time.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_log = logging.getLogger(__name__)

#: Any of these is there where a driver that NVML can ask is loaded: NVIDIA's own, and Windows' in WSL.
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device. memory, free: bytes; utilisation: percent; temperature: degrees Celsius; None: could not be read."""

    uuid: str
    name: str = ""
    memory: int = 0
    free: int | None = None
    utilisation: float | None = None
    temperature: float | None = None

    @property
    def used(self) -> int:
        """Bytes in use, 0 when that could not be read."""
        return 0 if self.free is None else self.memory - self.free


class Gpus:
    """The node's GPUs. nvml: a module with NVML's functions; None loads pynvml where there is a driver."""

    def __init__(self, nvml: ModuleType | Any = None) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._ready = False
        self._told = False

    def read(self) -> tuple[Gpu, ...]:
        """All devices that answer, as they are now; empty where there are none."""
        with self._lock:
            return tuple(self._devices()) if self._start() else ()

    def driver(self) -> str:
        """The driver's version; empty when there is none."""
        with self._lock:
            return str(self._ask(self._nvml.nvmlSystemGetDriverVersion) or "") if self._start() else ""

    def pick(self, count: int, memory: int, taken: Collection[str]) -> tuple[str, ...]:
        """Ids of the `count` devices with most free memory that are not `taken`; fewer when there are not so many.

        memory: bytes that they have together, in equal shares.
        """
        if count <= 0:
            return ()
        fit = [gpu for gpu in self.read() if gpu.uuid not in taken and gpu.memory * count >= memory]
        fit.sort(key=lambda gpu: gpu.free or 0, reverse=True)
        return tuple(gpu.uuid for gpu in fit[:count])

    def _start(self) -> bool:
        """Whether NVML can be asked. A driver may come later than the engine, so this is tried again each time."""
        if self._ready:
            return True
        if self._nvml is None:
            if not any(map(os.path.exists, _DRIVERS)):
                return False
            try:
                import pynvml
            except ImportError:
                if not self._told:
                    self._told = True
                    _log.warning("there is an NVIDIA driver but nvidia-ml-py is not installed: GPUs are not used")
                return False
            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            if not self._told:
                self._told = True
                _log.warning("GPUs are not used: %s", error)
            return False
        self._ready = True
        return True

    def _devices(self) -> Iterator[Gpu]:
        nvml = self._nvml
        count = self._ask(nvml.nvmlDeviceGetCount)
        if count is None:
            # The driver was taken away or exchanged under us: begin anew with the next reading.
            self._ready = False
            return
        for index in range(count):
            handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, index)
            uuid = self._ask(nvml.nvmlDeviceGetUUID, handle) if handle is not None else None
            if uuid is None:
                continue
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
            rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
            temperature = self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
            yield Gpu(
                uuid=_text(uuid),
                name=_text(self._ask(nvml.nvmlDeviceGetName, handle) or ""),
                memory=int(memory.total) if memory else 0,
                free=int(memory.free) if memory else None,
                utilisation=None if rates is None else float(rates.gpu),
                temperature=None if temperature is None else float(temperature),
            )

    def _ask(self, question: Callable[..., Any], *arguments: object) -> Any:
        """NVML's answer, or None when it has none."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError as error:
            _log.debug("NVML: %s%s: %s", question.__name__, arguments, error)
            return None


def _text(value: str | bytes) -> str:
    # Bytes before nvidia-ml-py 11.515.
    return value.decode() if isinstance(value, bytes) else value
