"""A runtime in memory: the twin of the real ones, for the simulator, benchmarks and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mangrove.base.clock import Clock, SystemClock
from mangrove.model.attempt import Usage
from node_engine.runtimes.endings import SIGNALLED, reason_of_exit
from node_engine.runtimes.environment import environment_of
from node_engine.runtimes.interface import Instance, Progress, RuntimeFault, Workload
from node_engine.runtimes.printed import Line, Reading, Wish

#: A step and the attempt it is for: `prepare`, `attach`, `start`, `stop`, `remove`.
Step = Callable[[str, str], None]


class SimulatedRuntime:
    """Runs nothing, and says that it does. It outlives the engine that uses it, as real instances do.

    before: called with each step before it is done; it may wait (with a seeded delay, say) or raise. Without it every
    step is done at once. name: as which kind of runtime it passes.
    """

    def __init__(
        self, name: str = "simulated", *, clock: Clock | None = None, before: Step = lambda step, attempt: None
    ) -> None:
        self._name = name
        self._clock = clock or SystemClock()
        self._before = before
        self._lock = threading.Lock()
        self._instances: dict[str, Instance] = {}
        self._workloads: dict[str, Workload] = {}
        self._faults: dict[str, list[RuntimeFault]] = {}
        self._on_change: Callable[[], None] = lambda: None
        #: How often each attempt was started.
        self.starts: dict[str, int] = {}
        #: Why it cannot be used, as `available` says; empty when it can.
        self.problem = ""

    @property
    def name(self) -> str:
        return self._name

    @property
    def addons(self) -> Sequence[str]:
        return ()

    @property
    def engine(self) -> str:
        return ""

    @property
    def running(self) -> frozenset[str]:
        """Attempts that run now: what an orphan would be found in."""
        with self._lock:
            return frozenset(i.attempt for i in self._instances.values() if i.state == "running")

    # What tests and simulations do to it.

    def fail_next(self, step: str, fault: RuntimeFault) -> None:
        """Let the next call of `step`, for whatever attempt, raise `fault`; several wait in line."""
        with self._lock:
            self._faults.setdefault(step, []).append(fault)

    def crash(self, attempt: str, exit_code: int = 1) -> None:
        """End a running instance by itself; with exit code 0 it has completed. Not running is nothing."""
        with self._lock:
            self._end(attempt, exit_code, reason_of_exit(exit_code))
        self._on_change()

    def reboot(self) -> None:
        """End all instances, as when the machine goes down; what was made stays."""
        with self._lock:
            for attempt in self._instances:
                self._end(attempt, None, "the node was restarted")

    # What the engine does with it.

    def available(self) -> str:
        return self.problem

    def prepare(self, workload: Workload, progress: Progress) -> None:
        self._step("prepare", workload.attempt)
        environment_of(workload)
        with self._lock:
            self._workloads[workload.attempt] = workload
            self._instances.setdefault(workload.attempt, Instance(workload.attempt, "prepared"))

    def attach(self, workload: Workload) -> None:
        self._step("attach", workload.attempt)

    def start(self, workload: Workload) -> Instance:
        attempt = workload.attempt
        self._step("start", attempt)
        with self._lock:
            found = self._instances.get(attempt)
            if found is None:
                raise RuntimeFault(f"{attempt} was not prepared")
            if found.state != "running":
                found = self._instances[attempt] = Instance(attempt, "running", started=self._clock.wall())
                self.starts[attempt] = self.starts.get(attempt, 0) + 1
            return found

    def stop(self, attempt: str, grace: float) -> None:
        self._step("stop", attempt)
        with self._lock:
            terminated = SIGNALLED + 15
            self._end(attempt, terminated, reason_of_exit(terminated))

    def remove(self, attempt: str) -> None:
        self._step("remove", attempt)
        with self._lock:
            self._instances.pop(attempt, None)
            self._workloads.pop(attempt, None)

    def list(self) -> Sequence[Instance]:
        if self.problem:
            raise RuntimeFault(self.problem)
        with self._lock:
            return tuple(self._instances.values())

    def usage(self, attempts: Sequence[str]) -> dict[str, Usage]:
        """Each running instance uses just what it asked for."""
        measured = {}
        for attempt in self.running.intersection(attempts):
            asked = self._workloads[attempt].specification.resources
            measured[attempt] = Usage(
                cpu=asked.cpu / 10, memory=asked.memory * 1024 * 1024, measured=self._clock.wall()
            )
        return measured

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        return iter(())

    def watch(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change

    def close(self) -> None:
        self._on_change = lambda: None

    def _step(self, step: str, attempt: str) -> None:
        self._before(step, attempt)
        with self._lock:
            if waiting := self._faults.get(step):
                raise waiting.pop(0)

    def _end(self, attempt: str, exit_code: int | None, reason: str) -> None:
        found = self._instances.get(attempt)
        if found and found.state == "running":
            self._instances[attempt] = replace(found, state="exited", exit_code=exit_code, reason=reason)
