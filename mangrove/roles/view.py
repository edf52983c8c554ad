"""What a parent's loop may ask about children: the parent's own memory, behind the loop's narrow interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from mangrove.link.parent import ParentLink
from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, Displacement, NoFit
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.model.specification import USUAL, Disconnect
from mangrove.placement.engine import fits_instead, place, place_many, scores_of
from mangrove.placement.fleet import Fleet
from mangrove.placement.pinned import place_on
from mangrove.placement.preemption import displace
from mangrove.placement.request import kinds_of, priority_of
from mangrove.reconcile.absence import NO_NEWS, Absence, time_to_have_stopped
from mangrove.reconcile.parent import ASK_AGAIN
from mangrove.reconcile.view import runs
from mangrove.roles.catalogue import Catalogue
from mangrove.roles.children import Children

#: Instances of one service that are placed in one pass rather than one by one; below it is no faster.
_WORTH_A_PLAN = 4


class FleetView:
    """A `reconcile.draining.DrainView`.

    quiet: seconds since there was news of an attempt. failing: children on which a specification failed lately.
    unknown: as `View.unknown`.
    """

    def __init__(
        self,
        fleet: Fleet,
        children: Children,
        link: ParentLink,
        catalogue: Catalogue,
        quiet: Callable[[str], float],
        failing: Callable[[str], frozenset[str]],
        unknown: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._children = children
        self._link = link
        self._catalogue = catalogue
        self._quiet = quiet
        self._failing = failing
        self._unknown = unknown
        #: A cluster that does not get on has to notice it first, and to try another of its nodes.
        self.no_news = NO_NEWS * (2 if fleet.noun == "cluster" else 1)
        self.chosen: Counter[bool] = Counter()  # decisions on where to run something: whether a child was found
        self.seconds = 0.0  # spent on them
        self._misfits: dict[tuple[str, frozenset[str], frozenset[tuple[str, Refusal]]], NoFit] = {}
        self._immovable: set[tuple[str, frozenset[str]]] = set()  # what fits nowhere, whoever would make room
        self._to_place: Counter[str] = Counter()
        #: Of which specification, for which state of the fleet, and the children, the next one last.
        self._plan: tuple[str, int, list[str]] = ("", -1, [])
        self._turns: Mapping[str, str] = {}

    def status(self, given: Given) -> Status | None:
        seen = self._children.observed.get(given.attempt)
        return seen.status if seen is not None else None

    def has_ended(self, given: Given) -> bool:
        absence = self._children.absence(given.child)
        if absence is not None and absence.for_good:  # by an operator's word, of which the child need not know
            policy = self.policy(given.specification)
            return not policy.exclusive or time_to_have_stopped(policy, absence) <= 0
        return self._link.has_ended(given.child, given.attempt)

    def quiet(self, given: Given) -> float:
        return self._quiet(given.attempt)

    def absence(self, child: str) -> Absence | None:
        return self._children.absence(child)

    def policy(self, specification: str) -> Disconnect:
        try:
            return self._catalogue[specification].policy
        except KeyError:  # the store has lost it
            return USUAL

    @property
    def unknown(self) -> float:
        return self._unknown()

    def may_stay(self, given: Given) -> bool:
        return self._link.may_stay(given.child, given.attempt)

    def scores(self, slot: Slot, attempts: Sequence[Given]) -> list[float]:
        return scores_of(self._fleet, self._catalogue[slot.specification], [given.attempt for given in attempts])

    def heard(self, given: Given) -> float:
        """Wall-clock seconds at which the newest word about an attempt came; 0 without one."""
        seen = self._children.observed.get(given.attempt)
        return seen.heard if seen is not None else 0.0

    def place(
        self,
        slot: Slot,
        refused: Mapping[str, Refusal],
        avoid: frozenset[str],
        shun: frozenset[str] = frozenset(),
        instead_of: Given | None = None,
    ) -> Chosen | NoFit:
        shun |= self._children.suspects | self._failing(slot.specification)
        answer = self._place(slot, refused, avoid | shun)
        if shun and isinstance(answer, NoFit):
            answer = self._place(slot, refused, avoid)
        if instead_of is None or isinstance(answer, Chosen):
            return answer
        specification = self._catalogue[slot.specification]
        return Chosen(instead_of.child) if fits_instead(self._fleet, specification, instead_of.attempt) else answer

    def _place(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> Chosen | NoFit:
        if slot.pin:
            return place_on(self._fleet, self._catalogue[slot.specification], slot.pin, avoid, refused)
        # A thousand slots of one service that fits nowhere are one question, not a thousand.
        question = (slot.specification, avoid, frozenset(refused.items()))
        known = self._misfits.get(question)
        if known is not None:
            return known
        began = perf_counter()
        planned = self._planned(slot.specification) if not refused and not avoid else None
        if planned is not None:
            self.seconds += perf_counter() - began
            self.chosen[True] += 1
            return Chosen(planned)
        answer = place(self._fleet, self._catalogue[slot.specification], avoid=avoid, refused=refused)
        self.seconds += perf_counter() - began
        self.chosen[isinstance(answer, Chosen)] += 1
        if isinstance(answer, NoFit):
            self._misfits[question] = answer
        return answer

    def displace(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> Displacement | None:
        """Where the service failed lately is the last choice, as in `place`; suspects are none: nobody is displaced
        where word of it may not arrive."""
        avoid |= self._children.suspects | refused.keys()
        if slot.pin:
            avoid |= self._fleet.rows.keys() - {slot.pin[0]}
        shun = self._failing(slot.specification)
        answer = self._displace(slot.specification, avoid | shun)
        return self._displace(slot.specification, avoid) if answer is None and shun else answer

    def _displace(self, specification: str, avoid: frozenset[str]) -> Displacement | None:
        question = (specification, avoid)
        if question in self._immovable:
            return None
        began = perf_counter()
        answer = displace(self._fleet, self._catalogue[specification], avoid)
        self.seconds += perf_counter() - began
        if answer is None:
            self._immovable.add(question)
        return answer

    def may_be_moved(self, given: Given) -> bool:
        """Whether an attempt runs well, may run twice, does not end by itself, and nobody said where it shall stay."""
        row, status = self._fleet.rows.get(given.child), self.status(given)
        if row is None or row.cordoned or self._children.absence(given.child) is not None:
            return False
        if status is None or not runs(status) or status.misplaced:
            return False
        return not self.policy(given.specification).exclusive and not self.ends_by_itself(given.specification)

    def is_doubtful(self, child: str, placement: Placement, specification: str, now: float) -> bool:
        """Whether a child may be away, has just refused this slot, or an instance of its service failed there lately.
        now: wall-clock seconds."""
        if child in self._children.suspects or child in self._failing(specification):
            return True
        return any(
            past.child == child and past.phase is Phase.REFUSED and past.ended <= now < past.ended + ASK_AGAIN
            for past in placement.history
        )

    def draining(self, child: str) -> bool:
        return child in self._fleet.drained

    def may_leave(self, slot: str, child: str) -> bool:
        return self._turns.get(child, slot) == slot

    def removed(self, child: str) -> bool:
        """Whether a child was removed, or has left; not of one that nobody knows."""
        identity = self._children.identities.get(child)
        return identity is not None and identity.revoked

    def ends_by_itself(self, specification: str) -> bool:
        return self._catalogue[specification].one_shot

    def begin_round(self, to_place: Counter[str], turns: Mapping[str, str]) -> None:
        """Something may have changed: ask again. to_place: how many of each specification will probably be placed.
        turns: the slot that is just leaving each child that is drained."""
        self._turns = turns
        self._misfits.clear()
        self._immovable.clear()
        self._plan = ("", -1, [])
        self._to_place = to_place

    def _planned(self, specification: str) -> str | None:
        """The next of the children that were chosen for all instances of this specification in one pass."""
        whose, touched, children = self._plan
        if whose != specification or touched != self._fleet.touched or not children:
            count, self._to_place[specification] = self._to_place[specification], 0
            if count < _WORTH_A_PLAN:
                return None
            children = place_many(self._fleet, self._catalogue[specification], count)[::-1]
            self._plan = (specification, self._fleet.touched, children)
        return children[-1] if children else None

    def revision(self, child: str) -> str:
        row = self._fleet.rows.get(child)
        return row.revision if row is not None else ""

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        # The reservation counts from this moment, also for the decisions that follow in the same round.
        specification = self._catalogue[slot.specification]
        whose, touched, children = self._plan
        as_planned = whose == slot.specification and touched == self._fleet.touched and children[-1:] == [child]
        self._fleet.reserve(
            attempt, child, specification.resources, kinds_of(specification), priority_of(specification)
        )
        if as_planned:
            children.pop()
            self._plan = (whose, self._fleet.touched, children)
        return Given(attempt, child, epoch, slot.specification, specification.resources)

    def name(self, child: str) -> str:
        return self._children.name(child)
