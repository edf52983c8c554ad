"""Which of what a parent's children run is to move to a better place now."""

from __future__ import annotations

import msgspec

from mangrove.placement.fleet import Fleet
from mangrove.placement.rebalancing import Move, rebalance
from mangrove.roles.slots import Slots
from mangrove.roles.view import FleetView

#: Instances of one parent that are on their way at once: each is there twice meanwhile, and pulls its image.
MOST_AT_ONCE = 5


class Moved(msgspec.Struct, frozen=True):
    """That an instance moves. slot, service: ids; source, target: names of clusters or of nodes."""

    slot: str
    service: str
    number: int
    source: str
    target: str


def moves_of(slots: Slots, fleet: Fleet, view: FleetView, now: float) -> list[Move]:
    """The next moves, as many as may begin beside those under way. now: wall-clock seconds."""
    under_way = sum(placement.successor is not None for placement in slots.placements.values())
    if under_way >= MOST_AT_ONCE:
        return []
    movable = slots.movable(view)
    moves = rebalance(fleet.snapshot(), movable, MOST_AT_ONCE - under_way)
    return [
        move
        for move in moves
        for placement in (slots.placements[slots.slot_of(move.attempt) or ""],)
        if not view.is_doubtful(move.target, placement, movable[move.attempt].digest, now)
    ]
