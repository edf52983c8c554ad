"""A parent's loop over slots: `decide` says what should become of one slot, given all that is known of it.

Pure: no I/O, no clock, no memory but the `Placement` that it is given and returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from mangrove.base.ids import NewId
from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Past, Placement, Refusal, Slot
from mangrove.model.phases import Phase

#: A slot whose attempt failed for good waits this long before it is given away again, doubling up to the cap: long
#: enough not to wear out a fleet with something broken, short enough that a repaired image is noticed in minutes.
RETRY_FIRST, RETRY_LAST = 2.0, 120.0
#: A cluster keeps looking this long for another node of its own before it hands a slot back to the root.
HAND_BACK_AFTER = 10.0
#: A child that refused is asked again after this time even if nothing that it reports has changed: what it refused by
#: may have changed in the very moment of its refusal, and a question costs one message.
ASK_AGAIN = 60.0
#: Past attempts kept of each slot: enough to see whether it always fails alike, at some 200 bytes each.
HISTORY = 8


class View(Protocol):
    """What a parent knows of its children when it decides."""

    def status(self, given: Given) -> Status | None:
        """The newest word about an attempt."""

    def has_ended(self, given: Given) -> bool:
        """Whether it is certain that a withdrawn attempt runs no more and never will."""

    def silent_for(self, child: str) -> float | None:
        """Seconds since the last word of a child that counts as silent; None when it does not."""

    def place(
        self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str], instead_of: Given | None = None
    ) -> Chosen | NoFit:
        """Choose a child for one instance of the slot; neither one that `refused` nor one to `avoid`.

        instead_of: an attempt that would make room. Then the answer may be too hopeful, never too gloomy.
        """

    def revision(self, child: str) -> str:
        """What the child can allocate now, as a digest."""

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        """The record of a slot given to a child, with its reservation made."""

    def name(self, child: str) -> str:
        """What people call the child."""


class Told(NamedTuple):
    """Something for the event log. kind: for programs; text: what became of the slot, for people."""

    kind: Literal["placed", "moved", "refused", "failed", "completed", "replaced", "handed-back"]
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """placement: what stands now, or None when nothing is left of the slot. wake: wall-clock seconds at which to decide
    again even if nothing happens. told: for the event log."""

    placement: Placement | None
    wake: float | None = None
    told: tuple[Told, ...] = ()


def decide(
    slot: Slot | None, placement: Placement, view: View, now: float, new_id: NewId, *, may_refuse: bool = False
) -> Decision:
    """What should become of a slot. now: wall-clock seconds. may_refuse: whether a slot that fits nowhere may be handed
    back to this parent's own parent. When to take up a newer specification is not decided here: see `rollout`."""
    placement = _forget_refusals(_settle_leaving(placement, view), view)
    if slot is None or slot.desired == "stop":
        return _withdraw_all(placement, view, now)
    told: list[Told] = []
    if placement.final is not None:
        return Decision(placement)
    if placement.current is not None:
        placement, keep = _judge_current(slot, placement, placement.current, view, now, told)
        if keep is not None:
            return keep
        if placement.final is not None:
            return Decision(placement, told=tuple(told))
    return _give_away(slot, _begun_anew(slot, placement), view, now, new_id, may_refuse, told)


def hold(placement: Placement, view: View, now: float, reason: str) -> Decision:
    """What stands while an operator of this parent's machine holds a slot: its attempt is withdrawn, none is given, and
    it is not handed back; what waited begins anew when it is released. reason: that it is held, and by whom."""
    placement = _without_current(_settle_leaving(placement, view), view, reason, now)
    return Decision(
        msgspec.structs.replace(placement, reason=reason, failures=0, not_before=0.0, waiting_since=0.0, refused={})
    )


def _settle_leaving(placement: Placement, view: View) -> Placement:
    leaving = tuple(given for given in placement.leaving if not view.has_ended(given))
    if len(leaving) == len(placement.leaving):
        return placement
    return msgspec.structs.replace(placement, leaving=leaving)


def _forget_refusals(placement: Placement, view: View) -> Placement:
    """A child that can allocate something else now is asked again, also when it later comes back to what it had."""
    refused = {
        child: refusal for child, refusal in placement.refused.items() if refusal.revision == view.revision(child)
    }
    if len(refused) == len(placement.refused):
        return placement
    return msgspec.structs.replace(placement, refused=refused)


def _withdraw_all(placement: Placement, view: View, now: float) -> Decision:
    if placement.current is not None:
        placement = _without_current(placement, view, "being removed", now)
    return Decision(placement if placement.leaving else None)


def _without_current(placement: Placement, view: View, reason: str, now: float) -> Placement:
    """Withdraw the current attempt; its reservation stays until it is known to have ended."""
    current = placement.current
    if current is None:
        return placement
    status = view.status(current)
    over = (status is not None and status.ended) or view.has_ended(current)  # the latter: its child was removed
    leaving = placement.leaving if over else (*placement.leaving, current)
    history = (*placement.history, _past(current, status, reason, now))[-HISTORY:]
    return msgspec.structs.replace(placement, current=None, leaving=leaving, reason=reason, history=history)


def _past(given: Given, status: Status | None, reason: str, now: float) -> Past:
    last = status if status is not None else Status(given.attempt, Phase.ASSIGNED)
    return Past(
        given.attempt,
        given.child,
        given.specification,
        last.phase,
        _short(reason),
        last.node,
        last.node_name,
        last.restarts,
        last.exit_code,
        given.since,
        now,
    )


def _begun_anew(slot: Slot, placement: Placement) -> Placement:
    """What failed and was refused counts only against the specification that it was about."""
    if not placement.history or placement.history[-1].specification == slot.specification:
        return placement
    if not (placement.failures or placement.refused or placement.not_before):
        return placement
    return msgspec.structs.replace(placement, failures=0, refused={}, not_before=0.0)


def _judge_current(
    slot: Slot, placement: Placement, current: Given, view: View, now: float, told: list[Told]
) -> tuple[Placement, Decision | None]:
    """Keep the current attempt (a Decision), or go on without it (None)."""
    status = view.status(current)
    phase = status.phase if status is not None else Phase.ASSIGNED
    if status is not None and phase == Phase.COMPLETED:
        done = _without_current(placement, view, "", now)
        told.append(Told("completed", f"has completed on {view.name(current.child)}"))
        return msgspec.structs.replace(done, final=status, renewing=False), None
    if current.specification != slot.specification:
        return _renew(slot, placement, current, view, now, told)
    if status is not None and phase == Phase.REFUSED:
        refused = {**placement.refused, current.child: Refusal(view.revision(current.child), status.reason)}
        told.append(Told("refused", f"was refused by {view.name(current.child)}: {status.reason}"))
        placement = _without_current(placement, view, f"refused by {view.name(current.child)}: {status.reason}", now)
        return msgspec.structs.replace(placement, refused=refused), None
    if status is not None and phase in (Phase.FAILED, Phase.LOST):
        failures = placement.failures + 1
        delay = min(RETRY_FIRST * 2 ** min(failures - 1, 16), RETRY_LAST)
        told.append(Told("failed", f"failed on {view.name(current.child)}: {status.reason}"))
        placement = _without_current(placement, view, f"failed on {view.name(current.child)}: {status.reason}", now)
        return msgspec.structs.replace(placement, failures=failures, not_before=now + delay), None
    silent = view.silent_for(current.child)
    if silent is not None and view.has_ended(current):
        told.append(Told("moved", f"moves, because {view.name(current.child)} was removed"))
        return _without_current(placement, view, f"{view.name(current.child)} was removed", now), None
    held = status is not None and phase is Phase.HELD  # there by a person's wish, and nothing runs that could be lost
    if not held and (silent is not None or (status is not None and status.silent)):
        return _judge_silent(slot, placement, current, view, now, told)
    if phase == Phase.RUNNING and (placement.failures or placement.refused or placement.renewing):
        placement = msgspec.structs.replace(placement, refused={}, failures=0, renewing=False)
    if placement.reason or placement.waiting_since:
        placement = msgspec.structs.replace(placement, reason="", waiting_since=0.0)
    return placement, Decision(placement)


def _renew(
    slot: Slot, placement: Placement, current: Given, view: View, now: float, told: list[Told]
) -> tuple[Placement, Decision | None]:
    """Go on without the current attempt, which is of another specification; what runs stays if that fits nowhere."""
    status = view.status(current)
    where: Chosen | NoFit | None = None
    if view.silent_for(current.child) is not None or (status is not None and status.silent):
        where = view.place(slot, {}, frozenset({current.child}))  # as when it is moved: it may well be running there
    elif runs(status):
        where = view.place(slot, {}, frozenset(), instead_of=current)
    if isinstance(where, NoFit):
        waiting = _waiting(placement, f"the newer version fits nowhere: {where.reason}", now)
        return waiting, Decision(waiting)
    told.append(Told("replaced", "is replaced by a newer version"))
    placement = _without_current(placement, view, "replaced by a newer version", now)
    return msgspec.structs.replace(placement, renewing=True, waiting_since=0.0), None


def runs(status: Status | None) -> bool:
    """Whether an attempt is known to run, by the newest word about it."""
    return status is not None and status.phase is Phase.RUNNING and not status.silent


def _judge_silent(
    slot: Slot, placement: Placement, current: Given, view: View, now: float, told: list[Told]
) -> tuple[Placement, Decision | None]:
    """The same for an attempt on a child that is not heard, or on a node below that its cluster does not hear."""
    silent, status, name = view.silent_for(current.child), view.status(current), view.name(current.child)
    below = status.reason if status is not None else ""
    unheard = f"{name} not heard for {silent:.0f} s" if silent is not None else f"{name}: {below}"
    placement = _ask_again(placement, now)
    where = view.place(slot, placement.refused, frozenset({current.child}))
    if isinstance(where, NoFit):
        # Stay put: it may well be running there, and there is nowhere better.
        waiting = _waiting(placement, f"{unheard}, and nothing else fits: {where.reason}", now)
        return waiting, Decision(waiting, wake=_time_to_ask(waiting))
    told.append(Told("moved", f"moves away from {unheard}"))
    placement = _without_current(placement, view, f"moved away from {unheard}", now)
    return msgspec.structs.replace(placement, waiting_since=0.0), None


def _give_away(
    slot: Slot,
    placement: Placement,
    view: View,
    now: float,
    new_id: NewId,
    may_refuse: bool,
    told: list[Told],
) -> Decision:
    if now < placement.not_before <= now + RETRY_LAST:  # further ahead only when the wall clock was set back since
        return Decision(placement, wake=placement.not_before, told=tuple(told))
    placement = _ask_again(placement, now)
    where = view.place(slot, placement.refused, frozenset())
    if isinstance(where, NoFit):
        return _wait_or_hand_back(placement, where.reason, view, now, may_refuse, told)
    epoch = placement.epoch + 1
    given = msgspec.structs.replace(view.give(slot, where.child, new_id(), epoch), since=now)
    told.append(Told("placed", f"is given to {view.name(where.child)}"))
    placed = msgspec.structs.replace(
        placement, current=given, epoch=epoch, reason="", waiting_since=0.0, not_before=0.0
    )
    return Decision(placed, told=tuple(told))


def _wait_or_hand_back(
    placement: Placement, reason: str, view: View, now: float, may_refuse: bool, told: list[Told]
) -> Decision:
    waiting = _waiting(placement, reason, now)
    if not may_refuse:
        return Decision(waiting, wake=_time_to_ask(waiting), told=tuple(told))
    patience = HAND_BACK_AFTER if placement.epoch else 0.0
    if now - waiting.waiting_since < patience:
        return Decision(waiting, wake=waiting.waiting_since + patience, told=tuple(told))
    if any(view.silent_for(given.child) is None for given in waiting.leaving):
        return Decision(waiting, told=tuple(told))  # it is being stopped; who is not heard may never say that it has
    final = Status(placement.slot, Phase.REFUSED, waiting.reason, since=now)
    return Decision(
        msgspec.structs.replace(waiting, final=final),
        told=(*told, Told("handed-back", f"is handed back: {waiting.reason}")),
    )


def _waiting(placement: Placement, reason: str, now: float) -> Placement:
    since = min(placement.waiting_since or now, now)
    return msgspec.structs.replace(placement, reason=_short(reason), waiting_since=since)


def _time_to_ask(waiting: Placement) -> float | None:
    return waiting.waiting_since + ASK_AGAIN if waiting.refused else None


def _ask_again(placement: Placement, now: float) -> Placement:
    if placement.refused and placement.waiting_since and now - placement.waiting_since >= ASK_AGAIN:
        return msgspec.structs.replace(placement, refused={}, waiting_since=now)
    return placement


def _short(reason: str) -> str:
    """Reasons go into documents and messages: bounded, whatever the fleet."""
    return reason if len(reason) <= 400 else reason[:399] + "…"
