"""Parts of a real tree are killed: what is healthy goes on untouched, what is lost comes back elsewhere."""

from __future__ import annotations

import random
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from mangrove.base.errors import MangroveError
from mangrove.identity.secret import load_or_create
from mangrove.link.transports.interface import Broker
from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Program, eventually, lives, reconnecting
from tests.e2e.tree import Running, Tree, shell
from tests.integration.links import RawClient

#: Seconds of lease where something shall be missed, and where it shall not, however slowly a program starts again.
SHORT, LONG = 2.0, 20.0


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with two nodes, patient enough for every program to be started again."""
    return plant(lease=LONG).start(alpha=["n1", "n2"])


class Work:
    """Instances that write down each of their starts."""

    def __init__(self, tree: Tree, folder: Path, instances: int = 4) -> None:
        self._tree = tree
        self._log = folder / "starts"
        self.number = instances
        script = f"echo $MANGROVE_INSTANCE >> {self._log}; exec sleep 1000"
        self.service = tree.deploy(*shell(script), instances=instances)
        self.first = self.wait()

    def wait(self, seconds: float = 60) -> list[Running]:
        """Until exactly what is wanted really runs."""
        return self._tree.wait_running(self.service, self.number, seconds)

    @property
    def starts(self) -> list[int]:
        """Number of the instance of each start so far."""
        return sorted(int(line) for line in self._log.read_text().split())

    def untouched(self) -> None:
        """The same processes as at first run, and nothing was started again."""
        self._tree.settle()
        assert self.wait() == self.first
        assert self.starts == list(range(self.number))

    def end(self) -> None:
        self._tree.client.delete_service(self.service)
        self._tree.wait_gone(self.service)


def still_works(tree: Tree) -> None:
    """Something new can be deployed on each node, seen and removed."""
    services = [tree.deploy(constraints=[{"type": "direct", "node": node}]) for node in tree.nodes]
    for service in services:
        tree.wait_running(service)
        tree.client.delete_service(service)
        tree.wait_gone(service)


# One part dies and comes back: nothing of what is healthy is restarted


@pytest.mark.parametrize(
    ("name", "children"), [("n1", ("n1",)), ("alpha", ("alpha", "n1", "n2")), ("root", ("alpha",))]
)
def test_a_program_that_is_killed_and_started_again_restarts_nothing(
    tree: Tree, tmp_path: Path, name: str, children: tuple[str, ...]
) -> None:
    work = Work(tree, tmp_path)
    with reconnecting(*map(tree.program, children)):
        tree.program(name).kill()
        assert tree.running(work.service) == work.first
        tree.program(name).start()
    work.untouched()
    still_works(tree)
    work.untouched()
    work.end()


@pytest.mark.parametrize(("name", "children"), [("alpha", ("n1", "n2")), ("root", ("alpha",))])
def test_a_broker_that_is_killed_is_there_again_and_restarts_nothing(
    tree: Tree, tmp_path: Path, name: str, children: tuple[str, ...]
) -> None:
    work = Work(tree, tmp_path)
    pids = tree.pids()
    parent = tree.program(name)
    broker = eventually(parent.broker, "a broker")
    with reconnecting(*map(tree.program, children)):
        broker.kill()
    assert parent.broker() not in (None, broker)
    still_works(tree)
    work.untouched()
    assert tree.pids() == pids
    work.end()


def test_everything_is_killed_and_started_again(tree: Tree, tmp_path: Path) -> None:
    once = tree.deploy(*shell(f"echo ran >> {tmp_path}/once"), one_shot=True)
    tree.wait_phase(once, Phase.COMPLETED)
    work = Work(tree, tmp_path)
    identities = {node.name: node.identity.child for node in tree.nodes.values()}
    with reconnecting(*tree.clusters.values(), *tree.nodes.values()):
        for program in tree.programs:
            program.kill()
        assert tree.running(work.service) == work.first
        for program in tree.programs:
            program.start(wait=False)
        for program in tree.programs:
            program.wait()
    work.untouched()
    still_works(tree)
    assert {node.name: node.identity.child for node in tree.nodes.values()} == identities
    # What has completed did not run again, and is still known to have completed.
    assert tree.instances(once)[0].phase is Phase.COMPLETED
    assert (tmp_path / "once").read_text() == "ran\n"
    work.end()


def test_what_ended_while_its_engine_was_away_is_started_again_once(tree: Tree, tmp_path: Path) -> None:
    work = Work(tree, tmp_path)
    hurt, *others = work.first
    node = tree.nodes[hurt.node]
    node.kill()
    for pid in hurt.pids:
        psutil.Process(pid).kill()
    eventually(lambda: not any(lives(pid) for pid in hurt.pids), "its end")
    node.start()
    after = work.wait()
    assert [each for each in after if each in work.first] == others
    assert [each.attempt for each in after] == [each.attempt for each in work.first]  # in place
    eventually(lambda: work.starts == sorted([*range(work.number), hurt.number]), "it to write that it was started")
    # The root may say of before that it runs, until it hears from the node again.
    eventually(lambda: tree.instances(work.service)[hurt.number].restarts == 1, "the root to hear of it")
    # How often it was started is not forgotten either.
    with reconnecting(node):
        node.restart()
    still_works(tree)
    assert work.wait() == after
    assert tree.instances(work.service)[hurt.number].restarts == 1
    work.end()


def test_what_is_wanted_while_a_part_is_away_is_done_when_it_is_back(tree: Tree, tmp_path: Path) -> None:
    work = Work(tree, tmp_path, instances=2)
    cluster = tree.clusters["alpha"]
    cluster.kill()
    tree.client.undeploy(work.service, 0)
    added = tree.deploy()
    assert [each.number for each in tree.running(work.service)] == [0, 1]
    cluster.start()
    tree.wait_running(added)
    eventually(lambda: [each.number for each in tree.running(work.service)] == [1], "the other to be stopped")
    assert tree.running(work.service) == [each for each in work.first if each.number == 1]
    work.end()
    tree.client.delete_service(added)
    tree.wait_gone(added)


# A device is switched on while its cluster is away


def test_a_node_that_reboots_alone_starts_what_it_was_given(tree: Tree, tmp_path: Path) -> None:
    work = Work(tree, tmp_path)
    once = tree.deploy(*shell(f"echo ran >> {tmp_path}/once"), one_shot=True)
    tree.wait_phase(once, Phase.COMPLETED)
    node = tree.nodes["n1"]
    mine = [each for each in work.first if each.node == "n1"]
    assert mine
    assert len(mine) < len(work.first)
    tree.clusters["alpha"].kill()
    node.switch_off()
    node.start()
    eventually(lambda: len([each for each in tree.running(work.service) if each.node == "n1"]) == len(mine), "its work")
    again = [each for each in tree.running(work.service) if each.node == "n1"]
    assert [(each.number, each.attempt) for each in again] == [(each.number, each.attempt) for each in mine]
    # Alone it also looks after what crashes.
    gone = again[0]
    psutil.Process(gone.pids[0]).kill()
    eventually(
        lambda: [each for each in tree.running(work.service) if each.number == gone.number and each != gone], "it"
    )
    alone = [each for each in tree.running(work.service) if each.node == "n1"]
    tree.clusters["alpha"].start()
    tree.settle()
    after = work.wait()
    assert [each for each in after if each.node == "n1"] == alone  # what it did alone is accepted as it is
    assert [each for each in after if each.node == "n2"] == [each for each in work.first if each.node == "n2"]
    assert (tmp_path / "once").read_text() == "ran\n"
    work.end()


# Acknowledged writes


def test_every_acknowledged_write_survives_the_death_of_the_root(tree: Tree) -> None:
    chance = random.Random(7)
    service = tree.deploy(memory=1, instances=0)
    acknowledged: list[int] = []
    asked_to_go: list[int] = []  # answered or not
    removed: list[int] = []
    unanswered = 0
    over = threading.Event()

    def write() -> None:
        nonlocal unanswered
        while not over.wait(0.03) or len(acknowledged) < 20:
            try:
                acknowledged.append(tree.client.deploy(service))
                if len(acknowledged) % 4 == 0:
                    asked_to_go.append(acknowledged[-2])
                    tree.client.undeploy(service, acknowledged[-2])
                    removed.append(acknowledged[-2])
            except MangroveError:
                unanswered += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for death in range(5):
            eventually(partial(_longer, acknowledged, 4 * death), "some writes")
            time.sleep(chance.uniform(0, 0.05))  # at any moment of a write
            tree.root.restart()
    finally:
        over.set()
        writer.join()
    assert unanswered > 0  # else this has tried nothing
    assert len(set(acknowledged)) == len(acknowledged) >= 20
    said = tree.instances(service)
    # What was answered is not lost; what was not may have been done or not.
    assert set(acknowledged) - set(asked_to_go) <= said.keys()
    assert not said.keys() & set(removed)
    tree.settle()
    tree.wait_running(service, len(said), 60)
    tree.client.delete_service(service)
    tree.wait_gone(service)


def _longer(what: list[int], length: int) -> bool:
    return len(what) > length


# Something dies and stays away for longer than its lease


@pytest.fixture(scope="module")
def impatient(plant: MakeTree) -> Tree:
    """Two clusters, with two nodes and one, that soon take each other for lost."""
    return plant(lease=SHORT).start(alpha=["a1", "a2"], beta=["b1"])


def silences(tree: Tree, service: str) -> list[float]:
    """Seconds for which nodes had been silent when instances of a service were moved away from them."""
    told = [event.text for event in tree.client.events(kind="moved", limit=1000) if event.subject.startswith(service)]
    return [float(seconds) for text in told for seconds in re.findall(r"silent for ([0-9.]+) s", text)]


def only(cluster: str) -> dict[str, Any]:
    return {"constraints": [{"type": "direct", "cluster": cluster}]}


def test_a_dead_nodes_instances_move_within_its_lease(impatient: Tree, tmp_path: Path) -> None:
    tree = impatient
    log = tmp_path / "starts"
    script = f"echo $MANGROVE_INSTANCE >> {log}; exec sleep 1000"
    service = tree.deploy(*shell(script), instances=4, **only("alpha"))
    first = tree.wait_running(service, 4)
    dead, alive = (
        [each for each in first if each.node == "a1"],
        [each for each in first if each.node == "a2"],
    )
    assert dead
    assert alive
    node = tree.nodes["a1"]
    node.crash()
    eventually(lambda: len(tree.running(service)) == 4, "the instances to be elsewhere")
    moved = tree.wait_running(service, 4)
    eventually(lambda: silences(tree, service), "the root to tell of it")
    assert min(silences(tree, service)) < SHORT + 6, "by its own lease, not by some other, longer time"
    assert {each.node for each in moved} == {"a2"}
    assert [each for each in moved if each in first] == alive
    said = eventually(
        lambda: [each for each in tree.client.nodes() if (each.name, each.state) == ("a1", "silent")], "its silence"
    )
    assert said
    node.start()
    tree.settle()
    assert tree.wait_running(service, 4) == moved
    assert len(log.read_text().split()) == 4 + len(dead)
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_beats_that_somebody_repeats_keep_nobody_alive(impatient: Tree) -> None:
    tree = impatient
    service = tree.deploy(instances=2, **only("alpha"))
    tree.wait_running(service, 2)
    node = tree.nodes["a1"]
    identity, secret = node.identity, load_or_create(node.cluster.data)
    listener = RawClient(Broker(identity.brokers[0].url, secret.parent_id(), secret.parent_broker_password()))
    try:
        assert listener.subscribe(f"mangrove/{identity.parent}/{identity.child}/up/beat")
        eventually(lambda: len(listener.heard) >= 3, "beats to repeat")
        beats = list(listener.heard)
        node.crash()

        def silent_though_repeated() -> bool:
            for topic, payload in beats:
                listener.publish(topic, payload)
            return any((each.name, each.state) == ("a1", "silent") for each in tree.client.nodes())

        eventually(silent_though_repeated, "its silence to be noticed")
    finally:
        listener.close()
    assert {each.node for each in tree.wait_running(service, 2)} == {"a2"}
    node.start()
    tree.settle()
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_an_engine_that_comes_back_late_removes_what_was_moved_away(impatient: Tree) -> None:
    tree = impatient
    service = tree.deploy(instances=4, **only("alpha"))
    first = tree.wait_running(service, 4)
    left = [each for each in first if each.node == "a1"]
    node = tree.nodes["a1"]
    node.kill()  # the engine alone: what it ran goes on, and nobody hears of it
    eventually(
        lambda: all(each.node is not None and each.node.name == "a2" for each in tree.instances(service).values()),
        "all to be moved",
    )
    eventually(lambda: len(tree.running(service)) == 4 + len(left), "both copies to run")
    node.start()
    tree.settle()
    after = tree.wait_running(service, 4)
    assert {each.node for each in after} == {"a2"}
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_a_dead_cluster_is_replaced_by_another_one(impatient: Tree) -> None:
    tree = impatient
    service = tree.deploy(instances=6)
    first = tree.wait_running(service, 6)
    assert {tree.nodes[each.node].cluster.name for each in first} == {"alpha", "beta"}
    before = [each for each in first if each.node == "b1"]
    dead: list[Program] = [tree.clusters["alpha"], tree.nodes["a1"], tree.nodes["a2"]]
    dead[0].kill()
    for name in ("a1", "a2"):
        tree.nodes[name].crash()
    eventually(lambda: [each.node for each in tree.running(service)] == ["b1"] * 6, "all to run on the other", 60)
    after = tree.wait_running(service, 6)
    assert [each for each in after if each in first] == before
    states = {each.name: each.state for each in tree.client.clusters()}
    assert states == {"alpha": "silent", "beta": "live"}
    for program in dead:
        program.start(wait=False)
    for program in dead:
        program.wait()
    tree.settle()
    # They are given back nothing, and what their nodes began again by themselves, before they heard of it, ends.
    eventually(lambda: {each.node for each in tree.running()} == {"b1"}, "what came back to end")
    assert tree.wait_running(service, 6) == after
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_what_fits_nowhere_else_stays_and_says_so(impatient: Tree) -> None:
    tree = impatient
    service = tree.deploy(**only("beta"))
    [instance] = tree.wait_running(service)
    tree.clusters["beta"].kill()
    said = tree.wait_reason(service, "beta is silent")
    assert "nothing else fits" in said.reason
    assert tree.running(service) == [instance]
    tree.clusters["beta"].start()
    tree.settle()
    eventually(lambda: tree.instances(service)[0].reason == "", "all to be well")
    assert tree.wait_running(service) == [instance]
    tree.client.delete_service(service)
    tree.wait_gone(service)
