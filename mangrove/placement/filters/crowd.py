"""What gets scarce by what is there already: host ports, and instances of the same service on one node."""

from __future__ import annotations

import numpy as np

from mangrove.placement.filters.interface import Numbered, counted
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts
from mangrove.placement.words import Mask, Rows


class HostPorts:
    """No host port that is asked for is taken; of a cluster: not on all of its nodes."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return bool(request.specification.ports)

    def room(self, request: Request, fleet: Fleet, rows: Rows) -> Amounts:
        taken = [
            fleet.table.tallies.of(("port", port.host, port.protocol))[rows] for port in request.specification.ports
        ]
        return np.asarray(fleet.table.nodes[rows] - np.maximum.reduce(taken))

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return np.asarray(self.room(request, fleet, rows) > 0)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        ports = ", ".join(f"{port.host}/{port.protocol}" for port in request.specification.ports[:3])
        return f"needs host port {ports}: taken on {counted(len(rejected), fleet.noun)}"


class PerNode:
    """Fewer instances of the service are there than are allowed on one node."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return "per_node" in request.by_type

    def room(self, request: Request, fleet: Fleet, rows: Rows) -> Amounts:
        there = fleet.table.tallies.of(("service", request.specification.name))[rows]
        return np.asarray(fleet.table.nodes[rows] * self._limit(request) - there)

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return np.asarray(self.room(request, fleet, rows) > 0)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        return f"at most {self._limit(request)} on one node: {counted(len(rejected), fleet.noun)} with so many"

    def _limit(self, request: Request) -> int:
        return int(min(wish.threshold for wish in request.by_type["per_node"]))
