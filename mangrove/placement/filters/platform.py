"""What the software needs of a machine's kind: its architecture and a runtime."""

from __future__ import annotations

from mangrove.model.specification import Specification
from mangrove.placement.fleet import Row


class Runtime:
    """The child has the runtime that the service asks for."""

    def applies(self, specification: Specification) -> bool:
        return True

    def passes(self, specification: Specification, row: Row) -> bool:
        return specification.runtime in row.capacity.runtimes

    def explain(self, specification: Specification, rejected: list[Row], noun: str) -> str:
        return f"needs runtime {specification.runtime}: {counted(rejected, noun)} without it"


class Architecture:
    """The child has one of the architectures that the service runs on."""

    def applies(self, specification: Specification) -> bool:
        return bool(specification.architectures)

    def passes(self, specification: Specification, row: Row) -> bool:
        return not set(specification.architectures).isdisjoint(row.capacity.architectures)

    def explain(self, specification: Specification, rejected: list[Row], noun: str) -> str:
        found = sorted({name for row in rejected for name in row.capacity.architectures})
        return (
            f"needs {'/'.join(specification.architectures)}: {counted(rejected, noun)} {'/'.join(found) or 'unknown'}"
        )


def counted(rows: list[Row], noun: str) -> str:
    """`1 node`, `3 nodes`."""
    return f"{len(rows)} {noun}{'' if len(rows) == 1 else 's'}"
