"""What Linux says about processes, read from /proc: no more than the process runtime needs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Set
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process. born: clock ticks since boot; cpu: seconds, of itself and of ended children; memory: bytes."""

    pid: int
    state: str
    session: int
    born: int
    cpu: float
    memory: int


def read_process(pid: int) -> Process | None:
    """The process, or None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    # The name stands in brackets and may hold anything; the numbers (proc(5), from field 3) follow the last bracket.
    fields = line[line.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        state=fields[0].decode(),
        session=int(fields[3]),
        born=int(fields[19]),
        cpu=sum(map(int, fields[11:15])) / _TICKS,
        memory=int(fields[21]) * _PAGE,
    )


def all_processes() -> Iterator[Process]:
    """Every process of the machine (about 20 µs each)."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (process := read_process(int(name))):
            yield process


def age(process: Process) -> float:
    """Seconds since a process began, those of suspend among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.born / _TICKS


def has_environment(pid: int, entries: Set[bytes]) -> bool:
    """Whether a process began its life with all `entries` (`KEY=value`) in its environment; False when not visible."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return entries <= set(file.read().split(b"\0"))
    except OSError:
        return False


def arguments(pid: int) -> list[bytes]:
    """What a process was started with; empty when not visible."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def total_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def can_be_held() -> bool:
    """Whether this kernel and this Python know process descriptors (Linux 5.3)."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def boot_id() -> str:
    """Of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def open_process(pid: int, born: int) -> int:
    """A descriptor that stands for exactly this process; -1 when it is gone, even if its number is used again."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return -1
    process = read_process(pid)
    if process is None or process.born != born or has_ended(descriptor):
        os.close(descriptor)
        return -1
    return descriptor


def has_ended(descriptor: int, timeout: float = 0.0) -> bool:
    """Whether the process of `descriptor` has ended, waiting at most `timeout` seconds for that."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone or another user's is left alone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
