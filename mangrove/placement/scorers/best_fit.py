"""Best fit: fill what is already in use, so that large requests find whole machines free later."""

from __future__ import annotations

from mangrove.model.resources import Resources
from mangrove.placement.fleet import Row


def best_fit(needs: Resources, row: Row) -> float:
    """Between 0 and 1: how full the child would be, averaged over the amounts that the request asks for."""
    shares = []
    for field in ("cpu", "memory", "disk", "gpus", "vram"):
        asked, whole = getattr(needs, field), getattr(row.capacity.allocatable, field)
        if asked > 0 and whole > 0:
            shares.append(min(1.0, (getattr(row.reserved, field) + asked) / whole))
    return sum(shares) / len(shares) if shares else 0.0
