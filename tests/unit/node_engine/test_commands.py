"""`mangrove node halt`: what runs ends as if the machine went down, and the engine takes it for that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from mangrove.client.wait import wait_until
from mangrove.identity.messages import JoinReply
from mangrove.model.attempt import Attempt, Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.reconcile import child
from mangrove.reconcile.child import Moment, Record, Sight
from node_engine import removing
from node_engine.commands import node
from node_engine.joining import Membership
from node_engine.runtimes.interface import Instance, RuntimeFault, Workload
from node_engine.runtimes.process import ProcessRuntime
from node_engine.state import StateFolder
from node_engine.status import NodeStatus, write_status

NODE = "b" * 24
JOINED = JoinReply(
    child=NODE,
    name="n1",
    parent="c" * 24,
    parent_name="north",
    store="s" * 24,
    protocol=1,
    link_key="00" * 32,
    generation=1,
    brokers=(),
    lease=10.0,
)
SLEEP = Specification(name="sleeper", runtime="process", command=("sleep", "1000"))


class Away:
    """A runtime that does not answer."""

    def list(self) -> Sequence[Instance]:
        raise RuntimeFault("no engine answers at /run/docker.sock")

    def close(self) -> None:
        """Nothing is open."""


def record(attempt: str, phase: Phase, boot: str, **more: object) -> Record:
    made = Record(Attempt(attempt, "s" * 24, 0, 1, "digest"), SLEEP, phase, boot=boot)
    return msgspec.structs.replace(made, **more)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFolder]:
    """Of a node that has joined; closed, as a stopped engine leaves it."""
    state = StateFolder(tmp_path)
    state.save_identity(msgspec.to_builtins(Membership("127.0.0.1", "", JOINED)))
    state.close()
    yield state
    runtime = ProcessRuntime(tmp_path / "instances", state.installation, NODE)
    for instance in runtime.list():
        runtime.remove(instance.attempt)
    runtime.close()


def run_instance(state: StateFolder, attempt: str, *command: str) -> None:
    """Start one as the engine does."""
    runtime = ProcessRuntime(state.path / "instances", state.installation, NODE)
    workload = Workload(attempt, "s" * 24, 0, 1, msgspec.structs.replace(SLEEP, command=command or SLEEP.command))
    runtime.prepare(workload, lambda line: None)
    assert runtime.start(workload).state == "running"
    runtime.close()


def instances(state: StateFolder) -> list[Instance]:
    runtime = ProcessRuntime(state.path / "instances", state.installation, NODE)
    try:
        return list(runtime.list())
    finally:
        runtime.close()


def halt(state: StateFolder, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(node, ["halt", "--data-dir", str(state.path), *options])
    return done.exit_code, done.output


def test_all_that_runs_ends_and_nothing_of_it_is_left(state: StateFolder) -> None:
    for attempt in ("one", "two"):
        run_instance(state, attempt)
    assert halt(state) == (0, "2 instances were ended.\n")
    assert instances(state) == []
    assert list((state.path / "instances").iterdir()) == []
    assert halt(state) == (0, "0 instances were ended.\n")


def test_without_grace_nothing_is_asked(state: StateFolder, tmp_path: Path) -> None:
    asked, began = tmp_path / "asked", tmp_path / "began"
    script = f"trap 'touch {asked}; exit' TERM; touch {began}; while :; do sleep 0.02; done"
    run_instance(state, "one", "/bin/sh", "-c", script)
    wait_until(began.exists, 30, what="the instance to begin")
    assert halt(state, "--grace", "0")[0] == 0
    assert not asked.exists()
    assert instances(state) == []


def test_the_engine_takes_it_for_the_machines_end_and_not_for_a_failure(state: StateFolder) -> None:
    again = StateFolder(state.path)
    boot = again.boot
    again.save_records([record("one", Phase.RUNNING, boot), record("two", Phase.COMPLETED, boot, exit_code=0)])
    again.close()
    assert halt(state)[0] == 0

    again = StateFolder(state.path)
    moment = Moment(100.0, 1e9, boot)
    ran, completed = (child.resume(each, moment) for each in again.load_records())
    again.close()
    ran = child.saw(ran, Sight("absent"), moment)
    assert (ran.record.phase, ran.record.reason) == (Phase.BACKING_OFF, "the node was restarted")
    assert (ran.record.failures, ran.not_before) == (0, 0.0)
    ran, step = child.next_step(ran, True, moment)
    assert (step, ran.record.restarts) == ("prepare", 1)
    assert child.saw(completed, Sight("absent"), moment).record.phase is Phase.COMPLETED


def test_a_running_engine_is_not_disturbed(state: StateFolder) -> None:
    run_instance(state, "one")
    engine = StateFolder(state.path)
    done = CliRunner().invoke(node, ["halt", "--data-dir", str(state.path)])
    assert "another node engine runs" in str(done.exception)
    engine.close()
    assert [instance.state for instance in instances(state)] == ["running"]


def test_a_node_that_never_joined_has_nothing_to_end(tmp_path: Path) -> None:
    StateFolder(tmp_path).close()
    assert CliRunner().invoke(node, ["halt", "--data-dir", str(tmp_path)]).output == "0 instances were ended.\n"


@pytest.mark.parametrize("needed", [True, False])
def test_a_runtime_that_is_away_matters_only_when_something_may_run_there(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch, needed: bool
) -> None:
    monkeypatch.setattr(removing, "choose_runtimes", lambda *_: {"docker": Away()})
    again = StateFolder(state.path)
    specification = msgspec.structs.replace(SLEEP, runtime="docker" if needed else "process")
    again.save_records([record("one", Phase.RUNNING, again.boot, specification=specification)])
    again.close()
    code, said = halt(state)
    assert code == (1 if needed else 0)
    assert ("no engine answers at /run/docker.sock" in said) == needed


@pytest.mark.parametrize(("age", "code"), [(0.0, 0), (60.0, 1)])
def test_status_is_a_health_check(tmp_path: Path, age: float, code: int) -> None:
    capacity = Capacity(runtimes=("docker", "process"), engines={"docker": "Podman 4.3.1"})
    written = time.time() - age
    write_status(tmp_path, NodeStatus(written, "n1", NODE, "north", "connected", "", "", capacity, {"": Usage()}, []))
    result = CliRunner().invoke(node, ["status", "--data-dir", str(tmp_path)])

    assert result.exit_code == code
    assert "runtimes: docker (Podman 4.3.1), process" in result.output
