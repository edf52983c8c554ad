"""Rollouts of a parent's services: which are under way, what each slot should have now, and what to tell people.

The rules are `reconcile.rollout`'s. What is remembered here is only an index, and what was told already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import msgspec

from mangrove.model.documents import Placement, Slot
from mangrove.reconcile.rollout import Member, Rollout, is_settled, rollout, specification_now, stands_on
from mangrove.roles.catalogue import Catalogue
from mangrove.roles.journal import Journal
from mangrove.roles.view import FleetView


class Rollouts:
    """The rollouts of one parent. wanted, placements: its slots and what was decided about them, by slot."""

    def __init__(
        self, wanted: Mapping[str, Slot], placements: Mapping[str, Placement], journal: Journal, catalogue: Catalogue
    ) -> None:
        self._wanted = wanted
        self._placements = placements
        self._journal = journal
        self._catalogue = catalogue
        self._slots: dict[str, set[str]] = {}  # service → its slots
        self._open: dict[str, set[str]] = {}  # service → slots of it that a rollout has still to do with
        self._states: dict[str, Rollout] = {}  # service → how far it was in this round, while slots are decided
        self._touched: set[str] = set()  # services of which something was decided in this round
        self._told: dict[str, tuple[str, set[str]]] = {}  # service → newest specification, what was told of its rollout

    def load(self) -> None:
        """Begin with all slots there are; what is under way was told before."""
        for id, slot in self._wanted.items():
            self.changed(id, slot)
        for service, open_slots in self._open.items():
            slot = self._wanted[min(open_slots)]
            self._told[service] = (slot.specification, {"rolling"})

    def changed(self, id: str, slot: Slot) -> None:
        """A slot, or what was decided about it, is new."""
        self._slots.setdefault(slot.service, set()).add(id)
        if is_settled(slot, self._placements.get(id) or Placement(id)):
            self._close(id, slot.service)
        else:
            self._open.setdefault(slot.service, set()).add(id)

    def gone(self, id: str, slot: Slot) -> None:
        """Nothing is left of a slot."""
        self._close(id, slot.service)
        slots = self._slots.get(slot.service, set())
        slots.discard(id)
        if not slots:
            self._slots.pop(slot.service, None)
            self._told.pop(slot.service, None)

    def concerned(self, ids: Iterable[str]) -> set[str]:
        """Slots to decide about anew when there is news of `ids`: what one does may be what others wait for."""
        if not self._open:
            return set()
        services = {slot.service for id in ids if (slot := self._wanted.get(id)) is not None}
        return {id for service in services for id in self._open.get(service, ())}

    def begin_round(self) -> None:
        """What was heard may have changed."""
        self._states.clear()
        self._touched.clear()

    def now(self, slot: Slot, placement: Placement, view: FleetView, wall: float) -> Slot:
        """The slot with the specification that it should have now."""
        self._touched.add(slot.service)
        if slot.desired == "stop" or stands_on(slot, placement) == slot.specification:
            return slot
        state = self._states.get(slot.service)
        if state is None:
            state = self._states[slot.service] = self._state(slot.service, view, wall)
        specification = specification_now(_member(slot, placement, view), state)
        return msgspec.structs.replace(slot, specification=specification)

    def decided(self, slot: Slot, before: Placement, placement: Placement) -> None:
        """What was decided about a slot; the next ones of its service in this round must know of it."""
        self.changed(slot.id, slot)
        state = self._states.get(slot.service)
        if state is not None and stands_on(slot, before) != stands_on(slot, placement):
            self._states[slot.service] = dataclasses.replace(state, going=True)

    def end_round(self, view: FleetView, wall: float) -> dict[str, float]:
        """Tell what is new of the rollouts; slots to be woken, and when (wall-clock seconds)."""
        wakes = {}
        for service in sorted(self._touched):
            if service not in self._open and service not in self._told:
                continue
            state = self._state(service, view, wall)
            self._tell(service, state)
            if state.next_look is not None and service in self._open:
                wakes[min(self._open[service])] = state.next_look
            if state.state == "done":
                self._told.pop(service, None)
        return wakes

    def _tell(self, service: str, state: Rollout) -> None:
        slots = [self._wanted[id] for id in self._slots.get(service, ()) if self._wanted[id].desired == "run"]
        if not slots:
            return
        newest = max(slots, key=lambda slot: slot.number).specification
        told = self._told.get(service)
        if told is None or told[0] != newest:
            told = self._told[service] = (newest, set())
        if state.state in told[1] or (state.state == "done" and "rolling" not in told[1]):
            return
        name, count = self._catalogue[newest].name, f"{state.updated} of {state.total} instances"
        if "rolling" not in told[1]:
            told[1].add("rolling")
            self._journal.tell("rollout-begun", service, f"the new version of {name} is being rolled out")
        told[1].add(state.state)
        if state.state == "done":
            self._journal.tell("rollout-done", service, f"the new version of {name} is rolled out: {count} have it")
        elif state.state == "stopped":
            text = f"the rollout of {name} stands still at {count}: {state.reason}"
            self._journal.tell("rollout-stopped", service, text)

    def _state(self, service: str, view: FleetView, wall: float) -> Rollout:
        members = (
            _member(self._wanted[id], self._placements.get(id) or Placement(id), view)
            for id in self._slots.get(service, ())
        )
        return rollout(members, wall)

    def _close(self, id: str, service: str) -> None:
        open_slots = self._open.get(service)
        if open_slots is not None:
            open_slots.discard(id)
            if not open_slots:
                del self._open[service]


def _member(slot: Slot, placement: Placement, view: FleetView) -> Member:
    given = placement.current
    if given is None:
        return Member(slot, placement)
    status = view.status(given)
    absence = view.absence(given.child)
    if status is not None and not status.silent and absence is not None and absence.silent:
        status = msgspec.structs.replace(status, silent=True)
    return Member(slot, placement, status, view.heard(given))
