"""What a parent's loop over slots asks, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, Displacement, NoFit
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.model.specification import Disconnect
from mangrove.reconcile.absence import Absence


class View(Protocol):
    """What a parent knows of its children when it decides."""

    @property
    def no_news(self) -> float:
        """Seconds after which a child that has taken an attempt and says nothing of it is not believed to get on."""

    def status(self, given: Given) -> Status | None:
        """The newest word about an attempt."""

    def quiet(self, given: Given) -> float:
        """Seconds for which there was no news of an attempt, though its child was heard and could have told it."""

    def has_ended(self, given: Given) -> bool:
        """Whether it is certain that a withdrawn attempt runs no more and never will."""

    def may_stay(self, given: Given) -> bool:
        """Whether a child that has come back with a withdrawn attempt was not told of the withdrawal."""

    def absence(self, child: str) -> Absence | None:
        """How a child is not heard; None when it is."""

    def policy(self, specification: str) -> Disconnect:
        """What becomes of an attempt of this specification while its child is not heard."""

    @property
    def unknown(self) -> float:
        """Seconds for which nobody was heard who may run what this parent does not know of; infinite unless its store
        was brought back from a copy."""

    def place(
        self,
        slot: Slot,
        refused: Mapping[str, Refusal],
        avoid: frozenset[str],
        shun: frozenset[str] = frozenset(),
        instead_of: Given | None = None,
    ) -> Chosen | NoFit:
        """Choose a child for one instance of the slot; neither one that `refused` nor one to `avoid`, and one to `shun`
        only when no other has room.

        instead_of: an attempt that would make room. Then the answer may be too hopeful, never too gloomy.
        """

    def displace(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> Displacement | None:
        """Where an instance of the slot, which fits nowhere, would fit if less important ones made room."""

    def scores(self, slot: Slot, attempts: Sequence[Given]) -> list[float]:
        """How good the place of each of these is for the slot, as if none of them were there; -inf: it fits no more."""

    def revision(self, child: str) -> str:
        """What the child can allocate now, as a digest."""

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        """The record of a slot given to a child, with its reservation made."""

    def name(self, child: str) -> str:
        """What people call the child."""


class Told(NamedTuple):
    """Something for the event log. kind: for programs; text: what became of the slot, for people."""

    kind: Literal["placed", "moved", "returned", "refused", "failed", "completed", "replaced", "handed-back"]
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """placement: what stands now, or None when nothing is left of the slot. wake: wall-clock seconds at which to decide
    again even if nothing happens. told: for the event log. displaced: attempts that make room for this slot."""

    placement: Placement | None
    wake: float | None = None
    told: tuple[Told, ...] = ()
    displaced: tuple[str, ...] = ()


def stands(status: Status | None) -> bool:
    """Whether an exclusive attempt is proved to be its slot's by its child's word: it runs there, so nobody can have
    let another run; or a person holds it there."""
    return runs(status) or (status is not None and status.phase is Phase.HELD)


def runs(status: Status | None) -> bool:
    """Whether an attempt is known to run, by the newest word about it."""
    return status is not None and status.phase is Phase.RUNNING and not status.silent and not status.given_up
