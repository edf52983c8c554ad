"""Scores by where a child stands."""

from __future__ import annotations

import numpy as np

from mangrove.model.position import Position
from mangrove.model.specification import Preference
from mangrove.placement.filters.where import distance, round_trip
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.scorers.amounts import Rom
from mangrove.placement.table import Amounts, Numbers
from mangrove.placement.words import Rows

#: Kilometres at which the score of being near has fallen to one half: another town, a millisecond or two away.
_HALF = 100.0


class Nearest:
    """Near the preference's position, or else the first one that the service's constraints name."""

    def separable(self, preference: Preference) -> bool:
        return True

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        point = preference.position or _point(request)
        if point is None:
            return np.zeros(np.broadcast(fleet.table.attempts[rows], more).shape)
        return np.nan_to_num(1.0 / (1.0 + distance(fleet, point, rows) / _HALF), nan=0.0) + np.zeros(np.shape(more))


class Ldp:
    """Latency- and distance-aware placement, after the Oakestra paper (arXiv 2207.01577).

    There, children beyond a `latency` or `geo` threshold are ruled out first (here that is done by the filters), and
    the rest are compared. Here: by how far below the thresholds they are, and by `rom` where that is equal.
    """

    def separable(self, preference: Preference) -> bool:
        return True

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        resources = Rom().score(request, fleet, preference, rows, more)
        parts = [
            distance(fleet, wish.position, rows) / max(wish.threshold, 1e-9)
            for wish in request.by_type.get("geo", ())
            if wish.position is not None
        ]
        parts += [
            round_trip(fleet, wish, rows) / max(wish.threshold, 1e-9) for wish in request.by_type.get("latency", ())
        ]
        if not parts:
            return resources
        close = np.clip(1.0 - np.nan_to_num(np.add.reduce(parts) / len(parts), nan=1.0), 0.0, 1.0)
        return np.asarray(0.99 * close + 0.01 * resources)


def _point(request: Request) -> Position | None:
    wishes = [*request.by_type.get("latency", ()), *request.by_type.get("geo", ())]
    return next((wish.position for wish in wishes if wish.position is not None), None)
