"""What a simulation does to the simulated runtime; what an engine does is in the contract of all runtimes."""

from __future__ import annotations

import random

import pytest

from mangrove.base.clock import VirtualClock
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from node_engine.runtimes.interface import Instance, RuntimeFault, Workload
from node_engine.runtimes.simulated import SimulatedRuntime


def workload(attempt: str) -> Workload:
    specification = Specification(name="n", runtime="simulated", resources=Resources(cpu=500, memory=64))
    return Workload(attempt, "service1", 0, 1, specification)


def say_nothing(line: str) -> None:
    """A Progress."""


def started(runtime: SimulatedRuntime, *attempts: str) -> SimulatedRuntime:
    for attempt in attempts:
        runtime.prepare(workload(attempt), say_nothing)
        runtime.start(workload(attempt))
    return runtime


def test_it_passes_as_any_kind_and_keeps_what_runs() -> None:
    runtime = started(SimulatedRuntime("docker"), "a1", "a2")
    runtime.prepare(workload("a3"), say_nothing)
    runtime.stop("a1", 10)

    assert runtime.name == "docker"
    assert runtime.running == {"a2"}
    assert runtime.starts == {"a1": 1, "a2": 1}


def test_times_are_of_its_clock() -> None:
    clock = VirtualClock(epoch=1000.0)
    clock.advance_to(5)
    runtime = started(SimulatedRuntime(clock=clock), "a1")

    assert [*runtime.list()] == [Instance("a1", "running", started=1005.0)]
    assert runtime.usage(["a1"])["a1"].measured == 1005.0


@pytest.mark.parametrize(("exit_code", "reason"), [(0, ""), (3, "exit code 3"), (137, "killed by signal 9")])
def test_crash(exit_code: int, reason: str) -> None:
    runtime = started(SimulatedRuntime(), "a1")
    told: list[str] = []
    runtime.watch(lambda: told.append("changed"))
    runtime.crash("a1", exit_code)

    (instance,) = runtime.list()
    assert (instance.state, instance.exit_code, instance.reason) == ("exited", exit_code, reason)
    assert told == ["changed"]
    assert not runtime.running


def test_a_crash_of_what_does_not_run_changes_nothing() -> None:
    runtime = started(SimulatedRuntime(), "a1")
    runtime.crash("a1", 3)
    runtime.crash("a1", 4)
    runtime.crash("unknown")

    assert [instance.exit_code for instance in runtime.list()] == [3]


def test_reboot_ends_everything_and_keeps_what_was_made() -> None:
    runtime = started(SimulatedRuntime(), "a1", "a2")
    runtime.crash("a2", 3)
    runtime.prepare(workload("a3"), say_nothing)
    runtime.reboot()

    assert [(i.attempt, i.state, i.exit_code, i.reason) for i in runtime.list()] == [
        ("a1", "exited", None, "the node was restarted"),
        ("a2", "exited", 3, "exit code 3"),
        ("a3", "prepared", None, ""),
    ]
    assert runtime.start(workload("a1")).state == "running"
    assert runtime.starts["a1"] == 2


@pytest.mark.parametrize("step", ["prepare", "attach", "start", "stop", "remove"])
def test_steps_that_fail(step: str) -> None:
    runtime = SimulatedRuntime()
    runtime.fail_next(step, RuntimeFault("first"))
    runtime.fail_next(step, RuntimeFault("second", permanent=True))

    def all_steps() -> None:
        runtime.prepare(workload("a1"), say_nothing)
        runtime.attach(workload("a1"))
        runtime.start(workload("a1"))
        runtime.stop("a1", 1)
        runtime.remove("a1")

    for message in ("first", "second"):
        with pytest.raises(RuntimeFault, match=message):
            all_steps()
    all_steps()
    assert not runtime.list()


def test_the_caller_can_wait_before_each_step() -> None:
    seed = random.Random(1)
    waited: list[tuple[str, str, float]] = []
    runtime = SimulatedRuntime(before=lambda step, attempt: waited.append((step, attempt, seed.random())))
    started(runtime, "a1")

    assert [(step, attempt) for step, attempt, _ in waited] == [("prepare", "a1"), ("start", "a1")]


def test_it_can_be_away() -> None:
    runtime = started(SimulatedRuntime(), "a1")
    runtime.problem = "its engine does not answer"

    assert runtime.available() == "its engine does not answer"
    with pytest.raises(RuntimeFault, match="its engine does not answer"):
        runtime.list()
    assert runtime.running == {"a1"}, "what runs goes on meanwhile"


def test_each_uses_what_it_asked_for() -> None:
    usage = started(SimulatedRuntime(), "a1").usage(["a1", "a2"])

    assert usage.keys() == {"a1"}
    assert (usage["a1"].cpu, usage["a1"].memory) == (50.0, 64 * 1024**2)


def test_after_close_nothing_is_told() -> None:
    runtime = started(SimulatedRuntime(), "a1")
    runtime.watch(lambda: pytest.fail("told after close"))
    runtime.close()
    runtime.crash("a1")

    assert not runtime.running
