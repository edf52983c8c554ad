"""Prefers children with few instances of anything: a scorer as a package of your own could offer it."""

from __future__ import annotations

import numpy as np

from mangrove.model.specification import Preference
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts, Numbers
from mangrove.placement.words import Rows


class Quiet:
    """A `mangrove.placement.scorers.interface.Scorer`."""

    def separable(self, preference: Preference) -> bool:
        """A row's score depends on that row alone."""
        return True

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        """1 for an empty child, 1/2 with one instance, and so on."""
        return np.asarray(1.0 / (1.0 + fleet.table.attempts[rows] + more))
