"""Amounts: what is free on the child in all, and on its largest single node."""

from __future__ import annotations

from mangrove.model.specification import Specification
from mangrove.placement.fleet import Row


class Fit:
    """There is room: by this parent's own reservations, and by what the child says of its largest node."""

    def applies(self, specification: Specification) -> bool:
        return True

    def passes(self, specification: Specification, row: Row) -> bool:
        needs = specification.resources
        return needs.fits_in(row.free) and needs.fits_in(row.capacity.largest)

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
        return "; ".join(clauses)


def room(row: Row, field: str) -> int:
    """What one instance could get of one resource on this child."""
    return int(min(getattr(row.free, field), getattr(row.capacity.largest, field)))


def _cores(millicores: int) -> str:
    return f"{millicores / 1000:g} CPU cores" if millicores != 1000 else "1 CPU core"


_WORDS = {
    "cpu": _cores,
    "memory": lambda amount: f"{amount} MiB memory",
    "disk": lambda amount: f"{amount} MiB disk",
    "gpus": lambda amount: f"{amount} GPU{'' if amount == 1 else 's'}",
    "vram": lambda amount: f"{amount} MiB GPU memory",
}
