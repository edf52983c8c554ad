"""The threads around the core: every operation gets its answer, and nothing waits for what hangs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.attempt import Attempt
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from node_engine.engine import Engine
from node_engine.operations import STOP_GRACE, Operation, Result
from node_engine.runtimes.interface import Instance, Progress, RuntimeFault, Workload
from node_engine.state import MemoryState
from node_engine.workers import Workers
from tests.unit.node_engine.engine_world import FakeRuntime

#: Seconds after which a test has failed; far above what anything here takes.
DEADLINE = 20.0

WORKLOAD = Workload("a", "s", 0, 1, Specification(name="web", runtime="docker"))


class SlowRuntime(FakeRuntime):
    """Hangs in `prepare` until it is let go, telling of progress, and in `stop` if `stop_hangs`; `attach` raises
    `broken`."""

    def __init__(self) -> None:
        super().__init__("docker")
        self.go_on = threading.Event()
        self.preparing = threading.Event()
        self.broken: BaseException | None = None
        self.stop_hangs = False
        self.graces: list[float] = []

    def prepare(self, workload: Workload, progress: Progress) -> None:
        self.preparing.set()
        while not self.go_on.wait(0.01):
            progress("pulling")
        super().prepare(workload, progress)

    def attach(self, workload: Workload) -> None:
        if self.broken is not None:
            raise self.broken

    def stop(self, attempt: str, grace: float) -> None:
        self.graces.append(grace)
        if self.stop_hangs:
            self.go_on.wait(DEADLINE)
        super().stop(attempt, grace)


class Shell:
    """Workers, and what they delivered."""

    def __init__(self) -> None:
        self.runtime = SlowRuntime()
        self.answers: queue.Queue[tuple[Operation, Result]] = queue.Queue()
        self.lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self.workers = Workers(
            {"docker": self.runtime},
            lambda operation, result: self.answers.put((operation, result)),
            lambda attempt, text: self.lines.put((attempt, text)),
        )

    def do(self, operation: Operation) -> Result:
        self.workers.submit(operation)
        answered, result = self.answers.get(timeout=DEADLINE)
        assert answered is operation
        return result


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    shell.runtime.go_on.set()
    shell.workers.close(DEADLINE)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("docker ")]


def test_each_kind_is_carried_out(shell: Shell) -> None:
    shell.runtime.go_on.set()
    assert shell.do(Operation("prepare", "docker", 1, "a", WORKLOAD)) is None
    assert shell.lines.get(timeout=DEADLINE) == ("a", "pulling")
    assert shell.do(Operation("attach", "docker", 2, "a", WORKLOAD)) is None
    assert shell.do(Operation("start", "docker", 3, "a", WORKLOAD)) == Instance("a", "running", started=1.0)
    assert shell.do(Operation("list", "docker", 4)) == [Instance("a", "running", started=1.0)]
    assert shell.do(Operation("stop", "docker", 5, "a")) is None
    assert shell.runtime.graces == [STOP_GRACE]
    assert shell.do(Operation("remove", "docker", 6, "a")) is None
    assert shell.runtime.things == {}


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), MemoryError(), RuntimeFault("no", permanent=True)])
def test_whatever_is_raised_becomes_an_answer(shell: Shell, error: BaseException) -> None:
    shell.runtime.broken = error
    result = shell.do(Operation("attach", "docker", 1, "a", WORKLOAD))
    assert isinstance(result, RuntimeFault)
    if isinstance(error, RuntimeFault):
        assert result is error
    else:
        assert f"attach failed: {type(error).__name__}" in result.message
        assert not result.permanent


def test_what_cannot_be_carried_out_is_answered_too(shell: Shell) -> None:
    for operation in (Operation("start", "docker", 1, "a"), Operation("stop", "unknown", 2, "a")):
        assert isinstance(shell.do(operation), RuntimeFault)


def test_a_machine_that_allows_no_more_threads(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        result = shell.do(Operation("list", "docker", 1))
    assert isinstance(result, RuntimeFault)
    assert result.message == "list could not be begun: can't start new thread"


def test_a_hanging_pull_holds_up_nothing(shell: Shell) -> None:
    shell.workers.submit(Operation("prepare", "docker", 1, "a", WORKLOAD))
    assert shell.do(Operation("stop", "docker", 2, "b")) is None
    assert shell.do(Operation("list", "docker", 3)) == []


def test_closing_gives_up_pulls_and_delivers_nothing_more(shell: Shell) -> None:
    shell.workers.submit(Operation("prepare", "docker", 1, "a", WORKLOAD))
    assert shell.runtime.preparing.wait(DEADLINE)
    shell.workers.close(DEADLINE)
    assert not shell.runtime.go_on.is_set(), "it ended although the pull would have gone on"
    shell.workers.submit(Operation("list", "docker", 2))
    assert shell.answers.empty()


def test_closing_does_not_wait_for_what_hangs() -> None:
    shell = Shell()
    shell.runtime.stop_hangs = True
    shell.workers.submit(Operation("stop", "docker", 1, "a"))
    clock = SystemClock()
    before = clock.now()
    shell.workers.close(0.05)
    assert clock.now() - before < DEADLINE / 2
    shell.runtime.go_on.set()
    shell.workers.close(DEADLINE)  # or its thread would be counted by the next test


def test_core_and_threads_together_bring_an_attempt_up_and_down() -> None:
    inbox: queue.Queue[tuple[Operation, Result]] = queue.Queue()
    runtime, clock = FakeRuntime("docker"), SystemClock()
    engine = Engine(MemoryState(), ["docker"], clock, node="n", name="n", address="")
    workers = Workers({"docker": runtime}, lambda one, result: inbox.put((one, result)), lambda attempt, text: None)
    specification = WORKLOAD.specification
    attempts = {f"{number:024x}": Attempt(f"{number:024x}", "s", number, 1, "d") for number in range(30)}

    def run_until(done: set[Phase], count: int) -> None:
        deadline = clock.now() + DEADLINE
        while clock.now() < deadline:
            for operation in engine.tick(clock.now()):
                workers.submit(operation)
            statuses = engine.statuses().values()
            if len(statuses) == count and {status.phase for status in statuses} <= done:
                return
            operation, result = inbox.get(timeout=DEADLINE)
            engine.finished(operation, result, clock.now())
        raise AssertionError("it took too long")

    engine.assign(attempts, {"d": specification}, clock.now())
    run_until({Phase.RUNNING}, 30)
    assert runtime.running() == set(attempts)
    engine.assign({}, {}, clock.now())
    run_until(set(), 0)
    assert runtime.things == {}
    workers.close(DEADLINE)
