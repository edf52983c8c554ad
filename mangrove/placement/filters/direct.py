"""The user names the clusters or nodes: `direct` both, in lists `a;b;c`; `clusters` the clusters that are allowed."""

from __future__ import annotations

import numpy as np

from mangrove.placement.filters.interface import Numbered, some_names
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.words import Mask, Rows


class Direct:
    """Passes the children named at their level; empty means any."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return "direct" in request.by_type and bool(self._lists(request, fleet.noun))

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return _named(fleet, self._lists(request, fleet.noun), rows)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        wanted = " and ".join("/".join(sorted(names)) for names in self._lists(request, fleet.noun))
        return f"needs {fleet.noun} {wanted}: not {some_names(fleet, rejected)}"

    def _lists(self, request: Request, noun: str) -> list[set[str]]:
        named = (wish.cluster if noun == "cluster" else wish.node for wish in request.by_type["direct"])
        return [{name.strip() for name in names.split(";")} for names in named if names.strip()]


class Clusters:
    """Passes the clusters that are allowed; says nothing about nodes."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return "clusters" in request.by_type and fleet.noun == "cluster"

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return _named(fleet, [set(wish.names) for wish in request.by_type["clusters"]], rows)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        allowed = sorted(set.intersection(*(set(wish.names) for wish in request.by_type["clusters"])))
        return f"allowed are only the clusters {'/'.join(allowed) or 'of no name'}: not {some_names(fleet, rejected)}"


def _named(fleet: Fleet, lists: list[set[str]], rows: Rows) -> Mask:
    table = np.zeros(fleet.table.size, np.bool_)
    for name in set.intersection(*lists):
        table[list(fleet.named(name))] = True
    found: Mask = table[rows]
    return found
