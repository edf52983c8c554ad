"""Parts of a tree on several hosts die and are cut off while a user deploys and deletes: nothing is lost or left over.

With MANGROVE_SOAK=1 there are more seeds and more faults.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from mangrove.model.phases import Phase
from tests import docker_engine
from tests.e2e.conftest import MakeTree
from tests.e2e.hosts import Host, Switch, needs_namespaces
from tests.e2e.programs import eventually
from tests.e2e.storm import Fault, Ordeal, broker_killed, crashed, killed, losing
from tests.e2e.tree import Tree, process
from tests.integration.runtimes import IMAGE, load_image

SOAK = os.environ.get("MANGROVE_SOAK") == "1"
SEEDS = range(1, 6) if SOAK else range(1, 2)
ROUNDS = 3 if SOAK else 1

#: Seconds of lease: longer than any part is away, so that whatever runs has to go on running where it is.
PATIENT = 30.0

#: The same where parts shall be taken for lost.
IMPATIENT = 2.0

#: Where the programs run, of the network for documentation (RFC 5737) that the tutorial does not use.
ADDRESSES = {name: f"198.51.100.{number}" for number, name in enumerate(("root", "alpha", "beta", "a1", "a2", "b1"), 1)}

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600 if SOAK else 300)]


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    """One for each program. All that the tests do, they do on the root's."""
    needs_namespaces()
    with Switch() as switch, ExitStack() as inside:
        hosts = {name: Host(address, switch.plug(name, address)) for name, address in ADDRESSES.items()}
        inside.enter_context(hosts["root"].inside())
        yield hosts


@pytest.fixture(scope="module")
def dockerd() -> Iterator[docker_engine.Engine]:
    """An engine for all nodes, which goes on with what it runs when it is started again."""
    if not docker_engine.can_start():
        pytest.skip("dockerd cannot be started here (not root, or not installed)")
    with tempfile.TemporaryDirectory(prefix="mangrove-docker-", ignore_cleanup_errors=True) as folder:
        engine = docker_engine.Engine(Path(folder), "--live-restore")
        try:
            engine.start()
            load_image(engine.url)
            yield engine
        finally:
            engine.end()


@pytest.fixture(scope="module")
def containers(dockerd: docker_engine.Engine) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=dockerd.url, timeout=60)
    yield client
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.close()


@pytest.fixture(scope="module")
def tree(plant: MakeTree, hosts: dict[str, Host], containers: object, dockerd: docker_engine.Engine) -> Tree:
    """Two clusters, with two nodes and one, each on a host of its own."""
    return grow(plant(lease=PATIENT, hosts=hosts), dockerd.url)


def grow(tree: Tree, engine: str) -> Tree:
    tree.start(alpha=[], beta=[])
    for node, cluster in (("a1", "alpha"), ("a2", "alpha"), ("b1", "beta")):
        tree.add_node(node, cluster, runtimes="process,docker", wait=False, DOCKER_HOST=engine)
    tree.settle()
    return tree


@pytest.fixture(scope="module")
def impatient(plant: MakeTree, hosts: dict[str, Host]) -> Tree:
    """The same hosts, which soon take each other for lost."""
    return plant(lease=IMPATIENT, hosts=hosts).start(alpha=["a1", "a2"], beta=["b1"])


@pytest.fixture
def ordeal(tree: Tree, tmp_path: Path, containers: docker.DockerClient) -> Iterator[Ordeal]:
    made = Ordeal(tree, tmp_path, containers)
    yield made
    made.end()


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_every_program_is_killed(tree: Tree, dockerd: docker_engine.Engine, ordeal: Ordeal, seed: int) -> None:
    """Brokers and the container engine, too; and a node dies with all of its processes."""

    def engine_killed() -> Callable[[], object]:
        dockerd.kill()
        return dockerd.start

    faults = [killed(program) for program in tree.programs]
    faults += [broker_killed(parent) for parent in (tree.root, *tree.clusters.values())]
    faults += [crashed(tree.nodes["a2"], ordeal.crashes), Fault("dockerd", engine_killed)]
    ordeal.go_through(seed, faults, 40, ROUNDS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_links_are_cut_and_lossy(tree: Tree, hosts: dict[str, Host], ordeal: Ordeal, seed: int) -> None:
    faults = [losing(hosts[name], incoming=100, outgoing=100) for name in ("alpha", "beta", "a1")]
    faults += [losing(hosts["a2"], incoming=100), losing(hosts["b1"], outgoing=100)]
    faults += [
        losing(hosts["alpha"], incoming=40),
        losing(hosts["a1"], outgoing=40),
        losing(hosts["beta"], outgoing=40),
    ]
    user = ordeal.go_through(seed, faults, 40, ROUNDS)
    assert not user.refused


@pytest.mark.parametrize(
    ("host", "cut", "lost"),
    [
        ("a2", {"incoming": 100, "outgoing": 100}, ("a2",)),
        ("a1", {"outgoing": 100}, ("a1",)),
        ("alpha", {"incoming": 100, "outgoing": 100, "peer": ADDRESSES["root"]}, ("a1", "a2")),
    ],
    ids=["a node", "a node that hears but is not heard", "a cluster from its root"],
)
def test_what_is_cut_off_for_long_is_replaced_and_gives_way_when_it_is_back(
    impatient: Tree, hosts: dict[str, Host], host: str, cut: dict[str, Any], lost: tuple[str, ...]
) -> None:
    tree = impatient
    service = tree.deploy(instances=9)
    first = tree.wait_running(service, 9)
    away = [each for each in first if each.node in lost]
    stays = [each for each in first if each.node not in lost]
    assert away
    assert stays

    def replaced() -> bool:
        now = tree.running(service)
        return len(now) == 9 + len(away) and sum(each.node not in lost for each in now) == 9

    hosts[host].drop(**cut)
    try:
        eventually(replaced, "all that is cut off to run elsewhere, too")
        # What is cut off goes on as it was, and nobody else is touched by that.
        assert {*first} <= {*tree.running(service)}
        doubled = [each for each in tree.running(service) if each.node not in lost]
    finally:
        hosts[host].drop()
    tree.settle()
    assert tree.wait_running(service, 9) == doubled
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_an_engine_without_live_restore_ends_what_it_ran_and_each_is_started_again(
    impatient: Tree,
) -> None:
    """Docker ends its containers when it is started again; they come back in place, once each."""
    tree = impatient
    with (
        tempfile.TemporaryDirectory(prefix="mangrove-docker-", ignore_cleanup_errors=True) as folder,
        ExitStack() as end,
    ):
        engine = docker_engine.Engine(Path(folder))
        end.callback(engine.end)
        engine.start()
        load_image(engine.url)
        client = docker.DockerClient(base_url=engine.url, timeout=60)
        end.callback(client.close)
        node = tree.add_node("b2", "beta", runtimes="docker", DOCKER_HOST=engine.url)
        end.callback(node.kill)
        tree.settle()

        def there() -> dict[str, int]:
            found = client.containers.list(ignore_removed=True)
            return {each.labels["mangrove.attempt"]: each.attrs["State"]["Pid"] for each in found}

        script = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
        where = [{"type": "direct", "node": "b2"}]
        [service] = tree.create(process(*script, virtualization="container", code=IMAGE, constraints=where))
        for number in range(2):
            tree.client.deploy(service)
            tree.wait_phase(service, Phase.RUNNING, number)
        before = there()
        engine.kill()
        assert [psutil.pid_exists(pid) for pid in before.values()] == [True, True]
        engine.start()
        eventually(lambda: len(now := there()) == 2 and not {*now.values()} & {*before.values()}, "both to run anew")
        assert there().keys() == before.keys(), "in place"
        eventually(lambda: [each.restarts for each in tree.instances(service).values()] == [1, 1], "that to be told")
        tree.client.delete_service(service)
        eventually(lambda: not client.containers.list(all=True, ignore_removed=True), "all to be gone")
