"""Parents that come back with a store that is not theirs: an empty one, a foreign one, or an old copy of their own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

from mangrove.link.messages import Hello
from mangrove.link.parent import ParentLink
from mangrove.model.documents import IDENTITIES
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.terms import go_on_with
from mangrove.store.interface import Put
from mangrove.store.memory import MemoryStore
from tests.simulation.invariants import ECHO
from tests.simulation.process import ParentProcess

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: `foreign`: knows the same children, wants nothing of them. `old`: a copy of lately, `very old`: of the beginning.
Kind = Literal["empty", "foreign", "old", "very old"]


class FalseStores:
    """Exchanges the stores of a tree's parents, and gives them back some time later."""

    def __init__(self, tree: Tree, rng: random.Random) -> None:
        self._tree = tree
        self._world = tree.world
        self._rng = rng
        self._backups: dict[str, list[MemoryStore]] = {}

    def back_up(self) -> None:
        """An operator copies the stores; a false store may be such a copy."""
        for process in self._tree.parents:
            if not process.impostor:
                self._backups.setdefault(process.name, []).append(process.true_store.copy())

    def exchange(self, process: ParentProcess, kind: Kind) -> float:
        """Let a parent come back with another store; for how many seconds, or 0 when that was not possible.

        Not while a child has never obeyed anybody: it could not tell.
        """
        ignorant = any(not child.obeyed for child in self._tree.children)
        if process.impostor or not process.alive or ignorant:
            return 0.0
        seconds = 3.0 + 9.0 * self._rng.random() ** 2
        false = self._false(process, kind)
        bold = kind in ("foreign", "very old") and self._rng.random() < 0.7
        process.crash()
        process.store = process.false_store = false
        self._tree.watch.decided.meet(false)
        self._world.note(f"{process.name} gets another store: {kind}{', and bold' if bold else ''}")

        def begin() -> None:
            process.start()
            if bold and process.alive:
                _embolden(process.parent.link)

        def mend() -> None:
            if process.impostor:
                process.crash()
                self.give_back(process)
                self._world.note(f"{process.name} gets its own store back")
                self._world.later(0.5, process.start)

        self._world.later(0.5, begin)
        self._world.later(seconds, mend)
        return seconds

    def give_back(self, process: ParentProcess) -> None:
        """An operator brings the newest store back, above all that the false one has said in its name."""
        false, process.store = process.store, process.true_store
        process.echo_until = self._world.clock.now() + ECHO
        lease = false.lease(CONTROLLER)
        if false.id == process.store.id and lease is not None:
            go_on_with(process.store.reopen(), CONTROLLER, process.store.id, above=lease.term)
            # The false one may have ended what nobody above wanted then, and the true one did not hear of it.
            self._tree.watch.excused |= {id for node in self._tree.nodes for id in node.runtime.starts}

    def _false(self, process: ParentProcess, kind: Kind) -> MemoryStore:
        true = process.true_store
        copies = self._backups.get(process.name, [])
        if "old" in kind and copies:
            return copies[-1 if kind == "old" else 0].copy()
        false = MemoryStore(self._world.new_id())
        if kind == "foreign":  # knows the same children, wants nothing of them
            false.apply([Put(IDENTITIES, one.id, one.document) for one in true.load(IDENTITIES)])
        return false


def _embolden(link: ParentLink) -> None:
    """Let a parent not see, or not care, what its children say that they belong to: then the children must."""
    honest = link._reason_to_refuse

    def bold(child: str, hello: Hello) -> str:
        return "" if hello.store != link._store or hello.term > link._term else honest(child, hello)

    vars(link)["_reason_to_refuse"] = bold
