"""A tree that keeps its state in MongoDB: it lives as on SQLite, outlives its database server, has a second root."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import eventually, reconnecting
from tests.e2e.storm import Fault, Ordeal
from tests.e2e.tree import Tree
from tests.mongo_server import MongoServer, database

SOAK = os.environ.get("MANGROVE_SOAK") == "1"

#: Seconds of lease, also of that in the store: more than the 5 s that a hello costs which no parent heard yet.
LEASE = 8.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def tree(plant: MakeTree, server: MongoServer) -> Iterator[Tree]:
    """One cluster with two nodes; root and cluster each have a database."""
    with database(server.uri) as root, database(server.uri) as alpha:
        yield plant(lease=LEASE, stores={"root": root, "alpha": alpha}).start(alpha=["n1", "n2"])


def test_services_live_as_on_any_store(tree: Tree) -> None:
    assert not list(tree.root.data.glob("*.db"))
    assert not list(tree.clusters["alpha"].data.glob("*.db"))
    service = tree.deploy(instances=3)
    before = tree.wait_running(service, 3)
    with reconnecting(tree.clusters["alpha"], *tree.nodes.values()):
        for parent in (tree.root, tree.clusters["alpha"]):
            parent.restart()
    tree.settle()
    assert tree.wait_running(service, 3) == before
    tree.client.undeploy(service, 1)
    assert [each.number for each in tree.wait_running(service, 2)] == [0, 2]
    tree.client.delete_service(service)
    tree.wait_gone(service)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 6 if SOAK else 2))
def test_no_accepted_deployment_is_lost_when_the_database_is_killed(
    tree: Tree, server: MongoServer, tmp_path: Path, seed: int
) -> None:
    def killed_server() -> Callable[[], object]:
        server.kill()
        return server.start

    before = tree.pids()
    ordeal = Ordeal(tree, tmp_path)
    ordeal.go_through(seed, [Fault("store", killed_server)], 20, rounds=6 if SOAK else 2)
    ordeal.end()
    assert tree.pids() == before


def test_a_database_that_is_away_stops_no_work_and_is_said(tree: Tree, server: MongoServer) -> None:
    service = tree.deploy(instances=2)
    before = tree.wait_running(service, 2)
    server.kill()
    path = f"/api/service/{service}"
    for method, of in (("POST", "/instance"), ("DELETE", "/instance/0"), ("GET", "")):
        status, retry_after, message = tree.ask(method, path + of)
        assert (status, retry_after) == (503, "2")
        assert re.search(r"mongodb://127\.0\.0\.1:\d+/\w+ does not answer", message), message
    assert tree.running(service) == before
    assert tree.root.alive
    server.start()
    eventually(lambda: tree.ask("GET", path)[0] == 200, "an answer", 60)
    # One that stands still is as good as none, also to who asked before.
    with server.frozen():
        assert tree.ask("POST", f"{path}/instance")[:2] == (503, "2")
        assert tree.running(service) == before
    eventually(lambda: tree.client.deploy(service) >= 2, "a deployment", 60)
    after = tree.wait_running(service, len(tree.instances(service)), 60)
    assert [each for each in after if each in before] == before
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_a_second_root_stands_by_and_takes_over(tree: Tree, server: MongoServer, free_port: Callable[[], int]) -> None:
    service = tree.deploy(instances=2)
    before = tree.wait_running(service, 2)
    first, second = tree.root, tree.root_program("second", free_port())
    tree.guests.append(second)
    # What makes it the same root: its secrets.
    second.data.mkdir()
    shutil.copytree(first.data / "secrets", second.data / "secrets")
    second.start(wait=False)
    eventually(lambda: "standing by: the store is in use by" in second.said(), "the second to stand by")
    assert tree.client.deploy(service) == 2
    tree.wait_running(service, 3)
    assert "listens on" not in second.said()

    # The first sleeps for too long: when it wakes up it is not the one any more, writes nothing, and ends.
    os.kill(first.pid, signal.SIGSTOP)
    try:
        eventually(lambda: "listens on" in second.said(), "the second to take over", 60)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.end() == 1
    assert "another program has taken the store over" in first.said()

    # Started again it stands by; and takes its place back, at the address that everybody knows, when the other dies.
    first.start(wait=False)
    eventually(lambda: "standing by" in first.said(), "the first to stand by")
    second.kill()
    with reconnecting(tree.clusters["alpha"]):
        first.wait()
    tree.settle()
    after = tree.wait_running(service, 3, 60)
    assert [each for each in after if each in before] == before
    assert tree.instances(service)[0].phase is Phase.RUNNING
    tree.client.delete_service(service)
    tree.wait_gone(service)
