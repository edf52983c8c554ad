"""What must hold at every moment, checked against what really runs rather than against what anybody believes.

Numbers are those of the design's invariants, and 12: a newer version takes down one instance of a service at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from mangrove.model.documents import SLOTS, Given, Placement
from mangrove.model.phases import ENDED, Phase
from mangrove.model.resources import NOTHING, Resources
from mangrove.model.specification import LEAST_PRIORITY, MOST_PRIORITY, Specification
from mangrove.reconcile.child import LONGEST_DELAY
from mangrove.reconcile.view import runs
from mangrove.roles.parent import Parent
from node_engine.operations import Operation
from tests.simulation.forger import CPU as FORGED_CPU
from tests.simulation.forger import REASON as FORGED
from tests.simulation.process import ParentProcess
from tests.simulation.processes import NODE_SIZE, ClusterProcess, NodeProcess
from tests.simulation.truth import Decided, attempts_of, rivals_of, wanted_of
from tests.simulation.world import SETTINGS, InvariantBroken

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: How long something may run that nobody wants, while its node is connected: two leases for those above to agree, and
#: the slowest stop.
ORPHAN_PATIENCE = 30.0

#: How long a node may take to start again what ended, once nothing ails it: a look at its runtime, and the steps.
RESTART_PATIENCE = 15.0

#: What a parent's clock may be ahead of true time, for each second.
_FAST = 1 + SETTINGS.clock_error

#: Virtual seconds for which what a false store has said may still be on its way.
ECHO = 10.0


#: Virtual seconds after which all that came of a false store is over: an exclusive instance that nobody knows of any
#: more has stopped by itself, or its node has reported it.
LONG_GONE = 20.0


class Watch:
    """Watches a tree. It reads the parents' true stores, which a test may have replaced by false ones meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.wanted: set[str] = set()  # slots that the API acknowledged, and nobody has stopped
        self.stopped: set[str] = set()  # slots whose stop was acknowledged
        self.excused: set[str] = set()  # attempts that have a reason to be started again
        self.decided = Decided()
        self._current: dict[tuple[str, str], Given] = {}  # (parent, slot) → what was current
        self.drained: set[str] = set()  # children that somebody has drained at some time
        self._lives: dict[str, tuple[int, bool]] = {}  # parent → its life, and whether all it decided then is durable
        self._given: dict[tuple[str, str], Resources] = {}  # (child, attempt) → what a true parent promised there
        self._renewing: dict[str, set[str]] = {}  # service → slots that ran, were replaced, and do not run yet
        self._silent: dict[str, set[str]] = {}  # parent → children that it has a right to call silent
        self._held: dict[str, AbstractSet[str]] = {}  # child → what its durable assignment has
        self._taken: dict[str, set[str]] = {}  # child → what a true parent took out of it
        self._unknown: set[str] = set()  # attempts whose node has lost what it knew of them
        self._checked: dict[str, tuple[int, int]] = {}  # parent → its life, and the revision at which it was judged
        self._ailed: dict[str, float] = {}  # node → when something last ailed it
        self._down: dict[tuple[str, str], float] = {}  # (node, attempt) → since when it could run, and does not
        self._lied: set[str] = set()  # attempts of which a runtime has said what is not so
        self._unwanted: dict[tuple[str, str], float] = {}  # (node, attempt) → since when

    # -- 2, 4, 6, 8: after every step of a parent

    def parent_stepped(self, process: ParentProcess) -> None:
        parent = process.parent
        self._listen(process, parent)
        if (
            process is self.tree.root
            and not process.impostor
            and self._lives.get(process.name, (0, 0))[0] != process.life
        ):
            self.acknowledged(sorted(self.wanted | self.stopped))
        if process.impostor:
            return  # a false store may believe what it likes; what it does is judged at its children
        self._called_silent(process, parent)
        self._moves(process, parent)
        if parent.unavailable:
            return  # what it has decided is neither durable nor acted on
        state = (process.life, process.true_store.revision())
        if self._checked.get(process.name) == state:
            return  # nothing was decided or heard
        self._checked[process.name] = state
        self._one_wanted_attempt(process.name, parent)
        self._promises(process, parent)
        if isinstance(process, ClusterProcess):
            wanted = {id for id, slot in parent.slots.items() if slot.desired == "run"}
            self._assignment(process, wanted, self.tree.root)
        else:
            self._desires(parent)
            self._rollouts(parent)

    def _listen(self, process: ParentProcess, parent: Parent) -> None:
        """Which children were really silent for a lease, while this process could have heard them."""
        silent = {child for child in parent.link.peers if process.silence(child) >= SETTINGS.lease}
        heard = {child for child, when in process.heard.items() if when == self.tree.world.clock.now()}
        earlier = self._silent.get(process.name, set()) if process.started_at < self.tree.world.clock.now() else set()
        self._silent[process.name] = silent | (earlier - heard)

    def _called_silent(self, process: ParentProcess, parent: Parent) -> None:
        """Nobody is called silent, to whoever above, who was not: 8."""
        for child, peer in parent.link.peers.items():
            if peer.silent and child not in self._silent[process.name]:
                text = f"{process.name} calls {parent.name(child)} silent, heard {process.silence(child):.2f} s ago"
                raise InvariantBroken(8, text, process.name, parent.name(child))

    def _one_wanted_attempt(self, name: str, parent: Parent) -> None:
        wanted: set[str] = set()
        for child, peer in parent.link.peers.items():
            for attempt in peer.assignment.ids - parent.adopted.keys():
                slot = parent.slot_of(attempt)
                placement = parent.placements.get(slot) if slot is not None else None
                if slot is None or placement is None or placement.current is None:
                    raise InvariantBroken(2, f"{name} assigns {attempt} to {child}, which no slot wants", name, attempt)
                if not any((given.attempt, given.child) == (attempt, child) for given in wanted_of(placement)):
                    raise InvariantBroken(2, f"{name} wants two attempts of slot {slot}", name, slot)
                if slot in wanted and not self._may_be_two(parent, placement):
                    raise InvariantBroken(2, f"{name} wants two attempts of slot {slot}", name, slot)
                wanted.add(slot)

    def _may_be_two(self, parent: Parent, placement: Placement) -> bool:
        """Only what is moved away from a child that is, or just was, drained (or has such a node) and may run twice."""
        current, successor = placement.current, placement.successor
        if current is None or successor is None or parent._view.policy(successor.specification).exclusive:
            return False
        seen = parent.observed.get(current.attempt)
        return current.child in self.drained or (seen is not None and seen.status.misplaced == "drained")

    def _promises(self, process: ParentProcess, parent: Parent) -> None:
        """What is promised of a child, and what the child still has of earlier promises, fits into it: 6.

        To a cluster the root may give what is important while what is less so has not made room there yet.
        """
        promised: dict[str, dict[str, Resources]] = {}
        most: dict[str, int] = {}
        if process is self.tree.root:
            for placement in parent.placements.values():
                for given in attempts_of(placement):
                    priority = _specification(parent, given).priority
                    most[given.child] = max(priority, most.get(given.child, LEAST_PRIORITY))
        for placement in parent.placements.values():
            for given in attempts_of(placement):
                self._given[given.child, given.attempt] = given.resources
                wanted = _specification(parent, given)
                if not wanted.one_shot and wanted.priority < most.get(given.child, LEAST_PRIORITY):
                    continue
                seen = parent.observed.get(given.attempt)
                if seen is None or seen.status.phase not in ENDED:
                    promised.setdefault(given.child, {})[given.attempt] = given.resources
        for child in self.tree.children_of(process):
            id = child.identity.id
            sums = promised.get(id, {})
            for attempt in self._still_there(child, parent):
                resources = self._given.get((id, attempt))
                if resources is not None:
                    sums[attempt] = resources
            there = self.tree.size_of(child)
            if not sum(sums.values(), NOTHING).fits_in(there):
                text = f"{process.name} promised {sum(sums.values(), NOTHING)} of {child.name}, which has {there}"
                raise InvariantBroken(6, text, child.name)

    def _still_there(self, child: ClusterProcess | NodeProcess, parent: Parent) -> AbstractSet[str]:
        if isinstance(child, ClusterProcess):
            return frozenset()  # what it wants of its nodes is judged there
        going_on = {
            attempt
            for attempt in child.disk.held - child.disk.ended
            if (seen := parent.observed.get(attempt)) is None or seen.status.phase not in ENDED
        }
        return (child.runtime.running | going_on) - self._unknown

    def _moves(self, process: ParentProcess, parent: Parent) -> None:
        """A slot leaves a child only for a reason: 8."""
        # What the life before decided last may have been lost with it, or not have been seen here.
        life, known = self._lives.get(process.name, (0, False))
        judged = known or life == process.life
        self._lives[process.name] = (process.life, not parent.unavailable)
        for slot, placement in parent.placements.items():
            key = (process.name, slot)
            before = self._current.get(key)
            moved = before is not None and (placement.current is None or placement.current.attempt != before.attempt)
            if before is not None and moved and judged and not process.cut_short:
                self._justified(process, parent, slot, before)
                self._renewed(parent, slot, before)
            if placement.current is None:
                self._current.pop(key, None)
            else:
                self._current[key] = placement.current

    def _justified(self, process: ParentProcess, parent: Parent, slot: str, before: Given) -> None:
        wanted = parent.slots.get(slot)
        if wanted is None or wanted.desired == "stop" or before.child not in parent.link.peers:
            return
        if wanted.specification != before.specification:
            return  # it is replaced by another version
        seen = parent.observed.get(before.attempt)
        if seen is not None and (seen.status.phase in ENDED or seen.status.given_up or seen.status.misplaced):
            return
        now = parent.placements[slot].current
        if now is not None and (now.child, now.attempt) in self._given:
            return  # what it had before is back
        reason = parent.placements[slot].history[-1].reason if parent.placements[slot].history else ""
        if reason.startswith("no news from") or reason.endswith("since the store was brought back"):
            return
        if before.child in self.drained:
            return
        if reason.startswith("displaced from"):
            self._displaced(process, parent, slot, before)
            return
        policy, silence = parent._view.policy(before.specification), process.silence(before.child)
        peer = parent.link.peers[before.child]
        if policy.act_on_gone and not policy.exclusive and policy.lost_after != "never" and peer.gone is not None:
            return
        if before.child not in self._silent[process.name] or silence * _FAST < policy.replaced_after(SETTINGS.lease):
            text = f"{process.name} took slot {slot} from {parent.name(before.child)}, silent for {silence:.2f} s"
            raise InvariantBroken(8, f"{text}: {policy}", process.name, parent.name(before.child), slot)

    def _displaced(self, process: ParentProcess, parent: Parent, slot: str, before: Given) -> None:
        """Only what is less important makes room, for what is more important and gets it."""
        wanted = _specification(parent, before)
        mine = MOST_PRIORITY if wanted.one_shot else wanted.priority
        rivals = [given for placement in parent.placements.values() for given in rivals_of(placement)]
        there = [_specification(parent, given).priority for given in rivals if given.child == before.child]
        if max(there, default=mine) <= mine:
            text = f"{process.name} displaced {slot} ({mine}) from {parent.name(before.child)} for nobody"
            raise InvariantBroken(8, text, process.name, parent.name(before.child), slot)

    def _renewed(self, parent: Parent, slot: str, before: Given) -> None:
        """A slot left its attempt: remember it when that was well, and only has another version."""
        wanted, seen = parent.slots.get(slot), parent.observed.get(before.attempt)
        if wanted is None or wanted.desired == "stop" or wanted.specification == before.specification:
            return
        peer = parent.link.peers.get(before.child)
        if peer is None or peer.silent or peer.gone is not None or seen is None or not runs(seen.status):
            return
        self._renewing.setdefault(wanted.service, set()).add(slot)

    def _rollouts(self, parent: Parent) -> None:
        """Never is more than one instance of a service down because of a newer version: 12."""
        for service, slots in self._renewing.items():
            slots -= {slot for slot in slots if not self._is_down(parent, slot)}
            if len(slots) > 1:
                text = f"{len(slots)} instances of {service} are down at once for a newer version"
                raise InvariantBroken(12, text, service, *sorted(slots))

    def _is_down(self, parent: Parent, slot: str) -> bool:
        wanted, placement = parent.slots.get(slot), parent.placements.get(slot)
        if wanted is None or wanted.desired == "stop" or placement is None or placement.final is not None:
            return False
        seen = parent.observed.get(placement.current.attempt) if placement.current is not None else None
        return seen is None or seen.status.phase is not Phase.RUNNING

    def _desires(self, parent: Parent) -> None:
        """What users were told is what the root goes by: 4."""
        waits = parent._waits(parent.clock.now())  # with a store that was brought back, it decides nothing for a while
        for slot in self.stopped:
            there, placement = parent.slots.get(slot), parent.placements.get(slot)
            if there is not None and there.desired != "stop":
                raise InvariantBroken(4, f"slot {slot} was stopped, and is wanted again", slot)
            if placement is not None and placement.current is not None and not waits:
                raise InvariantBroken(4, f"slot {slot} was stopped, and has an attempt that is wanted", slot)
        for slot in self.wanted:
            there = parent.slots.get(slot)
            if there is None or there.desired != "run":
                raise InvariantBroken(4, f"slot {slot} was acknowledged, and is not wanted any more", slot)

    def _assignment(self, child: ClusterProcess | NodeProcess, held: AbstractSet[str], *above: ParentProcess) -> None:
        """A child's durable assignment may have changed, on the word of the first of those above.

        What was taken out never comes back, since attempts have ids of their own: 4. What leaves it is not wanted: 11.
        """
        before = self._held.get(child.name)
        if held is before:
            return
        self._held[child.name] = held
        taken = self._taken.setdefault(child.name, set())
        for id in sorted(held & taken):
            raise InvariantBroken(4, f"{id} was withdrawn from {child.name}, and is there again", child.name, id)
        if before is None:
            return
        for id in sorted(before - held):
            placement = self.decided.wanted(above[0].true_store, id)
            if placement is not None and not self._withdrawn_by_a_copy(above[0], id):
                about = child.name, above[0].name, id, placement.slot
                raise InvariantBroken(11, f"{child.name} lets go of {id}, which {above[0].name} wants there", *about)
        if not self._deceived(*above):
            taken |= before - held

    def _withdrawn_by_a_copy(self, process: ParentProcess, attempt: str) -> bool:
        """Whether a store that nobody could tell from the newest knew of the attempt, and withdrew it."""
        return process.false_store is not None and self.decided.withdrawn(process.false_store, attempt)

    def _deceived(self, *processes: ParentProcess) -> bool:
        """Whether one of these may have spoken lately with a false store behind it."""
        return any(one.impostor or self.tree.world.clock.now() < one.echo_until for one in processes)

    # -- 4, 6, 8, 11: at a node

    def node_stepped(self, node: NodeProcess) -> None:
        self._assignment(node, node.disk.held, node.cluster, self.tree.root)

    def forgot(self, node: NodeProcess, *, set_back: bool = False) -> None:
        """What a node knew of its attempts is lost or in doubt, and what its parent concludes from that is no fault.

        set_back: it will hold what it held once.
        """
        self._held.pop(node.name, None)
        self._unknown |= node.runtime.running | node.disk.held
        if set_back:
            self._taken.pop(node.name, None)
            self._unknown |= node.runtime.starts.keys()
            self.excused |= node.runtime.starts.keys()

    def ailed(self, node: NodeProcess) -> None:
        """Something went wrong on a node just now."""
        self._ailed[node.name] = self.tree.world.clock.now()

    def acknowledged(self, slots: Iterable[str]) -> None:
        """What the API has just said about these slots is in the store: 5."""
        desired = self.decided.slots(self.tree.root.true_store)
        for slot in slots:
            if slot in self.wanted and desired.get(slot) != "run":
                raise InvariantBroken(5, f"slot {slot} was acknowledged, and is not in the store", slot)
            if slot in self.stopped and desired.get(slot, "stop") != "stop":
                raise InvariantBroken(5, f"the stop of slot {slot} was acknowledged, and is not in the store", slot)

    def lied(self, attempt: str) -> None:
        """A runtime says what is not so of an attempt, and what follows from that is no fault."""
        self.excused.add(attempt)
        self._unknown.add(attempt)
        self._lied.add(attempt)

    def operation(self, node: NodeProcess, operation: Operation) -> None:
        attempt = operation.attempt
        if operation.kind not in ("stop", "remove") or attempt not in node.runtime.running:
            return
        slot = self._wanted(node, attempt)
        if slot is None or attempt in self._lied or self._let_go(node, attempt):
            return
        about = node.name, node.cluster.name, "root", attempt, slot
        if self._told_to(node, attempt):
            raise InvariantBroken(11, f"{node.name} obeys and stops {attempt} of {slot}, which is wanted there", *about)
        raise InvariantBroken(8, f"{node.name} stops {attempt} of slot {slot} by itself", *about)

    def _told_to(self, node: NodeProcess, attempt: str) -> bool:
        """Whether the node does not have the attempt in its assignment, or its cluster does not have its slot."""
        if attempt not in node.disk.held:
            return True
        placement = self.decided.wanted(node.cluster.true_store, attempt)
        wanted = node.cluster.parent.slots.get(placement.slot) if placement is not None else None
        return wanted is None or wanted.desired != "run"

    def _wanted(self, node: NodeProcess, attempt: str) -> str | None:
        """The root's slot for which this attempt is wanted on this node by everybody above, or None."""
        placement = self.decided.wanted(node.cluster.true_store, attempt)
        if placement is None or placement.current is None or placement.current.child != node.identity.id:
            return None
        root = self.tree.root.true_store
        above = self.decided.wanted(root, placement.slot)
        if above is None or above.current is None or above.current.child != node.cluster.identity.id:
            return None
        stored = root.get(SLOTS, above.slot)
        return above.slot if stored is not None and stored.document["desired"] == "run" else None

    def _let_go(self, node: NodeProcess, attempt: str) -> bool:
        placement = self.decided.wanted(node.cluster.true_store, attempt)
        return self._withdrawn_by_a_copy(node.cluster, attempt) or (
            placement is not None and self._withdrawn_by_a_copy(self.tree.root, placement.slot)
        )

    def cut_off(self, node: NodeProcess, attempt: str) -> None:
        """It is ended because its time is over: only what is exclusive ever is, and it is started again later."""
        if not node.specifications[attempt].disconnect.exclusive:
            raise InvariantBroken(8, f"{node.name} cuts off {attempt}, which is not exclusive", node.name, attempt)
        self.excused.add(attempt)

    def _one_runs(self, node: NodeProcess, attempt: str) -> None:
        """What is exclusive never runs twice, by what truly runs: 2. Who believes a false store may think otherwise."""
        now = self.tree.world.clock.now()
        lately = any(one.impostor or now < one.echo_until + LONG_GONE for one in self.tree.parents)
        if lately or not node.specifications[attempt].disconnect.exclusive:
            return
        slot = node.slots[attempt]
        for other in self.tree.nodes:
            for running in other.runtime.running:
                if other.slots[running] == slot and (other, running) != (node, attempt):
                    text = f"{node.name} starts {attempt} of {slot}, while {running} of it runs on {other.name}"
                    raise InvariantBroken(2, text, node.name, other.name, attempt, running)

    def started(self, node: NodeProcess, attempt: str) -> None:
        self._one_runs(node, attempt)
        known = node.runtime.running - self._unknown
        running = sum((node.specifications[id].resources for id in known), NOTHING)
        if not running.fits_in(NODE_SIZE):
            raise InvariantBroken(6, f"{node.name} has {NODE_SIZE}, and runs {running}", node.name)
        if node.runtime.starts[attempt] > 1 and attempt not in self.excused | self._lied:
            text = f"{node.name} started {attempt} again, though nothing had happened to it"
            raise InvariantBroken(8, text, node.name, attempt)
        self.excused.discard(attempt)

    # -- 3: now and then

    def look(self) -> None:
        self._forged()
        self._goes_on()
        now = self.tree.world.clock.now()
        seen: dict[tuple[str, str], float] = {}
        for node in self.tree.nodes:
            settled = node.alive and node.node.role.link.state == "settled" and not self.tree.disturbed(node)
            for attempt in node.runtime.running:
                life = node.node.engine._lives.get(attempt) if settled else None
                retries = life is not None and life.tries > 0  # a stop that failed is tried again after a while
                if settled and not retries and self._wanted(node, attempt) is None:
                    key = (node.name, attempt)
                    seen[key] = self._unwanted.get(key, now)
                    if now - seen[key] > ORPHAN_PATIENCE:
                        text = f"{attempt} runs on {node.name}, and nobody has wanted it for long"
                        raise InvariantBroken(3, text, node.name, attempt)
        self._unwanted = seen

    def _forged(self) -> None:
        """Nothing counts that a child says of what others have: 9."""
        for process in self.tree.parents:
            if process.alive and not process.impostor:
                parent = process.parent
                said = [id for id, seen in parent.observed.items() if seen.status.reason == FORGED]
                used = [id for id, usages in parent.usage.items() if usages and usages[-1].cpu == FORGED_CPU]
                for id in (*said, *used):
                    raise InvariantBroken(9, f"{process.name} believes a child of which {id} is not", process.name, id)

    def _goes_on(self) -> None:
        """What a node has, it runs, and starts again whatever ended it, whoever is away: 7.

        It has had time for that when nothing has ailed the node itself for some time.
        """
        now = self.tree.world.clock.now()
        for node in self.tree.nodes:
            if not node.alive or node.ails:
                self._ailed[node.name] = now
                continue
            if now - max(self._ailed.get(node.name, 0.0), node.started_at) < RESTART_PATIENCE:
                continue
            for attempt in node.disk.held - node.disk.ended - node.runtime.running - self._unknown:
                life = node.node.engine._lives.get(attempt)
                due = life.not_before - node.clock.now() if life is not None else 0.0
                began = attempt in node.runtime.starts and not node.specifications[attempt].disconnect.exclusive
                if began and (due <= 0.0 or due > LONGEST_DELAY) and life is not None and not life.doomed:
                    since = self._down.setdefault((node.name, attempt), now)
                    if now - since > RESTART_PATIENCE:
                        text = f"{node.name} has {attempt}, and has not started it again for {now - since:.0f} s"
                        raise InvariantBroken(7, text, node.name, attempt)
                else:
                    self._down.pop((node.name, attempt), None)
            for name, attempt in [key for key in self._down if key[0] == node.name]:
                if attempt in node.runtime.running:
                    del self._down[name, attempt]

    def running_for(self) -> tuple[dict[str, int], list[str]]:
        """How often each of the root's slots runs, and what runs for none of them."""
        running: dict[str, int] = {}
        stray: list[str] = []
        for node in self.tree.within_reach():
            for attempt in node.runtime.running:
                slot = self._wanted(node, attempt)
                if slot is None:
                    stray.append(f"{attempt} runs on {node.name} for nobody")
                else:
                    running[slot] = running.get(slot, 0) + 1
        return running, stray


def _specification(parent: Parent, given: Given) -> Specification:
    return parent._view._catalogue[given.specification]
