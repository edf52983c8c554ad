"""The `mangrove` command as a user types it, with what it may leave behind under watch."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

#: Seconds for any command: a demonstration on two busy cores.
LONG = 150.0


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it wrote."""

    code: int
    output: str
    error: str

    @property
    def all(self) -> str:
        return self.output + self.error


@dataclass
class Machine:
    """Runs commands that have their home and all temporary files in `home`. environment: on top of ours."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def mangrove(self, *arguments: str, ok: bool = True) -> Said:
        """Run a command to its end. ok: it must succeed."""
        with self.begin(*arguments) as process:
            try:
                output, error = process.communicate(timeout=LONG)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                output, error = process.communicate(timeout=LONG)
                raise AssertionError(f"mangrove {arguments} did not end:\n{output}\n{error}") from None
        said = Said(process.returncode, output, error)
        assert not ok or said.code == 0, said.all
        return said

    def begin(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command."""
        unset = {f"MANGROVE_{name}" for name in ("DIR", "ROOT", "CONTEXT", "USER", "PASSWORD")} | {"XDG_CONFIG_HOME"}
        own = {name: value for name, value in os.environ.items() if name not in unset}
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("mangrove")), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**own, "HOME": str(self.home), "TMPDIR": str(self.home), **self.environment},
        )

    def processes(self) -> list[psutil.Process]:
        """All that run here: programs, and instances, whose home is in the folder of their node."""
        return [process for process in psutil.process_iter() if self._is_here(process)]

    def _is_here(self, process: psutil.Process) -> bool:
        try:
            home = process.environ().get("HOME", "")
            return home == str(self.home) or home.startswith(f"{self.home}/")
        except psutil.Error:  # gone, a zombie, or another user's
            return False

    def instances(self) -> list[psutil.Process]:
        """Instances and their supervisors."""
        found = []
        for process in self.processes():
            try:
                if "MANGROVE_ATTEMPT" in process.environ():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self) -> None:
        """Kill what is left, and fail if there was anything."""
        left = {process.pid: process for process in self.processes()}
        described = [f"{pid}: {_command_line(process)}" for pid, process in left.items()]
        deadline = time.monotonic() + 10.0
        while (running := self.processes()) and time.monotonic() < deadline:
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(running, timeout=1.0)
        assert not described, "left running:\n" + "\n".join(described)


def sla(name: str, *services: dict[str, Any]) -> str:
    """An SLA of one application, as a file holds it."""
    application = {
        "applicationID": "",
        "application_name": name,
        "application_namespace": "test",
        "application_desc": "",
        "microservices": [{"microserviceID": "", "microservice_namespace": "test", **each} for each in services],
    }
    return json.dumps({"sla_version": "v2.0", "customerID": "Admin", "applications": [application]})


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "(gone meanwhile)"


@contextlib.contextmanager
def at_a_terminal(machine: Machine, *arguments: str) -> Iterator[Callable[[], str]]:
    """A command with its errors and bars at a terminal: what that has shown, without colours. It must end well."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    shown = bytearray()

    def read() -> str:
        with contextlib.suppress(OSError):  # nothing new, or its end
            while piece := os.read(ours, 65536):
                shown.extend(piece)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))

    try:
        with machine.begin(*arguments, stderr=theirs) as process:
            os.close(theirs)
            try:
                yield read
                assert process.wait(LONG) == 0, read()
            except BaseException as error:
                error.add_note(read()[-2000:])
                raise
            finally:
                process.kill()
    finally:
        os.close(ours)
