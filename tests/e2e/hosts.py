"""Machines as network namespaces on one switch: each has an address, a link that can be cut, and a shell that lasts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil
import pytest

from tests.conftest import RUN_MARK
from tests.e2e.machine import LONG

#: Of setns(2): the network alone.
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Host:
    """Where a program runs: its address, and its network namespace (empty: that of the tests)."""

    address: str = "127.0.0.1"
    namespace: str = ""

    @property
    def entering(self) -> tuple[str, ...]:
        """What a command begins with that shall run here. All but the network stays as it is, /sys too."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}") if self.namespace else ()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Within, this thread and all that it starts have the network of this host."""
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{self.namespace}") as here:
            _setns(here.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    def drop(self, *, incoming: int = 0, outgoing: int = 0, peer: str = "") -> None:
        """Let its network card lose so many of a hundred packets from now on, each way; 100 cuts it.

        peer: address of the only other host of which this is so.
        """
        rules = ["table inet faults", "delete table inet faults", "table inet faults {"]
        for hook, card, address, percent in (
            ("input", "iifname", "saddr", incoming),
            ("output", "oifname", "daddr", outgoing),
        ):
            which = f"ip {address} {peer} " if peer else ""
            some = f"numgen random mod 100 < {percent} " if percent < 100 else ""
            rules += [f"chain {hook} {{", f"type filter hook {hook} priority 0; policy accept;"]
            rules += [f'{card} "eth0" {which}{some}drop'] if percent else []
            rules += ["}"]
        command = [*self.entering, "nft", "-f", "-"]
        subprocess.run(command, input="\n".join([*rules, "}\n"]), text=True, check=True, timeout=30)


#: Where the tests are.
HERE = Host()


def _setns(namespace: int) -> None:
    """Python has os.setns from 3.12 on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def needs_namespaces() -> None:
    """Skip where this process may not make network namespaces."""
    probe = f"mangrove-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=30, check=False)
    if made.returncode != 0:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    _ip("netns", "delete", probe)


@dataclass
class Switch:
    """A bridge in a namespace of its own; hosts are plugged in with addresses of one /24."""

    namespace: str = field(default_factory=lambda: f"mg{uuid.uuid4().hex[:6]}")
    hosts: list[str] = field(default_factory=list)

    def __enter__(self) -> Switch:
        _ip("netns", "add", self.namespace)
        _ip("-n", self.namespace, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.namespace, "link", "set", "bridge", "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for namespace in (*self.hosts, self.namespace):
            _ip("netns", "delete", namespace)

    def plug(self, name: str, address: str) -> str:
        """A new host's namespace, which has this address."""
        namespace = f"{self.namespace}{name}"
        _ip("netns", "add", namespace)
        self.hosts.append(namespace)
        _ip("link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", name, "netns", self.namespace)
        _ip("-n", self.namespace, "link", "set", name, "master", "bridge", "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", link, "up")
        return namespace


class Shell:
    """A shell of a person who sits at a machine: what it exports and starts in the background stays.

    namespace: of its network. home: where it begins.
    """

    def __init__(self, namespace: str, home: Path) -> None:
        self._mark = uuid.uuid4().hex
        self.home = home
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "bash", "--noprofile", "--norc"],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(home),
            start_new_session=True,
        )

    def run(self, command: str, timeout: float = LONG) -> str:
        """What a command wrote; AssertionError when it failed or took longer than `timeout` seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %d\\n' {self._mark} $?\n".encode())
        self._process.stdin.flush()
        text = self._read_to_mark(command, time.monotonic() + timeout)
        written, _, code = text.rpartition(f"\n{self._mark} ")
        assert int(code) == 0, f"{command}\nended with {int(code)}:\n{written}"
        return written

    def _read_to_mark(self, command: str, deadline: float) -> str:
        assert self._process.stdout is not None
        text = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not (self._mark.encode() in text and text.endswith(b"\n")):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
                assert chunk, f"{command}\ndid not end:\n{text.decode(errors='replace')}"
                text += chunk
        return text.decode(errors="replace")

    def end(self) -> list[str]:
        """Kill all that still runs from this home; what that was, without the shell itself."""
        left = []
        for process in _processes_of(str(self.home)):
            with contextlib.suppress(psutil.Error):
                if process.pid != self._process.pid:
                    left.append(" ".join(process.cmdline()))
                process.send_signal(signal.SIGKILL)
        self._process.kill()
        self._process.communicate()
        return left


def environment(home: Path) -> dict[str, str]:
    """Ours without what is said to Mangrove, for somebody with this home and a terminal wide enough for tables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MANGROVE_") or name == RUN_MARK}
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "COLUMNS": "160", "NO_COLOR": "1"}


def _processes_of(home: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            own = process.environ().get("HOME", "")
            if own == home or own.startswith(f"{home}/"):
                yield process


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)
