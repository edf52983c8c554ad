"""The fuse: a tiny process beside the engine that ends exclusive instances whose time has run out.

The engine ends them itself, a moment earlier; this is for when it was killed or hangs. So it is a process and a session
of its own, imports next to nothing, and needs nobody: it reads a file with deadlines, and ends what belongs to an
attempt by what the kernel says of it; only what it may not end itself it has the container engine kill. It ends when
the file is gone or names nothing any more. `fuse.py` starts it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
import zlib

from node_engine.runtimes import processes

#: Seconds between looks at the clock and the file. A sleep does not count the time that the machine is suspended, so
#: this is also how long an instance may go on after that; 0.03 % of a small core.
PERIOD = 0.25
#: Seconds after a deadline before the fuse acts, for the engine to do it in good order.
GRACE = 1.0
#: Seconds between two looks for what belongs to an attempt of which nothing is left: a container engine may still be at
#: starting it.
LOOK = 1.0
#: Seconds after the newest deadline after which a fuse that finds nothing more has done its work: well beyond the
#: longest that a container engine is waited for.
RETIRE = 600.0
#: Seconds for the container engine to answer.
ASK = 2.0
#: Seconds in which a new fuse waits for the lock: somebody may just be looking whether it is held.
LOCK = 1.0


def now() -> float:
    """As the engine's clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write(descriptor: int, boot: str, node: str, deadlines: dict[str, float]) -> None:
    """Put them into the file, in place: a rename every few seconds would wear out a device's card. Raises OSError."""
    lines = [boot, node, *(f"{attempt} {deadline:.3f}" for attempt, deadline in sorted(deadlines.items()))]
    content = "\n".join(lines).encode()
    os.pwrite(descriptor, b"%08x\n%s\n" % (zlib.crc32(content), content), 0)
    os.ftruncate(descriptor, len(content) + 10)


def read(path: str) -> tuple[str, str, dict[str, float]] | None:
    """The boot, the node and the deadlines by attempt; None when it was read while it was being written.

    Raises FileNotFoundError.
    """
    try:
        with open(path, "rb") as file:
            checksum, _, content = file.read().partition(b"\n")
    except FileNotFoundError:
        raise
    except OSError:
        return None
    content = content[:-1]
    if checksum != b"%08x" % zlib.crc32(content):
        return None
    boot, node, *lines = content.decode().split("\n")
    pairs = (line.split(" ") for line in lines)
    return boot, node, {attempt: float(deadline) for attempt, deadline in pairs}


def main(path: str, instances: str, groups: str, docker: str) -> None:
    """Guard until there is nothing to guard. instances: folder of the process runtime; groups: folder of its control
    groups, docker: address of the container engine, both empty where there is none."""
    os.chdir("/")
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    patience = now() + LOCK
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if now() > patience:
                return
            time.sleep(0.05)
    again: dict[str, float] = {}
    known = None
    while True:
        try:
            known = read(path) or known
        except FileNotFoundError:
            return
        if known is not None:
            boot, node, deadlines = known
            if not deadlines or boot != processes.boot_id():
                return
            due = [id for id in overdue(deadlines, now()) if now() >= again.get(id, 0.0)]
            for id in due:
                if end(id, node, instances, groups):
                    again.pop(id, None)
                else:
                    again[id] = now() + LOOK
            if is_done(deadlines, again, now()):
                return
            for id in due:
                if docker:
                    kill_container(docker, id)
        time.sleep(PERIOD)


def overdue(deadlines: dict[str, float], moment: float) -> set[str]:
    """What the engine should have ended by now."""
    return {attempt for attempt, deadline in deadlines.items() if moment >= deadline + GRACE}


def is_done(deadlines: dict[str, float], again: dict[str, float], moment: float) -> bool:
    """Whether all time has been over for long, and nothing was found at the last look (`again`: when the next is)."""
    return all(moment >= deadline + RETIRE and attempt in again for attempt, deadline in deadlines.items())


def end(attempt: str, node: str, instances: str, groups: str) -> bool:
    """Kill what belongs to an attempt, as far as this process may; returns whether there was anything."""
    tags = {f"MANGROVE_ATTEMPT={attempt}".encode(), f"MANGROVE_NODE={node}".encode()}
    supervisor = leader_of(f"{instances}/{attempt}/record.json")
    grouped = members_of(f"{groups}/{attempt}/cgroup.procs") if groups else set()
    found = False
    for process in processes.all_processes():
        pid = process.pid
        if pid in (supervisor, os.getpid()) or process.state == "Z":
            continue
        if process.session == supervisor or pid in grouped or processes.has_environment(pid, tags):
            found = True
            descriptor = processes.open_process(pid, process.born)
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                os.close(descriptor)
    return found


def leader_of(record: str) -> int:
    """Process id of the supervisor that the process runtime has written down, if that still lives; else -1."""
    try:
        with open(record, encoding="utf-8") as file:
            text = file.read()
        pid, born = (int(text.partition(f'"{key}":')[2].partition(",")[0]) for key in ("pid", "born"))
    except (OSError, ValueError):
        return -1
    leader = processes.read_process(pid)
    return pid if leader is not None and leader.born == born else -1


def members_of(path: str) -> set[int]:
    try:
        with open(path, encoding="ascii") as file:
            return set(map(int, file.read().split()))
    except OSError:
        return set()


def kill_container(address: str, attempt: str) -> None:
    """Ask the container engine; for one that is not there or does not run, that changes nothing."""
    kind, _, place = address.partition("://")
    with contextlib.suppress(OSError, ValueError):
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(ASK)
            connection.connect(place)
        else:
            host, _, port = place.rpartition(":")
            connection = socket.create_connection((host, int(port)), timeout=ASK)
        with connection:
            request = f"POST /containers/mangrove-{attempt}/kill HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            connection.recv(1024)
