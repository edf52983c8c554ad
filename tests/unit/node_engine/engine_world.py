"""A world for the engine's core: a clock, a disk, runtimes without anything real in them, and a check of every rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mangrove.base.clock import VirtualClock
from mangrove.model.attempt import Attempt, Status, Usage
from mangrove.model.phases import ENDED, Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.reconcile.child import Above
from node_engine.admission import PickGpus
from node_engine.engine import Engine
from node_engine.fuse import MemoryFuse
from node_engine.operations import WIDTH, Operation, Result
from node_engine.runtimes.interface import Instance, Progress, RuntimeFault, Workload
from node_engine.runtimes.printed import Line, Reading, Wish
from node_engine.state import MemoryState


@dataclass
class Thing:
    """What a runtime holds of one attempt. started: number of its newest start. ends: how often it ended, however."""

    one_shot: bool
    state: Literal["prepared", "running", "exited"] = "prepared"
    exit_code: int | None = None
    completed: bool = False
    started: int = 0
    ends: int = 0


class FakeRuntime:
    """A runtime that does at once what it is asked, and counts. fault: raised by every call while it is set."""

    engine = ""
    addons: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.things: dict[str, Thing] = {}
        self.workloads: dict[str, Workload] = {}
        self.attached: dict[str, str] = {}  # attempt → the address that its interface was made with
        self.starts: Counter[str] = Counter()
        self.fault: RuntimeFault | None = None
        self.restarted_completed: list[str] = []

    def available(self) -> str:
        return ""

    def prepare(self, workload: Workload, progress: Progress) -> None:
        self._check()
        progress("pulling")
        self.workloads[workload.attempt] = workload
        self.things.setdefault(workload.attempt, Thing(workload.specification.one_shot))

    def attach(self, workload: Workload) -> None:
        self._check()
        self._thing(workload.attempt)
        self.attached[workload.attempt] = workload.ipv4

    def start(self, workload: Workload) -> Instance:
        self._check()
        thing = self._thing(workload.attempt)
        if thing.state != "running":
            if thing.completed:
                self.restarted_completed.append(workload.attempt)
            thing.state, thing.exit_code = "running", None
            self.starts[workload.attempt] += 1
            thing.started = self.starts.total()
        return self._instance(workload.attempt)

    def stop(self, attempt: str, grace: float) -> None:
        self._check()
        if attempt in self.things and self.things[attempt].state == "running":
            self.end(attempt, 137)

    def remove(self, attempt: str) -> None:
        self._check()
        self.things.pop(attempt, None)

    def list(self) -> Sequence[Instance]:
        self._check()
        return [self._instance(attempt) for attempt in self.things]

    def usage(self, attempts: Sequence[str]) -> dict[str, Usage]:
        return {}

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        return iter(())

    def watch(self, on_change: Callable[[], None]) -> None:
        """Nothing is told: worlds poke the engine themselves."""

    def close(self) -> None:
        """Nothing to release."""

    def end(self, attempt: str, code: int | None) -> None:
        """The instance ends."""
        thing = self.things[attempt]
        thing.state, thing.exit_code, thing.ends = "exited", code, thing.ends + 1
        thing.completed |= thing.one_shot and code == 0

    def running(self) -> set[str]:
        return {attempt for attempt, thing in self.things.items() if thing.state == "running"}

    def _instance(self, attempt: str) -> Instance:
        thing = self.things[attempt]
        return Instance(attempt, thing.state, thing.exit_code, float(thing.started))

    def _thing(self, attempt: str) -> Thing:
        if attempt not in self.things:
            raise RuntimeFault(f"{attempt} is not there")
        return self.things[attempt]

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


class World:
    """An engine with all that it lives on. `violations` tells each rule that was seen broken."""

    def __init__(
        self,
        make: type[Engine] = Engine,
        runtimes: Sequence[str] = ("docker", "process"),
        *,
        pick_gpus: PickGpus = lambda _asked, _taken: (),
        allocatable: Resources | None = None,
        state: MemoryState | None = None,
    ) -> None:
        self.clock = VirtualClock(100.0)
        self.state = state or MemoryState("0" * 24)
        self.runtimes = {name: FakeRuntime(name) for name in runtimes}
        self.desired: dict[str, Attempt] = {}
        self.specifications: dict[str, Specification] = {}
        self.violations: list[str] = []
        self.under_way: list[Operation] = []
        self.told: dict[str, Status] = {}
        self._make = make
        self._pick_gpus = pick_gpus
        self._allocatable = allocatable
        self._valid = False
        self._ends_when_running: dict[str, int] = {}
        self._ids = 0
        self.above = Above()
        self.fuse = MemoryFuse()
        self.engine = self._new_engine()

    # What a parent does

    def want(self, specification: Specification, number: int = 0) -> str:
        """A new attempt that is to be assigned; its id."""
        self._ids += 1
        id = f"a{self._ids:023x}"
        self.specifications[specification.digest] = specification
        self.desired[id] = Attempt(id, specification.name, number, 1, specification.digest)
        return id

    def assign(self) -> None:
        self._valid = True
        self.engine.assign(self.desired, self.specifications, self.clock.now())

    # What time and machines do

    def tick(self) -> list[Operation]:
        """Let the engine act, and check what it asks for."""
        given = self.engine.tick(self.clock.now())
        saved = {record.attempt.id for record in self.state.load_records()}
        for operation in given:
            self._check(operation, saved)
        self.under_way += given
        self.hear()
        return given

    def carry_out(self, operation: Operation) -> Result:
        runtime, workload = self.runtimes[operation.runtime], operation.workload
        try:
            match operation.kind:
                case "list":
                    return runtime.list()
                case "stop":
                    runtime.stop(operation.attempt, 1)
                case "kill":
                    runtime.stop(operation.attempt, 0)
                case "remove":
                    runtime.remove(operation.attempt)
                case "prepare" if workload:
                    runtime.prepare(workload, lambda text: self._progress(operation.attempt, text))
                case "attach" if workload:
                    runtime.attach(workload)
                case "start" if workload:
                    return runtime.start(workload)
                case _:
                    raise AssertionError(f"{operation} came without its workload")
        except RuntimeFault as fault:
            return fault
        return None

    def finish(self, operation: Operation, result: Result) -> None:
        self.under_way.remove(operation)
        self.engine.finished(operation, result, self.clock.now())
        self.hear()

    def settle(self) -> None:
        """Carry out everything that is asked for now, until nothing more is."""
        for _ in range(10_000):
            self.tick()
            if not self.under_way:
                return
            operation = self.under_way[0]
            self.finish(operation, self.carry_out(operation))
        raise AssertionError("the engine never rests")

    def run(self, seconds: float) -> None:
        """Settle, and again whenever the engine wants to be woken, for so long."""
        end = self.clock.now() + seconds
        self.settle()
        while (wake := self.engine.next_wake(self.clock.now())) <= end:
            assert wake >= self.clock.now()
            self.clock.advance_to(max(wake, self.clock.now() + 1e-6))
            self.settle()
        self.clock.advance_to(end)

    def crash(self) -> None:
        """SIGKILL of the engine, and its next start. What it had asked for is done or not, and nobody hears of it."""
        self.under_way.clear()
        self.told.clear()
        self._ends_when_running.clear()
        self._valid = False
        self.engine = self._new_engine()

    def hear(self) -> None:
        """Take what the engine tells its parent."""
        changed, removed = self.engine.take_changes()
        for id, status in changed.items():
            before = self.told.get(id)
            if before is not None and _order(before) > _order(status):
                self.violations.append(f"{id} went back from {before} to {status}")
            self._check_told(id, status)
        self.told.update(changed)
        for id in removed:
            del self.told[id]
            self._ends_when_running.pop(id, None)

    # What the tests ask

    def phase(self, id: str) -> Phase:
        return self.engine.statuses()[id].phase

    def reason(self, id: str) -> str:
        return self.engine.statuses()[id].reason

    def running(self) -> set[str]:
        return {attempt for runtime in self.runtimes.values() for attempt in runtime.running()}

    def holds(self) -> set[str]:
        return {attempt for runtime in self.runtimes.values() for attempt in runtime.things}

    def check_rest(self) -> None:
        """The rules that hold when nothing has happened for a while."""
        statuses = self.engine.statuses()
        going = {id for id, status in statuses.items() if not status.ended}
        if statuses.keys() != self.desired.keys():
            self.violations.append(f"knows {sorted(statuses)}, should know {sorted(self.desired)}")
        if self.running() != going:
            self.violations.append(f"runs {sorted(self.running())}, should run {sorted(going)}")
        if self.holds() - self.desired.keys():
            self.violations.append(f"left behind: {sorted(self.holds() - self.desired.keys())}")
        saved = {record.attempt.id: record.phase for record in self.state.load_records()}
        if saved != {id: status.phase for id, status in statuses.items()}:
            self.violations.append(f"on disk {saved}, told {statuses}")
        if self.told != statuses:
            self.violations.append(f"told {self.told}, true {statuses}")

    def _new_engine(self) -> Engine:
        return self._make(
            self.state,
            self.runtimes,
            self.clock,
            node="node-id",
            name="node-1",
            address="192.0.2.1",
            pick_gpus=self._pick_gpus,
            allocatable=lambda: self._allocatable,
            above=lambda: self.above,
            fuse=self.fuse,
        )

    def _progress(self, attempt: str, text: str) -> None:
        self.engine.progress(attempt, text, self.clock.now())

    def _check(self, operation: Operation, saved: set[str]) -> None:
        id, kind = operation.attempt, operation.kind
        same = [other for other in self.under_way if other.runtime == operation.runtime and other.kind == kind]
        if len(same) >= WIDTH[kind]:
            self.violations.append(f"more than {WIDTH[kind]} of {kind} at once")
        if kind == "list":
            return
        if not self._valid:
            self.violations.append(f"{kind} of {id} without an assignment")
        if any(other.attempt == id for other in self.under_way):
            self.violations.append(f"two operations at once for {id}")
        if kind in ("stop", "remove"):
            if id in self.desired and self.engine.statuses()[id].phase not in ENDED:
                self.violations.append(f"{kind} of {id}, which is wanted")
        elif id not in saved and kind != "kill":
            self.violations.append(f"{kind} of {id}, which is not on disk")

    def _check_told(self, id: str, status: Status) -> None:
        things = [runtime.things[id] for runtime in self.runtimes.values() if id in runtime.things]
        if not things:
            return
        if status.phase is Phase.RUNNING:
            self._ends_when_running[id] = things[0].ends
        elif (
            status.phase is Phase.BACKING_OFF
            and self._ends_when_running.get(id) == things[0].ends
            and things[0].state == "running"
        ):
            self.violations.append(f"{id} was said to have ended, and runs")


def _order(status: Status) -> tuple[int, int, int]:
    """Grows while an attempt lives: by starts, within one start by phases, and nothing follows what is final."""
    return (1, 0, 0) if status.ended else (0, status.restarts, list(Phase).index(status.phase))
