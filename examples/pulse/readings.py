"""What a Linux machine says about itself in /proc and /sys. In a container these are the host's figures too, except
the network's, which are the container's own."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Clock ticks of all cores since boot."""

    busy: int
    total: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes received and sent by all network interfaces but loopback, since boot."""

    received: int
    sent: int


def parse_cpu_times(stat: str) -> CpuTimes:
    """From /proc/stat. Guest time is part of user time there, so only the first eight figures count."""
    name, *figures = stat.partition("\n")[0].split()
    if name != "cpu" or len(figures) < 8:
        raise ValueError(f"not the first line of /proc/stat: {stat[:80]!r}")
    ticks = [int(figure) for figure in figures[:8]]
    idle, waiting = ticks[3], ticks[4]
    return CpuTimes(sum(ticks) - idle - waiting, sum(ticks))


def parse_memory(meminfo: str) -> tuple[int, int]:
    """Total and available memory in bytes, from /proc/meminfo."""
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in meminfo.splitlines())}
    return kilobytes["MemTotal"] * 1024, kilobytes["MemAvailable"] * 1024


def parse_load(loadavg: str) -> tuple[float, int]:
    """The 1-minute load average and how many threads there are, from /proc/loadavg."""
    load, _, _, threads, _ = loadavg.split()
    return float(load), int(threads.partition("/")[2])


def parse_traffic(net_dev: str) -> Traffic:
    """From /proc/net/dev: two lines of headings, then one line for each interface."""
    received = sent = 0
    for line in net_dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            figures = rest.split()
            received += int(figures[0])
            sent += int(figures[8])
    return Traffic(received, sent)


def read_temperature(thermal: Path) -> float | None:
    """The hottest zone in degrees Celsius, from /sys/class/thermal; None where the machine has no sensor (many VMs)."""
    temperatures = []
    for zone in thermal.glob("thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):  # a zone may be switched off
            temperatures.append(int(zone.read_text()) / 1000)
    return max(temperatures, default=None)


class Machine:
    """Reads all of it. Rates are those since the reading before, so the first reading has none."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._thermal = root / "sys/class/thermal"
        self._before: tuple[float, CpuTimes, Traffic] | None = None

    def read(self, now: float) -> dict[str, float]:
        """Figures by metric (`METRICS`); those that this machine does not have are left out. now: seconds."""
        cpu = parse_cpu_times(self._text("stat"))
        traffic = parse_traffic(self._text("net/dev"))
        total, available = parse_memory(self._text("meminfo"))
        load, threads = parse_load(self._text("loadavg"))
        values = {"memory": 100 * (1 - available / total), "load": load, "threads": float(threads)}
        if (temperature := read_temperature(self._thermal)) is not None:
            values["temperature"] = temperature
        if self._before is not None:
            then, cpu_then, traffic_then = self._before
            if cpu.total > cpu_then.total:
                values["cpu"] = 100 * (cpu.busy - cpu_then.busy) / (cpu.total - cpu_then.total)
            if now > then:
                values["received"] = (traffic.received - traffic_then.received) / (now - then) / 1000
                values["sent"] = (traffic.sent - traffic_then.sent) / (now - then) / 1000
        self._before = (now, cpu, traffic)
        return values

    def _text(self, name: str) -> str:
        return (self._proc / name).read_text()


#: What is measured, with its unit.
METRICS = {
    "cpu": "%",
    "memory": "%",
    "load": "",
    "threads": "",
    "temperature": "°C",
    "received": "kB/s",
    "sent": "kB/s",
}
