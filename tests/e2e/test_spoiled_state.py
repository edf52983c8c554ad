"""Files that programs keep are spoiled while they are away: what runs goes on, and people are told what to do.

With MANGROVE_SOAK=1 they are spoiled in more ways.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Program, eventually, reconnecting
from tests.e2e.tree import Tree

SOAK = os.environ.get("MANGROVE_SOAK") == "1"

#: What a power cut or a full disk leaves of a file.
SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "rubbish": lambda content: bytes(range(256)) * 20,
    "zeros": lambda content: bytes(len(content)),
}

#: All that an engine keeps about itself. What nobody else knows is there twice.
FILES = ("identity.json", "installation", "assignment", "attempts.json", "incarnation")


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with two nodes, patient enough for every program to be started again."""
    return plant(lease=20.0).start(alpha=["n1", "n2"])


def spoil(path: Path, how: str) -> None:
    path.write_bytes(SPOILT[how](path.read_bytes()))


def told(tree: Tree, kind: str, *texts: str) -> bool:
    """Whether the root tells of a node, in events of this kind, with each of these."""
    events = [event.text for event in tree.client.events(kind=kind, limit=1000)]
    return all(any(text in event for event in events) for text in texts)


def troubles(tree: Tree, node: str) -> int:
    """How many the root shows of a node."""
    return sum(len(each.capacity.troubles) for each in tree.client.nodes() if each.name == node)


@pytest.mark.soak
@pytest.mark.parametrize("how", SPOILT if SOAK else ("empty", "cut off"))
def test_a_node_with_spoiled_files_goes_on_and_says_so(tree: Tree, how: str) -> None:
    service = tree.deploy(instances=4)
    before = tree.wait_running(service, 4)
    node = tree.nodes["n1"]
    mine = [each for each in before if each.node == "n1"]
    assert mine
    known = node.identity
    aside = len(list(node.data.glob("assignment.corrupt-*"))) + 1
    node.kill()
    for name in FILES:
        spoil(node.data / name, how)
    for each in mine:
        spoil(node.data / "instances" / each.attempt / "record.json", how)
    with reconnecting(node):
        node.start()
    said = [f"{name} cannot be read" for name in FILES] + [f"{name}.corrupt-{aside}" for name in FILES]
    eventually(lambda: told(tree, "node-troubled", *said), "the root to tell of all files")
    eventually(lambda: troubles(tree, "n1") >= len(FILES), "them to be shown with the node")
    tree.settle()
    assert tree.wait_running(service, 4) == before
    assert node.identity == known
    assert all((node.data / f"{name}.corrupt-{aside}").exists() for name in FILES)
    # It is in order again: what is new runs, and the next start finds nothing.
    tree.client.undeploy(service, mine[0].number)
    added = tree.deploy(constraints=[{"type": "direct", "node": "n1"}])
    tree.wait_running(added)
    with reconnecting(node):
        node.restart()
    eventually(lambda: not [each for each in tree.client.nodes() if each.capacity.troubles], "no trouble")
    eventually(lambda: told(tree, "node-well", "n1 is well again"), "the root to tell that")
    assert tree.wait_running(service, 3) == [each for each in before if each != mine[0]]
    for one in (service, added):
        tree.client.delete_service(one)
        tree.wait_gone(one)


def test_a_node_that_forgot_its_work_alone_leaves_it_be_until_its_cluster_is_back(tree: Tree) -> None:
    service = tree.deploy(instances=4)
    before = tree.wait_running(service, 4)
    node, cluster = tree.nodes["n1"], tree.clusters["alpha"]
    cluster.kill()
    node.kill()
    for name in FILES:
        spoil(node.data / name, "rubbish")
    node.start()
    eventually(lambda: "assignment cannot be read" in node.said(), "the engine to look")
    tree.client.undeploy(service, before[0].number)
    assert tree.running(service) == before
    with reconnecting(*tree.nodes.values()):
        cluster.start()
    tree.settle()
    assert tree.wait_running(service, 3) == before[1:]
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_a_node_that_does_not_know_who_it_is_says_what_to_do_and_ends_nothing(tree: Tree) -> None:
    service = tree.deploy(constraints=[{"type": "direct", "node": "n2"}])
    before = tree.wait_running(service)
    node = tree.nodes["n2"]
    kept = {name: (node.data / name).read_bytes() for name in ("identity.json", "identity.json.copy")}
    node.kill()
    for name in kept:
        spoil(node.data / name, "rubbish")
    assert says(
        node, "identity.json cannot be read (its checksum is wrong); it was set aside as identity.json.corrupt-"
    )
    assert "this node has not joined a cluster yet: give --cluster ADDRESS and --token TOKEN" in node.said()
    assert tree.running(service) == before
    for name, content in kept.items():
        (node.data / name).write_bytes(content)
    with reconnecting(node):
        node.start()
    tree.settle()
    assert tree.wait_running(service) == before
    tree.client.delete_service(service)
    tree.wait_gone(service)


def says(program: Program, text: str) -> bool:
    """Whether it refuses to start, with this."""
    program.start(wait=False)
    assert program.end() == 1, program.said()
    assert "Traceback" not in program.said()
    return text in program.said()


@pytest.mark.parametrize("name", ["root", "alpha"])
def test_a_spoiled_store_is_said_and_never_replaced_by_an_empty_one(tree: Tree, name: str) -> None:
    service = tree.deploy(instances=2)
    before = tree.wait_running(service, 2)
    program = tree.program(name)
    path = program.data / ("root.db" if name == "root" else "cluster.db")
    program.stop()  # so that all of it is in the one file
    whole = path.read_bytes()
    for how in SPOILT if SOAK else ("empty",) if name == "root" else ("rubbish",):
        spoil(path, how)
        spoilt = path.read_bytes()
        assert says(program, str(path)), f"{how}: {program.said()}"
        assert "restore a backup, or move it and the files beside it away" in program.said()
        assert path.read_bytes() == spoilt, how
        path.write_bytes(whole)
    assert tree.running(service) == before
    program.start()
    tree.settle()
    assert tree.wait_running(service, 2) == before
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_other_spoiled_files_of_parents_are_said_with_the_way_out(tree: Tree) -> None:
    cluster = tree.clusters["alpha"]
    cluster.kill()
    for name, way_out in {
        "secrets/identity.json": "put it back from a backup, or remove it and join the root anew",
        "ports.json": "remove it, and give --mqtt-port the port that the children know",
    }.items():
        path = cluster.data / name
        whole = path.read_bytes()
        spoil(path, "cut off")
        assert says(cluster, way_out), cluster.said()
        path.write_bytes(whole)
    with reconnecting(cluster, *tree.nodes.values()):
        cluster.start()
    tree.settle()
