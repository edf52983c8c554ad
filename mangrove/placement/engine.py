"""Filter, then score. Reserving is the caller's next word to the fleet."""

from __future__ import annotations

from collections.abc import Mapping

from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Refusal
from mangrove.model.specification import Specification
from mangrove.placement.filters import FILTERS
from mangrove.placement.fleet import Fleet
from mangrove.placement.scorers import best_fit


def place(
    fleet: Fleet,
    specification: Specification,
    *,
    avoid: frozenset[str] = frozenset(),
    refused: Mapping[str, Refusal] = {},
) -> Chosen | NoFit:
    """Choose a child for one instance.

    avoid: children that must not be chosen. refused: those that did not take this before, and why.
    """
    if not fleet.rows:
        return NoFit(f"no {fleet.noun} has joined yet")
    candidates = [row for row in fleet.rows.values() if row.live and row.id not in avoid]
    away = sum(1 for row in fleet.rows.values() if not row.live)
    reasons = [f"{away} of {len(fleet.rows)} {fleet.noun}s not connected"] if away else []
    turned_down = [row for row in candidates if row.id in refused]
    if turned_down:
        said = sorted(f"refused by {row.name}: {refused[row.id].reason}" for row in turned_down)
        reasons += said[:3]
        candidates = [row for row in candidates if row not in turned_down]
    for condition in FILTERS:
        if not condition.applies(specification):
            continue
        passed = [row for row in candidates if condition.passes(specification, row)]
        if len(passed) < len(candidates):
            kept = {row.id for row in passed}
            rejected = [row for row in candidates if row.id not in kept]
            reasons.append(condition.explain(specification, rejected, fleet.noun))
        candidates = passed
    if not candidates:
        return NoFit("; ".join(reasons) or f"no other {fleet.noun}")
    needs = specification.resources
    # Equal scores go to the child with the fewest attempts, so that what asks for nothing is spread.
    best = max(candidates, key=lambda row: (best_fit(needs, row), -row.attempts, row.id))
    return Chosen(best.id)
