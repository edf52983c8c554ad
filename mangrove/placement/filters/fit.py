"""Amounts: what is free on the child in all, and on its largest single node."""

from __future__ import annotations

from collections.abc import Callable

from mangrove.model.specification import Specification
from mangrove.placement.fleet import Row


class Fit:
    """There is room: by this parent's own reservations, and by what the child says of its largest node."""

    def applies(self, specification: Specification) -> bool:
        return True

    def passes(self, specification: Specification, row: Row) -> bool:
        needs = specification.resources
        largest = row.capacity.largest
        return needs.fits_in(row.free) and (not largest or any(needs.fits_in(room) for room in largest))

    def explain(self, specification: Specification, rejected: list[Row], noun: str) -> str:
        needs = specification.resources
        clauses = []
        for field, words in _WORDS.items():
            asked = getattr(needs, field)
            short = [row for row in rejected if asked > 0 and asked > room(row, field)]
            if short:
                best = max(room(row, field) for row in short)
                clauses.append(
                    f"needs {words(asked)}: {len(short)} {noun}{'' if len(short) == 1 else 's'} "
                    f"too small or too full (best has {words(max(best, 0))} free)"
                )
        if not clauses:  # each amount by itself is there, but never together on one node
            return f"no single node of {len(rejected)} {noun}{'' if len(rejected) == 1 else 's'} has all of it free"
        return "; ".join(clauses)


def room(row: Row, field: str) -> int:
    """What one instance could get of one resource on this child."""
    free = int(getattr(row.free, field))
    return min(free, max((int(getattr(node, field)) for node in row.capacity.largest), default=free))


def _cores(millicores: int) -> str:
    return f"{millicores / 1000:g} CPU cores" if millicores != 1000 else "1 CPU core"


_WORDS: dict[str, Callable[[int], str]] = {
    "cpu": _cores,
    "memory": lambda amount: f"{amount} MiB memory",
    "disk": lambda amount: f"{amount} MiB disk",
    "gpus": lambda amount: f"{amount} GPU{'' if amount == 1 else 's'}",
    "vram": lambda amount: f"{amount} MiB GPU memory",
}
