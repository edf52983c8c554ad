"""One slot and its children, as a parent's loop over slots sees them; for its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from mangrove.base.ids import seeded_ids
from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect
from mangrove.reconcile.absence import NO_NEWS, Absence
from mangrove.reconcile.parent import (
    decide,
)
from mangrove.reconcile.view import Decision

LEASE = 10.0
SLOT = Slot("service.0", "service", 0, "digest")
STOPPED = msgspec.structs.replace(SLOT, desired="stop")
NOW = 1000.0


@dataclass
class Children:
    """A `reconcile.parent.View` that is told everything. fits: children that have room, the best first."""

    fits: list[str] = field(default_factory=lambda: ["n1", "n2"])
    statuses: dict[str, Status] = field(default_factory=dict)
    silent: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    revisions: dict[str, str] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    policies: dict[str, Disconnect] = field(default_factory=dict)
    news: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    staying: set[str] = field(default_factory=set)
    scored: dict[str, float] = field(default_factory=dict)
    unknown: float = float("inf")
    no_news: float = NO_NEWS
    asked: list[tuple[frozenset[str], frozenset[str]]] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)

    def status(self, given: Given) -> Status | None:
        return self.statuses.get(given.attempt)

    def has_ended(self, given: Given) -> bool:
        return given.attempt in self.ended

    def quiet(self, given: Given) -> float:
        return max(0.0, self.now - self.news.setdefault(given.attempt, self.now))  # its clock is not set back

    def absence(self, child: str) -> Absence | None:
        if child not in self.silent and child not in self.gone:
            return None
        unheard = self.silent.get(child, self.gone.get(child, 0.0))
        held = self.held.get(child, 0.0)
        return Absence(unheard, unheard, LEASE, child in self.silent, self.gone.get(child), held)

    def policy(self, specification: str) -> Disconnect:
        return self.policies.get(specification, Disconnect())

    def may_stay(self, given: Given) -> bool:
        return given.attempt in self.staying

    def displace(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> None:
        return None

    def scores(self, slot: Slot, attempts: Sequence[Given]) -> list[float]:
        return [self.scored[given.child] for given in attempts]

    def place(
        self,
        slot: Slot,
        refused: Mapping[str, Refusal],
        avoid: frozenset[str],
        shun: frozenset[str] = frozenset(),
        instead_of: Given | None = None,
    ) -> Chosen | NoFit:
        self.asked.append((frozenset(refused), avoid))
        for child in sorted(self.fits, key=lambda child: child in shun):
            if child not in refused and child not in avoid and child not in self.silent:
                return Chosen(child)
        return NoFit("no room anywhere")

    def revision(self, child: str) -> str:
        return self.revisions.get(child, "r1")

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        self.news[attempt] = self.now
        self.given.append(Given(attempt, child, epoch, slot.specification, Resources(cpu=100)))
        return self.given[-1]

    def name(self, child: str) -> str:
        return f"node {child}"


class Case:
    """One slot through several decisions. now: wall-clock seconds."""

    def __init__(self, children: Children | None = None, placement: Placement | None = None) -> None:
        self.children = children or Children()
        self.placement = placement or Placement(SLOT.id)
        self.now = NOW
        self.told: list[str] = []
        self._new_id = seeded_ids(1)

    def decide(self, slot: Slot | None = SLOT, *, may_refuse: bool = False) -> Decision:
        self.children.now = max(self.children.now, self.now)  # the wall's clock may go back, that of silence never does
        decision = decide(slot, self.placement, self.children, self.now, self._new_id, may_refuse=may_refuse)
        self.told += [told.text for told in decision.told]
        if decision.placement is not None:
            self.placement = decision.placement
        return decision

    @property
    def attempt(self) -> str:
        assert self.placement.current is not None
        return self.placement.current.attempt

    @property
    def child(self) -> str:
        assert self.placement.current is not None
        return self.placement.current.child

    def says(self, phase: Phase, reason: str = "", *, given_up: bool = False) -> None:
        """The child's word about the current attempt."""
        status = Status(self.attempt, phase, reason, silent=given_up, given_up=given_up)
        self.children.statuses[self.attempt] = status
        self.children.news[self.attempt] = self.now

    def final(self) -> Phase | None:
        return self.placement.final.phase if self.placement.final is not None else None

    def homeless(self) -> bool:
        return self.placement.current is None

    def leaving(self) -> list[str]:
        return [given.attempt for given in self.placement.leaving]


def running() -> Case:
    case = Case()
    case.decide()
    case.says(Phase.RUNNING)
    case.decide()
    case.told.clear()
    return case


def with_policy(policy: Disconnect) -> Case:
    case = running()
    case.children.policies["digest"] = policy
    return case


def moved(policy: Disconnect) -> tuple[Case, str, str]:
    """A slot that moved from n1 to n2 and runs there; n1 is back and runs the original still. And both attempts."""
    case = with_policy(policy)
    original = case.attempt
    case.children.statuses[original] = Status(original, Phase.RUNNING, since=100.0)
    case.children.silent["n1"] = 99.0
    case.decide()
    case.children.statuses[case.attempt] = Status(case.attempt, Phase.RUNNING, since=200.0)
    case.decide()
    case.told.clear()
    del case.children.silent["n1"]
    case.children.staying.add(original)
    return case, original, case.attempt
