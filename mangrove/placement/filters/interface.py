"""What a filter is, and how it speaks of children."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts
from mangrove.placement.words import Mask, Rows

#: Numbers of rows.
Numbered = npt.NDArray[np.intp]


class Filter(Protocol):
    """One hard condition. Pure: it reads the fleet and changes nothing."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        """Whether the request says anything that this filter judges."""

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        """Which of these rows meet the condition, in their shape."""

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        """One clause for a person about the children that do not."""


class Limit(Filter, Protocol):
    """A condition that each further instance makes harder."""

    def room(self, request: Request, fleet: Fleet, rows: Rows) -> Amounts:
        """How many more instances each of these rows can take."""


def all_of(masks: list[Mask]) -> Mask:
    """Where all of these masks are true; there is at least one."""
    both: Mask = np.logical_and.reduce(masks)
    return both


def counted(number: int, noun: str) -> str:
    """`1 node`, `3 nodes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some_names(fleet: Fleet, rows: Numbered) -> str:
    """The names of the first few of these children."""
    return ", ".join(sorted(fleet.at(int(row)).name for row in rows)[:3])
