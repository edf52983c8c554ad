"""What must hold at every moment, checked against what really runs rather than against what anybody believes.

Numbers are those of the design's invariants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mangrove.model.documents import PLACEMENTS, SLOTS, Given, Placement
from mangrove.model.phases import ENDED, Phase
from mangrove.model.resources import NOTHING, Resources
from mangrove.roles.parent import Parent
from mangrove.store.memory import MemoryStore
from node_engine.operations import Operation
from tests.simulation.processes import NODE_SIZE, ClusterProcess, NodeProcess, RootProcess
from tests.simulation.world import SETTINGS

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: How long something may run that nobody wants, while its node is connected: two leases for those above to agree, and
#: the slowest stop.
ORPHAN_PATIENCE = 30.0


class InvariantBroken(AssertionError):
    """An invariant did not hold."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"invariant {number}: {text}")
        self.number = number


class Watch:
    """Watches a tree. It reads the parents' true stores, which a test may have replaced by false ones meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.stopped: set[str] = set()  # slots whose stop was acknowledged
        self.completed: set[str] = set()
        self.excused: set[str] = set()  # attempts that have a reason to be started again
        self._current: dict[tuple[str, str], Given] = {}  # (parent, slot) → what was current
        self._unwanted: dict[tuple[str, str], float] = {}  # (node, attempt) → since when

    # -- 2, 4, 6, 8: after every step of a parent

    def parent_stepped(self, process: RootProcess | ClusterProcess) -> None:
        parent = process.parent
        if process.impostor:
            return  # a false store may believe what it likes; what it does is judged at the nodes
        if parent.unavailable:
            return
        self._one_wanted_attempt(process.name, parent)
        self._promises(process.name, parent)
        self._moves(process, parent)
        if isinstance(process, RootProcess):
            self._deletes(parent)

    def _one_wanted_attempt(self, name: str, parent: Parent) -> None:
        wanted: dict[str, str] = {}
        for child, peer in parent.link.peers.items():
            for attempt in peer.assignment.ids:
                slot = parent.slot_of(attempt)
                placement = parent.placements.get(slot) if slot is not None else None
                if slot is None or placement is None or placement.current is None:
                    raise InvariantBroken(2, f"{name} assigns {attempt} to {child}, which no slot wants")
                if slot in wanted or placement.current.attempt != attempt or placement.current.child != child:
                    raise InvariantBroken(2, f"{name} wants two attempts of slot {slot}")
                wanted[slot] = attempt

    def _promises(self, name: str, parent: Parent) -> None:
        promised: dict[str, Resources] = {}
        for placement in parent.placements.values():
            current = (placement.current,) if placement.current is not None else ()
            for given in (*placement.leaving, *current):
                seen = parent.observed.get(given.attempt)
                if seen is None or seen.status.phase not in ENDED:
                    promised[given.child] = promised.get(given.child, NOTHING) + given.resources
        for child, sum_ in promised.items():
            row = parent.fleet.rows.get(child)
            # A cluster's capacity shrinks with every node that falls silent; a node's stays what it is.
            if row is not None and row.noun == "node" and not sum_.fits_in(row.capacity.allocatable):
                raise InvariantBroken(6, f"{name} promised {sum_} of {row.name}, which has {row.capacity.allocatable}")

    def _moves(self, process: RootProcess | ClusterProcess, parent: Parent) -> None:
        """A slot leaves a child only for a reason: 8."""
        for slot, placement in parent.placements.items():
            key = (process.name, slot)
            before = self._current.get(key)
            if before is not None and (placement.current is None or placement.current.attempt != before.attempt):
                self._justified(process, parent, slot, before)
            if placement.current is None:
                self._current.pop(key, None)
            else:
                self._current[key] = placement.current

    def _justified(self, process: RootProcess | ClusterProcess, parent: Parent, slot: str, before: Given) -> None:
        wanted = parent.slots.get(slot)
        if wanted is None or wanted.desired == "stop":
            return
        seen = parent.observed.get(before.attempt)
        if seen is not None and seen.status.phase in ENDED:
            return
        silent = self.tree.world.clock.now() - process.heard.get(before.child, process.started_at)
        if silent < SETTINGS.lease:
            raise InvariantBroken(
                8, f"{process.name} took slot {slot} from {before.child}, which was heard {silent:.2f} s ago"
            )

    def _deletes(self, parent: Parent) -> None:
        for slot in self.stopped:
            there = parent.slots.get(slot)
            placement = parent.placements.get(slot)
            if there is not None and there.desired != "stop":
                raise InvariantBroken(4, f"slot {slot} was stopped, and is wanted again")
            if placement is not None and placement.current is not None:
                raise InvariantBroken(4, f"slot {slot} was stopped, and has an attempt that is wanted")

    # -- 6, 8, 11: whenever a node does something to what runs

    def operation(self, node: NodeProcess, operation: Operation) -> None:
        if operation.kind in ("stop", "remove") and operation.attempt in node.runtime.running:
            slot = self._wanted(node, operation.attempt)
            if slot is not None:
                false = any(process.impostor for process in (self.tree.root, *self.tree.clusters))
                raise InvariantBroken(
                    11 if false else 8, f"{node.name} stops {operation.attempt} of slot {slot}, which is wanted there"
                )

    def _wanted(self, node: NodeProcess, attempt: str) -> str | None:
        """The root's slot for which this attempt is wanted on this node by everybody above, or None."""
        placement = _placement_with(node.cluster.true_store, attempt)
        if placement is None or placement.current is None or placement.current.attempt != attempt:
            return None
        if placement.current.child != node.identity.id:
            return None
        above = _placement_with(self.tree.root.true_store, placement.slot)
        if above is None or above.current is None or above.current.attempt != placement.slot:
            return None
        stored = self.tree.root.true_store.get(SLOTS, above.slot)
        return above.slot if stored is not None and stored.document["desired"] == "run" else None

    def started(self, node: NodeProcess, attempt: str) -> None:
        running = sum((node.specifications[id].resources for id in node.runtime.running), NOTHING)
        if not running.fits_in(NODE_SIZE):
            raise InvariantBroken(6, f"{node.name} has {NODE_SIZE}, and runs {running}")
        if node.runtime.starts[attempt] > 1 and attempt not in self.excused:
            raise InvariantBroken(8, f"{node.name} started {attempt} again, though nothing had happened to it")
        self.excused.discard(attempt)

    # -- 3, 4, 11: now and then

    def look(self) -> None:
        now = self.tree.world.clock.now()
        seen: dict[tuple[str, str], float] = {}
        for node in self.tree.nodes:
            settled = node.alive and node.node.role.link.state == "settled" and not self.tree.disturbed(node)
            for attempt in node.runtime.running:
                if settled and self._wanted(node, attempt) is None:
                    key = (node.name, attempt)
                    seen[key] = self._unwanted.get(key, now)
                    if now - seen[key] > ORPHAN_PATIENCE:
                        raise InvariantBroken(3, f"{attempt} runs on {node.name}, and nobody has wanted it for long")
        self._unwanted = seen

    # -- 1: when the faults have stopped

    def differences(self) -> list[str]:
        """How what runs differs from what is wanted; empty when the tree has converged."""
        root = self.tree.root
        running: dict[str, int] = {}
        found: list[str] = []
        for node in self.tree.nodes:
            for attempt in node.runtime.running:
                slot = self._wanted(node, attempt)
                if slot is None:
                    found.append(f"{attempt} runs on {node.name} for nobody")
                else:
                    running[slot] = running.get(slot, 0) + 1
        for stored in root.true_store.load(SLOTS):
            id = stored.id
            if stored.document["desired"] == "stop":
                found.append(f"slot {id} is stopped, but not gone")
                continue
            placement = root.parent.placements.get(id)
            final = placement.final if placement is not None else None
            if final is not None and final.phase is Phase.COMPLETED:
                if running.get(id):
                    found.append(f"slot {id} has completed, and runs again")
            elif id.split(".")[0] in self.tree.impossible:
                if placement is None or not placement.reason:
                    found.append(f"slot {id} fits nowhere, and nobody says why")
            elif running.get(id, 0) != 1:
                why = placement.reason if placement is not None else "not placed"
                found.append(f"slot {id} runs {running.get(id, 0)} times: {why}")
            elif placement is not None and placement.current is not None:
                word = root.parent.observed.get(placement.current.attempt)
                if word is None or word.status.phase is not Phase.RUNNING:
                    said = word.status.phase if word is not None else "nothing"
                    found.append(f"slot {id} runs, and the root was told {said}")
        for slot in self.stopped:
            if root.true_store.get(SLOTS, slot) is not None:
                found.append(f"stopped slot {slot} is still there")
        return found


def _placement_with(store: MemoryStore, attempt: str) -> Placement | None:
    for stored in store.load(PLACEMENTS):
        current = stored.document.get("current")
        if current is not None and current["attempt"] == attempt:
            return msgspec.convert(stored.document, Placement)
    return None
