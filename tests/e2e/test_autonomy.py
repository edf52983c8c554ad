"""What is cut off works on: a node that boots without its cluster, a cluster without the root, and who tends it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from mangrove.client.documents import Event
from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Node, eventually, executable
from tests.e2e.tree import Running, Tree, process, shell
from tests.integration.runtimes import IMAGE, load_image

#: Seconds of lease: short, since a node that stays dead is to be missed.
LEASE = 2.0

#: Seconds from the start of a node's engine until all runs that it was assigned, without network: what is promised.
BOOT = 5.0


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    return plant(lease=LEASE).start(alpha=["n1", "n2", "n3"])


def mangrove(tree: Tree, *arguments: str) -> str:
    """What a command says of the cluster alpha, on its machine."""
    cluster = tree.clusters["alpha"]
    command = [executable("mangrove"), "cluster", *arguments]
    where = ["--data-dir", str(cluster.data), "--address", cluster.address]
    done = subprocess.run([*command, *where], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def power_cut(tree: Tree) -> None:
    """The machines of root, cluster and nodes go down at once: all programs, brokers and instances."""
    brokers = [program.broker() for program in (tree.root, *tree.clusters.values())]
    for program in tree.programs:
        program.kill()
    for broker in brokers:
        if broker is not None and broker.is_running():
            broker.kill()
    for node in tree.nodes.values():
        node.switch_off()
    assert tree.running() == []


def events_of_cluster(tree: Tree) -> list[Event]:
    return [event for event in tree.client.events(limit=1000) if event.cluster == "alpha"]


def test_a_cluster_without_root_is_itself_again_after_a_power_cut(tree: Tree, tmp_path: Path) -> None:
    once = tree.deploy(*shell(f"echo ran >> {tmp_path}/once"), one_shot=True)
    tree.wait_phase(once, Phase.COMPLETED)
    service = tree.deploy(instances=9)
    first = tree.wait_running(service, 9)
    by_node = {name: [each for each in first if each.node == name] for name in tree.nodes}
    assert all(by_node.values()), "each node has something"
    eventually(lambda: events_of_cluster(tree), "the cluster's events at the root")

    power_cut(tree)
    tree.clusters["alpha"].start(wait=False)
    for name in ("n1", "n2"):
        tree.nodes[name].start(wait=False)
    eventually(lambda: len(tree.running(service)) == 9, "all to run again, without root and third node", 60)

    again = tree.running(service)
    for name in ("n1", "n2"):  # each where it was, as the attempt that it was
        there = {(each.number, each.attempt) for each in again if each.node == name}
        assert {(each.number, each.attempt) for each in by_node[name]} <= there
    moved = {each.number for each in by_node["n3"]}
    assert {each.node for each in again if each.number in moved} <= {"n1", "n2"}
    assert sorted(each.number for each in again) == list(range(9))
    assert (tmp_path / "once").read_text() == "ran\n"

    # It goes on healing without the root.
    dead = tree.nodes["n2"]
    dead.switch_off()
    eventually(lambda: [each.node for each in tree.running(service)] == ["n1"] * 9, "all on the last node", 60)
    alone = tree.running(service)

    tree.root.start()
    tree.settle()
    assert tree.wait_running(service, 9) == alone, "what the cluster did alone stands"
    told = eventually(
        lambda: [
            event.text
            for event in events_of_cluster(tree)
            if event.kind == "moved" and event.subject.startswith(service)
        ],
        "what happened meanwhile",
    )
    assert any("n3" in text for text in told)
    eventually(
        lambda: any("n2" in event.text for event in events_of_cluster(tree) if event.kind == "moved"), "the rest"
    )
    assert [event.subject for event in events_of_cluster(tree) if event.kind == "node-silent"] != []
    ids = [(event.time, event.kind, event.subject, event.text) for event in events_of_cluster(tree)]
    assert len(ids) == len(set(ids)), "each is told once"

    for name in ("n2", "n3"):
        tree.nodes[name].start()
    tree.settle()
    assert tree.wait_running(service, 9) == alone
    tree.client.delete_service(service)
    tree.client.delete_service(once)
    tree.wait_gone(service)


def test_an_operator_on_the_clusters_machine_lists_holds_and_releases_while_the_root_is_away(tree: Tree) -> None:
    [service] = tree.create(process(), name="shop")
    for _ in range(2):
        tree.client.deploy(service)
    first = tree.wait_running(service, 2)
    tree.root.kill()

    def listed() -> list[tuple[str, str]]:
        return [(each["name"], each["phase"]) for each in json.loads(mangrove(tree, "instances", "-o", "json"))]

    both = [("shop.web.0", "running"), ("shop.web.1", "running")]
    eventually(lambda: listed() == both, "nothing else to be left on the cluster")
    mangrove(tree, "hold", "shop.web.0", "--reason", "the arm is open")
    eventually(lambda: tree.running(service) == [each for each in first if each.number == 1], "the other alone to run")
    # It is remembered, and nothing that befalls the cluster starts it.
    tree.clusters["alpha"].restart()
    eventually(lambda: "n1" in mangrove(tree, "events"), "events")
    reason = "held at cluster alpha by an operator: the arm is open"
    assert [phase for _, phase in listed()] == ["held", "running"]

    tree.root.start()
    tree.settle()
    assert tree.wait_phase(service, Phase.HELD).reason == reason
    assert [each.number for each in tree.running(service)] == [1]
    eventually(lambda: any(event.kind == "held" for event in events_of_cluster(tree)), "the event of it")
    assert tree.service(service).instances[0].id, "what users want is as it was"

    tree.root.kill()
    mangrove(tree, "release", "shop.web.0")
    eventually(lambda: len(tree.running(service)) == 2, "both to run")
    mangrove(tree, "hold", "shop.web.1")
    eventually(lambda: [each.number for each in tree.running(service)] == [0], "the second to stop")
    tree.root.start()
    tree.settle()
    # A hold goes with its instance.
    tree.client.delete_service(service)
    tree.wait_gone(service)
    eventually(lambda: listed() == [], "the cluster to know of nothing any more")


def boot(node: Node, off: Callable[[], object], all_run: Callable[[], bool]) -> float:
    """Switch a node off and start its engine; seconds until all runs that it was assigned.

    The best of three when it took too long, since other tests may have had the processors meanwhile.
    """
    took: list[float] = []
    while not took or (took[-1] >= BOOT and len(took) < 3):
        off()
        began = time.monotonic()
        node.start(wait=False)
        eventually(all_run, "all that it was assigned to run", 60)
        took.append(time.monotonic() - began)
    return min(took)


def test_a_node_that_boots_without_network_starts_its_processes_within_five_seconds(tree: Tree) -> None:
    service = tree.deploy(instances=12)
    first = tree.wait_running(service, 12)
    tree.root.kill()
    tree.clusters["alpha"].kill()
    node = tree.nodes["n1"]
    mine = [each for each in first if each.node == "n1"]
    assert mine

    def here() -> list[Running]:
        return [each for each in tree.running(service) if each.node == "n1"]

    took = boot(node, node.switch_off, lambda: len(here()) == len(mine))
    print(f"{len(mine)} processes ran {took:.2f} s after the start of the engine")
    assert [each.attempt for each in here()] == [each.attempt for each in mine]
    assert took < BOOT
    tree.root.start()
    tree.clusters["alpha"].start()
    tree.settle()
    assert sorted(each.number for each in tree.wait_running(service, 12)) == list(range(12))
    tree.client.delete_service(service)
    tree.wait_gone(service)


# The same with containers


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[docker.DockerClient]:
    """The Docker engine itself; all containers of these tests end with them."""
    load_image(docker_host)
    client = docker.DockerClient(base_url=docker_host, timeout=60)
    yield client
    for container in client.containers.list(all=True, filters={"label": ["mangrove.node"]}):
        container.remove(force=True)
    client.close()


@pytest.mark.docker
def test_a_node_that_boots_without_network_starts_its_containers_within_five_seconds(
    tree: Tree, engine: docker.DockerClient, docker_host: str
) -> None:
    """Twice: a reboot leaves containers that have ended, or none."""
    node = tree.add_node("d1", "alpha", runtimes="docker", DOCKER_HOST=docker_host)
    tree.settle()
    fields: dict[str, Any] = {"virtualization": "container", "code": IMAGE}
    command = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
    [service] = tree.create(process(*command, **fields, constraints=[{"type": "direct", "node": "d1"}]))
    for _ in range(4):
        tree.client.deploy(service)
    for number in range(4):
        tree.wait_phase(service, Phase.RUNNING, number)

    def containers() -> list[Container]:
        labels = [f"mangrove.installation={node.installation}", f"mangrove.node={node.identity.child}"]
        return list(engine.containers.list(all=True, filters={"label": labels}, ignore_removed=True))

    before = {container.labels["mangrove.attempt"] for container in containers()}
    tree.root.kill()
    tree.clusters["alpha"].kill()

    def off(left: str) -> None:
        node.switch_off()
        for container in containers():
            if left == "gone":
                container.remove(force=True)
            else:
                container.kill()
        assert not [container for container in containers() if container.status == "running"]

    for left in ("ended", "gone"):
        took = boot(node, partial(off, left), lambda: [each.status for each in containers()] == ["running"] * 4)
        print(f"4 containers ({left} before) ran {took:.2f} s after the start of the engine")
        assert {container.labels["mangrove.attempt"] for container in containers()} == before
        assert took < BOOT
    tree.root.start()
    tree.clusters["alpha"].start()
    tree.settle()
    for number in range(4):
        tree.wait_phase(service, Phase.RUNNING, number)
    assert {container.labels["mangrove.attempt"] for container in containers()} == before
    tree.client.delete_service(service)
    eventually(lambda: not containers(), "all containers to be gone")
    node.stop()
    node.leave()
