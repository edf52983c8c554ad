"""The disk of a node, a cluster or the root is full: what runs goes on, it is said, and all goes on by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mangrove.base.errors import Unavailable
from mangrove.client.http import HttpClient, parse_address
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Parent, Program, eventually, reconnecting
from tests.e2e.tree import Running, Tree

#: MiB of a disk: several times what a program keeps at first.
SIZE = 16


@pytest.fixture(scope="module")
def mounted() -> Iterator[list[Path]]:
    """Where small disks are mounted; ends after the programs that use them."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    made: list[Path] = []
    yield made
    for path in made:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=30)


@pytest.fixture(scope="module")
def tree(mounted: list[Path], plant: MakeTree) -> Tree:
    """One cluster with two nodes; root, cluster and n1 each have a small disk of their own."""
    tree = plant(lease=20.0)
    for name in ("root", "alpha", "n1"):
        path = tree.folder / name
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(path)], check=True, timeout=30)
        mounted.append(path)
    return tree.start(alpha=["n1", "n2"])


@contextlib.contextmanager
def full(program: Program) -> Iterator[None]:
    """Within, not a byte more fits on its disk."""
    ballast = program.data / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            with pytest.raises(OSError, match="No space left"):  # noqa: PT012
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture
def running(tree: Tree) -> Iterator[tuple[str, list[Running]]]:
    """A service on both nodes. It runs untouched, and no program dies or stumbles."""
    service = tree.deploy(instances=4)
    before = tree.wait_running(service, 4)
    pids = tree.pids()
    yield service, before
    assert tree.wait_running(service, 4) == before
    assert tree.pids().keys() == pids.keys()
    tree.client.delete_service(service)
    tree.wait_gone(service)
    for program in tree.programs:
        assert "Traceback" not in program.log.read_text(), program.log.read_text()[-3000:]


def not_ready(parent: Program) -> str:
    """Why requests should not come to a parent; empty when they may."""
    assert isinstance(parent, Parent)
    try:
        HttpClient(parse_address(parent.address, 1)).request("GET", "/readyz")
    except Unavailable as error:
        return error.message
    return ""


def troubles(tree: Tree, node: str) -> str:
    """All that the root shows of a node's troubles."""
    return "\n".join(trouble for each in tree.client.nodes() if each.name == node for trouble in each.capacity.troubles)


def told(tree: Tree, kind: str, text: str) -> bool:
    return any(text in event.text for event in tree.client.events(kind=kind, limit=1000))


def test_of_a_node(tree: Tree, running: tuple[str, list[Running]]) -> None:
    service, before = running
    there: dict[str, Any] = {"constraints": [{"type": "direct", "node": "n1"}]}
    gone = tree.deploy(**there)
    tree.wait_running(gone)
    with full(tree.nodes["n1"]):
        added = tree.deploy(**there)
        tree.client.delete_service(gone)
        eventually(lambda: told(tree, "node-troubled", "No space left on device"), "the root to tell")
        eventually(lambda: "No space left on device" in troubles(tree, "n1"), "it to be shown with the node")
        assert tree.running(service) == before
        assert not tree.running(added)
    tree.wait_running(added)
    tree.wait_gone(gone)
    eventually(lambda: told(tree, "node-well", "n1 is well again"), "the root to tell that it is over")
    eventually(lambda: not troubles(tree, "n1"), "nothing to be shown with the node")
    tree.client.delete_service(added)
    tree.wait_gone(added)


def test_of_a_cluster(tree: Tree, running: tuple[str, list[Running]]) -> None:
    service, before = running
    gone = tree.deploy()
    tree.wait_running(gone)
    with full(tree.clusters["alpha"]):
        added = tree.deploy()
        tree.client.delete_service(gone)
        eventually(lambda: told(tree, "cluster-troubled", "disk is full"), "the root to tell")
        [shown] = tree.client.clusters()
        assert shown.state == "live"
        assert any("disk is full" in trouble for trouble in shown.capacity.troubles), shown.capacity.troubles
        eventually(lambda: not_ready(tree.clusters["alpha"]), "it to say so")
        assert tree.running(service) == before
        assert not tree.running(added)
    tree.wait_running(added)
    tree.wait_gone(gone)
    eventually(lambda: told(tree, "cluster-well", "alpha is well again"), "the root to tell that it is over")
    tree.client.delete_service(added)
    tree.wait_gone(added)


def test_of_the_root(tree: Tree, running: tuple[str, list[Running]]) -> None:
    service, before = running
    with full(tree.root):
        for method, path in (("POST", "instance"), ("DELETE", "instance/0")):
            status, retry_after, message = tree.ask(method, f"/api/service/{service}/{path}")
            assert (status, retry_after) == (503, "2"), message
            assert "disk is full; nothing was written, it may work again later" in message
        eventually(lambda: not_ready(tree.root), "it to say so")
        assert len(tree.instances(service)) == 4, "reading goes on"
        assert tree.running(service) == before
    number = eventually(lambda: tree.client.deploy(service), "it to take what is wanted")
    tree.wait_running(service, 5)
    tree.client.undeploy(service, number)
    eventually(lambda: not not_ready(tree.root), "it to be ready")


def test_a_node_that_starts_meanwhile(tree: Tree, running: tuple[str, list[Running]]) -> None:
    """It is there, runs what it ran, and says what is wrong."""
    service, before = running
    node = tree.nodes["n1"]
    with full(node):
        with reconnecting(node):
            node.restart()
        assert tree.running(service) == before
        added = tree.deploy(constraints=[{"type": "direct", "node": "n1"}])
        eventually(lambda: any(each.capacity.troubles for each in tree.client.nodes()), "the root to know")
    tree.wait_running(added)
    tree.client.delete_service(added)
    tree.wait_gone(added)


@pytest.mark.parametrize("name", ["root", "alpha"])
def test_it_starts_again_once_there_is_room(tree: Tree, running: tuple[str, list[Running]], name: str) -> None:
    service, before = running
    program = tree.program(name)
    program.kill()
    with full(program):
        program.start(wait=False)
        assert program.end() == 1
        assert "Traceback" not in program.said(), program.said()
        assert "No space left on device" in program.said() or "disk is full" in program.said(), program.said()
        assert tree.running(service) == before
    program.start()
    tree.settle()
