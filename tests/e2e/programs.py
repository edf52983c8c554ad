"""Mangrove's programs as real processes, to be started, stopped and killed at will."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from mangrove.client.wait import TimedOut, wait_until
from mangrove.identity.messages import JoinReply
from node_engine.joining import Membership
from tests.e2e.hosts import Host

#: Seconds for what should happen at once: long, because two busy cores are shared.
PATIENCE = 30.0

#: Where the kernel keeps control groups, of which the instances of a node leave one when the node never cleans up.
_CONTROL_GROUPS = Path("/sys/fs/cgroup")

_Value = TypeVar("_Value")


def eventually(condition: Callable[[], _Value | None], what: str, seconds: float = PATIENCE) -> _Value:
    """What `condition` gives once it is true; fails when that takes too long."""
    found = wait_until(condition, seconds, what=what, interval=0.05, longest=0.25)
    assert found is not None
    return found


def executable(program: str) -> str:
    """Path of one of Mangrove's programs, beside the Python that runs the tests."""
    return str(Path(sys.executable).with_name(program))


def home_of(process: psutil.Process) -> str:
    """The environment variable HOME of a process, empty when it cannot be read (gone, a zombie)."""
    try:
        return process.environ().get("HOME", "")
    except psutil.Error:
        return ""


class Program:
    """One program with its data folder. What it writes goes to `log`; a second start goes on there."""

    def __init__(
        self, name: str, folder: Path, host: Host, command: Sequence[str], ready: str, **environment: str
    ) -> None:
        """ready: what its log says once it works."""
        self.name = name
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.host = host
        self.command = [*host.entering, *command, "--data-dir", str(self.data)]
        self._ready = ready
        self._environment = environment
        self._read_from = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, wait: bool = True) -> None:
        """Start it, with options that only this start needs."""
        assert not self.alive, f"{self.name} runs already"
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"},
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it says that it works. Fails when it ends instead."""

        def ready() -> bool:
            assert self.alive, f"{self.name} ended with {self.exit_code}: {self.said()[-2000:]}"
            return self._ready in self.said()

        try:
            eventually(ready, f"{self.name} to say {self._ready!r}")
        except TimedOut as error:
            raise TimedOut(f"{error.message}; it does this:\n{self._doing()}") from None

    def _doing(self) -> str:
        """What it wrote, and in the end what each of its threads does."""
        assert self.process is not None
        before = len(self.said())
        self.process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(TimedOut):
            eventually(lambda: len(self.said()) > before, "it to say what it does", 5.0)
        return self.said()[-8000:]

    def said(self) -> str:
        """What it wrote since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._read_from)
            return log.read().decode(errors="replace")

    def connections(self) -> int:
        """How often it was connected to its parent, in its whole life."""
        return self.log.read_text().count("connected to the parent") if self.log.exists() else 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def stop(self) -> None:
        """Ask it to end, and wait until it has; its exit code must be 0."""
        if self.alive and self.process is not None:
            self.process.terminate()
            code = self.process.wait(PATIENCE)
            assert code == 0, f"{self.name} ended with {code}: {self.said()[-2000:]}"

    def kill(self) -> None:
        """SIGKILL, like a power cut of this program alone."""
        if self.alive and self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def restart(self) -> None:
        """SIGKILL, and start again."""
        self.kill()
        self.start()

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def broker(self) -> psutil.Process | None:
        """The broker that this parent runs; None while there is none."""
        children = psutil.Process(self.pid).children()
        return next((child for child in children if child.name() in ("mosquitto", "nats-server")), None)


class Parent(Program):
    """A root or a cluster (`program`). port: of its HTTP server."""

    def __init__(
        self, program: str, name: str, folder: Path, host: Host, port: int, *more: str, **environment: str
    ) -> None:
        self.address = f"{host.address}:{port}"
        options = ["--host", host.address, "--port", str(port), "--mqtt-port", "0", *more]
        command = [executable(f"mangrove-{program}"), *options]
        super().__init__(name, folder, host, command, f"listens on {self.address}", **environment)


class Node(Program):
    """A node engine."""

    def __init__(
        self, name: str, folder: Path, host: Host, cluster: Parent, runtimes: str, *more: str, **environment: str
    ) -> None:
        self.cluster = cluster
        command = [executable("mangrove-node"), "--name", name, "--runtimes", runtimes, *more]
        super().__init__(name, folder, host, command, f"({name}) runs: ", **environment)
        self._command = self.command

    @property
    def membership(self) -> Membership:
        """What it keeps of having joined."""
        return msgspec.json.decode((self.data / "identity.json").read_bytes().partition(b"\n")[2], type=Membership)

    @property
    def identity(self) -> JoinReply:
        reply = self.membership.reply
        assert reply is not None
        return reply

    @property
    def installation(self) -> str:
        """The first label of all that it makes."""
        return (self.data / "installation").read_bytes().partition(b"\n")[2].decode()

    def processes(self) -> list[psutil.Process]:
        """All that belongs to process instances of this node, their supervisors too."""
        home = f"{self.data}/instances/"
        return [process for process in psutil.process_iter() if home_of(process).startswith(home)]

    def crash(self) -> None:
        """SIGKILL to the engine and to all of its process instances: the device is gone, without a last word."""
        self.kill()
        while processes := self.processes():
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=PATIENCE)

    def switch_off(self) -> None:
        """`crash`, and what starts next finds that the machine was booted anew: where that can be played, as root."""
        self.crash()
        if os.geteuid() == 0 and shutil.which("unshare"):
            boot = self.data / "boot_id"
            boot.write_text(f"{uuid.uuid4()}\n")
            script = f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"'
            self.command = ["unshare", "--mount", "sh", "-c", script, "sh", *self._command]

    def leave(self) -> str:
        """Let it leave its cluster for good (the engine must have ended); what the command said."""
        command = [executable("mangrove"), "node", "leave", "--data-dir", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def clean(self) -> None:
        """Remove what a node leaves behind that is gone for good."""
        self.crash()
        if not self.data.exists():
            return
        for group in (*self.control_groups(), *self._own_groups()):
            with contextlib.suppress(OSError):
                group.rmdir()

    def control_groups(self) -> list[Path]:
        """Those of its process instances, each named like its attempt."""
        return [group for own in self._own_groups() for group in own.glob("*/")]

    def _own_groups(self) -> list[Path]:
        return list(_CONTROL_GROUPS.glob(f"*/mangrove-{self.installation}-*"))


@contextlib.contextmanager
def reconnecting(*children: Program) -> Iterator[None]:
    """What happens here breaks the links of these children to their parents; waits until they are connected again."""
    before = {child: child.connections() for child in children}
    yield
    for child, count in before.items():
        eventually(partial(_connected, child, count), f"{child.name} to connect again", 60)


def _connected(child: Program, count: int) -> bool:
    return child.connections() > count


def lives(pid: int) -> bool:
    """Whether there is such a process, and not only its exit code that nobody has asked for yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
