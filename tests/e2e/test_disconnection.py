"""Policies of disconnection on a real tree: a node dies, or is not heard, and comes back."""

from __future__ import annotations

import contextlib
import signal

import psutil
import pytest

from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import eventually
from tests.e2e.tree import Tree, shell

#: Seconds of lease: long beside what acts on a broken connection, however slow the machine.
LEASE = 6.0


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with one node; a second one comes later, so that everything is on the first."""
    return plant(lease=LEASE).start(alpha=["n1"])


def home(tree: Tree, service: str) -> str:
    """The node that the root names."""
    node = tree.instances(service)[0].node
    return node.name if node is not None else ""


def is_told(tree: Tree, service: str, text: str) -> None:
    """Wait until the root, which takes its clusters' events over now and then, tells this of a service's move."""

    def there() -> bool:
        moves = tree.client.events(kind="moved", subject=f"{service}.0", limit=1000)
        return any(text in event.text for event in moves)

    eventually(there, f"an event with {text!r}")


def test_each_service_is_replaced_as_its_policy_says(tree: Tree) -> None:
    eager = tree.deploy(*shell("exec sleep 1000"), disconnect={"act_on_gone": True})
    usual = tree.deploy(*shell("exec sleep 1000"))
    stays = tree.deploy(*shell("exec sleep 1000"), disconnect={"lost_after": "never"})
    services = (eager, usual, stays)
    doomed = [pid for service in services for running in tree.wait_running(service) for pid in running.pids]
    tree.add_node("n2", "alpha")
    tree.settle()

    tree.nodes["n1"].kill()
    for pid in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    eventually(lambda: [one.node for one in tree.running(eager)] == ["n2"], "the eager one on n2")
    assert [one.node for one in tree.wait_running(usual)] == ["n2"]
    is_told(tree, eager, "moved from n1 to n2: n1 lost its connection")  # not by its lease
    is_told(tree, usual, "moved from n1 to n2: n1 silent for ")
    assert tree.running(stays) == []
    tree.wait_reason(stays, "stays there, as its policy says")
    assert home(tree, stays) == "n1"

    tree.nodes["n1"].start()
    assert [one.node for one in tree.wait_running(stays)] == ["n1"]
    assert [one.node for one in tree.wait_running(eager)] == [one.node for one in tree.wait_running(usual)] == ["n2"]
    for service in services:
        tree.client.delete_service(service)
        tree.wait_gone(service)


def test_what_went_on_while_it_was_not_heard_may_go_on_when_it_is(tree: Tree) -> None:
    service = tree.deploy(*shell("exec sleep 1000"), disconnect={"on_return": "keep_original"})
    [original] = tree.wait_running(service)
    node, other = tree.nodes[original.node], "n2" if original.node == "n1" else "n1"
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        eventually(
            lambda: sorted(one.node for one in tree.running(service)) == ["n1", "n2"], "a replacement", 3 * LEASE
        )
        eventually(lambda: home(tree, service) == other, "the root to be told")
    finally:
        node.process.send_signal(signal.SIGCONT)
    eventually(lambda: tree.running(service) == [original], "the original alone", 3 * LEASE)
    tree.wait_phase(service, Phase.RUNNING)
    assert tree.wait_running(service) == [original], "the very process"
    tree.client.delete_service(service)
    tree.wait_gone(service)
