"""What every runtime does the same, tried on each: Docker, Podman, processes, and the simulated twin."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.resources import Resources
from mangrove.model.specification import Volume
from node_engine.runtimes.docker import DockerRuntime
from node_engine.runtimes.interface import Instance, Runtime, RuntimeFault, Workload
from node_engine.runtimes.process import ProcessRuntime
from node_engine.runtimes.simulated import SimulatedRuntime
from tests.integration.links import wait_until
from tests.integration.runtimes import (
    IMAGE,
    INSTALLATION,
    load_image,
    output_of,
    remove_all,
    run,
    say_nothing,
    workload,
    write_whole,
)

#: Runs until `end` writes an exit code.
_UNTIL_TOLD = """
head -c 100000 /dev/zero >zeros; echo up
until read -r code <"$CONTROL/$MANGROVE_ATTEMPT"; do sleep 0.02; done 2>/dev/null
exit "$code"
"""


class Case(ABC):
    """One kind of runtime. runtime: of node n1, as the engine has it."""

    runtime: Runtime

    @abstractmethod
    def workload(self, attempt: str, *environment: str) -> Workload:
        """Something that runs until told to end."""

    @abstractmethod
    def end(self, attempt: str, exit_code: int) -> None:
        """Let it end by itself."""

    @abstractmethod
    def restarted(self) -> Runtime:
        """The same node's runtime after a restart of its engine."""

    @abstractmethod
    def of_another_node(self) -> Runtime:
        """One for which all this is none of its business."""

    def close(self) -> None:
        remove_all(self.runtime)
        self.runtime.close()


class _Real(Case):
    def __init__(self, control: Path) -> None:
        self.control = control

    def end(self, attempt: str, exit_code: int) -> None:
        write_whole(self.control / attempt, f"{exit_code}\n")


class DockerCase(_Real):
    def __init__(self, control: Path, host: str) -> None:
        super().__init__(control)
        self.host = host
        load_image(host)
        self.runtime = DockerRuntime(INSTALLATION, "n1", host=host)

    def workload(self, attempt: str, *environment: str) -> Workload:
        return workload(
            attempt,
            *("sh", "-c", _UNTIL_TOLD),
            runtime="docker",
            image=IMAGE,
            environment=("CONTROL=/control", f"MANGROVE_ATTEMPT={attempt}", *environment),
            volumes=(Volume(str(self.control), "/control"),),
            resources=Resources(cpu=500, memory=64),
        )

    def restarted(self) -> Runtime:
        self.runtime.close()
        self.runtime = DockerRuntime(INSTALLATION, "n1", host=self.host)
        return self.runtime

    def of_another_node(self) -> Runtime:
        return DockerRuntime(INSTALLATION, "n2", host=self.host)


class ProcessCase(_Real):
    def __init__(self, control: Path, folder: Path) -> None:
        super().__init__(control)
        self.folder = folder
        self.runtime = ProcessRuntime(folder, INSTALLATION, "n1")

    def workload(self, attempt: str, *environment: str) -> Workload:
        return workload(
            attempt,
            *("sh", "-c", _UNTIL_TOLD),
            environment=(f"CONTROL={self.control}", *environment),
            resources=Resources(cpu=500, memory=64),
        )

    def restarted(self) -> Runtime:
        self.runtime.close()
        self.runtime = ProcessRuntime(self.folder, INSTALLATION, "n1")
        return self.runtime

    def of_another_node(self) -> Runtime:
        return ProcessRuntime(self.folder, INSTALLATION, "n2")


class SimulatedCase(Case):
    def __init__(self) -> None:
        self.runtime = self.world = SimulatedRuntime()

    def workload(self, attempt: str, *environment: str) -> Workload:
        return workload(attempt, runtime="simulated", environment=environment, resources=Resources(cpu=500, memory=64))

    def end(self, attempt: str, exit_code: int) -> None:
        self.world.crash(attempt, exit_code)

    def restarted(self) -> Runtime:
        self.runtime.close()
        return self.runtime

    def of_another_node(self) -> Runtime:
        return SimulatedRuntime()


@pytest.fixture(
    params=[
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.xdist_group("containers")]),
        pytest.param("podman", marks=[pytest.mark.docker, pytest.mark.xdist_group("containers")]),
        "process",
        "simulated",
    ]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made: Case
    control = tmp_path / "control"
    control.mkdir()
    match request.param:
        case "docker" | "podman" as engine:
            made = DockerCase(control, request.getfixturevalue(f"{engine}_host"))
        case "process":
            made = ProcessCase(control, tmp_path / "instances")
        case _:
            made = SimulatedCase()
    yield made
    made.close()


@pytest.fixture
def runtime(case: Case) -> Runtime:
    return case.runtime


def seen(runtime: Runtime, attempt: str) -> Instance | None:
    return next((instance for instance in runtime.list() if instance.attempt == attempt), None)


def ended(runtime: Runtime, attempt: str) -> Instance:
    """The instance, once it has ended."""
    found: list[Instance] = []

    def has_ended() -> bool:
        instance = seen(runtime, attempt)
        if instance and instance.state == "exited":
            found.append(instance)
        return bool(found)

    wait_until(has_ended, f"{attempt} ended")
    return found[0]


def test_it_can_be_used_and_holds_nothing_at_first(runtime: Runtime) -> None:
    assert runtime.available() == ""
    assert not runtime.list()


def test_prepared_is_not_running(case: Case, runtime: Runtime) -> None:
    work = case.workload("a1")
    runtime.prepare(work, say_nothing)
    runtime.prepare(work, say_nothing)

    assert [*runtime.list()] == [Instance("a1", "prepared")]


def test_start(case: Case, runtime: Runtime) -> None:
    work = case.workload("a1")
    runtime.prepare(work, say_nothing)
    runtime.attach(work)
    started = runtime.start(work)

    assert (started.attempt, started.state, started.exit_code, started.reason) == ("a1", "running", None, "")
    assert started.started == pytest.approx(SystemClock().wall(), abs=60)
    assert [*runtime.list()] == [started]
    assert runtime.start(work) == started, "running already is success"


def test_what_was_not_prepared_does_not_start(case: Case, runtime: Runtime) -> None:
    with pytest.raises(RuntimeFault, match="a1 was not prepared"):
        runtime.start(case.workload("a1"))


@pytest.mark.parametrize(("exit_code", "reason"), [(0, ""), (3, "exit code 3")])
def test_end_by_itself(case: Case, runtime: Runtime, exit_code: int, reason: str) -> None:
    run(runtime, case.workload("a1"))
    case.end("a1", exit_code)

    instance = ended(runtime, "a1")
    assert (instance.exit_code, instance.reason) == (exit_code, reason)
    assert instance.started > 0


def test_start_again_after_an_end(case: Case, runtime: Runtime) -> None:
    run(runtime, case.workload("a1"))
    case.end("a1", 3)
    ended(runtime, "a1")
    if isinstance(case, _Real):
        (case.control / "a1").unlink()
    again = runtime.start(case.workload("a1"))

    assert (again.state, again.exit_code, again.reason) == ("running", None, "")
    assert [*runtime.list()] == [again]


def test_stop(case: Case, runtime: Runtime) -> None:
    run(runtime, case.workload("a1"))
    run(runtime, case.workload("a2"))
    runtime.stop("a1", 0.2)
    runtime.stop("a1", 0.2)
    runtime.stop("unknown", 0.2)

    instance, other = seen(runtime, "a1"), seen(runtime, "a2")
    assert instance is not None
    assert instance.state == "exited"
    assert instance.reason.startswith("killed by signal")
    assert other is not None
    assert other.state == "running"


def test_stop_of_what_never_started(case: Case, runtime: Runtime) -> None:
    runtime.prepare(case.workload("a1"), say_nothing)
    runtime.stop("a1", 0.2)

    assert [*runtime.list()] == [Instance("a1", "prepared")]


def test_remove(case: Case, runtime: Runtime) -> None:
    runtime.prepare(case.workload("prepared"), say_nothing)
    for attempt in ("running", "exited", "other"):
        run(runtime, case.workload(attempt))
    runtime.stop("exited", 0)
    for attempt in ("prepared", "running", "exited", "exited", "unknown"):
        runtime.remove(attempt)

    assert [instance.attempt for instance in runtime.list()] == ["other"]


def test_what_runs_is_adopted_after_a_restart_of_the_engine(case: Case, runtime: Runtime) -> None:
    run(runtime, case.workload("a1"))
    runtime.prepare(case.workload("a2"), say_nothing)
    before = {instance.attempt: instance for instance in runtime.list()}
    runtime = case.restarted()

    assert {instance.attempt: instance for instance in runtime.list()} == before
    runtime.prepare(case.workload("a1"), say_nothing)
    assert runtime.start(case.workload("a1")) == before["a1"]
    runtime.stop("a1", 0)
    assert ended(runtime, "a1").exit_code is not None


def test_the_exit_code_is_known_after_a_restart_of_the_engine(case: Case, runtime: Runtime) -> None:
    run(runtime, case.workload("a1"))
    case.end("a1", 5)
    runtime = case.restarted()

    assert ended(runtime, "a1").exit_code == 5


def test_another_nodes_instances_are_not_seen(case: Case, runtime: Runtime) -> None:
    run(runtime, case.workload("a1"))
    other = case.of_another_node()
    try:
        assert not other.list()
        other.stop("a2", 0)
    finally:
        other.close()

    instance = seen(runtime, "a1")
    assert instance is not None
    assert instance.state == "running"


def test_changes_are_told(case: Case, runtime: Runtime) -> None:
    told = threading.Event()
    runtime.watch(told.set)
    run(runtime, case.workload("a1"))
    told.clear()
    case.end("a1", 0)

    assert told.wait(20)
    assert ended(runtime, "a1").exit_code == 0


def test_a_change_is_told_after_a_restart_of_the_engine(case: Case, runtime: Runtime) -> None:
    run(runtime, case.workload("a1"))
    runtime = case.restarted()
    told = threading.Event()
    runtime.watch(told.set)
    case.end("a1", 0)

    assert told.wait(20)
    assert ended(runtime, "a1").exit_code == 0


def test_a_listener_that_fails_is_called_again(case: Case, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    if isinstance(case, SimulatedCase):
        return  # calls its listener in the test's own thread
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ValueError("listener is broken")

    runtime.watch(fail)
    for attempt in ("a1", "a2"):
        run(runtime, case.workload(attempt))
        before = len(calls)
        case.end(attempt, 0)
        wait_until(lambda before=before: len(calls) > before, "the listener was called")  # type: ignore[misc]
        ended(runtime, attempt)
    assert "listener is broken" in caplog.text


def test_usage_is_of_what_runs(case: Case, runtime: Runtime) -> None:
    for attempt in ("a1", "a2", "a3"):
        run(runtime, case.workload(attempt))
    runtime.stop("a2", 0)
    runtime.list()
    if isinstance(case, _Real):
        wait_until(lambda: output_of(runtime, "a1", 1) == b"up\n", "it wrote its file")
    # The kernel counts memory in batches, so the first moments may show none.
    wait_until(lambda: runtime.usage(["a1"])["a1"].memory > 0, "its memory is seen")
    usage = runtime.usage(["a1", "a2", "unknown"])

    assert usage.keys() == {"a1"}
    assert usage["a1"].cpu >= 0
    assert usage["a1"].disk >= (0 if isinstance(case, SimulatedCase) else 100_000)
    assert usage["a1"].measured == pytest.approx(SystemClock().wall(), abs=60)


def test_logs_of_nothing(runtime: Runtime) -> None:
    assert output_of(runtime, "unknown", 10) == b""


def test_an_environment_that_is_none_is_refused_for_good(case: Case, runtime: Runtime) -> None:
    with pytest.raises(RuntimeFault, match="environment: 'nonsense' is not of the form KEY=value") as caught:
        runtime.prepare(case.workload("a1", "nonsense"), say_nothing)
    assert caught.value.permanent
    assert not runtime.list()
