"""Lives in which operators drain nodes and clusters, and free them again, while everything else goes wrong as well."""

from __future__ import annotations

import random

import pytest

from mangrove.base.errors import NotFound
from mangrove.identity.join import cordon_child
from mangrove.model.documents import EVENTS
from tests.simulation.listening import quiet
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.tree import Tree
from tests.simulation.world import InvariantBroken

#: Mean seconds between two changes of mind.
_EVERY = 4.0
#: A few seconds on one core.
SEEDS = range(1, 9)


class Operators:
    """Of all parents of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._rng = random.Random(f"operators {tree.world.seed}")

    def work(self) -> None:
        """Drain or free a child, and again later; when the storm is over, free all."""
        if self._tree.world.time > self._tree.plan.storm:
            for child in self._tree.children:
                self._mark(child, False)
            return
        self._mark(self._rng.choice(self._tree.children), self._rng.random() < 0.6)
        self._tree.world.later(self._rng.expovariate(1 / _EVERY), self.work)

    def _mark(self, child: ClusterProcess | NodeProcess, drained: bool) -> None:
        parent = child.cluster if isinstance(child, NodeProcess) else self._tree.root
        try:
            cordon_child(parent.true_store, child.identity.id, drained, drained)
        except NotFound:  # it was given up
            return
        if drained:
            self._tree.watch.drained.add(child.identity.id)
        self._tree.world.note(f"an operator {'drains' if drained else 'frees'} {child.name}")


def drained(seed: int) -> int:
    """One such life; how many instances were moved since their child was drained."""
    with quiet():
        tree = Tree(seed)
        tree.world.later(8.0, Operators(tree).work)
        tree.run()
    events = [event.document for parent in tree.parents for event in parent.true_store.load(EVENTS)]
    return sum(event["kind"] == "moved" and event["text"].endswith("is drained") for event in events)


def test_all_invariants_hold_while_children_are_drained() -> None:
    try:
        assert sum(map(drained, SEEDS)) > len(SEEDS)
    except InvariantBroken as broken:
        pytest.fail("\n".join([str(broken), *broken.__notes__]), pytrace=False)
