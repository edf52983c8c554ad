"""Bad luck: all that can go wrong in a tree. Each fault is one method of a theme."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import product
from typing import TYPE_CHECKING

from mangrove.model.documents import IDENTITIES
from mangrove.store.interface import Put
from tests.simulation.coverage import LEVELS, MESSAGES, SCARCE, Level
from tests.simulation.faults.containers import Containers
from tests.simulation.faults.disks import Disks, Stores
from tests.simulation.faults.identities import Identities, People
from tests.simulation.faults.machines import Machines, Processes
from tests.simulation.faults.network import Brokers, Network
from tests.simulation.faults.theme import Chance, Force, Known, Link, Theme
from tests.simulation.under_way import under_way

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: How many faults wait for a message of some kind, so that those that are rarely sent are met, too; and how many for
#: one of those that are there in bursts only.
_AIMED, _SCARCE = 0.85, 0.7
_AIMS: tuple[tuple[str, Level], ...] = tuple(product(sorted(set(MESSAGES) - SCARCE.keys()), LEVELS))
#: Seconds for which one waits for its message, or its moment.
_PATIENCE = 15.0
#: Seconds for which a message is held back whose fault waits for a moment, such as a write.
_HELD = (0.5, 3.0)


class Faults:
    """The faults of one tree. `strike` lets one happen, `heal` ends all of them.

    counted: by name. during: by what was under way, those that struck something under way; under `""` all of them.
    """

    def __init__(self, tree: Tree, rng: random.Random, often: Collection[str] = ()) -> None:
        self.tree = tree
        self.world = tree.world
        self.rng = rng
        self.counted: Counter[str] = Counter()
        self.during: Counter[str] = Counter()
        self.stores = Stores(tree, rng)
        self.identities = Identities(tree, rng)
        self.people = People(tree, rng)
        # In the order in which they are healed: a machine that wakes finds its network and its disk in order.
        self._themes: tuple[Theme, ...] = (
            Network(tree, rng),
            Brokers(tree, rng),
            Disks(tree, rng),
            self.stores,
            Processes(tree, rng),
            Machines(tree, rng),
            Containers(tree, rng),
            self.identities,
            self.people,
        )
        self.known = {known.name: known for theme in self._themes for known in theme.faults()}
        if unknown := set(often) - self.known.keys():
            raise ValueError(f"there are no such faults: {unknown}")
        self._weights = [(10 if known.name in often else 1) * known.often for known in self.known.values()]
        self._over = False

    def strike(self) -> None:
        """Let one happen, now or when a message is on its way that it shall meet."""
        (known,) = self.rng.choices(list(self.known.values()), self._weights)
        spoken = self.world.coverage.spoken(_PATIENCE)
        aims = [aim for aim in _AIMS if aim in spoken]
        scarce = any(message in SCARCE for message, _ in spoken) and self.rng.random() < _SCARCE
        if not (aims or scarce) or self.rng.random() > _AIMED:
            links: Sequence[Link] = self.rng.choice((self.tree.clusters, self.tree.nodes))
            self._happen(known, self.rng.choice(links), "")
            return

        def aim(id: str, message: str, flight: float) -> float:
            held = self.rng.uniform(*_HELD) if known.waits else 0.0
            child = next(one for one in self.tree.children if one.identity.id == id)
            delay = 0.0 if known.waits else self.rng.uniform(0.0, flight)
            self.world.later(delay, lambda: self._happen(known, child, message))
            return held

        self.world.coverage.aim(None if scarce else self.rng.choice(aims), _PATIENCE, aim)

    def heal(self) -> None:
        """All faults end: who stands still wakes in its own time, and what is lost for good is not given back."""
        self.world.note("all faults end")
        self._over = True
        self.world.coverage.calm()
        for theme in self._themes:
            theme.heal()
        self._bury()
        for process in self.tree.processes:
            process.start()

    def _happen(self, known: Known, child: Link, message: str) -> None:
        if self._over:
            return
        until = self.world.clock.now() + _PATIENCE

        def now() -> bool:
            if self._over or self.world.clock.now() > until:
                return False
            return not message or self.world.coverage.flies(child.identity.id, message)

        def struck(force: Force) -> None:
            self.counted[known.name] += 1
            busy = under_way(self.tree)
            self.during.update(busy)
            self.during[""] += bool(busy)
            self.world.coverage.struck(known.name, force.links, force.seconds)

        force = known.strike(Chance(child, now, struck))
        if force is not None:
            struck(force)

    def _bury(self) -> None:
        """Some seeds lose a node for good, or a whole cluster, or an operator gives the node up, too."""
        fate = self.rng.random()
        if fate < 0.5:
            node = self.rng.choice(self.tree.nodes)
            node.lose_power()
            node.buried = True
            self.world.note(f"{node.name} is lost for good")
            if fate < 0.2:
                revoked = node.cluster.true_store.get(IDENTITIES, node.identity.id)
                if revoked is not None:
                    self.world.note(f"an operator gives {node.name} up")
                    node.cluster.true_store.apply(
                        [Put(IDENTITIES, revoked.id, {**revoked.document, "revoked": True}, revoked.revision)]
                    )
        elif fate < 0.65 and len(self.tree.clusters) > 1:
            cluster = self.rng.choice(self.tree.clusters)
            cluster.crash()
            cluster.buried = True
            cluster.broker.stop()
            self.world.note(f"{cluster.name} is lost for good")
