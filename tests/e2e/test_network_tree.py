"""The whole way: an application is deployed, and its instances on two nodes reach each other by address and by name."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mangrove.base.doors import ask
from mangrove.base.errors import Unavailable
from mangrove.network.door import PATIENCE, SOCKET, Answer, Show
from tests.e2e.conftest import MakeTree
from tests.e2e.hosts import Host, Switch, needs_namespaces
from tests.e2e.programs import Node, eventually
from tests.e2e.tree import Tree, process, shell

ADDRESSES = {"root": "10.77.0.1", "alpha": "10.77.0.2", "north": "10.77.0.3", "south": "10.77.0.4"}
#: Answers with the name of its attempt.
_SERVE = "mkdir -p www; echo $MANGROVE_ATTEMPT >www/index.html; exec busybox httpd -f -p 80 -h www"
#: Asks its own service and others over and over, by name, and writes down who answered; arguments: file, names.
_ASK = """
import sys, time, urllib.request
while True:
    # Twice in a row: they take turns, strictly.
    for name in (name for name in sys.argv[2:] for _ in range(2)):
        try:
            said = urllib.request.urlopen(f"http://{name}/", timeout=5).read().decode().strip()
        except OSError as error:
            said = "failed: " + str(error)
        with open(sys.argv[1], "a") as log:
            print(name, said, file=log)
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    needs_namespaces()
    with Switch() as switch, contextlib.ExitStack() as inside:
        made = {name: Host(address, switch.plug(name, address)) for name, address in ADDRESSES.items()}
        inside.enter_context(made["root"].inside())
        yield made


@pytest.fixture(scope="module")
def tree(plant: MakeTree, hosts: dict[str, Host]) -> Iterator[Tree]:
    """One cluster with two nodes, each with a netmanager."""
    made: Tree = plant(hosts=hosts).start(alpha=["north", "south"])
    with contextlib.ExitStack() as stack:
        for name in ("north", "south"):
            stack.enter_context(netmanager(hosts[name], made.nodes[name].data / "network"))
        yield made


@contextlib.contextmanager
def netmanager(host: Host, folder: Path) -> Iterator[None]:
    command = [*host.entering, sys.executable, "-m", "netmanager.main", f"--folder={folder}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()
            running.wait(60)
            subprocess.run([*command, "--clear"], check=True, timeout=60)


def granted(node: Node) -> object:
    """The addresses that a node's netmanager knows to be its own."""
    with contextlib.suppress(Unavailable):
        view = ask(node.data / "network" / SOCKET, Show(), Answer, patience=PATIENCE, who="the netmanager").view
        return view.get("grants")
    return None


def test_an_application_is_reached_by_name_and_another_one_is_not(tree: Tree, tmp_path: Path) -> None:
    def asking(name: str, log: Path, *names: str) -> dict[str, Any]:
        return process(sys.executable, "-c", _ASK, str(log), *names, microservice_name=name)

    eventually(lambda: all(granted(node) for node in tree.nodes.values()), "both nodes to have addresses")
    web = process(*shell(_SERVE), constraints=[{"type": "per_node", "threshold": 1}])
    names = ("web.shop", "web.shop.mangrove.internal")
    service, asker = tree.create(web, asking("client", tmp_path / "client", *names), name="shop")
    [stranger] = tree.create(asking("spy", tmp_path / "spy", *names[1:]), name="other", namespace="apart")
    for each in (service, service, asker, stranger):
        tree.client.deploy(each)
    attempts = {one.attempt for one in tree.wait_running(service, 2)}

    def heard(log: str) -> set[str]:
        return set((tmp_path / log).read_text().splitlines()) if (tmp_path / log).exists() else set()

    wanted = {f"{name} {attempt}" for name in names for attempt in attempts}
    eventually(lambda: heard("client") >= wanted, "both instances to answer, by both names")
    eventually(lambda: heard("spy"), "the other application to have tried")
    assert all(" failed" in said for said in heard("spy"))
