"""Single changes to a `Placement`, from which decisions are made."""

from __future__ import annotations

import msgspec

from mangrove.model.attempt import Status
from mangrove.model.documents import Given, Past, Placement
from mangrove.model.phases import Phase
from mangrove.reconcile.view import View

#: Past attempts kept of each slot: enough to see whether it always fails alike, at some 200 bytes each.
HISTORY = 8


def settle_leaving(placement: Placement, view: View) -> Placement:
    """What is known to have ended is leaving no more."""
    leaving = tuple(given for given in placement.leaving if not view.has_ended(given))
    if len(leaving) == len(placement.leaving):
        return placement
    return msgspec.structs.replace(placement, leaving=leaving)


def without_current(
    placement: Placement, view: View, reason: str, now: float, *, phase: Phase | None = None
) -> Placement:
    """Withdraw the current attempt; its reservation stays until it is known to have ended.

    phase: what it came to, if that is not what its child said last.
    """
    current = placement.current
    if current is None:
        return placement
    status = view.status(current)
    over = (status is not None and status.ended) or view.has_ended(current)  # the latter: its child was removed
    leaving = placement.leaving if over else (*placement.leaving, current)
    history = (*placement.history, past_of(current, status, reason, now, phase))[-HISTORY:]
    return msgspec.structs.replace(placement, current=None, leaving=leaving, reason=reason, history=history)


def without_nomination(placement: Placement) -> Placement:
    """No room is kept for it any more where others made room."""
    return placement if placement.nominated is None else msgspec.structs.replace(placement, nominated=None)


def waiting(placement: Placement, reason: str, now: float) -> Placement:
    """It fits nowhere, since now or since earlier."""
    since = min(placement.waiting_since or now, now)
    return msgspec.structs.replace(placement, reason=_short(reason), waiting_since=since)


def past_of(given: Given, status: Status | None, reason: str, now: float, phase: Phase | None = None) -> Past:
    """An attempt that is done with. phase: what it came to, if that is not what its child said last."""
    last = status if status is not None else Status(given.attempt, Phase.ASSIGNED)
    return Past(
        given.attempt,
        given.child,
        given.specification,
        phase if phase is not None else last.phase,
        _short(reason),
        last.node,
        last.node_name,
        last.restarts,
        last.exit_code,
        given.since,
        now,
    )


def _short(reason: str) -> str:
    """Reasons go into documents and messages: bounded, whatever the fleet."""
    return reason if len(reason) <= 400 else reason[:399] + "…"
