"""Labels that a service wants, and taints that it must tolerate."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np

from mangrove.model.specification import Constraint
from mangrove.placement.filters.interface import Numbered, all_of, counted, some_names
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.words import Mask, Rows, Value

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_SIGNS = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥"}


class Labels:
    """All wishes about labels are met: by a node, or by some node of a cluster as far as is known."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return "label" in request.by_type

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        return all_of([self._check(wish, fleet, rows) for wish in request.by_type["label"]])

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        clauses = []
        for wish in request.by_type["label"]:
            failed = rejected[~self._check(wish, fleet, rejected)]
            if len(failed):
                found = fleet.table.attribute(f"label {wish.key}").found(failed)
                there = (
                    f"{wish.key} is {'/'.join(found[:3])}{'…' if len(found) > 3 else ''}" if found else "none is set"
                )
                clauses.append(f"needs label {said(wish)}: {counted(len(failed), fleet.noun)} where {there}")
        return "; ".join(clauses)

    def _check(self, wish: Constraint, fleet: Fleet, rows: Rows) -> Mask:
        column = fleet.table.attribute(f"label {wish.key}")
        if wish.operator == "in":
            mask = column.any_of(wish.names, rows)
        else:
            mask = column.where(wish, lambda value: meets(wish, value), rows)
        if fleet.noun == "cluster":
            mask = mask | fleet.table.attribute("vague").any_of((wish.key,), rows)
        return mask


class Taints:
    """What the child has to keep others away is tolerated."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return len(fleet.table.attribute("taint").values) > 1

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        wishes = tuple(request.by_type.get("tolerates", ()))
        return fleet.table.attribute("taint").where(
            wishes, lambda value: all(_tolerated(taint or "", wishes) for taint in value), rows
        )

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        taints = fleet.table.attribute("taint").found(rejected)
        wishes = tuple(request.by_type.get("tolerates", ()))
        bad = ", ".join([taint for taint in taints if not _tolerated(taint, wishes)][:3])
        return f"does not tolerate {bad}: {counted(len(rejected), fleet.noun)} ({some_names(fleet, rejected)})"


def meets(wish: Constraint, value: Value) -> bool:
    """Whether a label's values (of one node, or of several) meet a wish; none of a single one: ()."""
    if wish.operator == "in":
        return any(word in wish.names for word in value if word is not None)
    if wish.operator == "not_in":
        return not value or any(word not in wish.names for word in value)
    if wish.operator == "exists":
        return any(word is not None for word in value)
    if wish.operator == "not_exists":
        return not value or None in value
    compare, limit = _COMPARE[wish.operator], _number(wish.names[0])
    return any(compare(_number(word), limit) for word in value if word is not None)


def said(wish: Constraint) -> str:
    """A wish as a person would write it."""
    if wish.operator == "exists":
        return wish.key
    if wish.operator == "not_exists":
        return f"{wish.key} unset"
    if wish.operator in _SIGNS:
        return f"{wish.key} {_SIGNS[wish.operator]} {wish.names[0]}"
    return f"{wish.key} {'in' if wish.operator == 'in' else 'not in'} {'/'.join(wish.names)}"


def _number(text: str) -> float:
    """NaN, which compares with nothing, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return float(np.nan)


def _tolerated(taint: str, wishes: tuple[Constraint, ...]) -> bool:
    key, _, value = taint.partition("=")
    return any(wish.key == key and (not wish.names or value in wish.names) for wish in wishes)
