"""What a parent's loop may ask about children: the parent's own memory, behind the loop's narrow interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from time import perf_counter

from mangrove.link.parent import ParentLink
from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Refusal, Slot
from mangrove.placement.engine import place
from mangrove.placement.fleet import Fleet
from mangrove.roles.catalogue import Catalogue
from mangrove.roles.children import Children


class FleetView:
    """A `reconcile.parent.View`."""

    def __init__(self, fleet: Fleet, children: Children, link: ParentLink, catalogue: Catalogue) -> None:
        self._fleet = fleet
        self._children = children
        self._link = link
        self._catalogue = catalogue
        self.chosen: Counter[bool] = Counter()  # decisions on where to run something: whether a child was found
        self.seconds = 0.0  # spent on them
        self._misfits: dict[tuple[str, frozenset[str], frozenset[tuple[str, Refusal]]], NoFit] = {}

    def status(self, given: Given) -> Status | None:
        seen = self._children.observed.get(given.attempt)
        return seen.status if seen is not None else None

    def has_ended(self, given: Given) -> bool:
        return self._link.has_ended(given.child, given.attempt)

    def silent_for(self, child: str) -> float | None:
        return self._children.silent_for(child)

    def place(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> Chosen | NoFit:
        # A thousand slots of one service that fits nowhere are one question, not a thousand.
        question = (slot.specification, avoid, frozenset(refused.items()))
        known = self._misfits.get(question)
        if known is not None:
            return known
        began = perf_counter()
        answer = place(self._fleet, self._catalogue[slot.specification], avoid=avoid, refused=refused)
        self.seconds += perf_counter() - began
        self.chosen[isinstance(answer, Chosen)] += 1
        if isinstance(answer, NoFit):
            self._misfits[question] = answer
        return answer

    def forget_misfits(self) -> None:
        """Something may have changed: ask again."""
        self._misfits.clear()

    def revision(self, child: str) -> str:
        row = self._fleet.rows.get(child)
        return row.revision if row is not None else ""

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        # The reservation counts from this moment, also for the decisions that follow in the same round.
        resources = self._catalogue[slot.specification].resources
        self._fleet.reserve(attempt, child, resources)
        return Given(attempt, child, epoch, slot.specification, resources)

    def name(self, child: str) -> str:
        return self._children.name(child)
