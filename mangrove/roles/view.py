"""What a parent's loop may ask about children: the parent's own memory, behind the loop's narrow interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Slot
from mangrove.placement.engine import place

if TYPE_CHECKING:
    from mangrove.roles.parent import Parent


class FleetView:
    """A `reconcile.parent.View` on a Parent."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._misfits: dict[tuple[str, frozenset[str], tuple[tuple[str, str], ...]], NoFit] = {}

    def status(self, given: Given) -> Status | None:
        seen = self._parent.observed.get(given.attempt)
        return seen.status if seen is not None else None

    def has_ended(self, given: Given) -> bool:
        return self._parent.link.has_ended(given.child, given.attempt)

    def silent_for(self, child: str) -> float | None:
        return self._parent.silent_for(child)

    def place(self, slot: Slot, refused: dict[str, str], avoid: frozenset[str]) -> Chosen | NoFit:
        # A thousand slots of one service that fits nowhere are one question, not a thousand.
        question = (slot.specification, avoid, tuple(sorted(refused.items())))
        known = self._misfits.get(question)
        if known is not None:
            return known
        parent = self._parent
        answer = place(parent.fleet, parent.specification(slot.specification), avoid=avoid, refused=refused)
        if isinstance(answer, NoFit):
            self._misfits[question] = answer
        return answer

    def forget_misfits(self) -> None:
        """Something may have changed: ask again."""
        self._misfits.clear()

    def revision(self, child: str) -> str:
        row = self._parent.fleet.rows.get(child)
        return row.revision if row is not None else ""

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        # The reservation counts from this moment, also for the decisions that follow in the same round.
        resources = self._parent.specification(slot.specification).resources
        self._parent.fleet.reserve(attempt, child, resources)
        return Given(attempt, child, epoch, slot.specification, resources)

    def name(self, child: str) -> str:
        return self._parent.name(child)
