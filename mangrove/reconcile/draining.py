"""Emptying a child that an operator drains: what runs there moves elsewhere, one instance after another.

Around the loop over slots (`parent.decide`), which knows nothing of it. What runs is first started elsewhere, as the
slot's *successor*, and goes only when that runs; what must not run twice is stopped first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import msgspec

from mangrove.base.ids import NewId
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.reconcile import parent
from mangrove.reconcile.failing import failed_on
from mangrove.reconcile.parent import ASK_AGAIN, RETRY_FIRST
from mangrove.reconcile.placements import HISTORY, past_of, waiting, without_current
from mangrove.reconcile.view import Decision, Told, View, runs


class DrainView(View, Protocol):
    """What a parent knows besides of the children that are drained."""

    def draining(self, child: str) -> bool:
        """Whether an operator wants nothing to run there any more."""

    def may_leave(self, slot: str, child: str) -> bool:
        """Whether it is this slot's turn to leave a child that is drained."""

    def ends_by_itself(self, specification: str) -> bool:
        """Whether an instance of it runs once, and is then done with."""


def decide(
    slot: Slot | None, placement: Placement, view: DrainView, now: float, new_id: NewId, *, may_refuse: bool = False
) -> Decision:
    """As `parent.decide`, also of slots on children that are drained."""
    told: list[Told] = []
    placement = _judge_successor(slot, placement, view, now, told)
    decision = parent.decide(slot, placement, view, now, new_id, may_refuse=may_refuse)
    current, stands = placement.current, decision.placement
    if (
        slot is not None
        and slot.desired == "run"
        and current is not None
        and stands is not None
        and stands.current == current
        and current.specification == slot.specification
        and is_to_leave(current, view)
        and view.absence(current.child) is None
    ):
        if placement.waiting_since:  # what is said of it stands until more is known
            stands = msgspec.structs.replace(stands, reason=placement.reason, waiting_since=placement.waiting_since)
        decision = _leave(slot, decision, stands, current, view, now, new_id, may_refuse)
    return replace(decision, told=(*told, *decision.told)) if told else decision


def is_to_leave(given: Given, view: DrainView) -> bool:
    """Whether an attempt is on a child that is drained, or on such a node of a cluster that has no other for it."""
    status = view.status(given)
    return view.draining(given.child) or (status is not None and status.misplaced == "drained")


def _where(given: Given, view: DrainView) -> str:
    """What is drained, for people."""
    name = view.name(given.child)
    return name if view.draining(given.child) else f"a node of {name}"


def without_successor(
    placement: Placement, view: View, reason: str, now: float, *, phase: Phase | None = None
) -> Placement:
    """Nothing is started elsewhere any more. phase: what that came to, if it is not what its child said last."""
    successor = placement.successor
    if successor is None:
        return placement
    status = view.status(successor)
    over = (status is not None and status.ended) or view.has_ended(successor)
    leaving = placement.leaving if over else (*placement.leaving, successor)
    history = (*placement.history, past_of(successor, status, reason, now, phase))[-HISTORY:]
    return msgspec.structs.replace(placement, successor=None, leaving=leaving, history=history)


def _judge_successor(
    slot: Slot | None, placement: Placement, view: DrainView, now: float, told: list[Told]
) -> Placement:
    successor, current = placement.successor, placement.current
    if successor is None:
        return placement
    if slot is None or slot.desired == "stop" or successor.specification != slot.specification:
        return without_successor(placement, view, "not wanted any more", now)
    status, name = view.status(successor), view.name(successor.child)
    trouble, phase = "", None
    if view.absence(successor.child) is not None:
        trouble = f"{name} is not heard"
    elif status is not None and (status.ended or status.restarts or status.phase is Phase.BACKING_OFF):
        trouble = f"it does not run on {name}: {status.reason}"
        phase = Phase.REFUSED if status.phase is Phase.REFUSED else Phase.FAILED
    elif not runs(status) and view.quiet(successor) >= view.no_news:
        trouble, phase = f"no news from {name}", Phase.FAILED
    if trouble:
        placement = without_successor(placement, view, trouble, now, phase=phase)
        return msgspec.structs.replace(placement, not_before=now + RETRY_FIRST)
    stays = current is not None and view.absence(current.child) is None and runs(view.status(current))
    if stays and not runs(status):
        if successor.better or (current is not None and is_to_leave(current, view)):
            return placement
        return without_successor(placement, view, f"{view.name(current.child) if current else ''} is kept", now)
    if current is not None:
        why = f"{name} is better" if successor.better else f"{_where(current, view)} is drained"
        told.append(Told("moved", f"moved from {view.name(current.child)} to {name}: {why}"))
        placement = without_current(placement, view, why, now)
    current = msgspec.structs.replace(successor, better=False)
    return msgspec.structs.replace(placement, current=current, successor=None, reason="", waiting_since=0.0)


def _leave(
    slot: Slot,
    kept: Decision,
    placement: Placement,
    current: Given,
    view: DrainView,
    now: float,
    new_id: NewId,
    may_refuse: bool,
) -> Decision:
    """Begin to move, if it is time and there is a place."""
    status, name = view.status(current), _where(current, view)
    if placement.successor is not None:
        reason = f"moves to {view.name(placement.successor.child)}, since {name} is drained"
        return replace(kept, placement=msgspec.structs.replace(placement, reason=reason))
    running = status is not None and status.phase is Phase.RUNNING
    if status is not None and (status.phase is Phase.HELD or status.silent or status.given_up):
        return kept
    if running and view.ends_by_itself(slot.specification):
        reason = f"{name} is drained; this stays there until it ends by itself"
        return replace(kept, placement=msgspec.structs.replace(placement, reason=reason))
    if running and not view.may_leave(slot.id, current.child):
        return replace(kept, placement=placement)
    if now < placement.not_before <= now + RETRY_FIRST:
        return replace(kept, wake=placement.not_before)
    refused = frozenset(
        past.child
        for past in placement.history
        if past.phase is Phase.REFUSED and past.ended <= now < past.ended + ASK_AGAIN
    )
    failed = failed_on(placement, slot.specification, now)
    where = view.place(slot, placement.refused, refused | {current.child}, failed)
    if isinstance(where, Chosen) and view.absence(where.child) is not None:
        where = NoFit(f"{view.name(where.child)} is not heard")
    if isinstance(where, NoFit):
        reason = f"{name} is drained, and nothing else fits: {where.reason}"
        if status is not None and status.misplaced and status.reason:  # of its own nodes its cluster says more
            reason = f"{status.reason}; nor on another cluster: {where.reason}"
        stays = waiting(placement, reason, now)
        return replace(kept, placement=stays, wake=now + ASK_AGAIN if refused else kept.wake)
    if running and not view.policy(slot.specification).exclusive:
        epoch = placement.epoch + 1
        successor = msgspec.structs.replace(view.give(slot, where.child, new_id(), epoch), since=now)
        reason = f"moves to {view.name(where.child)}, since {name} is drained"
        moving = msgspec.structs.replace(
            placement, successor=successor, epoch=epoch, reason=reason, waiting_since=0.0, not_before=0.0
        )
        return replace(kept, placement=moving, wake=now + view.no_news)
    left = without_current(placement, view, f"{name} is drained", now)
    left = msgspec.structs.replace(left, waiting_since=0.0, not_before=0.0)
    if not view.draining(current.child):  # its cluster has said that no other node of it has room
        refusal = Refusal(view.revision(current.child), f"{name} is drained")
        left = msgspec.structs.replace(left, refused={**left.refused, current.child: refusal})
    return parent.decide(slot, left, view, now, new_id, may_refuse=may_refuse)
