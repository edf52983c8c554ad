"""The engine's side of the fuse: tells it until when exclusive attempts may run, and sees to it that it is there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mangrove.base.clock import SystemClock
from node_engine import fuse_process
from node_engine.runtimes.interface import RuntimeFault

#: Seconds for a new fuse to be there before the start of what it is for is given up for now; it takes a tenth.
_APPEAR = 5.0
_LOOK = 0.02

_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from node_engine import fuse_process; fuse_process.main(*{args!r})"
)


class Fuse(Protocol):
    """Where an engine keeps until when exclusive attempts may run (seconds of its clock, by attempt)."""

    def load(self) -> Mapping[str, float]:
        """What was set last in this boot of the machine."""

    def set(self, deadlines: Mapping[str, float]) -> None:
        """Replace all of them. Raises OSError, and then the old ones stand."""


class MemoryFuse:
    """A fuse that only remembers: for what runs nothing, and for the simulator, which ends things itself."""

    def __init__(self) -> None:
        self.deadlines: dict[str, float] = {}

    def load(self) -> Mapping[str, float]:
        return self.deadlines

    def set(self, deadlines: Mapping[str, float]) -> None:
        self.deadlines = dict(deadlines)


class FuseFile:
    """The file that the fuse reads, and the fuse. One fuse per state folder, which outlives the engine.

    boot, node: ids, of the machine's boot and of this node. instances, groups, docker: as for `fuse_process.main`.
    """

    def __init__(self, folder: Path, boot: str, node: str, *, instances: Path, groups: str, docker: str) -> None:
        self._path = folder / "fuse"
        self._boot, self._node = boot, node
        self._arguments = [str(self._path), str(instances), groups, docker]
        self._child: int | None = None  # the fuse that this engine has started, until it has ended

    def load(self) -> Mapping[str, float]:
        try:
            kept = fuse_process.read(str(self._path))
        except FileNotFoundError:
            return {}
        deadlines = kept[2] if kept is not None and kept[:2] == (self._boot, self._node) else {}
        if deadlines:
            self._light()
        return deadlines

    def set(self, deadlines: Mapping[str, float]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fuse_process.write(descriptor, self._boot, self._node, dict(deadlines))
        finally:
            os.close(descriptor)
        if deadlines:
            self._light()

    def expect(self) -> None:
        """Wait until the fuse is there. Raises RuntimeFault when it does not come."""
        clock = SystemClock()
        deadline = clock.now() + _APPEAR
        while not self._burns():
            if clock.now() >= deadline:
                raise RuntimeFault("the fuse, which is to end it in time should this engine fail, could not be started")
            self._light()
            time.sleep(_LOOK)

    def _burns(self) -> bool:
        """Whether a fuse has the lock."""
        descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _light(self) -> None:
        """Start a fuse unless there is one. It is not waited for, and a failure shows in `expect`."""
        with contextlib.suppress(OSError):
            if self._child_lives() or self._burns():
                return
            root = str(Path(__file__).parents[1])
            self._child = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _PROGRAM.format(root=root, args=self._arguments)],
                {},
                file_actions=[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGHUP, signal.SIGINT, signal.SIGTERM),
            )

    def _child_lives(self) -> bool:
        if self._child is None:
            return False
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self._child, os.WNOHANG) == (0, 0):
                return True
        self._child = None
        return False
