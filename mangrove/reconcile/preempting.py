"""Making room for what is more important: who makes room is chosen by placement; here is what becomes of both sides.

What is displaced is withdrawn, and is pending like any other. Whoever displaces it has its room reserved, as its
*nominated* attempt, from that moment on; the child is told of it only when there is room indeed.
"""

from __future__ import annotations

import msgspec

from mangrove.model.choice import Displacement
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.reconcile.placements import waiting, without_current, without_nomination
from mangrove.reconcile.view import Decision, View

#: Seconds within which what makes room must have ended, else room is looked for elsewhere: six times as long as a node
#: lets an instance take to stop by itself.
ROOM_WITHIN = 60.0


def nominate(placement: Placement, given: Given, room: Displacement, view: View, now: float) -> Decision:
    """Wait for room. given: the attempt that is to be there then."""
    name, count = view.name(room.child), len(room.victims)
    whom = f"{count} less important instance{'' if count == 1 else 's'}" if count else "what leaves"
    placement = waiting(placement, f"waits until {whom} made room on {name}", now)
    nominated = msgspec.structs.replace(given, since=now)
    return Decision(
        msgspec.structs.replace(placement, nominated=nominated), wake=now + ROOM_WITHIN, displaced=room.victims
    )


def still_nominated(slot: Slot | None, placement: Placement, view: View, now: float) -> Placement:
    """Give up the room that was reserved when it is not wanted any more, or did not come in time."""
    nominated = placement.nominated
    if nominated is None:
        return placement
    if slot is None or slot.desired == "stop" or nominated.specification != slot.specification:
        return without_nomination(placement)
    if view.absence(nominated.child) is not None:
        return without_nomination(placement)
    if nominated.since <= now < nominated.since + ROOM_WITHIN:
        return placement
    refusal = Refusal(view.revision(nominated.child), f"no room came in {ROOM_WITHIN:g} s")
    refused = {**placement.refused, nominated.child: refusal}
    return msgspec.structs.replace(without_nomination(placement), refused=refused)


def displaced(placement: Placement, attempt: str, view: View, reason: str, now: float) -> Placement:
    """A slot whose attempt makes room; it waits for another place."""
    if placement.nominated is not None and placement.nominated.attempt == attempt:
        return waiting(without_nomination(placement), reason, now)
    if placement.current is None or placement.current.attempt != attempt:
        return placement
    marked = msgspec.structs.replace(placement.current, displaced=True)
    return without_current(msgspec.structs.replace(placement, current=marked), view, reason, now)
