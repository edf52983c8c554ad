"""`direct`: the user names the clusters or nodes. Lists are `a;b;c`; empty means any."""

from __future__ import annotations

from mangrove.model.specification import Specification
from mangrove.placement.fleet import Row


class Direct:
    """Passes the children named at their level; rows of clusters have the noun `cluster`, of nodes `node`."""

    def applies(self, specification: Specification) -> bool:
        return any(constraint.type == "direct" for constraint in specification.constraints)

    def passes(self, specification: Specification, row: Row) -> bool:
        return all(row.name in names for names in self._lists(specification, row.noun))

    def explain(self, specification: Specification, rejected: list[Row], noun: str) -> str:
        wanted = " and ".join("/".join(sorted(names)) for names in self._lists(specification, noun))
        return f"needs {noun} {wanted}: not {', '.join(sorted(row.name for row in rejected)[:3])}"

    def _lists(self, specification: Specification, noun: str) -> list[set[str]]:
        named = (
            constraint.cluster if noun == "cluster" else constraint.node
            for constraint in specification.constraints
            if constraint.type == "direct"
        )
        return [{name.strip() for name in names.split(";")} for names in named if names.strip()]
