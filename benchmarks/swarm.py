"""A Docker Swarm beside Mangrove: one manager and two workers, each an engine in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import workloads
from mangrove.client.wait import TimedOut, wait_until
from tests.docker_engine import Engine
from tests.e2e.hosts import Switch

#: A registry that refuses at once: workers ask for an image even when they have it, and wait 20 s for one that is away.
IMAGE = "127.0.0.1:9/mangrove-benchmark:latest"
#: The Swarm's engines keep the defaults that they come with: a heartbeat every 5 s, and three that may be missed.
_NAMES = ("manager", "worker1", "worker2")
#: Seconds for anything to happen in a Swarm.
_PATIENCE = 120.0


def can_start() -> bool:
    """Whether engines with networks of their own can be had here."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in ("dockerd", "docker", "ip", "busybox"))


class Swarm:
    """Runs one service of one instance on a worker."""

    def __init__(self, engines: dict[str, _Member]) -> None:
        self._engines = engines
        self._manager = engines["manager"]

    def recover(self) -> float:
        """Seconds from a worker's death (engine and containers get SIGKILL) until its instance runs on the other.

        The worker is started again afterwards.
        """
        ran = self._where()
        (other,) = {"worker1", "worker2"} - {ran}
        begun = time.monotonic()
        self._engines[ran].crash()
        wait_until(self._engines[other].containers, _PATIENCE, what=f"{other} to take over", interval=0.01, longest=0.1)
        took = time.monotonic() - begun
        self._engines[ran].start()
        wait_until(self._all_ready, _PATIENCE, what="the worker to be back")
        return took

    def begin(self) -> None:
        """Form the Swarm and start the service."""
        self._manager.docker("swarm", "init", "--advertise-addr", self._manager.address)
        token = self._manager.docker("swarm", "join-token", "--quiet", "worker")
        for name in _NAMES[1:]:
            self._engines[name].docker("swarm", "join", "--token", token, f"{self._manager.address}:2377")
        wait_until(self._all_ready, _PATIENCE, what="all members to be ready")
        options = ("--detach", "--no-resolve-image", "--restart-delay=0s", "--constraint=node.role==worker")
        self._manager.docker("service", "create", *options, IMAGE, *workloads.CONTAINER)
        wait_until(self._where, _PATIENCE, what="the service to run")

    def _where(self) -> str:
        return next((name for name in _NAMES[1:] if self._engines[name].containers()), "")

    def _all_ready(self) -> bool:
        said = self._manager.docker("node", "ls", "--format", "{{.Status}}").split()
        return said == ["Ready"] * len(_NAMES)


class _Member:
    """One engine of the Swarm."""

    def __init__(self, folder: Path, address: str, namespace: str) -> None:
        folder.mkdir(parents=True)
        self.address = address
        self._folder = folder
        self._engine = Engine(folder, namespace=namespace)

    def start(self) -> None:
        self._engine.start()

    def docker(self, *arguments: str) -> str:
        return workloads.run_docker(self._engine.url, *arguments)

    def load(self) -> None:
        workloads.import_image(self._engine.url, IMAGE)

    def containers(self) -> list[str]:
        """Those that run."""
        return self.docker("ps", "--quiet").split()

    def crash(self) -> None:
        """SIGKILL to the engine and all that runs in it, as when its machine dies, but that its connections break."""
        running = self.docker("ps", "--quiet", "--no-trunc").split()
        instances = [self.docker("inspect", "--format", "{{.State.Pid}}", each) for each in running]
        ours = [process for process in psutil.process_iter() if _mentions(process, f"{self._folder}/")]
        for pid in [*(process.pid for process in ours), *map(int, instances)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._engine.kill()
        for mount in reversed(psutil.disk_partitions(all=True)):
            if mount.mountpoint.startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", mount.mountpoint], check=False)
        (self._folder / "pid").unlink(missing_ok=True)

    def end(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.docker("swarm", "leave", "--force")
        self._engine.end()


@contextlib.contextmanager
def swarm(folder: Path) -> Iterator[Swarm]:
    """A Swarm that runs one instance. Raises RuntimeError or TimedOut when it does not come about."""
    with contextlib.ExitStack() as ending:
        switch = ending.enter_context(Switch())
        members: dict[str, _Member] = {}
        for number, name in enumerate(_NAMES, 1):
            address = f"10.77.0.{number}"
            members[name] = _Member(folder / name, address, switch.plug(name, address))
            ending.callback(members[name].end)
            members[name].start()
            members[name].load()
        found = Swarm(members)
        found.begin()
        yield found


def measured(folder: Path, rounds: int) -> tuple[list[float], str]:
    """Seconds of each recovery, and why there are none where a Swarm cannot be had."""
    if not can_start():
        return [], "no Docker Swarm is to be had here"
    try:
        with swarm(folder) as found:
            return [found.recover() for _ in range(rounds)], ""
    except (RuntimeError, TimedOut, OSError, subprocess.SubprocessError) as error:
        return [], f"no Docker Swarm is to be had here: {str(error).splitlines()[0][:200]}"


def _mentions(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in word for word in process.cmdline())
    except psutil.Error:
        return False
