"""Scores by how full a child would be."""

from __future__ import annotations

import numpy as np

from mangrove.model.specification import Preference
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts, Numbers
from mangrove.placement.words import Rows

_ALWAYS = (("cpu", 0), ("memory", 0))


class _OfTheRowAlone:
    def separable(self, preference: Preference) -> bool:
        return True


class BestFit(_OfTheRowAlone):
    """Fill what is already in use, so that large requests find whole machines free later.

    How full the child would be, averaged over the amounts that the request asks for.
    """

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        if not request.asked:
            return np.zeros(np.broadcast(fleet.table.attempts[rows], more).shape)
        left = _left(fleet, *request.asked[0], rows, more)
        for key, asked in request.asked[1:]:
            left += _left(fleet, key, asked, rows, more)
        left *= -1.0 / len(request.asked)
        left += 1.0
        return left


class Balanced(_OfTheRowAlone):
    """Keep the shares in use of CPU, memory and whatever is asked for alike, so that none is left over alone."""

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        keys = dict(_ALWAYS) | dict(request.asked)
        left = [_left(fleet, key, asked, rows, more) for key, asked in keys.items()]
        even: Numbers = 1.0 - np.clip(np.maximum.reduce(left) - np.minimum.reduce(left), 0.0, 1.0)
        return even


class LowestLoad(_OfTheRowAlone):
    """The child with most left of what it has least of: as measured, or as promised where that is more."""

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        keys = dict(_ALWAYS) | dict(request.asked)
        left = np.minimum.reduce([_left(fleet, key, asked, rows, more) for key, asked in keys.items()])
        return np.clip(np.minimum(left, 1.0 - fleet.table.load[rows]), 0.0, 1.0)


class Rom(_OfTheRowAlone):
    """Resources only match of the Oakestra paper (arXiv 2207.01577): the child with most CPU and memory left.

    The amounts are added as shares of the largest child, since cores and bytes do not add.
    """

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        table, total = fleet.table, []
        asked = dict(_ALWAYS) | {key: amount for key, amount in request.asked if key in dict(_ALWAYS)}
        for key, amount in asked.items():
            largest = max(1, int(table.whole[key][: table.size].max(initial=0)))
            total.append((table.free[key][rows] - amount * (1 + more)) / largest)
        shares: Numbers = np.clip(np.add.reduce(total) / len(total), 0.0, 1.0)
        return shares


def _left(fleet: Fleet, key: str, asked: int, rows: Rows, more: Amounts | int) -> Numbers:
    """The share of an amount that would be left."""
    free = fleet.table.free.get(key)
    if free is None:  # nobody has any
        return np.zeros(np.broadcast(fleet.table.attempts[rows], more).shape)
    # As floating point from the start: to multiply whole numbers by it, numpy would convert them a second time.
    left = np.asarray(free[rows] - asked * (1.0 + more))
    left *= fleet.table.share[key][rows]
    return left
