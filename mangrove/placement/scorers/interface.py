"""What a scorer is."""

from __future__ import annotations

from typing import Protocol

from mangrove.model.specification import Preference
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts, Numbers
from mangrove.placement.words import Rows


class Scorer(Protocol):
    """One way to say which child is better. Pure: it reads the fleet and changes nothing."""

    def separable(self, preference: Preference) -> bool:
        """Whether a row's score depends on nothing but what is on that row; then many can be placed in one pass."""

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        """Between 0 and 1 for each of these rows, in the shape of rows and `more` broadcast together.

        more: how many instances of this request each row was given before in the same pass; no reservation shows them.
        """
