"""The running programs of a set-up, found by what the kernel says of them rather than by files that may lie.

Each has the set-up's id in its environment, and says in its command line whose data folder it uses.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from mangrove.base.errors import Unavailable
from mangrove.cli.setups import Kind, Program, Setup

#: In the environment of all programs of a set-up, and of what they start, except for instances.
MARK = "MANGROVE_SETUP"

_MODULES: dict[Kind, str] = {
    "root": "root_orchestrator.main",
    "cluster": "cluster_orchestrator.main",
    "node": "node_engine.main",
}
#: Packages that tell whether a program's extra is installed.
_NEEDED: dict[Kind, str] = {"root": "jwt", "cluster": "flask", "node": "psutil"}

#: What belongs to whoever types the command, and to nobody else; and a store, which its programs cannot share.
_PRIVATE = ("MANGROVE_PASSWORD", "MANGROVE_TOKEN", "MANGROVE_STORE")

#: Seconds between looks at processes that shall end.
_LOOK = 0.02

#: Characters of a log that an error shows: a traceback, or a screen of lines.
_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some processes. cpu: seconds used so far. memory: bytes, with shared pages divided among who shares them."""

    processes: int
    cpu: float
    memory: int


def check_installed() -> None:
    """Raise Unavailable when this Python lacks what the programs of a set-up need."""
    for kind, package in _NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"the {kind} needs {package}, which is not installed: pip install 'mangrove[all]'")


def start(setup: Setup, program: Program, **environment: str) -> psutil.Process:
    """Start it in the background. Raises OSError."""
    command = [sys.executable, "-m", _MODULES[program.kind], "--data-dir", str(program.data)]
    descriptor = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [*command, *program.arguments, "--log-file", str(program.log)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=program.log.parent,
            env={**_environment(setup), **environment},
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    process.returncode = 0  # it is not ours to wait for: it outlives us
    return psutil.Process(process.pid)


def run_command(setup: Setup, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a `mangrove` command that another program brings. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        [sys.executable, "-m", "mangrove.cli.main", *arguments],
        env=_environment(setup),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def running(setup: Setup, programs: Iterable[Program]) -> dict[str, psutil.Process]:
    """Which of the programs run, by name."""
    names = {str(program.data): program.name for program in programs}
    found = {}
    for process in of_setup(setup):
        with contextlib.suppress(psutil.Error):
            match process.cmdline():
                case [_, "-m", module, "--data-dir", data, *_] if module in _MODULES.values() and data in names:
                    found[names[data]] = process
    return found


def of_setup(setup: Setup) -> list[psutil.Process]:
    """All processes of the set-up: its programs and their brokers, but no instances."""
    return [process for process in psutil.process_iter() if _mark_of(process) == setup.id]


def measure(setup: Setup, process: psutil.Process) -> Figures:
    """A program with what it has started for itself, such as its broker."""
    count, cpu, memory = 0, 0.0, 0
    with contextlib.suppress(psutil.Error):
        for each in [process, *(child for child in process.children() if _mark_of(child) == setup.id)]:
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                memory += each.memory_full_info().pss
                cpu += times.user + times.system
                count += 1
    return Figures(count, cpu, memory)


def alive(process: psutil.Process) -> bool:
    """Whether it still runs. One that has ended and that nobody has taken note of does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(processes: Sequence[psutil.Process], grace: float) -> None:
    """Ask them to end and, after `grace` seconds, make them; with 0 they are not asked.

    Raises Unavailable when one cannot be ended.
    """
    if grace > 0:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        if _wait(processes, grace):
            return
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if not _wait(processes, 10.0):
        raise Unavailable(f"processes {[each.pid for each in processes if alive(each)]} cannot be ended")


def end_of_log(program: Program) -> str:
    """The last lines that a program has written."""
    try:
        text = program.log.read_text(errors="replace")
    except OSError:
        return ""
    shown = text[-_SHOWN:]
    return shown if shown == text else shown.partition("\n")[2]


def _environment(setup: Setup) -> Mapping[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
    return {**own, **setup.environment, MARK: setup.id}


def _mark_of(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):  # gone, or not ours to look at
        return ""


def _wait(processes: Sequence[psutil.Process], timeout: float) -> bool:
    """Whether all have ended within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while any(alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK)
    return True
