"""Where a child stands, and how far it is in time: `geo` and `latency`."""

from __future__ import annotations

import math

import numpy as np

from mangrove.model.position import EARTH, Position
from mangrove.model.specification import Constraint
from mangrove.placement.filters.interface import Numbered, all_of, counted
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Numbers
from mangrove.placement.words import Mask, Rows

#: Milliseconds there and back a kilometre: light in fibre does 100 km in 1 ms there and back, and a route is about
#: twice as long as the straight line.
MS_PER_KM = 0.02
#: The label whose value names the area of a child.
AREA = "label area"


class Geo:
    """Stands near enough to a point, or in an area. A child that covers an area itself counts with its nearest edge."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return "geo" in request.by_type

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        masks = [
            _in_area(fleet, wish.key, rows)
            if wish.position is None
            else distance(fleet, wish.position, rows) <= wish.threshold
            for wish in request.by_type["geo"]
        ]
        return all_of(masks)

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        clauses = []
        for wish in request.by_type["geo"]:
            if wish.position is None:
                failed = rejected[~_in_area(fleet, wish.key, rejected)]
                said = f"needs area {wish.key}: {counted(len(failed), fleet.noun)} elsewhere"
            else:
                far = distance(fleet, wish.position, rejected)
                failed = rejected[~(far <= wish.threshold)]
                said = (
                    f"needs to be within {wish.threshold:g} km of {_point(wish.position)}: "
                    f"{counted(len(failed), fleet.noun)} farther away or nowhere known{_nearest(far, 'km')}"
                )
            if len(failed):
                clauses.append(said)
        return "; ".join(clauses)


class Latency:
    """Answers fast enough, as far as that is known: measured round trips of nodes to their cluster, and distances."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return any(self._judged(wish, fleet) for wish in request.by_type.get("latency", ()))

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return all_of(
            [
                round_trip(fleet, wish, rows) <= wish.threshold
                for wish in request.by_type["latency"]
                if self._judged(wish, fleet)
            ]
        )

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        clauses = []
        for wish in request.by_type["latency"]:
            slow = round_trip(fleet, wish, rejected)
            failed = rejected[~(slow <= wish.threshold)]
            if self._judged(wish, fleet) and len(failed):
                where = _point(wish.position) if wish.position is not None else wish.key or "its cluster"
                if wish.names:
                    where = wish.names[0] + ("" if _there(fleet, wish).any() else ", which is not here yet")
                clauses.append(
                    f"needs at most {wish.threshold:g} ms to {where}: "
                    f"{counted(len(failed), fleet.noun)} slower or not measured{_nearest(slow, 'ms')}"
                )
        return "; ".join(clauses)

    def _judged(self, wish: Constraint, fleet: Fleet) -> bool:
        """How far a cluster is from the root says nothing about its nodes."""
        return fleet.noun == "node" or wish.position is not None or bool(wish.key) or bool(wish.names)


def distance(fleet: Fleet, point: Position, rows: Rows) -> Numbers:
    """Kilometres from these rows to a point, by the haversine formula; NaN where a child stands nowhere known."""
    latitude, longitude, radius = fleet.table.place[0][rows], fleet.table.place[1][rows], fleet.table.place[2][rows]
    here, there = math.radians(point.latitude), math.radians(point.longitude)
    half = (longitude - there) / 2
    root = np.sin((latitude - here) / 2) ** 2 + math.cos(here) * np.cos(latitude) * np.sin(half) ** 2
    whole = 2 * EARTH * np.arcsin(np.sqrt(np.minimum(root, 1.0)))
    near: Numbers = np.maximum(whole - radius - point.radius / 1000, 0.0)
    return near


def round_trip(fleet: Fleet, wish: Constraint, rows: Rows) -> Numbers:
    """Milliseconds that a request to these rows and its answer would take; NaN where that is not known."""
    access = fleet.table.round_trip[rows] if fleet.noun == "node" else np.zeros(fleet.table.size)[rows]
    if wish.position is not None:
        return np.asarray(access + MS_PER_KM * distance(fleet, wish.position, rows))
    if wish.key:
        return np.where(_in_area(fleet, wish.key, rows), access, np.nan)
    if wish.names:
        return _to_service(fleet, wish, access, rows)
    return access


def _to_service(fleet: Fleet, wish: Constraint, access: Numbers, rows: Rows) -> Numbers:
    """To the nearest instance of a service: nothing where it is itself, else by way of the cluster, since between two
    nodes nothing is measured. It is no longer really. Of a cluster: none where it is not there, for the same reason."""
    there = _there(fleet, wish)
    if fleet.noun == "cluster":
        return np.where(there[rows], 0.0, np.nan)
    theirs = fleet.table.round_trip[there]
    nearest = np.nanmin(theirs) if np.isfinite(theirs).any() else np.nan
    return np.where(there[rows], 0.0, access + nearest)


def _there(fleet: Fleet, wish: Constraint) -> Mask:
    """Which of all rows have an instance of the service that a wish names."""
    there: Mask = fleet.table.tallies.of(("service", wish.names[0])) > 0
    return there


def _in_area(fleet: Fleet, area: str, rows: Rows) -> Mask:
    mask = fleet.table.attribute(AREA).any_of((area,), rows)
    return mask | fleet.table.attribute("vague").any_of(("area",), rows) if fleet.noun == "cluster" else mask


def _point(position: Position) -> str:
    return f"{position.latitude:g},{position.longitude:g}"


def _nearest(values: Numbers, unit: str) -> str:
    known = values[~np.isnan(values)]
    return f" (best is {known.min():.3g} {unit})" if len(known) else ""
