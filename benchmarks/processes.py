"""Memory and CPU time of processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. pss: pages that several processes share are divided among them; rss: they count whole in each."""

    pss: int = 0
    rss: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.pss + other.pss, self.rss + other.rss)


def memory_of(processes: Iterable[psutil.Process]) -> Memory:
    """Of these processes together."""
    total = Memory()
    for process in processes:
        figures = process.memory_full_info()
        total += Memory(figures.pss, figures.rss)
    return total


def cpu_seconds(process: psutil.Process) -> float:
    """That a process has used since its start: its ended threads included, its children not."""
    times = process.cpu_times()
    return float(times.user + times.system)


def working_below(folder: Path) -> Iterator[psutil.Process]:
    """Processes whose working folder is in `folder`."""
    for process in psutil.process_iter():
        try:
            where = process.cwd()
        except psutil.Error:  # it ended meanwhile, or is a zombie
            continue
        if Path(where).is_relative_to(folder):
            yield process
