"""Bad luck: all that can go wrong in a tree. Each fault is one method of a theme."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mangrove.model.documents import IDENTITIES
from mangrove.store.interface import Put
from tests.simulation.coverage import LEVELS, MESSAGES, Level
from tests.simulation.faults.containers import Containers
from tests.simulation.faults.disks import Disks, Stores
from tests.simulation.faults.identities import Identities, People
from tests.simulation.faults.machines import Machines, Processes
from tests.simulation.faults.network import Brokers, Network
from tests.simulation.faults.theme import WAITS, Chance, Force, Known, Link, Theme
from tests.simulation.under_way import under_way

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: How many faults wait for no message.
_UNAIMED = 0.05
#: A kind of message is rare when it was met by fewer than this many of the faults that others were met by: it gets a
#: fault whenever it comes, up to so many before their time; and so many times more of them as it is scarce.
_RARE, _AHEAD = 0.7, 6
#: Kinds of messages at both levels.
_KINDS = len(MESSAGES) * len(LEVELS)
#: What belongs to reading logs is there in bursts and in some lives only, and what lasts meets it less often than the
#: rest: so many times as many faults shall meet it in a life in which it is spoken.
_BURSTS: dict[str, dict[Level, float]] = {
    "down call": {"cluster": 1.0, "node": 2.0},
    "up reply": {"cluster": 1.5, "node": 3.0},
    "down bulk/stream": {"cluster": 1.5, "node": 4.0},
    "up bulk/stream": {"cluster": 2.0, "node": 2.0},
}
#: Faults that are tried at one message, until one finds something to strike.
_TRIED = 6
#: Faults that may be due at once, for want of messages.
_DUE = 10
#: Seconds within which the moment of a fault must come that waits for one.
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
        self._weights = {
            known.name: (10.0 if known.name in often else 1.0) * known.often for known in self.known.values()
        }
        self._due = 0
        self._over = False

    def strike(self) -> None:
        """Let one happen, now or when a message is on its way that it shall meet."""
        self.world.coverage.aim = self._aim
        if self.rng.random() < _UNAIMED:
            links: Sequence[Link] = self.rng.choice((self.tree.clusters, self.tree.nodes))
            self._happen(self._drawn(""), self.rng.choice(links), "")
        else:
            self._due = min(_DUE, self._due + 1)

    def _aim(self, id: str, message: str, flight: float) -> float:
        """A message is sent: whether it gets a fault that is due. Those get one that fewer faults met than others."""
        coverage = self.world.coverage
        level = coverage.levels[id]
        scarce = _BURSTS[message][level] if message in _BURSTS else 0.0
        met = coverage.met[message, level] * _KINDS / (scarce or 1.0)
        bound = _RARE if self._due <= 0 else 1.0 + self._due / _DUE
        if self._due <= -_AHEAD * (1.0 + scarce) or met > coverage.met.total() * bound:
            return 0.0
        self._due -= 1
        drawn = self._drawn(message, level)
        child = next(one for one in self.tree.children if one.identity.id == id)
        held = self.rng.uniform(*_HELD) if drawn[0].waits else 0.0
        delay = 0.0 if drawn[0].waits else self.rng.uniform(0.0, flight)
        self.world.later(delay, lambda: self._happen(drawn, child, message))
        return held

    def _drawn(self, message: str, level: Level = "node") -> list[Known]:
        """Some faults, first those that met this message the least, and met the least."""
        hits, meets = self.world.coverage.hits, self.world.coverage.meets

        def rank(known: Known) -> float:
            often = (1 + meets[known.name]) ** 1.5 * (1 + hits[known.name, message, level]) ** 3
            return self.rng.expovariate(self._weights[known.name] / often)

        return sorted(self.known.values(), key=rank)[:_TRIED]

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

    def _happen(self, drawn: Sequence[Known], child: Link, message: str) -> None:
        """The first of these happens that finds something to strike, or waits for its moment."""
        if not any(self._happens(known, child, message) for known in drawn):
            self._due += 1

    def _happens(self, known: Known, child: Link, message: str) -> bool:
        if self._over:
            return True
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

        force = known.strike(Chance(child, until, now, struck))
        if force is not None and force is not WAITS:
            struck(force)
        return force is not None

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
