"""A set-up's programs, brought up and down. What is there already is left as it is, so each can be repeated."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from mangrove import __version__
from mangrove.base.errors import Conflict, MangroveError, Unavailable
from mangrove.cli import processes, setups
from mangrove.cli.processes import Figures
from mangrove.cli.setups import Kind, Program, Setup
from mangrove.client.root import RootClient
from mangrove.client.wait import TimedOut, wait_until

#: Seconds for a program to work once it is started: long, since many start at once on what may be a small device.
PATIENCE = 90.0

#: Seconds that programs have to end by themselves: twice what their own threads are given.
GRACE = 20.0

#: Seconds for the instances of one node to end: each is given 10, several at a time.
_HALT = 120.0

#: Seconds for which a join token is valid that is used at once.
_TTL = 600.0

#: Seconds for a process that was killed to be gone.
_FREED = 3.0

_Value = TypeVar("_Value")


class Ended(MangroveError):
    """A program of the set-up has ended by itself. problem: which; the message has the end of its log too."""

    def __init__(self, program: Program) -> None:
        self.problem = f"{program.name} has ended"
        super().__init__(f"{self.problem}; {program.log} says last:\n{processes.end_of_log(program)}")


class OneMachine:
    """The set-up in `folder`, which exists. client: for its root, logged in as Admin once `up` has run."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        self.folder = folder
        self.setup = setup
        self.programs = setups.programs(folder, setup)
        self.client = RootClient(setup.address)
        self._running: dict[str, psutil.Process] = {}
        self._read_from: dict[str, int] = {}

    def up(self) -> None:
        """Start what does not run, let join what has not, and wait until all is connected.

        Raises Ended, TimedOut, Conflict when another command works on the set-up, MangroveError, OSError.
        """
        processes.check_installed()
        with self._alone():
            self._running = processes.running(self.setup, self.programs)
            self._start(each for each in self.programs if each.kind == "root" or each.name in self.setup.joined)
            self._wait(self._logged_in, "the root to answer")
            self._let_join("cluster", self._cluster_token, self._live_clusters)
            self._let_join("node", self._node_token, self._live_nodes)

    def down(self) -> bool:
        """Stop its programs and the instances on its nodes, nothing of which is forgotten; whether anything ran.

        Raises Conflict, Unavailable when something could not be stopped.
        """
        with self._alone():
            programs = list(processes.running(self.setup, self.programs).values())
            processes.stop(programs, GRACE)
            # What is left has lost its program, or was never one of them.
            processes.stop(processes.of_setup(self.setup), 0.0)
            self._running = {}
            self._halt([each for each in self.programs if each.kind == "node" and each.data.exists()], 10.0)
            return bool(programs)

    def lose(self, node: str) -> None:
        """Let a node go down as a machine does that loses its power: the engine at once, and all that it runs."""
        process = self._running.pop(node)
        processes.stop([process], 0.0)
        self._halt([program for program in self.programs if program.name == node], 0.0)

    def figures(self) -> dict[str, Figures]:
        """What each running program uses."""
        return {name: processes.measure(self.setup, process) for name, process in self._running.items()}

    def ends_of_logs(self) -> Iterator[tuple[str, str]]:
        """Of each program that has written something, its name and its last lines."""
        for program in self.programs:
            if text := processes.end_of_log(program).strip():
                yield program.name, text

    # Starting

    def _let_join(self, kind: Kind, token: Callable[[Program], str], live: Callable[[], set[str]]) -> None:
        """Start all of a kind that do not run yet, each with a token, and wait until all of the kind are connected."""
        new = [each for each in self.programs if each.kind == kind and each.name not in self._running]
        tokens = [self._wait(partial(token, program), f"a join token for {program.name}") for program in new]
        for program, text in zip(new, tokens, strict=True):
            self._start([program], MANGROVE_TOKEN=text)
        wanted = {program.name for program in self.programs if program.kind == kind}
        self._wait(lambda: wanted <= live(), f"all {kind}s to connect")
        self._keep(self.setup.joined | wanted)

    def _start(self, programs: Iterable[Program], **environment: str) -> None:
        for program in programs:
            if program.name in self._running:
                continue
            for port in program.ports:
                _wait_until_free(port, program)
            self._read_from[program.name] = program.log.stat().st_size if program.log.exists() else 0
            self._running[program.name] = processes.start(self.setup, program, **environment)

    def _wait(self, condition: Callable[[], _Value], what: str) -> _Value:
        """What `condition` gives once it is true. Raises Ended when a program ends meanwhile, TimedOut."""

        def look() -> _Value:
            self.check()
            if not self._all_ready():
                raise Unavailable(f"{', '.join(sorted(self._read_from))}: not ready")  # which is waited for
            return condition()

        return wait_until(look, PATIENCE, what=what, interval=0.05, longest=0.2)

    def _all_ready(self) -> bool:
        """Whether each program that was started here has said that it works."""
        for program in self.programs:
            if program.name in self._read_from:
                with program.log.open("rb") as log:
                    log.seek(self._read_from[program.name])
                    if f"mangrove-{program.kind} {__version__} ".encode() in log.read():
                        del self._read_from[program.name]
        return not self._read_from

    def check(self) -> None:
        """Raise Ended when a program that should run does not."""
        for program in self.programs:
            process = self._running.get(program.name)
            if process is not None and not processes.alive(process):
                raise Ended(program)

    def _logged_in(self) -> bool:
        self.client.login(setups.USER, setups.password_in(self.folder))
        return True

    def _live_clusters(self) -> set[str]:
        return {cluster.name for cluster in self.client.clusters() if cluster.state == "live"}

    def _live_nodes(self) -> set[str]:
        return {node.name for node in self.client.nodes() if node.state == "live"}

    def _cluster_token(self, _: Program) -> str:
        return self.client.cluster_token(ttl=_TTL).token

    def _node_token(self, node: Program) -> str:
        ids = {cluster.name: cluster.id for cluster in self.client.clusters()}
        return self.client.node_token(ids[node.parent], ttl=_TTL).token

    def _keep(self, joined: frozenset[str]) -> None:
        if joined != self.setup.joined:
            self.setup = msgspec.structs.replace(self.setup, joined=joined)
            setups.save(self.folder, self.setup)

    # Stopping

    def _halt(self, nodes: list[Program], grace: float) -> None:
        """End what runs on nodes whose engines are down. Raises Unavailable with what could not be ended."""

        def halt(node: Program) -> str:
            command = ("node", "halt", "--data-dir", str(node.data), "--grace", f"{grace:g}")
            try:
                done = processes.run_command(self.setup, *command, timeout=_HALT)
            except subprocess.TimeoutExpired:
                return f"{node.name}: its instances did not end within {_HALT:g} s"
            return f"{node.name}: {done.stderr.strip()}" if done.returncode else ""

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            problems = [problem for problem in pool.map(halt, nodes) if problem]
        if problems:
            raise Unavailable("something may still run. " + "\n".join(problems))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises Conflict when another command is bringing this set-up up or down."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"another command is bringing {self.folder} up or down: wait for it") from None
            yield
        finally:
            os.close(descriptor)


def _wait_until_free(port: int, program: Program) -> None:
    """A broker that has just lost its program may still have its port for a moment. Raises Unavailable."""
    try:
        wait_until(partial(setups.is_free, port), _FREED, what="the port")
    except TimedOut:
        problem = f"port {port}, which {program.name} of this set-up uses, is taken: stop what listens there"
        raise Unavailable(problem) from None
