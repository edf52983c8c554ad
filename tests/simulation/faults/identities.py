"""Devices that are not who they were: a disk that was set back, a clone, and people who pretend."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mangrove.model.documents import CHILDREN
from tests.simulation.adversary import Adversary
from tests.simulation.faults.theme import Chance, Force, Theme, fault
from tests.simulation.forger import forge
from tests.simulation.processes import NodeProcess

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: Copies of a node's disk that are kept, to set it back to.
_COPIES = 3


class Identities(Theme):
    """A device is set back or cloned, and an operator ends it by bringing back the one that counts."""

    def __init__(self, tree: Tree, rng: random.Random) -> None:
        super().__init__(tree, rng)
        self._copies: dict[str, list[tuple[int, dict[str, bytes]]]] = {}
        self._newest: dict[NodeProcess, tuple[int, dict[str, bytes]]] = {}  # of those that were set back
        self._clones: dict[NodeProcess, NodeProcess] = {}  # by original

    def heal(self) -> None:
        for node in list(self._newest):
            self._bring_newest(node)
        for node in list(self._clones):
            self._destroy_clone(node)

    def back_up(self) -> None:
        """Somebody copies the disks of the nodes."""
        for node in self.tree.nodes:
            if node not in self._newest:
                self._copies.setdefault(node.name, []).append(node.disk.snapshot())
                del self._copies[node.name][:-_COPIES]

    @fault("device set back", often=3)
    def set_back(self, chance: Chance) -> Force | None:
        """A node comes back with an old copy of its disk. Where it is refused, an operator brings the newest back."""
        node = self.a_node(chance.link)
        copies = self._copies.get(node.name)
        if not node.alive or not copies or self._pretends(node):
            return None
        felt, seconds = self.told_above(node), self.seconds(2.0, 12.0)
        self.note(f"the disk of {node.name} is set back")
        self._newest[node] = node.disk.snapshot()
        self._put(node, self.rng.choice(copies))
        self.after(self.seconds(0.3, 3.0), node.start)
        self.after(seconds, lambda: self._bring_newest(node))
        return Force(felt.links, seconds)

    def _bring_newest(self, node: NodeProcess) -> None:
        if node not in self._newest:
            return
        if node.cluster.impostor:  # what a false store says of it is worth nothing
            self.after(1.0, lambda: self._bring_newest(node))
            return
        newest = self._newest.pop(node)
        reached, _ = node.disk.snapshot()
        known = node.cluster.true_store.get(CHILDREN, node.identity.id)
        behind = known is not None and reached < known.document["incarnation"]
        if node.alive and node.node.role.link.state == "settled" and not behind:
            return  # nobody noticed, since it was started as often as it should be
        self.note(f"{node.name} gets its newest disk back")
        self._put(node, (max(reached, newest[0]), newest[1]))
        self.after(0.5, node.start)

    def _put(self, node: NodeProcess, copy: tuple[int, dict[str, bytes]]) -> None:
        """Let the node's disk hold this; the machine is off meanwhile."""
        self.tree.watch.forgot(node, set_back=True)
        node.lose_power()
        node.disk.set_back(copy)
        self.tree.watch.forgot(node, set_back=True)

    @fault("device cloned", often=0.8)
    def cloned(self, chance: Chance) -> Force | None:
        """A copy of a node's disk runs on another machine, too, until an operator takes it away."""
        node = self.a_node(chance.link)
        if not node.alive or self._pretends(node):
            return None
        seconds = self.seconds(2.0, 12.0)
        clone = self._clones[node] = NodeProcess(self.world, node.cluster, f"{node.name}-clone", original=node)
        self.note(f"{node.name} is cloned for {seconds:.1f} s")
        self.tree.watch.forgot(node)
        clone.start()
        self.after(seconds, lambda: self._destroy_clone(node))
        return self.told_above(node, seconds)

    def _destroy_clone(self, node: NodeProcess) -> None:
        clone = self._clones.pop(node, None)
        if clone is None:
            return
        self.note(f"the clone of {node.name} is taken away")
        clone.lose_power()
        clone.buried = True
        self.tree.watch.forgot(node)
        node.crash()
        reached, _ = clone.disk.snapshot()
        started, kept = node.disk.snapshot()
        node.disk.set_back((max(reached, started), kept))  # what an operator does who says that this one counts
        self.after(0.5, node.start)

    def _pretends(self, node: NodeProcess) -> bool:
        """Whether something is wrong already with who this node, or its cluster, is."""
        return node in self._newest or node in self._clones or any(one.impostor for one in self.tree.parents)


class People(Theme):
    """Those who mean harm."""

    def __init__(self, tree: Tree, rng: random.Random) -> None:
        super().__init__(tree, rng)
        self.adversary = Adversary(tree.world, rng)

    @fault("attack from outside", often=0.6)
    def outsider(self, chance: Chance) -> Force | None:
        """Somebody at a broker, who has no key, publishes what was said there once, and junk."""
        parent = chance.link.parent_process
        attack = self.adversary.attack(parent.broker)
        if attack:
            self.note(f"an adversary at the broker of {parent.name}: {attack}")
        return self.below(parent, 2.0) if attack else None

    @fault("attack from inside", often=60)
    def insider(self, chance: Chance) -> Force | None:
        """A child whose key somebody has speaks of what others run."""
        parent = chance.link.parent_process
        begun = [one for one in self.tree.children_of(parent) if one.life]
        speaking = [one for one in begun if one.alive and one.child_link.state == "settled"]
        if len(begun) < 2 or not speaking or not parent.alive:
            return None
        child = self.rng.choice(speaking)
        others = [one for one in begun if one is not child]
        given = [placed.current for placed in parent.parent.placements.values() if placed.current is not None]
        foreign = sorted(one.attempt for one in given if one.child != child.identity.id)
        if not foreign:
            return None
        self.note(f"{child.name} tells {parent.name} of {len(foreign)} attempts that it does not have")
        forge(child, foreign, self.rng.choice(others))
        return self.below(parent)
