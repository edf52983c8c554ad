"""A user who deploys and deletes while parts of a real tree are killed or cut off, and what must be true afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import docker

from mangrove.base.errors import MangroveError, Unavailable
from mangrove.model.phases import Phase
from tests.e2e.hosts import Host
from tests.e2e.programs import Node, Parent, Program, eventually
from tests.e2e.tree import Tree, process, shell
from tests.integration.runtimes import IMAGE

#: Seconds that a part stays away.
AWAY = (2.0, 5.0)

#: Seconds from one fault to the next: less than a part stays away, so that several are away at once.
APART = (0.5, 2.0)

#: Seconds until all is as it should be, once nothing is away any more.
SETTLING = 90.0

#: Seconds at most from one request of the user to the next: forty deployments then take about as long as ten faults.
PACE = 0.3

#: MiB that an instance asks for: a process; a container, of which Docker makes none with less.
MEMORY = (1, 6)

#: Runs until it is asked to end, and writes down that it was started: service, number, node.
_INSTANCE = """echo "$MANGROVE_SERVICE $MANGROVE_INSTANCE $MANGROVE_NODE" >> {log}
trap 'exit 0' TERM
sleep 1000 &
wait"""


@dataclass(frozen=True)
class Fault:
    """Something that may happen to a part. begin: lets it happen; the answer ends it, seconds later."""

    part: str
    begin: Callable[[], Callable[[], object]]


def killed(program: Program) -> Fault:
    """SIGKILL; started again later. What it ran goes on."""

    def begin() -> Callable[[], object]:
        program.kill()
        return partial(program.start, wait=False)

    return Fault(program.name, begin)


def broker_killed(parent: Parent) -> Fault:
    """SIGKILL of its broker, which the parent itself starts again, if there is one just now."""

    def begin() -> Callable[[], object]:
        broker = parent.broker() if parent.alive else None
        if broker is not None:
            broker.kill()
        return lambda: None

    return Fault(parent.name, begin)


def crashed(node: Node, crashes: Counter[str]) -> Fault:
    """The engine and all its processes are killed; `crashes` counts how often, by the node's id."""

    def begin() -> Callable[[], object]:
        crashes[node.identity.child] += 1
        node.crash()
        return partial(node.start, wait=False)

    return Fault(node.name, begin)


def losing(host: Host, *, incoming: int = 0, outgoing: int = 0) -> Fault:
    """A machine's link loses so many of a hundred packets."""

    def begin() -> Callable[[], object]:
        host.drop(incoming=incoming, outgoing=outgoing)
        return host.drop

    return Fault(f"link of {host.namespace}", begin)


class Storm:
    """Lets faults happen, in an order and at moments that the seed says; each is over after `AWAY`."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._away: dict[str, tuple[float, Callable[[], object]]] = {}  # part → when it comes back, and how

    def rage(self, faults: Sequence[Fault], rounds: int = 1) -> None:
        """Each fault once a round, until all are over. Several parts are away at a time, each by one fault."""
        for _ in range(rounds):
            for fault in self._chance.sample(faults, len(faults)):
                self._until(time.monotonic() + self._chance.uniform(*APART))
                if fault.part in self._away:
                    self._until(self._away[fault.part][0])
                mend = fault.begin()
                self._away[fault.part] = time.monotonic() + self._chance.uniform(*AWAY), mend
        while self._away:
            self._until(max(when for when, _ in self._away.values()))

    def _until(self, moment: float) -> None:
        """Let time pass; what is to come back until then does."""
        while self._away:
            part, (when, mend) = min(self._away.items(), key=lambda each: each[1][0])
            if when > moment:
                break
            time.sleep(max(0.0, when - time.monotonic()))
            del self._away[part]
            mend()
        time.sleep(max(0.0, moment - time.monotonic()))


@dataclass
class User:
    """Deploys and deletes instances of a few services at random, and remembers what was answered."""

    tree: Tree
    services: Sequence[str]
    chance: random.Random
    accepted: set[tuple[str, int]] = field(default_factory=set)
    asked_to_go: set[tuple[str, int]] = field(default_factory=set)  # answered or not
    gone: set[tuple[str, int]] = field(default_factory=set)
    refused: list[MangroveError] = field(default_factory=list)
    deployments: int = 0

    def work(self, deployments: int, over: threading.Event) -> None:
        """So many deployments are accepted at least; goes on until `over`. One in three is deleted."""
        while self.deployments < deployments or not over.is_set():
            try:
                if self.chance.random() < 0.25 and (there := sorted(self.accepted - self.asked_to_go)):
                    one = self.chance.choice(there)
                    self.asked_to_go.add(one)
                    self.tree.client.undeploy(*one)
                    self.gone.add(one)
                else:
                    service = self.chance.choice(self.services)
                    self.accepted.add((service, self.tree.client.deploy(service)))
                    self.deployments += 1
            except MangroveError as error:
                self.refused.append(error)
            time.sleep(self.chance.uniform(0, PACE))


class Ordeal:
    """Services of processes and, where there is an engine for them, of containers, that go through a storm.

    folder: where each start is written down.
    """

    def __init__(self, tree: Tree, folder: Path, engine: docker.DockerClient | None = None) -> None:
        folder.chmod(0o777)
        self._tree = tree
        self._engine = engine
        self._starts = folder / "starts"
        self._starts.touch()
        self._starts.chmod(0o666)
        self.crashes = Counter[str]()
        kinds = [
            process(
                "/bin/sh", "-c", _INSTANCE.format(log=self._starts), memory=MEMORY[0], microservice_name="processes"
            )
        ]
        if engine is not None:
            volume = {"volume_id": str(folder), "csi_driver": "", "mount_path": "/log"}
            script = _INSTANCE.format(log="/log/starts")
            kinds.append(
                process(
                    *shell(script),
                    virtualization="container",
                    code=IMAGE,
                    volumes=[volume],
                    memory=MEMORY[1],
                    microservice_name="containers",
                )
            )
        self.services = tree.create(*kinds)

    def go_through(self, seed: int, faults: Sequence[Fault], deployments: int, rounds: int = 1) -> User:
        """Let a user work while these faults happen; fails when anything is not as it must be afterwards."""
        # Three of four are processes, which cost less.
        user = User(self._tree, [*self.services[:1] * 3, *self.services[1:]], random.Random(seed))
        over = threading.Event()
        working = threading.Thread(target=user.work, args=(deployments, over))
        working.start()
        try:
            Storm(seed).rage(faults, rounds)
        finally:
            over.set()
            working.join()
        self._judge(user)
        return user

    def _judge(self, user: User) -> None:
        tree = self._tree
        for program in tree.programs:
            program.wait()
        tree.settle()
        assert all(isinstance(error, Unavailable) for error in user.refused), user.refused
        wanted = {(service, number) for service in self.services for number in tree.instances(service)}
        # What was answered is not lost; what was not answered may have been done or not.
        assert user.accepted - user.asked_to_go <= wanted
        assert not wanted & user.gone
        eventually(partial(self._all_run, wanted), f"{len(wanted)} instances to run, and nothing else", SETTLING)
        starts: dict[tuple[str, str], list[str]] = {}
        for line in self._starts.read_text().splitlines():
            service, number, node = line.split()
            starts.setdefault((service, number), []).append(node)
        for slot, nodes in starts.items():
            assert len(nodes) <= 1 + sum(self.crashes[node] for node in {*nodes}), f"{slot} was started on {nodes}"
        # Nothing is reserved but what runs, as much as it asked for.
        eventually(partial(self._reserved_is, wanted), "exactly what runs to be reserved")

    def _all_run(self, wanted: set[tuple[str, int]]) -> bool:
        """Whether the root says of each that it runs, and where, and exactly that is there, also on the disks."""
        said = {
            (service, number): instance
            for service in self.services
            for number, instance in self._tree.instances(service).items()
        }
        if said.keys() != wanted or any(each.phase is not Phase.RUNNING for each in said.values()):
            return False
        places = [(service, number, each.node.name if each.node else "") for (service, number), each in said.items()]
        return self._there_is(places)

    def _there_is(self, places: Iterable[tuple[str, int, str]]) -> bool:
        """Whether exactly these run: service, number, node."""
        processes = self._tree.running()
        there = [(each.service, each.number, each.node) for each in processes]
        attempts = sorted(each.attempt for each in processes)
        nodes = self._tree.nodes.values()
        folders = sorted(folder.name for node in nodes for folder in node.data.glob("instances/*/"))
        groups = {folder.name for node in nodes for folder in node.control_groups()}
        return sorted(places) == sorted(there + self._containers()) and folders == attempts and groups <= {*attempts}

    def _containers(self) -> list[tuple[str, int, str]]:
        """All that nodes made, whether it runs or not (which then has no node that is known)."""
        if self._engine is None:
            return []
        names = {node.identity.child: name for name, node in self._tree.nodes.items()}
        found = self._engine.containers.list(all=True, filters={"label": ["mangrove.node"]}, ignore_removed=True)
        return [
            (
                self.services[1],
                int(each.labels["mangrove.number"]),
                names[each.labels["mangrove.node"]] if each.status == "running" else each.status,
            )
            for each in found
        ]

    def _reserved_is(self, wanted: Collection[tuple[str, int]]) -> bool:
        memory = sum(MEMORY[self.services.index(service)] for service, _ in wanted)
        nodes = list(self._tree.client.nodes())
        instances, reserved = sum(node.instances for node in nodes), sum(node.reserved.memory for node in nodes)
        return (instances, reserved) == (len(wanted), memory)

    def end(self) -> None:
        """Delete all, after which nothing may be left."""
        for service in self.services:
            self._tree.client.delete_service(service)
        eventually(partial(self._there_is, ()), "nothing to be left", SETTLING)
        eventually(partial(self._reserved_is, ()), "nothing to be reserved")
