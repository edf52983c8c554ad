"""What to say of a slot: one status out of what was decided and what was heard."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.model.attempt import Status
from mangrove.model.documents import Observed, Placement
from mangrove.model.phases import Phase

#: Nodes in a row on which an instance has failed for good when its cluster asks for another cluster: the fault of one
#: is outvoted by two. Each takes a minute of restarts in place (reconcile/child.py).
ENOUGH = 3


def slot_status(
    slot: str, placement: Placement | None, observed: Observed | None, *, silent: bool = False, given_up: bool = False
) -> Status:
    """The status of a slot under the slot's own id.

    observed: the last word about the placement's current attempt. Nothing is known and nothing decided: pending.
    silent: whether the child that has it is not heard now. given_up: whether it may be run elsewhere because of that.
    """
    if placement is None:
        return Status(slot, Phase.PENDING)
    if placement.final is not None:
        return msgspec.structs.replace(placement.final, attempt=slot)
    if placement.current is None:
        return Status(slot, Phase.PENDING, placement.reason)
    if observed is None or observed.attempt != placement.current.attempt:
        return Status(slot, Phase.ASSIGNED, placement.reason, silent=silent, given_up=given_up)
    status = observed.status
    reason = placement.reason or status.reason
    return msgspec.structs.replace(
        status, attempt=slot, reason=reason, silent=silent or status.silent, given_up=given_up or status.given_up
    )


def misplaced(placement: Placement | None, drained: bool) -> Literal["", "drained", "failing"]:
    """Why a slot would be better off with another parent. drained: whether its child is to be emptied."""
    if placement is None or placement.final is not None:
        return ""
    if placement.failures >= ENOUGH:
        return "failing"
    return "drained" if drained and placement.waiting_since else ""
