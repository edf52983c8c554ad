"""What must never run twice, on a real tree over several hosts: its copy stops in time, and only then another begins.

The instances themselves write down when they run, by the clock that all hosts of one machine share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.phases import Phase
from mangrove.model.specification import KILL_TIME
from node_engine.status import read_status
from tests.e2e.conftest import MakeTree
from tests.e2e.hosts import Host, Switch, needs_namespaces
from tests.e2e.programs import eventually
from tests.e2e.tree import Tree, shell

#: Of the network for documentation (RFC 5737) that the tutorial does not use.
ADDRESSES = {name: f"198.51.100.{number}" for number, name in enumerate(("root", "alpha", "a1", "a2", "beta"), 1)}
#: Seconds of lease, and after which an exclusive instance stops: short, so that what is waited for is mostly the time
#: that stopping may take.
LEASE, STOP_AFTER = 2.0, 2.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    needs_namespaces()
    with Switch() as switch, ExitStack() as inside:
        hosts = {name: Host(address, switch.plug(name, address)) for name, address in ADDRESSES.items()}
        inside.enter_context(hosts["root"].inside())
        yield {**hosts, "b1": hosts["beta"]}


@pytest.fixture(scope="module")
def tree(plant: MakeTree, hosts: dict[str, Host]) -> Tree:
    return plant(lease=LEASE, hosts=hosts).start(alpha=["a1", "a2"], beta=["b1"])


class Log:
    """When each attempt ran: its first and its last line, in the order of the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.script = f'while :; do read up _ </proc/uptime; echo "$MANGROVE_ATTEMPT $up" >>{path}; sleep 0.05; done'

    def runs(self) -> dict[str, tuple[float, float]]:
        times: dict[str, list[float]] = {}
        if not self.path.exists():
            return {}
        for line in self.path.read_text().splitlines():
            attempt, _, moment = line.partition(" ")
            times.setdefault(attempt, []).append(float(moment))
        return {attempt: (min(its), max(its)) for attempt, its in times.items()}


def kill_engine(tree: Tree, hosts: dict[str, Host], node: str) -> Callable[[], object]:
    tree.nodes[node].kill()
    return tree.nodes[node].start


def cut_node(tree: Tree, hosts: dict[str, Host], node: str) -> Callable[[], object]:
    hosts[node].drop(incoming=100, outgoing=100)
    return hosts[node].drop


def cut_cluster(tree: Tree, hosts: dict[str, Host], node: str) -> Callable[[], object]:
    """From the root alone: its nodes hear it as before."""
    cluster = "beta" if node == "b1" else "alpha"
    hosts[cluster].drop(incoming=100, outgoing=100, peer=ADDRESSES["root"])
    return hosts[cluster].drop


@pytest.mark.parametrize("fault", [kill_engine, cut_node, cut_cluster], ids=lambda fault: fault.__name__)
def test_one_copy_stops_before_another_begins(
    tree: Tree, hosts: dict[str, Host], tmp_path: Path, fault: Callable[..., Callable[[], object]]
) -> None:
    log = Log(tmp_path / "log")
    service = tree.deploy(
        *shell(log.script), disconnect={"stop_on_child_after": STOP_AFTER, "act_on_gone": True}, memory=1
    )
    [first] = tree.wait_running(service)
    eventually(log.runs, "it to write that it runs")
    began = SystemClock().now()
    mend = fault(tree, hosts, first.node)
    try:
        if fault is cut_cluster:
            eventually(lambda: not tree.running(service), "the node to stop it")
            said = eventually(lambda: why(tree, first.node, first.attempt), "the node to say so on its own machine")
            assert f"nobody above was heard for {STOP_AFTER:g} s" in said
        eventually(lambda: len(log.runs()) > 1, "another copy to run", 60)
        [again] = eventually(lambda: tree.running(service), "it to run")
        assert again.node != first.node
    finally:
        mend()
    tree.settle()
    instance = tree.wait_phase(service, Phase.RUNNING)
    assert instance.node is not None
    assert [one.attempt for one in tree.wait_running(service)] == [again.attempt], "the replacement stays"
    tree.client.delete_service(service)
    tree.wait_gone(service)

    runs = log.runs()
    assert list(runs) == [first.attempt, again.attempt]
    stopped, followed = runs[first.attempt][1], runs[again.attempt][0]
    assert stopped < followed
    assert stopped <= began + STOP_AFTER + KILL_TIME, "in the time after which its parent counts it as stopped"


def why(tree: Tree, node: str, attempt: str) -> str:
    """What the node tells on its own machine of an attempt that it has stopped."""
    status = read_status(tree.nodes[node].data)
    attempts = status.attempts if status is not None else []
    return next((one.reason for one in attempts if one.attempt == attempt and one.phase is Phase.BACKING_OFF), "")


def test_a_short_absence_of_the_engine_disturbs_nothing(tree: Tree, tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    service = tree.deploy(*shell(log.script), disconnect={"stop_on_child_after": 60})
    [first] = tree.wait_running(service)
    tree.nodes[first.node].kill()
    tree.nodes[first.node].start()
    tree.settle()
    [again] = tree.wait_running(service)
    assert (again.attempt, again.pids[0]) == (first.attempt, first.pids[0]), "the very process"
    tree.client.delete_service(service)
    tree.wait_gone(service)
