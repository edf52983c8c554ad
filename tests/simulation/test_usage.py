"""How soon what a node measured is known above it, and that a parent that started anew is told all again."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.attempt import Usage
from mangrove.model.documents import SLOTS, SPECIFICATIONS, Slot
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.store.interface import Put
from tests.simulation.processes import ClusterProcess, NodeProcess, RootProcess
from tests.simulation.world import SETTINGS, World


class Branch:
    """A root, a cluster and a node that runs one instance."""

    def __init__(self) -> None:
        self.world = World(7)
        self.root = RootProcess(self.world, "root")
        self.cluster = ClusterProcess(self.world, self.root, "cluster")
        self.node = NodeProcess(self.world, self.cluster, "node")
        for process in (self.root, self.cluster, self.node):
            process.start()
        specification = Specification("web", runtime="simulated", resources=Resources(cpu=10, memory=1))
        slot = Slot("s.0", "s", 0, specification.digest)
        self.world.run(5.0)
        self.root.store.apply(
            [
                Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)),
                Put(SLOTS, slot.id, msgspec.to_builtins(slot)),
            ]
        )
        assert self.world.run(20.0, lambda: bool(self.node.node.engine.running_workloads())), self.world.trace
        self.world.run(2.0)

    def measure(self, cpu: float) -> None:
        [[attempt]] = self.node.node.engine.running_workloads().values()
        usage = Usage(cpu=cpu, measured=self.world.clock.wall())
        self.node.guarded(lambda: self.node.node.measured({"": usage, attempt: usage}), self.node.life)

    def known(self) -> float | None:
        """CPU of the instance as the root knows it."""
        placement = self.root.parent.placements["s.0"]
        assert placement.current is not None
        usages = self.root.parent.usage.get(placement.current.attempt)
        return usages[-1].cpu if usages else None


@pytest.fixture
def branch() -> Branch:
    return Branch()


def test_what_a_node_measured_is_known_at_the_root_within_seconds(branch: Branch) -> None:
    for cpu in (10.0, 20.0, 30.0):
        branch.measure(cpu)
        branch.world.run(1.3)  # the cluster gathers for a second
        assert branch.known() == cpu


def test_what_did_not_change_is_not_said_again_and_again(branch: Branch) -> None:
    branch.measure(10.0)
    branch.world.run(3.0)
    before = branch.world.messages["up report"]
    branch.world.run(60.0)
    # The sum over the cluster, once a period, and now and then how far away the parents are; nothing else has happened.
    assert branch.world.messages["up report"] - before <= 60.0 / SETTINGS.usage + 8


@pytest.mark.parametrize("who", ["root", "cluster"])
def test_a_parent_that_started_anew_is_told_again(branch: Branch, who: str) -> None:
    branch.measure(10.0)
    branch.world.run(3.0)
    process = {"root": branch.root, "cluster": branch.cluster}[who]
    process.crash()
    process.start()
    branch.world.run(8.0)
    if who == "cluster":
        assert branch.known() == 10.0  # what the root knows stands until there is news
        branch.measure(11.0)
        branch.world.run(2.0)
    assert branch.known() == (10.0 if who == "root" else 11.0)
