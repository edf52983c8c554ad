"""What a container uses, read from the kernel; asked of the engine only where the kernel's files are not in sight.

The engine takes a reading once a second and lets the asker wait for it, for each container; a file takes microseconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_engine.runtimes.cgroups import ControlGroups


@dataclass(frozen=True, slots=True)
class Figures:
    """cpu: seconds used; memory: bytes in use; rx, tx: bytes received and sent. All since its start."""

    cpu: float
    memory: int
    rx: int
    tx: int


def figures_of_process(groups: ControlGroups | None, container: str, pid: int) -> Figures | None:
    """Those of the container with the id `container`, whose first process is `pid`; None when not to be seen here."""
    if groups is None or pid <= 0 or not (group := groups.of_process(pid)):
        return None
    if container not in str(group.memory):
        return None  # an engine on another machine, or in another process namespace
    with contextlib.suppress(OSError):
        rx, tx = _traffic(Path(f"/proc/{pid}/net/dev").read_text())
        return Figures(group.cpu_seconds(), group.memory_bytes(), rx, tx)
    return None


def figures_of_stats(stats: Mapping[str, Any]) -> Figures | None:
    """Those in an answer of the engine's `stats`; None when the container does not run."""
    memory = stats.get("memory_stats", {})
    if "usage" not in memory:
        return None
    details = memory.get("stats", {})
    networks = stats.get("networks", {}).values()
    return Figures(
        cpu=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        # Less the file cache that would be given up first, by its names in both versions of control groups.
        memory=max(0, memory["usage"] - details.get("total_inactive_file", details.get("inactive_file", 0))),
        rx=sum(network["rx_bytes"] for network in networks),
        tx=sum(network["tx_bytes"] for network in networks),
    )


def _traffic(table: str) -> tuple[int, int]:
    """Bytes received and sent in a table as in /proc/net/dev, but for the loopback's."""
    received = sent = 0
    for line in table.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            columns = numbers.split()
            received += int(columns[0])
            sent += int(columns[8])
    return received, sent
