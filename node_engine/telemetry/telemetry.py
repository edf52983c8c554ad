"""What a node has to give and what it uses, by psutil and NVML."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path

import psutil

from mangrove.base.clock import Clock, SystemClock
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.resources import Resources
from node_engine.telemetry.gpus import Gpus

_MIB = 1024 * 1024
#: Free disk is told in steps of this many MiB, rounded down: it moves with every log line, and each new figure would
#: be a report to the parent.
_DISK_STEP = 256
#: The kernel's words for machines (uname -m) in Docker's words; others are the same in both.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv8l": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
}
#: What a system of 32 bits on a kernel of 64 bits can run, as on many a Raspberry Pi.
_NARROW = {"amd64": "386", "arm64": "arm"}


class Telemetry:
    """Reads the machine. folder: where the engine keeps its data, whose disk counts."""

    def __init__(self, folder: Path, *, gpus: Gpus | None = None, clock: Clock | None = None) -> None:
        self._folder = str(folder)
        self._gpus = gpus or Gpus()
        self._clock = clock or SystemClock()
        self._cpu_before = _cpu_times()

    def usage(self) -> Usage:
        """What the whole node uses now; cpu: on average since the last call, or since this was made."""
        memory = psutil.virtual_memory()
        received, sent = _traffic()
        devices = self._gpus.read()
        rates = [gpu.utilisation for gpu in devices if gpu.utilisation is not None]
        return Usage(
            cpu=self._cpu(),
            memory=memory.total - memory.available,
            memory_percent=memory.percent,
            disk=psutil.disk_usage(self._folder).used,
            rx=received,
            tx=sent,
            load=round(os.getloadavg()[0], 2),
            gpu=round(sum(rates) / len(rates), 1) if rates else 0.0,
            vram=sum(gpu.used for gpu in devices),
            gpu_temperature=max((gpu.temperature or 0.0 for gpu in devices), default=0.0),
            measured=self._clock.wall(),
        )

    def capacity(self) -> Capacity:
        """What the node can allocate in all. What it can run, its labels and its position are the engine's to add."""
        devices = self._gpus.read()
        free = psutil.disk_usage(self._folder).free // _MIB
        allocatable = Resources(
            cpu=1000 * (psutil.cpu_count() or 1),
            memory=psutil.virtual_memory().total // _MIB,
            disk=free // _DISK_STEP * _DISK_STEP,
            gpus=len(devices),
            vram=sum(gpu.memory for gpu in devices) // _MIB,
        )
        driver = self._gpus.driver() if devices else ""
        return Capacity(
            allocatable=allocatable,
            architectures=(architecture(),),
            operating_systems=("linux",),
            gpu_drivers=tuple(f"{gpu.name} {driver}".strip() for gpu in devices),
        )

    def pick_gpus(self, asked: Resources, taken: Collection[str] = ()) -> tuple[str, ...]:
        """Ids of as many GPUs as `asked` for that are not `taken`: those with most free memory, most first.

        Each has at least its share of the video memory asked for. Fewer when there are not so many.
        """
        return self._gpus.pick(asked.gpus, asked.vram * _MIB, taken)

    def _cpu(self) -> float:
        """Percent of the whole machine. psutil's own percentage is kept per thread, and ours may be any."""
        busy, total = _cpu_times()
        busy_before, total_before = self._cpu_before
        self._cpu_before = busy, total
        passed = total - total_before
        return round(min(100.0, max(0.0, 100 * (busy - busy_before) / passed)), 1) if passed > 0 else 0.0


def architecture(machine: str = os.uname().machine, *, narrow: bool = sys.maxsize < 2**32) -> str:
    """The machine's architecture in Docker's words. narrow: whether the system has 32 bits."""
    word = _ARCHITECTURES.get(machine, machine)
    return _NARROW.get(word, word) if narrow else word


def _cpu_times() -> tuple[float, float]:
    """Seconds of all cores since boot: busy, and in all."""
    times = psutil.cpu_times()
    # Time of guests is in user and nice already.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _traffic() -> tuple[int, int]:
    """Bytes received and sent by the machine.

    Bridges and virtual interfaces pass on what the hardware carries, so they count only where there is no hardware.
    """
    counters = psutil.net_io_counters(pernic=True)
    counters.pop("lo", None)
    real = [name for name in counters if os.path.exists(f"/sys/class/net/{name}/device")]
    chosen = [counters[name] for name in real or counters]
    return sum(each.bytes_recv for each in chosen), sum(each.bytes_sent for each in chosen)
