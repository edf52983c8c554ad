"""What the software needs of a machine's kind: a runtime, a system, an architecture, and what else is offered there."""

from __future__ import annotations

from mangrove.placement.filters.interface import Numbered, counted
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.words import Mask, Rows


class Runtime:
    """The child has the runtime that the service asks for."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return True

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return fleet.table.attribute("runtime").any_of((request.specification.runtime,), rows)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        return f"needs runtime {request.specification.runtime}: {counted(len(rejected), fleet.noun)} without it"


class Architecture:
    """The child has one of the architectures that the service runs on."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return bool(request.specification.architectures)

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return fleet.table.attribute("architecture").any_of(request.specification.architectures, rows)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        return _instead(request.specification.architectures, "architecture", fleet, rejected)


class System:
    """The child has one of the operating systems that the service runs on."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return bool(request.specification.operating_systems)

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return fleet.table.attribute("system").any_of(request.specification.operating_systems, rows)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        return _instead(request.specification.operating_systems, "system", fleet, rejected)


class Addons:
    """The child offers all addons that the service needs."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return "addons" in request.by_type

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        needed = self._needed(request)
        return fleet.table.attribute("addon").where(needed, lambda there: needed <= set(there), rows)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        needed = ", ".join(sorted(self._needed(request)))
        return f"needs addons {needed}: {counted(len(rejected), fleet.noun)} without them"

    def _needed(self, request: Request) -> frozenset[str]:
        return frozenset(name for wish in request.by_type["addons"] for name in wish.names)


def _instead(wanted: tuple[str, ...], column: str, fleet: Fleet, rejected: Numbered) -> str:
    found = fleet.table.attribute(column).found(rejected)
    return f"needs {'/'.join(wanted)}: {counted(len(rejected), fleet.noun)} {'/'.join(found) or 'unknown'}"
