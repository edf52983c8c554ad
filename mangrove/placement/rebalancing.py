"""Moves after which what runs is placed better, by what its services prefer.

One instance after another looks for a better place, until nobody gains any more: then there is nothing to do when it is
asked again. If that does not come, since what is better for one is always worse for another, nothing is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mangrove.model.choice import Chosen
from mangrove.model.specification import Specification
from mangrove.placement.engine import place, scores_of
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import kinds_of, priority_of

#: What a move must gain at least, where one preference gives from 0 to 1: the start of another copy is not worth less.
GAIN = 0.05
#: Instances that are looked at, and how often each: about a second.
_LOOKED_AT, _SWEEPS = 2000, 10


@dataclass(frozen=True, slots=True)
class Move:
    """Of an attempt from one child to another. gain: by how much its score rises."""

    attempt: str
    source: str
    target: str
    gain: float


def rebalance(fleet: Fleet, movable: Mapping[str, Specification], most: int, gain: float = GAIN) -> list[Move]:
    """The first moves, at most so many and none of the same instance twice, on the way to where nobody gains any more.

    movable: what may be moved, by attempt. The fleet is a snapshot, and is changed. An instance needs room at its
    target while it still is where it was.
    """
    moves: list[Move] = []
    for _ in range(_SWEEPS):
        before = len(moves)
        for attempt in sorted(movable)[:_LOOKED_AT]:
            move = _better(fleet, attempt, movable[attempt], gain)
            if move is not None:
                moves.append(move)
        if len(moves) == before:
            return _first_of(moves, most)
    return []


def _better(fleet: Fleet, attempt: str, specification: Specification, gain: float) -> Move | None:
    """Move an instance to the best other place, if it gains by that."""
    source = fleet.reservation(attempt)[0]
    where = place(fleet, specification, avoid=[source])
    if not isinstance(where, Chosen):
        return None
    [before] = scores_of(fleet, specification, [attempt], fits=True)
    _put(fleet, attempt, specification, where.child)
    [after] = scores_of(fleet, specification, [attempt], fits=True)
    if after - before >= gain:
        return Move(attempt, source, where.child, after - before)
    _put(fleet, attempt, specification, source)
    return None


def _first_of(moves: list[Move], most: int) -> list[Move]:
    first: dict[str, Move] = {}
    for move in moves:
        if move.attempt in first or len(first) == most:
            break
        first[move.attempt] = move
    return list(first.values())


def _put(fleet: Fleet, attempt: str, specification: Specification, child: str) -> None:
    fleet.reserve(attempt, child, specification.resources, kinds_of(specification), priority_of(specification))
