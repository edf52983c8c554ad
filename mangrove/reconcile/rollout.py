"""Replacing the instances of a service one after another: which specification each slot should have just now.

Pure, and without a memory of its own: all of it follows from the slots, their placements and what was last heard. So a
parent that starts anew in the middle of a rollout goes on where it was, and whoever reads the store sees the same.

A slot names the newest specification; what it *stands on* is that of its attempt. What did not run takes the newest at
once, and before what runs: it may be what an earlier rollout had just taken down. What ran takes it when all that
stands on the newest already has held for a while, hence one at a time. While one of those fails, the others stay with
what they have, also when they must be moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from mangrove.model.attempt import Status
from mangrove.model.documents import Placement, Slot
from mangrove.model.phases import Phase
from mangrove.reconcile.view import runs

#: Seconds that an instance must have run before the next one is replaced: what starts and ends at once is noticed.
#: Docker Swarm watches a new task as long.
HOLD = 5.0
#: With each restart of an instance it must hold twice as long, up to this: what crashes now and then is no success.
HOLD_LONGEST = 320.0


@dataclass(frozen=True, slots=True)
class Member:
    """One slot of the service. status: the newest word about its current attempt; heard: when that came, by the wall
    clock of the parent that heard it."""

    slot: Slot
    placement: Placement
    status: Status | None = None
    heard: float = 0.0


class Standing(Enum):
    """Where one slot is in a rollout."""

    OUT = auto()  # not wanted, completed, or without an attempt by no fault of the newest specification
    OLD = auto()  # stands on an older specification
    GOING = auto()  # stands on the newest, and does not run yet, or not for long
    STUCK = auto()  # stands on the newest, and cannot run
    HOLDS = auto()  # stands on the newest, and runs


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far it is.

    updated: slots that took up the newest specification, of `total` wanted ones. reason: why it is stopped. going:
    whether one of them is, or will be at once since it does not run. stuck: whether one of them is. next_look:
    wall-clock seconds at which one of them has held long enough, or None.
    """

    updated: int
    total: int
    state: Literal["done", "rolling", "stopped"]
    reason: str = ""
    going: bool = False
    stuck: bool = False
    next_look: float | None = None


def stands_on(slot: Slot, placement: Placement) -> str:
    """The digest of the specification that the slot's attempt has, or had."""
    if placement.current is not None:
        return placement.current.specification
    if placement.renewing or not placement.history:
        return slot.specification
    return placement.history[-1].specification


def is_settled(slot: Slot, placement: Placement) -> bool:
    """Whether the slot has no part in a rollout, whatever became of its attempt."""
    return not placement.renewing and (
        slot.desired == "stop" or placement.final is not None or stands_on(slot, placement) == slot.specification
    )


def standing(member: Member, now: float) -> Standing:
    """Where a slot is. now: wall-clock seconds."""
    slot, placement, status = member.slot, member.placement, member.status
    if slot.desired == "stop" or placement.final is not None:
        return Standing.OUT
    if stands_on(slot, placement) != slot.specification:
        return Standing.OLD
    if placement.current is None:
        if placement.failures or (placement.renewing and placement.reason and not placement.leaving):
            return Standing.STUCK
        return Standing.GOING if placement.renewing else Standing.OUT
    if runs(status):
        return Standing.GOING if _held_at(member, now) > now else Standing.HOLDS
    return Standing.STUCK if placement.failures or _cannot_run(placement, status) else Standing.GOING


def rollout(members: Iterable[Member], now: float) -> Rollout:
    """How far the rollout of a service is, given all its slots."""
    total = old = renewing = 0
    stuck, kept, looks = [], [], []
    going = down = False
    for member in members:
        where = standing(member, now)
        if member.slot.desired == "run":
            total += 1
        renewing += where not in (Standing.OUT, Standing.OLD) and member.placement.renewing
        if where is Standing.OLD:
            old += 1
            down = down or (member.placement.current is not None and _ails(member))
            if member.placement.reason:
                kept.append((member.slot.number, member.placement.reason))
        elif where is Standing.STUCK:
            said = member.placement.reason or (member.status.reason if member.status is not None else "")
            stuck.append((member.slot.number, said or "it does not run"))
        elif where is Standing.GOING:
            going = True
            if runs(member.status):
                looks.append(_held_at(member, now))
    under_way = bool(old or renewing)
    reasons = stuck or (kept if not going else [])
    return Rollout(
        updated=total - old - renewing,
        total=total,
        state="done" if not under_way else "stopped" if reasons else "rolling",
        reason="instance {}: {}".format(*min(reasons)) if under_way and reasons else "",
        going=going or down,
        stuck=bool(stuck),
        next_look=min(looks, default=None) if old else None,
    )


def specification_now(member: Member, service: Rollout) -> str:
    """The digest of the specification that a slot should have now, given how far its service is."""
    newest, has = member.slot.specification, stands_on(member.slot, member.placement)
    if has == newest:
        return newest
    if service.stuck or (service.going and not _ails(member)):
        return has
    return newest


def _ails(member: Member) -> bool:
    """Whether what the slot stands on did not run, so that there is nothing to lose. What is only not heard, or moves
    away from who is not heard, did."""
    placement = member.placement
    if placement.current is not None:
        return member.status is None or member.status.phase not in (Phase.RUNNING, Phase.HELD)
    return not placement.history or placement.history[-1].phase is not Phase.RUNNING


def _held_at(member: Member, now: float) -> float:
    """When a running instance has held long enough; it is not later than it can be when the clock was set back."""
    restarts = member.status.restarts if member.status is not None else 0
    hold = min(HOLD * 2 ** min(restarts, 16), HOLD_LONGEST)
    return member.heard + hold if member.heard <= now else now


def _cannot_run(placement: Placement, status: Status | None) -> bool:
    """Whether there is more to it than that it takes time, or that the attempt before must end first."""
    if status is None:
        return False
    if status.silent or status.phase in (Phase.BACKING_OFF, Phase.REFUSED, Phase.FAILED, Phase.LOST):
        return True
    return bool(status.restarts) or (status.phase is Phase.PENDING and bool(status.reason) and not placement.leaving)
