"""On what a benchmark ran."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from mangrove import __version__
from mangrove.link.brokers import mosquitto

#: Packages whose version may matter to the figures.
_PACKAGES = ("paho-mqtt", "msgspec", "psutil", "docker", "flask", "waitress", "apscheduler")


def described() -> dict[str, str]:
    """Machine and software, in words."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "machine": f"{_cpu()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}",
        "system": f"{_system()}, Linux {platform.release()}",
        "mangrove": f"{__version__} at {_commit()}",
        "python": platform.python_version(),
        "disk": f"fsync of 500 bytes in {tempfile.gettempdir()} takes {1000 * _fsync():.2f} ms (median)",
        "broker": _first_line([mosquitto.find() or "mosquitto", "-h"]),
        "docker": f"{_first_line(['dockerd', '--version'])}; command: {_first_line(['docker', '--version'])}",
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES),
    }


def load() -> float:
    """The 1-minute load average: how busy the machine is, or was just now."""
    return os.getloadavg()[0]


def _fsync() -> float:
    """Seconds that the disk takes to keep a little, as each decision is kept; the median of a hundred."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            file.write(bytes(500))
            file.flush()
            begun = time.monotonic()
            os.fsync(file.fileno())
            times.append(time.monotonic() - begun)
    return statistics.median(times)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return "unknown CPU"


def _system() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _commit() -> str:
    here = Path(__file__).parent
    commit = _first_line(["git", "-C", str(here), "rev-parse", "--short", "HEAD"])
    changed = _first_line(["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no", ".."])
    return f"{commit} with changes" if changed else commit


def _first_line(command: list[str]) -> str:
    """Of what a program prints; empty when it is not there, or says nothing."""
    if shutil.which(command[0]) is None:
        return ""
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return said.strip().partition("\n")[0]
