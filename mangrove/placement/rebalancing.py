"""Moves after which what runs is placed better, by what its services prefer.

An instance moves for its own gain, and only if the sum of the logarithms of all scores rises by that (proportional
fairness, after Kelly: who has little gains more by the same amount). So moves come to an end in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mangrove.model.choice import Chosen
from mangrove.model.specification import Specification
from mangrove.placement.engine import place, scores_of
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import kinds_of, priority_of

#: What a move must gain at least, where one preference gives from 0 to 1: the start of another copy is not worth less.
GAIN = 0.05
#: Added to a score before its logarithm is taken: what one has that is worth nothing where it is.
_LEAST = 0.01
#: Instances that are looked at, and of those that would gain, how many are weighed against all others, those first that
#: gain most: a second at the most.
_LOOKED_AT, _WEIGHED = 2000, 10


@dataclass(frozen=True, slots=True)
class Move:
    """Of an attempt from one child to another. gain: by how much its score rises."""

    attempt: str
    source: str
    target: str
    gain: float


def rebalance(fleet: Fleet, movable: Mapping[str, Specification], most: int, gain: float = GAIN) -> list[Move]:
    """At most so many moves, each of another instance, and each judged after those before it.

    movable: what may be moved, by attempt. The fleet is a snapshot, and is changed. An instance needs room at its
    target while it still is where it was.
    """
    promising = []
    for attempt in sorted(movable)[:_LOOKED_AT]:
        move = _better(fleet, attempt, movable[attempt], gain)
        if move is not None:
            promising.append((-move.gain, attempt))
            _put(fleet, attempt, movable[attempt], move.source)
    moves: list[Move] = []
    total = _total(fleet, movable) if promising else 0.0
    for _, attempt in sorted(promising)[:_WEIGHED]:
        if len(moves) == most:
            break
        move = _better(fleet, attempt, movable[attempt], gain)
        if move is None:
            continue
        changed = _total(fleet, movable)
        if changed - total >= gain:
            moves.append(move)
            total = changed
        else:
            _put(fleet, attempt, movable[attempt], move.source)
    return moves


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


def _total(fleet: Fleet, movable: Mapping[str, Specification]) -> float:
    """What no move may lower."""
    scores = (scores_of(fleet, movable[attempt], [attempt], fits=True)[0] for attempt in sorted(movable)[:_LOOKED_AT])
    return sum(math.log(max(score, 0.0) + _LEAST) for score in scores)


def _put(fleet: Fleet, attempt: str, specification: Specification, child: str) -> None:
    fleet.reserve(attempt, child, specification.resources, kinds_of(specification), priority_of(specification))
