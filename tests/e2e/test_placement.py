"""What a user says of where to run, and an operator of the nodes, from the SLA to the node that runs it."""

from __future__ import annotations

from typing import Any

import pytest

from mangrove.base.errors import Conflict
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import eventually
from tests.e2e.tree import Tree, process

#: Each node is the only one that something asks for.
NODES = {
    "harbour": ("--label", "zone=sea", "--label", "cores=4", "--resource", "tpu=2", "--location=-36.85,174.76"),
    "alp": ("--label", "zone=mountain", "--label", "cores=64", "--addon", "camera", "--location", "47.42,10.98"),
    "lab": ("--taint", "owner=lab", "--resource", "bandwidth_in=1000"),
}


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    made = plant()
    made.start(alpha=[])
    for name, options in NODES.items():
        made.add_node(name, "alpha", *options, wait=False)
    made.settle()
    return made


def label(operator: str, *values: str, key: str = "zone") -> dict[str, Any]:
    return {"type": "label", "key": key, "operator": operator, "values": list(values)}


OWNED = {"type": "tolerates", "key": "owner"}
AUCKLAND, MUNICH = "-36.8,174.8", "48.1,11.5"
#: Milliseconds: what light takes to the harbour and back is more, and what a busy machine takes to itself is less.
HALF_THE_WORLD = 340


@pytest.mark.parametrize(
    ("node", "wish"),
    [
        ("harbour", {"constraints": [label("in", "sea", "lake")]}),
        ("alp", {"constraints": [label("not_in", "sea")]}),
        ("alp", {"constraints": [label("gt", "16", key="cores")]}),
        ("lab", {"constraints": [label("not_exists"), OWNED]}),
        ("harbour", {"vtpus": 2}),
        ("harbour", {"resources": {"tpu": 1}}),
        ("lab", {"resources": {"bandwidth_in": 500}, "constraints": [OWNED]}),
        ("alp", {"constraints": [{"type": "addons", "needs": ["camera"]}]}),
        ("harbour", {"constraints": [{"type": "geo", "location": AUCKLAND, "threshold": 50}]}),
        ("alp", {"constraints": [{"type": "latency", "location": MUNICH, "threshold": HALF_THE_WORLD}]}),
        ("lab", {"constraints": [{"type": "direct", "node": "lab;nowhere"}, OWNED]}),
        ("alp", {"placement": [{"by": "nearest", "location": MUNICH}]}),
        ("harbour", {"placement": [{"by": "labels", "key": "zone", "values": ["sea"]}]}),
        ("lab", {"constraints": [OWNED], "placement": [{"by": "labels", "key": "zone", "weight": -1}]}),
    ],
)
def test_it_runs_where_it_is_asked_for(tree: Tree, node: str, wish: dict[str, Any]) -> None:
    service = tree.deploy(**wish)
    assert [instance.node for instance in tree.wait_running(service)] == [node]
    tree.client.delete_service(service)
    tree.wait_gone(service)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"constraints": [label("in", "moon")]}, "needs label zone in moon"),
        ({"constraints": [label("gt", "64", key="cores")]}, "needs label cores > 64"),
        ({"constraints": [{"type": "addons", "needs": ["camera", "oven"]}]}, "needs addons camera, oven"),
        ({"constraints": [{"type": "direct", "node": "lab"}]}, "does not tolerate owner=lab"),
        ({"constraints": [{"type": "clusters", "allowed": ["beta"]}]}, "allowed are only the clusters beta: not alpha"),
        ({"vtpus": 3}, "needs 3 tpu: 1 cluster too small or too full (best has 2 tpu free)"),
        ({"platform": "windows/amd64"}, "needs windows: 1 cluster linux"),
        ({"constraints": [{"type": "geo", "location": "0,0", "threshold": 50}]}, "needs to be within 50 km of 0,0"),
    ],
)
def test_what_fits_nowhere_says_why(tree: Tree, wish: dict[str, Any], reason: str) -> None:
    service = tree.deploy(**wish)
    tree.wait_reason(service, reason)
    tree.client.delete_service(service)


def test_host_ports_and_what_is_spread_go_to_different_nodes(tree: Tree) -> None:
    port = tree.free_port()  # all nodes look at the one machine, which must not have it in use
    spread = {"constraints": [{"type": "per_node", "threshold": 1}, OWNED], "port": str(port)}
    service = tree.deploy(instances=3, **spread)
    assert {instance.node for instance in tree.wait_running(service, 3)} == NODES.keys()
    assert tree.client.deploy(service) == 3
    tree.wait_reason(service, f"host port {port}/tcp", number=3)
    tree.client.delete_service(service)


def test_a_cordoned_node_keeps_what_it_runs_and_gets_nothing_new(tree: Tree) -> None:
    there = tree.deploy(constraints=[label("in", "sea")])
    [running] = tree.wait_running(there)
    [node] = [each for each in tree.client.nodes() if each.name == "harbour"]
    tree.client.cordon_node(node.cluster.id, node.id)
    eventually(lambda: any(each.cordoned for each in tree.client.nodes()), "the root to see it")
    waits = tree.deploy(constraints=[label("in", "sea")])
    tree.wait_reason(waits, "needs label zone in sea")
    assert tree.wait_running(there) == [running]
    tree.client.cordon_node(node.cluster.id, node.id, cordoned=False)
    assert tree.wait_running(waits)[0].node == "harbour"
    tree.client.cordon_cluster(node.cluster.id)
    assert [(each.cordoned, each.drained) for each in tree.client.clusters()] == [(True, False)]
    waits = tree.deploy()
    tree.wait_reason(waits, "1 of 1 cluster cordoned")
    tree.client.cordon_cluster(node.cluster.id, cordoned=False)
    tree.wait_running(waits)
    for application in tree.client.applications():
        tree.client.delete_application(application.id)


def test_a_drained_node_hands_over_what_it_runs_and_keeps_what_fits_nowhere_else(tree: Tree) -> None:
    moves = tree.deploy(placement=[{"by": "labels", "key": "zone", "values": ["sea"]}])
    stays = tree.deploy(constraints=[label("in", "sea")])
    [[first], [second]] = [tree.wait_running(service) for service in (moves, stays)]
    assert (first.node, second.node) == ("harbour", "harbour")
    [node] = [each for each in tree.client.nodes() if each.name == "harbour"]
    tree.client.cordon_node(node.cluster.id, node.id, drain=True)
    eventually(lambda: tree.wait_running(moves)[0].node == "alp", "it to move")
    tree.wait_reason(stays, "harbour is drained, and nothing else fits: 1 of 3 nodes cordoned; needs label zone in sea")
    assert tree.wait_running(stays) == [second]

    def marks() -> set[tuple[bool, bool]]:
        return {(each.cordoned, each.drained) for each in tree.client.nodes() if each.name == "harbour"}

    eventually(lambda: marks() == {(True, True)}, "the root to see it")
    tree.client.delete_service(stays)
    eventually(lambda: bool(list(tree.client.events(kind="node-drained"))), "harbour to be empty")
    tree.client.cordon_node(node.cluster.id, node.id, cordoned=False)
    eventually(lambda: not any(each.cordoned for each in tree.client.nodes()), "the root to see it")
    assert tree.wait_running(moves)[0].node == "alp", "nothing comes back by itself"
    tree.client.delete_service(moves)


def test_a_system_service_runs_on_each_node_that_matches_also_on_one_that_joins(tree: Tree) -> None:
    [service] = tree.create(process("sleep", "1000", mode="global", constraints=[OWNED, label("exists")]))
    assert {each.node for each in tree.wait_running(service, 2)} == {"harbour", "alp"}
    [lab] = tree.client.explain(service)["without"]
    assert (lab["node"], lab["text"]) == ("lab", "needs label zone: 1 node where none is set")
    late = tree.add_node("late", "alpha", "--label", "zone=sea")
    running = tree.wait_running(service, 3)
    assert {each.node for each in running} == {"harbour", "alp", "late"}
    late.kill()
    tree.wait_reason(service, "it belongs on late alone", number=max(each.number for each in running))
    assert len(tree.instances(service)) == 3, "it waits for its node"
    late.start()
    assert tree.wait_running(service, 3) == running, "nothing was begun anew"
    with pytest.raises(Conflict, match="system service"):
        tree.client.scale(service, 1)
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_what_fits_on_no_other_node_of_a_cluster_goes_to_another_cluster_when_its_node_is_drained(
    plant: MakeTree,
) -> None:
    tree = plant().start(alpha=["a1"], beta=["b1"])
    service = tree.deploy()
    [first] = tree.wait_running(service)
    [node] = [each for each in tree.client.nodes() if each.name == first.node]
    other = {"a1": "b1", "b1": "a1"}[node.name]
    tree.client.cordon_node(node.cluster.id, node.id, drain=True)
    eventually(lambda: [each.node for each in tree.running(service)] == [other], "it to move")
    moved = f"a node of {node.cluster.name} is drained"
    eventually(
        lambda: [event.text for event in tree.client.events(kind="moved") if event.text.endswith(moved)],
        "the root to tell of it",
    )
    tree.client.delete_service(service)
    tree.wait_gone(service)
