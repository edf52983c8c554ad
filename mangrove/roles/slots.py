"""The loop over slots with its memory: what is wanted, what was decided, and what to tell the children of it.

The one writer of `placements`.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Hashable
from typing import Literal

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.base.log import about
from mangrove.model import documents
from mangrove.model.attempt import Attempt, Status
from mangrove.model.documents import Given, Hold, Placement, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.placement.fleet import GOING, Fleet
from mangrove.placement.request import kinds_of, priority_of
from mangrove.reconcile.draining import decide, is_to_leave, without_successor
from mangrove.reconcile.failing import Failing
from mangrove.reconcile.parent import hold
from mangrove.reconcile.placements import without_current
from mangrove.reconcile.preempting import displaced
from mangrove.reconcile.view import stands
from mangrove.roles.catalogue import Catalogue
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.roles.rollouts import Rollouts
from mangrove.roles.view import FleetView
from mangrove.roles.wakes import Wakes
from mangrove.store.interface import Delete, Put, Store

log = logging.getLogger(__name__)

#: child → (attempts to give it, attempts to take away)
Moves = dict[str, tuple[dict[str, Attempt], set[str]]]


class Slots:
    """All slots of one parent."""

    def __init__(
        self, fleet: Fleet, ledger: Ledger, journal: Journal, catalogue: Catalogue, clock: Clock, new_id: NewId
    ) -> None:
        self.wanted: dict[str, Slot] = {}
        self.placements: dict[str, Placement] = {}
        self.wishes = 0  # rises with each change of what is wanted
        self.holds: dict[str, Hold] = {}  # slot → that an operator of this machine holds it
        self._fleet = fleet
        self._ledger = ledger
        self._journal = journal
        self._catalogue = catalogue
        self._clock = clock
        self._new_id = new_id
        self._slot_of: dict[str, str] = {}  # attempt → slot
        self._doubted: dict[str, str] = {}  # attempt → its child, which has not said yet whether it runs there
        self._in_question: set[str] = set()  # of these, those whose child has reported
        self._failures = Failing()
        self._news: dict[str, float] = {}  # attempt → when there was news of it (`Clock.now`)
        self._named: dict[tuple[str, int], str] = {}  # (service, number) → the slot that came last
        self._on_child: dict[str, set[str]] = {}  # child → slots that have an attempt there
        self._homeless: set[str] = set()  # slots that want a child: they have none, or a silent one
        self._dirty: set[str] = set()
        self._told: set[str] = set()
        self._wakes = Wakes()  # of slots, on `Clock.now`
        self._moves: Moves = {}
        self._turns: dict[
            str, str
        ] = {}  # child that is drained → the slot that is just leaving it; found anew at the first round
        self._emptying: set[str] = set()  # children that are drained, and were not empty yet
        self._fleet_seen = -1
        self._could_refuse = False
        self._failing: dict[str, tuple[str, int]] = {}  # slot → its attempt that failed in place, restarts when told
        self._rollouts = Rollouts(self.wanted, self.placements, journal, catalogue)

    def load(self, store: Store) -> None:
        """Begin with what the store has."""
        for stored in store.load(documents.SLOTS):
            slot = self.wanted[stored.id] = stored.read(Slot)
            if slot.desired == "run":
                self._named[slot.service, slot.number] = slot.id
        for stored in store.load(documents.PLACEMENTS):
            self._place(stored.id, stored.read(Placement))
        for stored in store.load(documents.HOLDS):
            self.holds[stored.id] = stored.read(Hold)
        self._rollouts.load()
        self._dirty |= self.wanted.keys() | self.placements.keys()
        self._told |= self._dirty

    # -- what others tell

    def change(self, id: str, slot: Slot | None) -> None:
        """A slot is new, stopped or gone."""
        self.wishes += 1
        before = self.wanted.pop(id, None)
        if slot is not None:
            self.wanted[id] = slot
            if slot.desired == "run":
                self._named[slot.service, slot.number] = id
            self._rollouts.changed(id, slot)
        elif before is not None:
            self._rollouts.gone(id, before)
        if before is not None and slot is None and self._named.get((before.service, before.number)) == id:
            del self._named[before.service, before.number]
        self._dirty.add(id)

    def hold_changed(self, id: str, held: Hold | None) -> None:
        """An operator holds a slot, or has released it."""
        before, slot = self.holds.pop(id, None), self.wanted.get(id)
        if held is not None and slot is None and id not in self.placements:
            self._ledger.write(Delete(documents.HOLDS, id))  # it went while they spoke
            return
        if held is not None:
            self.holds[id] = held
        if slot is not None and (before is None) != (held is None):
            what, text = ("held", held.text) if held is not None else ("released", "released by an operator")
            self._journal.tell(what, _subject(id, slot), f"{self._name(slot)} is {text}")
        self._dirty.add(id)
        self._told.add(id)

    def replace_all(self, slots: dict[str, Slot]) -> None:
        """These and no others are there now."""
        for id in self.wanted.keys() - slots.keys():
            self.change(id, None)
        for id, slot in slots.items():
            self.change(id, slot)

    def doubt(self) -> None:
        """The store was brought back: what is exclusive may since have been given to others, and is believed to be
        where it was only if its child says in its first report that it runs."""
        currents = [placement.current for placement in self.placements.values() if placement.current is not None]
        self._doubted = {given.attempt: given.child for given in currents if self._exclusive(given)}

    def reported(self, child: str) -> None:
        """A child has said for the first time what it runs."""
        asked = {attempt for attempt, on in self._doubted.items() if on == child}
        for attempt in asked:
            del self._doubted[attempt]
        self._in_question |= asked
        self._dirty |= {self._slot_of[attempt] for attempt in asked & self._slot_of.keys()}

    def adopt(
        self, child: str, attempt: Attempt, resources: Resources, *, exclusive: bool = False, stands: bool = True
    ) -> Literal["current", "leaving", ""]:
        """Let an attempt that a child runs, and that this store did not know, be that of its slot; what it is now.

        Only if the slot is wanted, and was not given away later than that. What is exclusive and is not to be that of
        its slot leaves at once, and no other is given before it has ended. stands: whether it may become current.
        """
        slot = self._named.get((attempt.service, attempt.number))
        if slot is None or slot not in self.wanted or self.wanted[slot].desired == "stop":
            return ""
        if self.wanted[slot].pin not in ((), (child, *attempt.pin)):
            return ""
        placement = self.placements.get(slot) or Placement(slot)
        current = placement.current
        stands &= current is None or current.epoch < attempt.epoch
        exclusive |= current is not None and self._exclusive(current)
        if placement.final is not None or not (stands or exclusive):
            return ""
        wall = self._clock.wall()
        given = Given(attempt.id, child, attempt.epoch, attempt.specification, resources, wall)
        epoch, other = max(placement.epoch, attempt.epoch), current if stands else given
        leaving = (*placement.leaving, other) if other is not None else placement.leaving
        if stands:
            adopted = Placement(slot, epoch=epoch, current=given, leaving=leaving, history=placement.history)
        else:
            adopted = msgspec.structs.replace(placement, epoch=epoch, leaving=leaving)
            self._take(given)
        self._place(slot, adopted)
        self._ledger.write(Put(documents.PLACEMENTS, slot, msgspec.to_builtins(adopted)))
        self._dirty.add(slot)
        return "current" if stands else "leaving"

    def attempt_changed(self, attempt: str, child: str) -> bool:
        """A child has news of an attempt; whether it is one that we gave to that child."""
        slot = self._slot_of.get(attempt)
        if slot is None or _attempts(self.placements[slot])[attempt].child != child:
            return False
        self._news[attempt] = self._clock.now()
        self._dirty.add(slot)
        self._told.add(slot)
        return True

    def child_changed(self, child: str) -> None:
        """There is news of a child as a whole."""
        touched = self._on_child.get(child, set())
        for slot in touched:
            for given in _attempts(self.placements[slot]).values():
                if given.child == child:
                    self._news[given.attempt] = self._clock.now()
        self._dirty |= touched
        self._told |= touched

    def child_confirmed(self, child: str) -> None:
        """A child has applied a newer assignment: what was withdrawn from it may have ended."""
        self._dirty |= {slot for slot in self._on_child.get(child, ()) if self.placements[slot].leaving}

    def quiet(self, attempt: str) -> float:
        """Seconds since there was news of an attempt or of its child, or since it was given, or this parent began."""
        now = self._clock.now()
        return now - self._news.get(attempt, now)

    def failing(self, specification: str) -> frozenset[str]:
        """Children on which attempts of this specification failed lately."""
        return self._failures.children(specification, self._clock.wall())

    def slot_of(self, attempt: str) -> str | None:
        """The slot that an attempt was made for, or None when it is of an earlier time."""
        return self._slot_of.get(attempt)

    def request_of(self, attempt: str) -> str:
        """Id of the request that an attempt follows from; empty when that is not known."""
        slot = self.wanted.get(self._slot_of.get(attempt, ""))
        return slot.request if slot is not None else ""

    # -- moving what runs to where it is better

    def movable(self, view: FleetView) -> dict[str, Specification]:
        """What runs undisturbed and may be moved, by attempt."""
        found = {}
        for id, slot in self.wanted.items():
            placement = self.placements.get(id)
            if placement is None or placement.current is None or slot.desired != "run":
                continue
            if slot.pin or id in self.holds:
                continue
            current, successor = placement.current, placement.successor
            if successor is None and current.specification == slot.specification and view.may_be_moved(current):
                found[current.attempt] = self._catalogue[slot.specification]
        return found

    def move(self, attempt: str, child: str, view: FleetView) -> None:
        """Begin to start what is movable on another child too; it goes from where it is when that runs."""
        id = self._slot_of[attempt]
        placement, wall = self.placements[id], self._clock.wall()
        given = view.give(self.wanted[id], child, self._new_id(), placement.epoch + 1)
        moving = msgspec.structs.replace(
            placement,
            epoch=placement.epoch + 1,
            successor=msgspec.structs.replace(given, since=wall, better=True),
            reason=f"moves to {view.name(child)}, which is better",
        )
        self._place(id, moving)
        self._ledger.write(Put(documents.PLACEMENTS, id, msgspec.to_builtins(moving)))
        self._wake_at(id, wall + view.no_news)

    # -- deciding

    def decide(self, view: FleetView, *, may_refuse: bool) -> None:
        """Decide about every slot of which there is news, or whose time has come."""
        self._wake()
        if self._fleet.changed != self._fleet_seen or (may_refuse and not self._could_refuse):
            self._dirty |= self._homeless
        self._fleet_seen, self._could_refuse = self._fleet.changed, may_refuse
        if self._dirty:
            self._dirty |= self._rollouts.concerned(self._dirty)
        self._rollouts.begin_round()
        view.begin_round(self._to_place(), self._turns)
        for id in self._in_order():
            slot = self.wanted.get(id)
            with about(slot.request if slot is not None else ""):
                self._decide(id, view, may_refuse)
            self._dirty.discard(id)  # only now, so that what fails for want of the store is done later
        for id, wake in self._rollouts.end_round(view, self._clock.wall()).items():
            self._wake_at(id, wake)
        if self._fleet.drained or self._emptying:
            self._tell_drained()

    def _in_order(self) -> list[str]:
        """Slots to decide about: what gives room back, then what is most important, then who has waited longest.

        Instances of one service come one after the other, since they are placed in one pass.
        """
        waits: dict[str, float] = {}  # specification → since when the first of its instances waits
        for id in self._dirty:
            slot, placement = self.wanted.get(id), self.placements.get(id)
            if slot is not None:
                since = (placement.waiting_since if placement is not None else 0.0) or math.inf
                waits[slot.specification] = min(since, waits.get(slot.specification, math.inf))

        def order(id: str) -> tuple[float, float, str, float, str]:
            slot, placement = self.wanted.get(id), self.placements.get(id)
            if slot is None or slot.desired == "stop":
                return -math.inf, 0.0, "", 0.0, id
            since = (placement.waiting_since if placement is not None else 0.0) or math.inf
            return -self._priority(slot.specification), waits[slot.specification], slot.specification, since, id

        return sorted(self._dirty, key=order)

    def _priority(self, specification: str) -> int:
        try:
            return self._catalogue[specification].priority
        except KeyError:  # the store has lost it
            return 0

    def _to_place(self) -> Counter[str]:
        """How many instances of each specification will probably be given away in this round."""
        return Counter(
            self.wanted[id].specification
            for id in self._dirty
            if id in self.wanted and ((known := self.placements.get(id)) is None or known.current is None)
        )

    def _decide(self, id: str, view: FleetView, may_refuse: bool) -> None:
        slot, before = self.wanted.get(id), self.placements.get(id)
        if slot is None and before is None:
            return
        if slot is not None and slot.desired == "run" and slot.specification not in self._catalogue:
            log.error("%s stays as it is: the store has lost its specification %s", id, slot.specification)
            return  # until it is written again, with its slot
        wall = self._clock.wall()
        placement = self._unless_in_question(before or Placement(id), view, wall)
        now = self._rollouts.now(slot, placement, view, wall) if slot is not None else None
        held = self.holds.get(id)
        if held is not None and slot is not None and slot.desired == "run" and placement.final is None:
            decision = hold(without_successor(placement, view, held.text, wall), view, wall, held.text)
        else:
            # What is pinned has no other place, so it is handed back only to say that its own was removed.
            may_refuse &= slot is None or not slot.pin or view.removed(slot.pin[0])
            decision = decide(now, placement, view, wall, self._new_id, may_refuse=may_refuse)
        for told in decision.told:
            self._journal.tell(told.kind, _subject(id, slot), f"{self._name(slot)} {told.text}")
        if decision.wake is not None:
            self._wake_at(id, decision.wake)
        if decision.placement is None:
            self._drop(id, slot)
            return
        if decision.placement != before:
            given = decision.placement.current
            if given is not None and (before is None or before.current != given):
                log.info("%s is attempt %s of %s", id, given.attempt, view.name(given.child))
            if given is None and decision.placement.reason and (before is None or not before.reason):
                log.info("%s waits: %s", id, decision.placement.reason)
            self._place(id, decision.placement)
            self._ledger.write(Put(documents.PLACEMENTS, id, msgspec.to_builtins(decision.placement)))
        if slot is not None:
            self._rollouts.decided(slot, placement, decision.placement)
        if slot is not None and decision.displaced:
            self._displace(slot, decision.displaced, view, wall)
        current = decision.placement.current
        self._take_turns(id, placement, decision.placement, view)
        if current is not None:
            status = view.status(current)
            self._tell_failing(slot, current, status)
            homeless = view.absence(current.child) is not None or (status is not None and status.given_up)
            homeless |= view.draining(current.child) or (status is not None and bool(status.misplaced))
            homeless |= now is not None and now.desired == "run" and current.specification != now.specification
        else:
            homeless = decision.placement.final is None
        (self._homeless.add if homeless else self._homeless.discard)(id)

    def _displace(self, by: Slot, attempts: tuple[str, ...], view: FleetView, wall: float) -> None:
        """These make room for the slot `by`, in the same batch in which room is reserved for that.

        Each owner is told of their own instances by name, and of the others only how important they are: they may be
        somebody else's.
        """
        above, where, lower = self._priority(by.specification), "", set[int]()
        for attempt in attempts:
            id = self._slot_of[attempt]
            slot, before, priority = self.wanted.get(id), self.placements[id], self._priority(self._given(attempt))
            where = view.name(self._fleet.reservation(attempt)[0])
            reason = f"displaced from {where} by a more important instance (priority {above} over {priority})"
            after = displaced(before, attempt, view, reason, wall)
            self._place(id, after)
            self._ledger.write(Put(documents.PLACEMENTS, id, msgspec.to_builtins(after)))
            self._journal.tell("displaced", _subject(id, slot), f"{self._name(slot)} {reason}")
            log.info("%s is displaced from %s by %s", self._name(slot), where, self._name(by))
            lower.add(priority)
            if slot is not None:
                self._rollouts.decided(slot, before, after)
            self._homeless.add(id)
            self._dirty.add(id)
            self._wake_at(id, wall)
        whom = f"{len(attempts)} less important instance{'' if len(attempts) == 1 else 's'}"
        over = f"priority {above} over {', '.join(map(str, sorted(lower)))}"
        text = f"{self._name(by)} displaces {whom} ({over}) from {where}"
        self._journal.tell("displaces", _subject(by.id, by), text)

    def _given(self, attempt: str) -> str:
        """The specification of an attempt."""
        return _attempts(self.placements[self._slot_of[attempt]])[attempt].specification

    def _unless_in_question(self, placement: Placement, view: FleetView, wall: float) -> Placement:
        current = placement.current
        if current is None or current.attempt not in self._in_question:
            return placement
        self._in_question.discard(current.attempt)
        status = view.status(current)
        if stands(status) or (status is not None and status.ended):
            return placement
        reason = f"does not run on {view.name(current.child)} since the store was brought back"
        return without_current(placement, view, reason, wall)

    def _exclusive(self, given: Given) -> bool:
        try:
            return self._catalogue[given.specification].policy.exclusive
        except KeyError:  # the store has lost it
            return False

    def _tell_failing(self, slot: Slot | None, current: Given, status: Status | None) -> None:
        """What is restarted in place again and again is told of when its restarts have doubled."""
        if slot is None or status is None or status.phase is not Phase.BACKING_OFF:
            return
        attempt, restarts = self._failing.get(slot.id, ("", 0))
        if attempt == current.attempt and status.restarts < 2 * max(restarts, 1):
            return
        self._failing[slot.id] = (current.attempt, status.restarts)
        row = self._fleet.rows.get(current.child)
        where = status.node_name or (row.name if row is not None else current.child)
        times = f", restarted {status.restarts} times" if status.restarts else ""
        text = f"{self._name(slot)} fails on {where}: {status.reason}{times}"
        self._journal.tell("failing", _subject(slot.id, slot), text)

    def _take_turns(self, id: str, before: Placement, after: Placement, view: FleetView) -> None:
        """Remember which slot is leaving a child that is drained; when it has, the next one is decided about."""
        left = before.current
        status = view.status(after.current) if after.current is not None else None
        going = status is None or status.phase in (Phase.ASSIGNED, Phase.PULLING, Phase.STARTING)
        under_way = after.successor is not None or (
            after.final is None and going and (after.current is not None or bool(after.leaving))
        )
        leaves = after.successor is not None or after.current != left
        if left is not None and leaves and under_way and is_to_leave(left, view):
            self._turns.setdefault(left.child, id)
        for child in [child for child, whose in self._turns.items() if whose == id and not under_way]:
            self._end_turn(child)

    def _end_turn(self, child: str) -> None:
        del self._turns[child]
        next_ones = self._on_child.get(child, set()) & self._homeless
        self._dirty |= next_ones
        if next_ones:
            self._wake_at(min(next_ones), self._clock.wall())

    def _tell_drained(self) -> None:
        """Of each child that is drained, when the last attempt there has ended."""
        self._emptying &= self._fleet.drained
        for child in self._fleet.drained:
            if self._on_child.get(child):
                self._emptying.add(child)
            elif child in self._emptying:
                self._emptying.discard(child)
                name = self._fleet.rows[child].name
                self._journal.tell(f"{self._fleet.noun}-drained", child, f"{name} is empty: all that ran there is gone")

    def _wake_at(self, id: str, wall: float) -> None:
        """Decide about a slot again at `wall` (wall-clock seconds) at the latest."""
        # Waited for on a clock that does not jump; the wall's may, and it is then said anew how long it is.
        self._wakes.ask(id, self._clock.now() + max(0.0, wall - self._clock.wall()))

    def _wake(self) -> None:
        ids = self._wakes.due(self._clock.now())
        self._dirty.update(ids)
        self._told.update(ids)  # what time alone has changed, such as whether its child is given up

    def _place(self, id: str, placement: Placement) -> None:
        """Let `placement` stand for the slot: reservations, indexes, and what the children are to be told."""
        before = self.placements.get(id)
        old, new, wanted = _attempts(before), _attempts(placement), _wanted(placement)
        for ended in old.keys() - new.keys():
            self._fleet.release(ended)
            self._slot_of.pop(ended, None)
            self._news.pop(ended, None)
        for given in new.values():
            # What leaves holds its room until it has ended, but what comes next to it need not keep away from it: its
            # node lets a newcomer wait for a host port.
            kinds, priority = self._standing(given) if given not in placement.leaving else ((), GOING)
            if given == placement.successor:
                priority = None
            self._fleet.reserve(given.attempt, given.child, given.resources, kinds, priority)
            self._slot_of[given.attempt] = id
            self._news.setdefault(given.attempt, self._clock.now())
        for child in {given.child for given in old.values()} - {given.child for given in new.values()}:
            self._on_child[child].discard(id)
        for given in new.values():
            self._on_child.setdefault(given.child, set()).add(id)
        for given in _wanted(before):
            if given not in wanted:
                self._take(given)
        for given in wanted:
            if given not in _wanted(before):
                self._give(id, given)
        self.placements[id] = placement
        if before is None or before.history != placement.history:
            self._failures.note(placement)
        self._told.add(id)

    def _standing(self, given: Given) -> tuple[tuple[Hashable, ...], int | None]:
        """What an attempt counts as, and above which priority it makes room."""
        try:
            specification = self._catalogue[given.specification]
        except KeyError:  # the store has lost it: it is given to nobody any more
            return (), None
        return kinds_of(specification), priority_of(specification)

    def _take(self, given: Given) -> None:
        give, take = self._moves.setdefault(given.child, ({}, set()))
        give.pop(given.attempt, None)
        take.add(given.attempt)

    def _give(self, id: str, given: Given) -> None:
        slot = self.wanted.get(id)
        if slot is not None:
            attempt = Attempt(
                given.attempt,
                slot.service,
                slot.number,
                given.epoch,
                given.specification,
                slot.request,
                slot.pin[1:],
            )
            self._moves.setdefault(given.child, ({}, set()))[0][given.attempt] = attempt

    def _drop(self, id: str, slot: Slot | None) -> None:
        """Nothing is left of the slot."""
        if id in self.placements:
            self._place(id, Placement(id))
            del self.placements[id]
            self._ledger.write(Delete(documents.PLACEMENTS, id))
        self._homeless.discard(id)
        for child in [child for child, whose in self._turns.items() if whose == id]:
            self._end_turn(child)
        self._failing.pop(id, None)
        if self.holds.pop(id, None) is not None:
            self._ledger.write(Delete(documents.HOLDS, id))
        self._told.add(id)
        if slot is not None:
            self.wanted.pop(id, None)
            if self._named.get((slot.service, slot.number)) == id:
                del self._named[slot.service, slot.number]
            self._rollouts.gone(id, slot)
            self._ledger.collect(Delete(documents.SLOTS, id))

    # -- what follows, once it is durable

    def take_moves(self) -> Moves:
        """What each child's assignment gains and loses since the last call."""
        moves, self._moves = self._moves, {}
        return moves

    @property
    def told(self) -> frozenset[str]:
        """What `take_told` will give."""
        return frozenset(self._told)

    def take_told(self) -> list[str]:
        """Slots whose status may have changed since the last call."""
        told, self._told = self._told, set()
        return sorted(told)

    def seconds_to_wake(self) -> float:
        """Seconds until `decide` has something to do by itself."""
        return max(0.0, self._wakes.next() - self._clock.now())

    def _name(self, slot: Slot | None) -> str:
        if slot is None:
            return "a removed instance"
        return f"{self._catalogue[slot.specification].name}/{slot.number}"


def _subject(id: str, slot: Slot | None) -> str:
    """What events call an instance: as the root does, so that the root can take over those of its clusters."""
    return id if slot is None else f"{slot.service}.{slot.number}"


def _attempts(placement: Placement | None) -> dict[str, Given]:
    if placement is None:
        return {}
    nominated = () if placement.nominated is None else (placement.nominated,)
    return {given.attempt: given for given in (*placement.leaving, *nominated, *_wanted(placement))}


def _wanted(placement: Placement | None) -> tuple[Given, ...]:
    """The attempts that shall run: one, or while its child is drained, two."""
    if placement is None:
        return ()
    return tuple(given for given in (placement.current, placement.successor) if given is not None)
