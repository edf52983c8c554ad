"""Constraints of one service that leave nothing together, as far as their words show it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

from mangrove.base.errors import InvalidInput
from mangrove.model.specification import Constraint

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
#: The label that names the area of a node, of which it has one.
_AREA = "area"


def refuse_contradiction(found: Sequence[Constraint], path: str) -> None:
    """Raise InvalidInput when the last of these (at `path`) leaves nothing that all the others allow."""
    newest = found[-1]
    if newest.type == "clusters" and _nothing_in_common(_clusters(found)):
        raise InvalidInput(f"{path}.allowed", "has no cluster in common with the other constraints; merge them")
    if newest.type == "direct" and newest.cluster and _nothing_in_common(_clusters(found)):
        raise InvalidInput(f"{path}.cluster", "has no name in common with the other constraints; merge them")
    nodes = (_names(each.node) for each in found if each.type == "direct" and each.node)
    if newest.type == "direct" and newest.node and _nothing_in_common(nodes):
        raise InvalidInput(f"{path}.node", "has no name in common with another `direct` constraint; merge them")
    label = _as_label(newest)
    if label is not None and _no_value([each for one in found if (each := _as_label(one)) and each.key == label.key]):
        field, what = ("values", "constraint on the label") if newest.type == "label" else ("area", "constraint on the")
        raise InvalidInput(f"{path}.{field}", f"contradicts another {what} {label.key}; mend one")


def _clusters(found: Iterable[Constraint]) -> list[set[str]]:
    lists = [set(each.names) for each in found if each.type == "clusters"]
    return lists + [_names(each.cluster) for each in found if each.type == "direct" and each.cluster]


def _names(text: str) -> set[str]:
    return set(text.split(";"))


def _nothing_in_common(lists: Iterable[set[str]]) -> bool:
    lists = list(lists)
    return bool(lists) and not set.intersection(*lists)


def _as_label(wish: Constraint) -> Constraint | None:
    """A constraint on a label; an area is one."""
    if wish.type in ("geo", "latency") and wish.key:
        return Constraint("label", key=_AREA, operator="in", names=(wish.key,))
    return wish if wish.type == "label" else None


def _no_value(wishes: Sequence[Constraint]) -> bool:
    """Whether no value of a label meets all of these."""
    operators = {wish.operator for wish in wishes}
    if "not_exists" in operators:
        return bool(operators & {"in", "exists", *_COMPARE})
    limits = [(wish.operator, float(wish.names[0])) for wish in wishes if wish.operator in _COMPARE]
    lists = [set(wish.names) for wish in wishes if wish.operator == "in"]
    if not lists:
        return any(not _something_between(one, other) for one in limits for other in limits)
    left = set.intersection(*lists)
    for wish in wishes:
        if wish.operator == "not_in":
            left -= set(wish.names)
    return not any(_meets(value, limits) for value in left)


def _meets(value: str, limits: Sequence[tuple[str, float]]) -> bool:
    try:
        return not limits or all(_COMPARE[name](float(value), limit) for name, limit in limits)
    except ValueError:  # no number compares with one
        return False


def _something_between(one: tuple[str, float], other: tuple[str, float]) -> bool:
    (low, least), (high, most) = one, other
    if low not in ("gt", "ge") or high not in ("lt", "le"):
        return True
    return least < most or (least == most and (low, high) == ("ge", "le"))
