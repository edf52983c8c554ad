"""What a benchmark found out: figures, some of which have a goal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure. goal: the value, in the same unit, that it may not exceed."""

    name: str
    value: float
    unit: str = ""
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.value <= self.goal else "MISSED"


class Result(msgspec.Struct, frozen=True):
    """One benchmark. conditions: how it was measured, in words. raw: all that was measured, in seconds."""

    name: str
    title: str
    conditions: tuple[str, ...]
    figures: tuple[Figure, ...]
    raw: dict[str, list[float]] = {}


def spread(name: str, values: Sequence[float], *, p50: float | None = None, p95: float | None = None) -> list[Figure]:
    """Median, quartiles, 95th percentile and extremes of times in seconds, as milliseconds. p50, p95: goals."""
    several = [*values, *values] if len(values) == 1 else values
    cuts = [1000 * cut for cut in statistics.quantiles(several, n=100, method="inclusive")]
    return [
        Figure(f"{name}, p50", cuts[49], "ms", p50, f"quartiles {cuts[24]:.0f} and {cuts[74]:.0f}, n = {len(values)}"),
        Figure(f"{name}, p95", cuts[94], "ms", p95, f"{1000 * min(values):.0f} to {1000 * max(values):.0f}"),
    ]


def table(result: Result) -> str:
    """For people, and for a page of documentation: Markdown."""
    rows = [("", "measured", "goal", "", "")]
    for figure in result.figures:
        goal = "" if figure.goal is None else f"≤ {_number(figure.goal)} {figure.unit}".strip()
        rows.append((figure.name, f"{_number(figure.value)} {figure.unit}".strip(), goal, figure.verdict, figure.note))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"- {condition}" for condition in result.conditions]
    return "\n".join([f"### {result.name}: {result.title}", "", *notes, "", *lines, ""])


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"
