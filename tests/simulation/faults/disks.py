"""Faults of disks and stores: full, away, damaged, set back, or not one's own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.simulation.disks import Trouble
from tests.simulation.false_stores import FalseStores, Kind
from tests.simulation.faults.theme import Chance, Force, Theme, fault
from tests.simulation.process import ParentProcess
from tests.simulation.processes import NodeProcess

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

_WORDS: dict[Trouble, str] = {"write": "written", "all": "reached"}


class Disks(Theme):
    """What cannot be written or read for a while, and what is lost."""

    def heal(self) -> None:
        for parent in self.tree.parents:
            parent.trouble = ""
        for node in self.tree.nodes:
            node.disk.full = False

    @fault("disk full", often=0.8)
    def disk_full(self, chance: Chance) -> Force | None:
        """What is there can be read, and nothing can be written."""
        process = self.an_end(chance.link)
        seconds = self.seconds(0.2, 20.0)
        if isinstance(process, ParentProcess):
            return self._trouble(process, "write", seconds)
        assert isinstance(process, NodeProcess)
        if process.disk.full:
            return None
        process.disk.full = True
        self.note(f"the disk of {process.name} is full for {seconds:.1f} s")

        def empty() -> None:
            process.disk.full = False

        self.after(seconds, empty)
        return self.around(process, seconds=seconds)

    @fault("store away", often=0.8)
    def store_away(self, chance: Chance) -> Force | None:
        """A parent's store cannot be reached, as over a network."""
        return self._trouble(self.a_parent(chance.link), "all", self.seconds(0.1, 15.0))

    def _trouble(self, process: ParentProcess, trouble: Trouble, seconds: float) -> Force | None:
        if process.trouble:
            return None
        process.trouble = trouble
        self.note(f"the store of {process.name} cannot be {_WORDS[trouble]} for {seconds:.1f} s")

        def back() -> None:
            process.trouble = ""

        self.after(seconds, back)
        return self.around(process, seconds=seconds)

    @fault("state damaged", often=2.5)
    def state_damaged(self, chance: Chance) -> Force | None:
        """A node's files are damaged: it forgets what became of its attempts, or that and what it shall run.

        Not while a false store is about: what would tell it from the true one is among what is lost.
        """
        node = self.a_node(chance.link)
        if not node.alive or any(process.impostor for process in self.tree.parents):
            return None
        felt = self.told_above(node)
        node.crash()
        assignment = self.rng.random() < 0.5
        self.note(f"{node.name} loses its records{' and its assignment' if assignment else ''}")
        self.tree.watch.forgot(node)
        node.disk.lose(assignment=assignment)
        self.after(self.seconds(0.05, 20.0), node.start)
        return felt


class Stores(Theme):
    """A parent that comes back with a store that is not the one it left."""

    def __init__(self, tree: Tree, rng: random.Random) -> None:
        super().__init__(tree, rng)
        self.false = FalseStores(tree, rng)

    def heal(self) -> None:
        for parent in self.tree.parents:
            if parent.impostor:
                parent.crash()
                self.false.give_back(parent)

    @fault("empty store", often=3)
    def empty_store(self, chance: Chance) -> Force | None:
        return self._exchange(chance, "empty")

    @fault("foreign store", often=3)
    def foreign_store(self, chance: Chance) -> Force | None:
        """It knows the same children, and wants nothing of them."""
        return self._exchange(chance, "foreign")

    @fault("old store", often=1.5)
    def old_store(self, chance: Chance) -> Force | None:
        """A copy of its own, of lately or of the beginning."""
        return self._exchange(chance, self.rng.choice(("old", "very old")))

    def _exchange(self, chance: Chance, kind: Kind) -> Force | None:
        process = self.a_parent(chance.link)
        felt = self.around(process)
        seconds = self.false.exchange(process, kind)
        return Force(felt.links, seconds) if seconds else None
