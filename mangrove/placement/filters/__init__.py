"""Hard conditions. Each filter says whether it applies, which children pass, and why the others do not."""

from __future__ import annotations

from typing import Protocol

from mangrove.model.specification import Specification
from mangrove.placement.filters.direct import Direct
from mangrove.placement.filters.fit import Fit
from mangrove.placement.filters.platform import Architecture, Runtime
from mangrove.placement.fleet import Row


class Filter(Protocol):
    """One hard condition."""

    def applies(self, specification: Specification) -> bool:
        """Whether the request says anything that this filter judges."""

    def passes(self, specification: Specification, row: Row) -> bool:
        """Whether this child meets the condition."""

    def explain(self, specification: Specification, rejected: list[Row], noun: str) -> str:
        """One clause for a person about the children that do not."""


#: In the order in which they are asked: what rules out most, most cheaply, comes first.
FILTERS: tuple[Filter, ...] = (Direct(), Runtime(), Architecture(), Fit())
